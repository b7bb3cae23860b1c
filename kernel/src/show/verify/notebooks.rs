//! `verify` of notebooks: against the rendering that their record gives, or, where that is not here,
//! against what they carry themselves.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use code_deploy_notebook_gen::{self as notebook_gen, Origin, OutputCheck, Page};
use code_deploy_record::{Digest, PublicKey, RunFolder, SealFolder, SignedStatement, Trust};
use serde_json::Value;

use super::{Kind, Row, paths};
use crate::face::Face;
use crate::failure::Failure;
use crate::project::Project;
use crate::publish;

const NOT_AS_SIGNED: &str = "changed: not the bytes that were signed";

/// Notebooks in a folder.
pub(super) struct Notebooks {
    pub folder: PathBuf,
    /// The one that is meant, where not all are.
    pub only: Option<PathBuf>,
    /// The record that was named with them.
    pub of: Option<RunFolder>,
}

impl Notebooks {
    /// All notebooks of a folder.
    pub(super) fn whole(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            only: None,
            of: None,
        }
    }

    /// The folder with what is signed over them, where something is.
    pub(super) fn seal(&self) -> PathBuf {
        self.folder.join(SealFolder::NAME)
    }

    fn row(&self, kind: Kind, place: &Path, cell: Option<&str>, what: impl Into<String>) -> Row {
        let mut place = place.display().to_string();
        if let Some(cell) = cell {
            place = format!("{place}#{cell}");
        }
        Row {
            kind,
            record: self.folder.display().to_string(),
            place,
            what: what.into(),
        }
    }
}

/// What the record gives, against which notebooks are held.
pub(super) struct Given {
    pub(super) pages: Vec<Page>,
    pub(super) files: Vec<(PathBuf, Vec<u8>)>,
    /// The files that the key of the record signed, with their digests.
    pub(super) listed: BTreeMap<PathBuf, String>,
    pub(super) is_signed: bool,
    /// Whether notebooks of the record were signed, and nothing of that is beside those here.
    pub(super) signed_elsewhere: bool,
}

impl Given {
    /// Makes the notebooks of a record, and reads what was signed over them. The files of that are asked
    /// for only in a folder that has some: notebooks that were made anew elsewhere, by another version or
    /// beside other runs, have none.
    pub(super) fn by(
        project: Option<&Project>,
        record: &RunFolder,
        notebooks: &Notebooks,
    ) -> Result<Self, Failure> {
        let own = paths::project_of(record);
        let published = publish::publish(own.as_ref().or(project), record, None)?;
        let mut files = notebook_gen::files(&published.pages);
        let signed = match published.signed {
            Some(signed) => Some(signed),
            None => publish::kept_and_signed(record)?,
        };
        let listed = signed.as_ref().map(|(_, signed)| publish::listed(signed));
        let was_signed = signed.is_some();
        let signed = signed.filter(|_| notebooks.seal().exists());
        if let Some((keys, signed)) = &signed {
            files.extend(publish::beside(keys, signed));
        }
        Ok(Self {
            pages: published.pages,
            files,
            listed: listed.unwrap_or_default(),
            is_signed: signed.is_some(),
            signed_elsewhere: was_signed && signed.is_none(),
        })
    }
}

