//! A record as one file: an archive (tar) whose bytes follow from what is in it.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};

use crate::{Error, Result, RunFolder};

/// The folders of a record that are kept: what its journal names, and what was signed over it.
const FOLDERS: [&str; 3] = ["samples", "evidence", "seal"];

/// The folder of the record in an archive, beside the notebooks of its run.
pub const RECORD: &str = "record";

/// Writes a record, with files that stand beside it, into an archive: `ROOT/NAME` for those, and
/// `ROOT/record/...` for the record. The same files give the same bytes, on every machine and at any
/// time: entries are in order, and owner, time and permissions are fixed. Whatever its size, the record
/// is not held in memory.
///
/// # Errors
/// [`Error::Io`].
pub fn export(
    run: &RunFolder,
    root: &str,
    beside: &[(PathBuf, Vec<u8>)],
    out: impl Write,
) -> Result<()> {
    let mut archive = Builder::new(out);
    let root = Path::new(root);
    let mut beside: Vec<_> = beside.iter().collect();
    beside.sort();
    for (name, content) in beside {
        let length = content.len() as u64;
        add(&mut archive, &root.join(name), length, content.as_slice())?;
    }
    for path in files(run)? {
        let name = path.strip_prefix(run.path()).unwrap_or(&path);
        let file = File::open(&path).map_err(Error::io("read", &path))?;
        let length = file.metadata().map_err(Error::io("read", &path))?.len();
        // A file that grows meanwhile is kept as long as it was when it was opened.
        add(
            &mut archive,
            &root.join(RECORD).join(name),
            length,
            file.take(length),
        )?;
    }
    archive.finish().map_err(Error::io("write", root))
}

fn add(
    archive: &mut Builder<impl Write>,
    name: &Path,
    length: u64,
    content: impl Read,
) -> Result<()> {
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::Regular);
    header.set_size(length);
    header.set_mode(0o600);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    let added = archive.append_data(&mut header, name, content);
    added.map_err(Error::io("write", name))
}

/// Returns the files of a record, in order.
fn files(run: &RunFolder) -> Result<Vec<PathBuf>> {
    let mut files = vec![run.journal_path()];
    for folder in FOLDERS {
        let folder = run.path().join(folder);
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::io("read", &folder)(error)),
        };
        for entry in entries {
            let path = entry.map_err(Error::io("read", &folder))?.path();
            let is_whole = path.extension().is_none_or(|extension| extension != "part");
            if is_whole && path.is_file() {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}
