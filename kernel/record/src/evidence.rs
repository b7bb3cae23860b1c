//! Files kept as evidence, each under the digest of its content.

use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, EntryKind};
use crate::folder::create_private;
use crate::{Digest, Error, Result};

/// The evidence folder of a run.
#[derive(Debug, Clone)]
pub struct EvidenceStore {
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

impl EvidenceStore {
    pub(crate) fn new(disk: Arc<dyn Disk>, path: PathBuf) -> Self {
        Self { disk, path }
    }

    /// Returns where the content with that digest is, or would be.
    #[must_use]
    pub fn path_of(&self, digest: &Digest) -> PathBuf {
        self.path.join(digest.to_string())
    }

    /// Keeps `content`; returns its digest. Content that is there already is not written again.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn keep(&self, content: &[u8]) -> Result<Digest> {
        let digest = Digest::of(content);
        let target = self.path_of(&digest);
        if !self.holds(&target) {
            self.write(&target, &mut &*content)?;
        }
        Ok(digest)
    }

    /// Keeps a copy of the file at `source`, which is no link, however large; returns its digest and size.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::EvidenceChanged`] when the file changes while it is copied.
    pub fn keep_file(&self, source: &Path) -> Result<(Digest, u64)> {
        let read = self.disk.read(source);
        let mut file = read.map_err(Error::io("read", source))?;
        let expected = Digest::of_reader(&mut file).map_err(Error::io("read", source))?;
        let bytes = file.length().map_err(Error::io("read", source))?;
        let target = self.path_of(&expected);
        if !self.holds(&target) {
            file.seek(SeekFrom::Start(0))
                .map_err(Error::io("read", source))?;
            self.write(&target, &mut file)?;
        }
        self.check(&expected)?;
        Ok((expected, bytes))
    }

    /// Returns content, after checking that it is what its digest says.
    ///
    /// # Errors
    /// [`Error::EvidenceChanged`]; [`Error::Io`], also when it is not there.
    pub fn read(&self, digest: &Digest) -> Result<Vec<u8>> {
        let path = self.path_of(digest);
        let mut content = Vec::new();
        let read = self.disk.read(&path);
        let read = read.and_then(|mut file| file.read_to_end(&mut content));
        read.map_err(Error::io("read", &path))?;
        let found = Digest::of(&content);
        if found == *digest {
            return Ok(content);
        }
        Err(Error::EvidenceChanged {
            expected: *digest,
            found,
        })
    }

    /// Checks that content is there and is what its digest says, without holding it in memory.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn check(&self, digest: &Digest) -> Result<()> {
        let path = self.path_of(digest);
        let file = self.disk.read(&path).map_err(Error::io("read", &path))?;
        let mut file = std::io::BufReader::new(file);
        let found = Digest::of_reader(file.by_ref()).map_err(Error::io("read", &path))?;
        if found == *digest {
            return Ok(());
        }
        Err(Error::EvidenceChanged {
            expected: *digest,
            found,
        })
    }

    /// Returns whether a file stands there, and no link to one.
    fn holds(&self, target: &Path) -> bool {
        let kind = self.disk.kind(target);
        kind.is_ok_and(|kind| kind == EntryKind::File)
    }

    fn write(&self, target: &Path, content: &mut dyn Read) -> Result<()> {
        create_private(self.disk.as_ref(), &self.path)?;
        let written = self.disk.replace(target, content);
        written.map_err(Error::io("write", target))
    }
}
