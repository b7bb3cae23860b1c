//! What lies in the folder of what was signed, and how much of it is read.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::disk::{EntryKind, NoFile, is_refused, too_large};
use crate::verify::VerifyReport;
use crate::verify::folders::kind;
use crate::{Error, LARGEST_STATEMENT, Result, RunFolder, SealFolder, SignedStatement};

/// The folder of what was signed, as it stands there.
#[derive(Default)]
pub(super) struct Files {
    /// Whether it is no link to a folder, nor something else.
    pub(super) is_folder: bool,
    /// What in it is no file, or larger than what is read of its kind. That is said, and it is not read.
    pub(super) unread: BTreeSet<String>,
}

impl Files {
    /// Looks at what lies there, and says what is not read.
    pub(super) fn look(
        run: &RunFolder,
        is_folder: bool,
        report: &mut VerifyReport,
    ) -> Result<Self> {
        let mut unread = BTreeSet::new();
        let paths = if is_folder {
            run.seal().files()?
        } else {
            Vec::new()
        };
        for path in paths {
            if let Some(what) = refused(run, &path)? {
                report.changed(place(&path), what);
                unread.insert(place(&path));
            }
        }
        Ok(Self { is_folder, unread })
    }

    /// Returns the files of the checkpoints, smallest first.
    pub(super) fn checkpoints(&self, run: &RunFolder) -> Result<Vec<PathBuf>> {
        match self.is_folder {
            true => run.seal().checkpoints(),
            false => Ok(Vec::new()),
        }
    }

    /// Returns the text of a file that holds a checkpoint or a signature, what is no text in it replaced; nothing where
    /// it is not here, or is not read, which is said.
    pub(super) fn read(
        &self,
        run: &RunFolder,
        path: &Path,
        report: &mut VerifyReport,
    ) -> Result<Option<String>> {
        let read = self.read_bytes(run, path, report)?;
        Ok(read.map(|text| String::from_utf8_lossy(&text).into_owned()))
    }

    /// Returns what a file holds that is read as [`Files::read`] reads one.
    pub(super) fn read_bytes(
        &self,
        run: &RunFolder,
        path: &Path,
        report: &mut VerifyReport,
    ) -> Result<Option<Vec<u8>>> {
        if self.unread.contains(&place(path)) {
            return Ok(None);
        }
        match run.seal().read(path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(None),
            Err(Error::Io { source, .. }) if is_refused(&source) => {
                report.changed(place(path), source.to_string());
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// Says why something is not read. The files of a statement are looked at here, because they are read elsewhere.
fn refused(run: &RunFolder, path: &Path) -> Result<Option<String>> {
    match kind(run, path)? {
        None => return Ok(None),
        Some(EntryKind::File) => {}
        Some(EntryKind::Folder | EntryKind::Other) => return Ok(Some(NoFile::WHAT.to_owned())),
    }
    let name = path.file_name().and_then(|name| name.to_str());
    if !name.is_some_and(|name| SignedStatement::FILES.contains(&name)) {
        return Ok(None);
    }
    let length = run.disk().read(path).and_then(|file| file.length());
    match length {
        Ok(length) if length <= LARGEST_STATEMENT => Ok(None),
        Ok(_) => Ok(Some(too_large(LARGEST_STATEMENT).to_string())),
        // A run that goes on has replaced it since the look.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", path)(error)),
    }
}

/// Returns a file of the folder as findings name it.
pub(super) fn place(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    format!("{}/{name}", SealFolder::NAME)
}