/// Holds notebooks and charts against those that the record gives.
pub(super) fn compare(
    given: &Given,
    notebooks: &Notebooks,
    face: &dyn Face,
) -> Result<Vec<Row>, Failure> {
    let meant = |path: &Path| notebooks.only.as_deref().is_none_or(|only| only == path);
    let files: Vec<_> = given.files.iter().filter(|(path, _)| meant(path)).collect();
    let mut rows = Vec::new();
    let mut reason: Option<String> = None;
    let mut as_signed = 0;
    for (path, expected) in &files {
        match std::fs::read(notebooks.folder.join(path)) {
            Ok(found) if found == *expected => {}
            Ok(found) => {
                let unlike = unlike(notebooks, path, &found, expected, reason.as_deref());
                let apart = unlike.iter().find(|row| row.kind == Kind::NotComparable);
                let digest = Digest::of(&found).to_string();
                if let Some(row) = apart {
                    reason.get_or_insert_with(|| row.what.clone());
                }
                if apart.is_some() && given.listed.get(path) == Some(&digest) {
                    as_signed += 1;
                } else if apart.is_some() && given.is_signed && given.listed.contains_key(path) {
                    rows.push(notebooks.row(Kind::Different, path, None, NOT_AS_SIGNED));
                } else {
                    rows.extend(unlike);
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                rows.push(notebooks.row(Kind::NotHere, path, None, "not here"));
            }
            Err(error) => rows.push(notebooks.row(Kind::Different, path, None, error.to_string())),
        }
    }
    if notebooks.only.is_none() {
        rows.extend(others(notebooks, &given.pages)?);
        rows.extend(signed_otherwise(notebooks, given.is_signed)?);
    } else if files.is_empty() {
        let only = notebooks.only.as_deref().unwrap_or(Path::new(""));
        rows.push(notebooks.row(
            Kind::Different,
            only,
            None,
            "nothing of this name is made of the run",
        ));
    }
    let name = notebooks.folder.display();
    face.text(&format!("{name}: compared with {}", counted(given, &files)));
    if given.signed_elsewhere {
        face.text(&format!(
            "{name}: the run's notebooks were signed, and what was signed (`{}/`) is not here: these \
             are held against the record alone",
            SealFolder::NAME
        ));
    }
    if as_signed > 0 {
        face.text(&format!(
            "{name}: {as_signed} of them are, byte for byte, those that the key of the record signed; \
             this program, or the runs that are at hand here, would give others"
        ));
    }
    Ok(rows)
}

/// Says what was compared: what the record gives, and the files that say who signed that.
fn counted(given: &Given, files: &[&(PathBuf, Vec<u8>)]) -> String {
    let signed = files.iter().filter(|(path, _)| publish::is_beside(path));
    let signed = signed.count();
    let made = match files.len() - signed {
        1 => "the 1 notebook or chart of that name".to_owned(),
        more => format!("the {more} notebooks and charts"),
    };
    let made = format!("{made} that the record gives");
    match (given.is_signed, signed) {
        (true, 0) => format!("{made}, signed"),
        (true, signed) => {
            format!("{made}, signed, and with the {signed} files that say how they are signed")
        }
        (false, _) => made,
    }
}

/// Says in what way a file is unlike the one that this program makes. A chart does not say who drew
/// it: it is judged as the notebooks beside it are.
fn unlike(
    notebooks: &Notebooks,
    path: &Path,
    found: &[u8],
    expected: &[u8],
    beside: Option<&str>,
) -> Vec<Row> {
    let row = |kind, what: String| vec![notebooks.row(kind, path, None, what)];
    let changed = || {
        row(
            Kind::Different,
            "changed: not what the record gives".to_owned(),
        )
    };
    let Some(origin) = Origin::of(expected) else {
        return match beside {
            Some(why) if path.starts_with("charts") || path == Path::new(publish::VERIFY_FILE) => {
                row(Kind::NotComparable, format!("beside notebooks {why}"))
            }
            _ => changed(),
        };
    };
    let (Some(found_origin), Ok(found)) = (Origin::of(found), serde_json::from_slice(found)) else {
        return changed();
    };
    if found_origin.run != origin.run {
        let run = found_origin.run.unwrap_or_else(|| "no run".to_owned());
        return row(
            Kind::Different,
            format!("not of this run: it says that it is of {run}"),
        );
    }
    if let Some(why) = found_origin.unlike(&origin) {
        let mut rows = row(Kind::NotComparable, why);
        rows.extend(outputs(notebooks, path, &found));
        return rows;
    }
    match serde_json::from_slice(expected) {
        Ok(expected) => cell_by_cell(notebooks, path, &found, &expected),
        Err(_) => changed(),
    }
}

fn cell_by_cell(notebooks: &Notebooks, path: &Path, found: &Value, expected: &Value) -> Vec<Row> {
    let comparison = notebook_gen::compare(found, expected);
    let row = |kind, (cell, what): (Option<String>, String)| {
        notebooks.row(kind, path, cell.as_deref(), what)
    };
    let changed = comparison.changed.into_iter();
    let mut rows: Vec<Row> = changed.map(|one| row(Kind::Different, one)).collect();
    rows.extend(
        comparison
            .added
            .into_iter()
            .map(|one| row(Kind::Added, one)),
    );
    if rows.is_empty() {
        let what = "spaces, or the order of what has no order: another program saved it";
        rows.push(notebooks.row(Kind::Added, path, None, what));
    }
    rows
}

/// Says which outputs of a notebook are not the leaves that they are said to be.
fn outputs(notebooks: &Notebooks, path: &Path, notebook: &Value) -> Vec<Row> {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let check = notebook_gen::check_outputs(&name, notebook).unwrap_or_default();
    let broken = check.broken.into_iter();
    broken
        .map(|(cell, what)| notebooks.row(Kind::Different, path, cell.as_deref(), what))
        .collect()
}

/// Returns the notebooks and pictures that are not of the run.
fn others(notebooks: &Notebooks, pages: &[notebook_gen::Page]) -> Result<Vec<Row>, Failure> {
    let first = pages.first().map(|page| page.text.as_bytes());
    let own = first.and_then(|text| Origin::of(text)?.run);
    let mut rows = Vec::new();
    for path in crate::pages::others(pages, &notebooks.folder)? {
        let origin = std::fs::read(notebooks.folder.join(&path)).ok();
        let run = origin.and_then(|found| Origin::of(&found)?.run);
        let what = match run {
            Some(run) if own.as_ref() == Some(&run) => {
                "nothing of this name is made of the run".to_owned()
            }
            Some(run) => format!("not of this run: it says that it is of {run}"),
            None => "not of this run".to_owned(),
        };
        rows.push(notebooks.row(Kind::Different, &path, None, what));
    }
    Ok(rows)
}

/// A statement beside notebooks, where the record gives none over them.
fn signed_otherwise(notebooks: &Notebooks, expected: bool) -> Result<Option<Row>, Failure> {
    if expected || publish::read_signed(&notebooks.seal())?.is_none() {
        return Ok(None);
    }
    let place = Path::new(SealFolder::NAME).join("statement.json");
    let what = "the record gives no statement over these notebooks: it is of others, or was signed \
                elsewhere";
    Ok(Some(notebooks.row(Kind::NotComparable, &place, None, what)))
}

/// Why notebooks are not held against what their record gives.
#[derive(Debug, Clone, Copy)]
pub(super) enum Why {
    /// It is not here.
    NotHere,
    /// It is not what was written: what it would give now says nothing of the notebooks.
    Damaged,
    /// They were signed over so many events at its beginning, and the run went on.
    Earlier {
        events: u64,
        /// Whether the run has come to its end since.
        is_ended: bool,
    },
}

impl Why {
    /// Says what was not checked of files that are as they were signed.
    fn of_signed(self) -> String {
        match self {
            Self::NotHere => {
                "Their record is not here: that they follow from it was not checked".to_owned()
            }
            Self::Damaged => {
                "Their record is not what was written, or not all of it is here: that they follow from it was not \
                 checked"
                    .to_owned()
            }
            Self::Earlier { events, .. } => format!(
                "They are of the first {events} events of their run, which went on then: that they \
                 follow from these was not checked"
            ),
        }
    }

    /// Says why a notebook is not compared with what its record gives.
    fn of_one(self) -> &'static str {
        match self {
            Self::NotHere => "its record is not here",
            Self::Damaged => "its record is not what was written, or not all of it is here",
            Self::Earlier { .. } => "its run went on",
        }
    }
}

