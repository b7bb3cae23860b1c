//! Notebooks of a run with what was signed over them, as files.

mod vouch;

use std::collections::BTreeMap;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use code_deploy_engine::Error as EngineError;
use code_deploy_notebook_gen::{self as notebook_gen, Page};
use code_deploy_record::disk::{is_refused, open_file, read_at_most};
use code_deploy_record::{
    Checkpoint, LARGEST_NOTE, LARGEST_STATEMENT, OUTPUTS_NOTE, PublicKey, PublicKeys, RunFolder,
    SealFolder, SealKey, SignedStatement,
};

use crate::failure::Failure;
use crate::pages::{executed, failed};
use crate::project::Project;

/// How to verify, for people.
const VERIFY: &str = include_str!("../../templates/VERIFY.md");

/// The file with it, beside the notebooks.
pub const VERIFY_FILE: &str = "VERIFY.md";

/// Notebooks, and what is signed over them.
pub struct Published {
    /// The notebooks.
    pub pages: Vec<Page>,
    /// The key that the record names last.
    pub key: Option<PublicKeys>,
    /// The key that the record names last, with the statement; nothing where it names none, or where
    /// what was signed is over other notebooks.
    pub signed: Option<(PublicKeys, SignedStatement)>,
}

/// Makes the notebooks of a run. With the key that seals its record, they are signed, and what was
/// signed is kept in the record's folder; without it, what is kept there holds as long as it is over
/// these very notebooks.
///
/// # Errors
/// `CD0318`, with nothing written, when the key is at hand and the record is damaged: what would be signed may not be
/// what the run wrote. A checkpoint that a killed process left out at the end is signed first. When the record cannot
/// be read, or what was signed cannot be kept.
pub fn publish(
    project: Option<&Project>,
    run: &RunFolder,
    key: Option<&SealKey>,
) -> Result<Published, Failure> {
    let named = key_of(run)?;
    let own = key.filter(|key| named.as_ref().is_some_and(|named| key.public() == *named));
    if let Some(key) = own {
        vouch::refuse_damaged(project, run, key)?;
    }
    let mut pages = executed(project, run)?;
    let Some(named) = named else {
        return Ok(Published {
            pages,
            key: None,
            signed: None,
        });
    };
    if let Some(key) = own {
        let written = SignedStatement::FILES.into_iter().chain([OUTPUTS_NOTE]);
        notebook_gen::remove_left(run.seal().path(), &written.collect::<Vec<_>>());
        sign_outputs(run, &mut pages, key)?;
    }
    let statement = notebook_gen::statement(run, &pages).map_err(failed)?;
    let signed = match own {
        Some(key) => {
            let signed = SignedStatement::sign(statement.text, statement.sums, key)?;
            keep(run, &named, &signed)?;
            Some(signed)
        }
        None => kept(run)?
            .filter(|kept| kept.statement() == statement.text && kept.sums() == statement.sums),
    };
    let signed = signed.map(|signed| (named.clone(), signed));
    let key = Some(named);
    Ok(Published { pages, key, signed })
}

/// Keeps a statement in the folder of a run's seal. The statement itself is the last of its files, and one over
/// other notebooks goes first: at any moment the files that are beside a statement are its own.
fn keep(run: &RunFolder, keys: &PublicKeys, signed: &SignedStatement) -> Result<(), Failure> {
    let folder = run.seal();
    if kept(run)?.is_some_and(|before| before != *signed) {
        folder.remove(SignedStatement::STATEMENT)?;
    }
    let files = signed.files(keys);
    let is_last = |(name, _): &(&str, Vec<u8>)| *name == SignedStatement::STATEMENT;
    let (last, first): (Vec<_>, Vec<_>) = files.into_iter().partition(is_last);
    for (name, content) in first.into_iter().chain(last) {
        folder.write(name, &content)?;
    }
    Ok(())
}

