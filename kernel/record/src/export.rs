//! A record as one file: an archive (tar) whose bytes follow from what is in it.

use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};

use crate::disk::{EntryKind, NoFile};
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
/// [`Error::Io`], also where a link, a folder or a device stands in the place of a file: what it leads to is no part of
/// the record.
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
        let file = run.disk().read(&path);
        let file = file.map_err(Error::io("read", &path))?;
        let length = file.length().map_err(Error::io("read", &path))?;
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
        match run.disk().kind(&folder) {
            Ok(EntryKind::Folder) => {}
            Ok(EntryKind::File | EntryKind::Other) => return Err(no_folder(&folder)),
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::io("read", &folder)(error)),
        }
        let entries = run.disk().entries(&folder);
        for path in entries.map_err(Error::io("read", &folder))? {
            let is_part = path
                .extension()
                .is_some_and(|extension| extension == "part");
            if is_part {
                continue;
            }
            let kind = run.disk().kind(&path).map_err(Error::io("read", &path))?;
            if kind != EntryKind::File {
                return Err(Error::io("read", &path)(NoFile.into()));
            }
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn no_folder(path: &Path) -> Error {
    let what = "it is a link, a file or a device, and no folder";
    Error::io("read", path)(std::io::Error::new(ErrorKind::InvalidInput, what))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::symlink;

    use super::*;
    use crate::RunsFolder;

    #[test]
    fn what_a_link_leads_to_is_not_exported() {
        let folder = tempfile::tempdir().unwrap();
        let runs = RunsFolder::of_project(folder.path());
        let run = runs.create_run(&"run-1".parse().unwrap()).unwrap();
        std::fs::write(run.journal_path(), "").unwrap();
        let digest = run.evidence().keep(b"log").unwrap();
        let exported = || export(&run, "run-1", &[], Vec::new());
        exported().unwrap();
        let secret = folder.path().join("secret");
        std::fs::write(&secret, "hunter22").unwrap();
        let link = run.samples_path().join("router.jsonl");
        symlink(&secret, &link).unwrap();
        let error = exported().unwrap_err();
        assert!(
            matches!(&error, Error::Io { source, .. } if NoFile::is(source)),
            "{error:?}"
        );
        std::fs::remove_file(&link).unwrap();
        let evidence = run.path().join("evidence");
        std::fs::rename(&evidence, folder.path().join("moved")).unwrap();
        symlink(folder.path().join("moved"), &evidence).unwrap();
        assert!(run.evidence().check(&digest).is_ok());
        exported().unwrap_err();
    }
}