/// Checks notebooks that their record does not show: against the list of files that was signed, where
/// it stands beside them, otherwise by what they carry themselves, each output against its leaf and the
/// signature over the root against the keys that are given.
pub(super) fn alone(
    notebooks: &Notebooks,
    why: Why,
    trust: &Trust,
    face: &dyn Face,
) -> Result<Vec<Row>, Failure> {
    if let Some(signed) = publish::read_signed(&notebooks.seal())? {
        let mut rows = as_listed(notebooks, &signed, why, trust, face)?;
        if let Why::Earlier {
            events,
            is_ended: true,
        } = why
        {
            let what = format!("not here: what is here was signed over the first {events} events");
            let place = Path::new("the notebooks of the whole run");
            rows.push(notebooks.row(Kind::NotHere, place, None, what));
        }
        return Ok(rows);
    }
    let names = match &notebooks.only {
        Some(name) => vec![name.clone()],
        None => crate::pages::others(&[], &notebooks.folder)?,
    };
    let mut rows = Vec::new();
    for path in names
        .iter()
        .filter(|path| path.extension().is_some_and(|e| e == "ipynb"))
    {
        let file = notebooks.folder.join(path);
        let content = std::fs::read(&file).map_err(code_deploy_record::Error::io("read", &file))?;
        rows.extend(one_alone(notebooks, path, &content, why, trust, face));
    }
    Ok(rows)
}