/// Returns the key that seals a record, as its journal names it last.
fn key_of(run: &RunFolder) -> Result<Option<PublicKeys>, Failure> {
    Ok(run.state()?.key)
}

fn sign_outputs(run: &RunFolder, pages: &mut [Page], key: &SealKey) -> Result<(), Failure> {
    let head = notebook_gen::outputs_head(pages).map_err(failed)?;
    let origin = notebook_gen::outputs_origin(&run.started()?);
    let note = Checkpoint::sign(&origin, head, key);
    run.seal()
        .write(OUTPUTS_NOTE, note.to_string().as_bytes())?;
    notebook_gen::put_note(pages, &note).map_err(failed)
}

/// Returns the statement that is kept in the folder of a run's seal.
pub fn kept(run: &RunFolder) -> Result<Option<SignedStatement>, Failure> {
    read_signed(run.seal().path())
}

/// Returns the statement that is kept in the folder of a run's seal, where its signatures are of the
/// key that seals the record, whatever notebooks it is over.
pub fn kept_and_signed(
    run: &RunFolder,
    key: Option<&PublicKeys>,
) -> Result<Option<(PublicKeys, SignedStatement)>, Failure> {
    let (Some(keys), Some(signed)) = (key.cloned(), kept(run)?) else {
        return Ok(None);
    };
    Ok(signed.broken(&keys).is_empty().then_some((keys, signed)))
}

/// Returns the files that are listed with a statement, by path, with their digests.
pub fn listed(signed: &SignedStatement) -> BTreeMap<PathBuf, String> {
    let lines = signed
        .sums()
        .lines()
        .filter_map(|line| line.split_once("  "));
    lines
        .map(|(digest, path)| (PathBuf::from(path), digest.to_owned()))
        .collect()
}

/// Returns the statement that is kept in a folder, which is no link. What stands there in place of one of its files and
/// is none of its own, or larger than any, is not read, and as good as not there.
pub fn read_signed(folder: &Path) -> Result<Option<SignedStatement>, Failure> {
    if !std::fs::symlink_metadata(folder).is_ok_and(|found| found.is_dir()) {
        return Ok(None);
    }
    SignedStatement::read(|name| {
        let path = folder.join(name);
        match read_signed_file(&path) {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) if is_refused(&error) => Ok(None),
            Err(error) => {
                let error = code_deploy_record::Error::io("read", &path)(error);
                Err(Failure::from(EngineError::Record(error)))
            }
        }
    })
}

/// Reads a file of a signed statement.
///
/// # Errors
/// What the system says, and that it is no file of its own or larger than any.
pub fn read_signed_file(path: &Path) -> std::io::Result<Vec<u8>> {
    open_file(path).and_then(|file| read_at_most(file, LARGEST_STATEMENT))
}

/// Returns the keys that signed what lies in a folder, by the one over its list of files; nothing where the
/// other is not there or is none.
pub fn keys_in(seal: &Path, ed25519: &PublicKey) -> Option<PublicKeys> {
    let opened = open_file(&seal.join(SignedStatement::P256));
    let text = opened.and_then(|file| read_at_most(file, LARGEST_NOTE));
    let text = String::from_utf8(text.ok()?).ok()?;
    PublicKeys::of(ed25519, &PublicKey::parse(&text).ok()?)
}

/// Returns whether a file of a folder of notebooks is one of those that [`beside`] gives.
pub fn is_beside(path: &Path) -> bool {
    path == Path::new(VERIFY_FILE) || path.starts_with(SealFolder::NAME)
}

/// Returns the names of the files that [`beside`] gives.
pub fn beside_names() -> Vec<PathBuf> {
    let files = SignedStatement::FILES.iter();
    let files = files.map(|name| Path::new(SealFolder::NAME).join(name));
    std::iter::once(PathBuf::from(VERIFY_FILE))
        .chain(files)
        .collect()
}

