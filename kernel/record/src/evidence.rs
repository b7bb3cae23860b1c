//! Files kept as evidence, each under the digest of its content.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::folder::{create_private, sync_folder_of};
use crate::{Digest, Error, Result};

/// The evidence folder of a run.
#[derive(Debug, Clone)]
pub struct EvidenceStore {
    path: PathBuf,
}

impl EvidenceStore {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
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
        if !target.exists() {
            self.write(&target, |file, path| {
                file.write_all(content).map_err(Error::io("write", path))
            })?;
        }
        Ok(digest)
    }

    /// Keeps a copy of the file at `source`, however large; returns its digest and size.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::EvidenceChanged`] when the file changes while it is copied.
    pub fn keep_file(&self, source: &Path) -> Result<(Digest, u64)> {
        let mut file = File::open(source).map_err(Error::io("read", source))?;
        let expected = Digest::of_reader(&mut file).map_err(Error::io("read", source))?;
        let bytes = file.metadata().map_err(Error::io("read", source))?.len();
        let target = self.path_of(&expected);
        if !target.exists() {
            file.seek(SeekFrom::Start(0))
                .map_err(Error::io("read", source))?;
            self.write(&target, |copy, path| {
                std::io::copy(&mut file, copy)
                    .map(|_| ())
                    .map_err(Error::io("write", path))
            })?;
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
        let content = std::fs::read(&path).map_err(Error::io("read", &path))?;
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
        let file = File::open(&path).map_err(Error::io("read", &path))?;
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

    /// Returns the names of all that is in the folder, in order; nothing when there is no folder.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn names(&self) -> Result<Vec<String>> {
        let entries = match std::fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::io("read", &self.path)(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(Error::io("read", &self.path))?;
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    fn write(
        &self,
        target: &Path,
        fill: impl FnOnce(&mut File, &Path) -> Result<()>,
    ) -> Result<()> {
        create_private(&self.path)?;
        let temporary = target.with_extension(format!("{}.part", std::process::id()));
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options
            .open(&temporary)
            .map_err(Error::io("create", &temporary))?;
        fill(&mut file, &temporary)?;
        file.sync_all().map_err(Error::io("flush", &temporary))?;
        std::fs::rename(&temporary, target).map_err(Error::io("name", target))?;
        sync_folder_of(target)
    }
}