/// Says that nobody who was named stands for signed notebooks whose record is not here.
pub(super) fn asserted(notebooks: &Notebooks, trust: &Trust) -> Result<Option<String>, Failure> {
    let signed = publish::read_signed(&notebooks.seal())?;
    let key = signed.and_then(|signed| signed.signer().ok());
    Ok(key.filter(|_| trust.keys.is_empty()).map(|key| {
        format!(
            "{} is self-asserted: whoever holds key {} could have made all of it. Give the public key of who should \
             have signed with `--key`.",
            notebooks.folder.display(),
            key.name()
        )
    }))
}

/// Holds files against the list that was signed.
fn as_listed(
    notebooks: &Notebooks,
    signed: &SignedStatement,
    why: Why,
    trust: &Trust,
    face: &dyn Face,
) -> Result<Vec<Row>, Failure> {
    let listed = publish::listed(signed);
    let key = signed.signer();
    let meant = |path: &Path| notebooks.only.as_deref().is_none_or(|only| only == path);
    let there = match &notebooks.only {
        Some(only) => vec![only.clone()],
        None => crate::pages::others(&[], &notebooks.folder)?,
    };
    let not_listed = there.iter().filter(|path| !listed.contains_key(*path));
    let mut rows: Vec<Row> = not_listed
        .map(|path| {
            notebooks.row(
                Kind::Different,
                path,
                None,
                "nothing of this name was signed",
            )
        })
        .collect();
    let mut same = 0;
    for (path, digest) in listed.iter().filter(|(path, _)| meant(path)) {
        let file = notebooks.folder.join(path);
        match std::fs::read(&file) {
            Ok(found) if Digest::of(&found).to_string() == *digest => {
                same += 1;
                let key = key.as_ref().ok();
                rows.extend(key.and_then(|key| signed_by_another(notebooks, path, &found, key)));
            }
            Ok(found) => {
                rows.push(notebooks.row(Kind::Different, path, None, NOT_AS_SIGNED));
                let notebook = serde_json::from_slice(&found).ok();
                rows.extend(notebook.map_or_else(Vec::new, |one| outputs(notebooks, path, &one)));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                rows.push(notebooks.row(Kind::NotHere, path, None, "not here"));
            }
            Err(error) => return Err(code_deploy_record::Error::io("read", &file)(error).into()),
        }
    }
    if let (Ok(key), None) = (&key, &notebooks.only) {
        rows.extend(not_as_beside(notebooks, signed, key));
    }
    let by = match key {
        Ok(key) if trust.keys.is_empty() => {
            format!(
                "what {} signed, whose key was not given (`--key`)",
                key.name()
            )
        }
        Ok(key) if trust.knows(&key) => format!("what {} signed", key.name()),
        Ok(key) => {
            let what = format!("signed by {}, which is none of the given keys", key.name());
            let place = Path::new(SealFolder::NAME).join(SignedStatement::SUMS_SIGNATURE);
            rows.push(notebooks.row(Kind::Signature, &place, None, what));
            return Ok(rows);
        }
        Err((name, what)) => {
            let place = Path::new(SealFolder::NAME).join(name);
            rows.push(notebooks.row(Kind::Signature, &place, None, what));
            return Ok(rows);
        }
    };
    face.text(&format!(
        "{}: {}, byte for byte, {by}. {}",
        notebooks.folder.display(),
        match same {
            1 => "1 file is".to_owned(),
            more => format!("{more} files are"),
        },
        why.of_signed()
    ));
    Ok(rows)
}

/// Says that the outputs of a notebook are signed with another key than the list that names it.
fn signed_by_another(
    notebooks: &Notebooks,
    path: &Path,
    content: &[u8],
    key: &PublicKey,
) -> Option<Row> {
    let notebook = serde_json::from_slice(content).ok()?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let note = notebook_gen::check_outputs(&name, &notebook)?.note?;
    if note.is_signed_by(key) {
        return None;
    }
    let by = note.signers().collect::<Vec<_>>().join(", ");
    let what = format!(
        "its outputs are said to be signed by {by}, the list of files by {}",
        key.name()
    );
    Some(notebooks.row(Kind::Signature, path, None, what))
}