/// Returns the files that stand beside the notebooks once they are signed: `VERIFY.md`, and those of
/// the folder `seal`.
pub fn beside(keys: &PublicKeys, signed: &SignedStatement) -> Vec<(PathBuf, Vec<u8>)> {
    let guide = guide(keys);
    let files = signed.files(keys).into_iter();
    let files = files.map(|(name, content)| (Path::new(SealFolder::NAME).join(name), content));
    std::iter::once(guide).chain(files).collect()
}

/// Returns the guide to verifying that stands beside notebooks which that key signs.
pub fn guide(keys: &PublicKeys) -> (PathBuf, Vec<u8>) {
    let text = VERIFY.replace("{{key}}", &keys.name());
    (PathBuf::from(VERIFY_FILE), text.into_bytes())
}

/// Makes the notebooks of a run and writes them with their charts, and with what is signed over them;
/// returns how many.
///
/// # Errors
/// When the record cannot be read or the folder cannot be written.
pub fn write(
    project: Option<&Project>,
    run: &RunFolder,
    key: Option<&SealKey>,
    out: &Path,
) -> Result<usize, Failure> {
    let published = publish(project, run, key)?;
    if published.signed.is_none() {
        remove_signed(out)?;
    }
    let count = published.pages.len();
    notebook_gen::write_files(&published.into_files(), out).map_err(failed)?;
    Ok(count)
}

impl Published {
    /// Returns notebooks and charts, and what is signed over them, as files of one folder.
    pub fn into_files(self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut files = notebook_gen::into_files(self.pages);
        if let Some((keys, signed)) = &self.signed {
            files.extend(beside(keys, signed));
        }
        files
    }
}

/// Writes a record and its notebooks, with what is signed over them, into one file that is not there
/// yet.
///
/// # Errors
/// When the record cannot be read or the file cannot be written.
pub fn export(
    project: Option<&Project>,
    run: &RunFolder,
    key: Option<&SealKey>,
    out: &Path,
) -> Result<(), Failure> {
    let published = publish(project, run, key)?;
    let name = run.started()?.run;
    let cannot = |error: std::io::Error| {
        let what = format!("{} cannot be written: {error}", out.display());
        Failure::refused(
            crate::codes::CANNOT_WRITE,
            what,
            "Name another file with `--out`.",
        )
    };
    let mut options = std::fs::OpenOptions::new();
    let file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(out)
        .map_err(cannot)?;
    let mut writer = std::io::BufWriter::new(file);
    let files = published.into_files();
    let written = code_deploy_record::export(run, name.as_str(), &files, &mut writer);
    if let Err(error) = written {
        // Half an archive is worse than none.
        std::fs::remove_file(out).map_err(cannot)?;
        return Err(Failure::from(error));
    }
    let file = writer
        .into_inner()
        .map_err(|error| cannot(error.into_error()))?;
    file.sync_all().map_err(cannot)
}

/// Refuses to write notebooks that nobody signs where signed ones are.
///
/// # Errors
/// When a signed statement is in that folder.
pub fn refuse_to_lose(out: &Path) -> Result<(), Failure> {
    if read_signed(&out.join(SealFolder::NAME))?.is_none() {
        return Ok(());
    }
    let what = format!(
        "{}: signed notebooks of the run are there, and would be lost",
        out.display()
    );
    Err(Failure::usage(what, "Name another folder with `--out`."))
}

/// Removes what was signed over other notebooks in that folder: it would not hold for these.
fn remove_signed(out: &Path) -> Result<(), Failure> {
    let folder = out.join(SealFolder::NAME);
    let Some(_) = read_signed(&folder)? else {
        return Ok(());
    };
    let named = SignedStatement::FILES.map(|name| folder.join(name));
    for path in named.into_iter().chain([out.join(VERIFY_FILE)]) {
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                let error = code_deploy_record::Error::io("remove", &path)(error);
                return Err(Failure::from(EngineError::Record(error)));
            }
            _ => {}
        }
    }
    // What else lies in it keeps the folder, and is not this program's.
    drop(std::fs::remove_dir(&folder));
    Ok(())
}
