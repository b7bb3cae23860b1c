//! Files of which nothing is known but a path: what is opened of them, and how much is read.

use std::fmt;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{Error, ErrorKind, Read, Result};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;

/// One KiB and one MiB, in bytes.
const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// That something else stands where a file should. It is inside of an error of the kind `InvalidInput`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoFile;

impl NoFile {
    /// What is said of it.
    pub const WHAT: &'static str = "it is a link, a folder or a device, and no file";

    /// Returns whether that is why a file was not opened.
    #[must_use]
    pub fn is(error: &Error) -> bool {
        error.get_ref().is_some_and(|inner| inner.is::<Self>())
    }
}

impl fmt::Display for NoFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::WHAT)
    }
}

impl std::error::Error for NoFile {}

impl From<NoFile> for Error {
    fn from(what: NoFile) -> Self {
        Self::new(ErrorKind::InvalidInput, what)
    }
}

/// Returns whether a file was not read because it is none, or is larger than what is read of its kind.
#[must_use]
pub fn is_refused(error: &Error) -> bool {
    NoFile::is(error) || error.kind() == ErrorKind::FileTooLarge
}

/// Opens the file that stands at `path` itself for reading. Nothing else is opened or waited for: what a link leads to
/// is no part of the folder that the link lies in, and a device or a pipe may have no end, or nobody who writes to it.
///
/// # Errors
/// What the system says; [`NoFile`] where something else stands there.
pub fn open_file(path: &Path) -> Result<File> {
    only_file(&std::fs::symlink_metadata(path)?)?;
    match open(path, OFlag::O_NOFOLLOW) {
        Err(error) if error.raw_os_error() == Some(Errno::ELOOP as i32) => Err(NoFile.into()),
        opened => opened,
    }
}

/// Opens a file that somebody has named for reading; the name may be a link to it.
///
/// # Errors
/// What the system says; `InvalidInput` where it is, or leads to, something else.
pub fn open_named(path: &Path) -> Result<File> {
    let what = "it is a folder, a pipe or a device, and no file";
    let no_file = |error: Error| match NoFile::is(&error) {
        true => Error::new(ErrorKind::InvalidInput, what),
        false => error,
    };
    let found = std::fs::metadata(path)?;
    let opened = only_file(&found).and_then(|()| open(path, OFlag::empty()));
    opened.map_err(no_file)
}

/// Opens what is a file, also where another thing takes its place just before: a pipe is then not waited for.
fn open(path: &Path, how: OFlag) -> Result<File> {
    let file = match open_with(path, how | OFlag::O_NONBLOCK) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => open_leased(path, how)?,
        opened => opened?,
    };
    only_file(&file.metadata()?)?;
    Ok(file)
}

fn open_with(path: &Path, flags: OFlag) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(flags.bits()).open(path)
}

/// Opens a file on which another process has a lease, once that gives it up, which the system sees to. What is looked
/// at and what is opened are the same: no pipe can take its place meanwhile.
fn open_leased(path: &Path, how: OFlag) -> Result<File> {
    let found = open_with(path, how | OFlag::O_PATH)?;
    only_file(&found.metadata()?)?;
    File::open(format!("/proc/self/fd/{}", found.as_raw_fd()))
}

fn only_file(found: &Metadata) -> Result<()> {
    if found.is_file() {
        return Ok(());
    }
    Err(NoFile.into())
}

/// Reads all of a file that should be small.
///
/// # Errors
/// What the system says; [`too_large`].
pub fn read_at_most(file: impl Read, most: u64) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    file.take(most.saturating_add(1))
        .read_to_end(&mut content)?;
    if content.len() as u64 > most {
        return Err(too_large(most));
    }
    Ok(content)
}

/// Returns the error of a file that is larger than what is read of its kind, so many bytes.
#[must_use]
pub fn too_large(most: u64) -> Error {
    let size = match most {
        mib if mib.is_multiple_of(MIB) => format!("{} MiB", mib / MIB),
        kib if kib.is_multiple_of(KIB) => format!("{} KiB", kib / KIB),
        bytes => format!("{bytes} bytes"),
    };
    let what = format!("it is larger than {size}, the most that is read of such a file");
    Error::new(ErrorKind::FileTooLarge, what)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;

    #[test]
    fn what_is_no_file_of_its_own_is_neither_opened_nor_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("file"), "text").unwrap();
        std::fs::create_dir(at("folder")).unwrap();
        mkfifo(&at("pipe"), Mode::S_IRWXU).unwrap();
        symlink(at("file"), at("link")).unwrap();
        symlink("/dev/zero", at("endless")).unwrap();
        symlink(at("pipe"), at("to-pipe")).unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        for name in ["folder", "pipe", "link", "endless", "to-pipe", "socket"] {
            let error = open_file(&at(name)).unwrap_err();
            assert!(NoFile::is(&error) && is_refused(&error), "{name}: {error}");
            assert_eq!(error.to_string(), NoFile::WHAT);
        }
        let gone = open_file(&at("gone")).unwrap_err();
        assert!(gone.kind() == ErrorKind::NotFound && !is_refused(&gone));
        assert_eq!(
            read_at_most(open_file(&at("file")).unwrap(), 4).unwrap(),
            b"text"
        );
        // Who names a file may name a link to it, but nothing without an end.
        assert_eq!(
            read_at_most(open_named(&at("link")).unwrap(), 4).unwrap(),
            b"text"
        );
        for name in ["folder", "pipe", "endless", "to-pipe", "socket"] {
            let error = open_named(&at(name)).unwrap_err();
            assert!(error.to_string().contains("and no file"), "{name}: {error}");
        }
    }

    #[test]
    fn a_file_that_is_leased_is_opened_by_what_was_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("file"), "text").unwrap();
        mkfifo(&at("pipe"), Mode::S_IRWXU).unwrap();
        symlink(at("file"), at("link")).unwrap();
        let opened = open_leased(&at("file"), OFlag::O_NOFOLLOW).unwrap();
        assert_eq!(read_at_most(opened, 4).unwrap(), b"text");
        for name in ["pipe", "link"] {
            let error = open_leased(&at(name), OFlag::O_NOFOLLOW).unwrap_err();
            assert!(NoFile::is(&error), "{name}: {error}");
        }
    }

    #[test]
    fn what_is_too_large_is_refused_with_its_limit() {
        let error = read_at_most(b"12345".as_slice(), 4).unwrap_err();
        assert!(is_refused(&error) && !NoFile::is(&error));
        assert!(error.to_string().contains("larger than 4 bytes"), "{error}");
        let said = |most: u64| too_large(most).to_string();
        assert!(said(64 * KIB).contains("larger than 64 KiB"));
        assert!(said(4 * MIB).contains("larger than 4 MiB"));
    }
}