/// Says which of the files that stand beside signed notebooks are not what follows from the list and its key.
fn not_as_beside(notebooks: &Notebooks, signed: &SignedStatement, key: &PublicKey) -> Vec<Row> {
    let Some(keys) = publish::keys_in(&notebooks.seal(), key) else {
        let place = Path::new(SealFolder::NAME).join(SignedStatement::P256);
        let is_there = notebooks.folder.join(&place).exists();
        let (kind, what) = match is_there {
            true => (Kind::Signature, "it is no P-256 key"),
            false => (Kind::NotHere, "not here"),
        };
        return vec![notebooks.row(kind, &place, None, what)];
    };
    let broken = signed.broken(&keys).into_iter().map(|(name, what)| {
        let place = Path::new(SealFolder::NAME).join(name);
        notebooks.row(Kind::Signature, &place, None, what)
    });
    let beside = publish::beside(&keys, signed).into_iter();
    let unlike = beside.filter_map(|(path, expected)| {
        let (kind, what) = match std::fs::read(notebooks.folder.join(&path)) {
            Ok(found) if found == expected => return None,
            // Nothing that was signed says what another version wrote there.
            Ok(_) if path == Path::new(publish::VERIFY_FILE) => (
                Kind::NotComparable,
                "not the text that this version writes: do not run commands from it".to_owned(),
            ),
            Ok(_) => (
                Kind::Different,
                "changed: not what follows from what was signed".to_owned(),
            ),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                (Kind::NotHere, "not here".to_owned())
            }
            Err(error) => (Kind::Different, error.to_string()),
        };
        Some(notebooks.row(kind, &path, None, what))
    });
    broken.chain(unlike).collect()
}

fn one_alone(
    notebooks: &Notebooks,
    path: &Path,
    content: &[u8],
    why: Why,
    trust: &Trust,
    face: &dyn Face,
) -> Vec<Row> {
    let row = |kind, what: String| vec![notebooks.row(kind, path, None, what)];
    let Ok(notebook) = serde_json::from_slice::<Value>(content) else {
        return row(
            Kind::Different,
            "changed: it is no notebook any more".to_owned(),
        );
    };
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let Some(check) = notebook_gen::check_outputs(&name, &notebook) else {
        let why = why.of_one();
        let what =
            format!("nothing of it was checked: {why}, and it carries no proof of its outputs");
        return row(Kind::Unread, what);
    };
    let signed = match signer(&check, trust) {
        Ok(signed) => signed,
        Err(what) => return row(Kind::Signature, what),
    };
    let (why, proved) = (why.of_one(), check.proved);
    face.text(&format!(
        "{}: {proved} outputs are the leaves that they are said to be; {signed}. Its text was not \
         checked: {why}",
        notebooks.folder.join(path).display(),
    ));
    let what = format!(
        "only its {proved} outputs were checked, not its text: {why}, nor is what was signed over it"
    );
    let mut rows = row(Kind::Unread, what);
    let broken = check.broken.into_iter();
    rows.extend(
        broken.map(|(cell, what)| notebooks.row(Kind::Different, path, cell.as_deref(), what)),
    );
    rows
}

/// Says who signed the root over the outputs of a notebook.
///
/// # Errors
/// That it is none of the keys that are given, in words.
fn signer(check: &OutputCheck, trust: &Trust) -> Result<String, String> {
    let Some(note) = &check.note else {
        return match trust.keys.is_empty() {
            true => Ok("nobody signed their root".to_owned()),
            false => Err("nobody signed the root of its outputs".to_owned()),
        };
    };
    let by = note.signers().collect::<Vec<_>>().join(", ");
    if trust.keys.iter().any(|key| note.is_signed_by(key)) {
        return Ok(format!("their root is signed by {by}"));
    }
    if trust.keys.is_empty() {
        return Ok(format!(
            "their root is said to be signed by {by}, whose key was not given (`--key`)"
        ));
    }
    Err(format!(
        "its outputs are signed by {by}, which is none of the given keys"
    ))
}
