//! `verify` of notebooks that their record does not show: against what was signed over them, or what they
//! carry themselves.

mod known;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use code_deploy_notebook_gen::{self as notebook_gen, OutputCheck};
use code_deploy_record::{Digest, PublicKey, RunFolder, SealFolder, SignedStatement, Trust};
use serde_json::Value;

use super::foreign::{capped, foreign};
use super::notebooks::{LINK, NOT_AS_SIGNED, Notebooks};
use super::unlike::{outputs, repeated};
use super::{Kind, Row, halves};
use crate::face::Face;
use crate::failure::Failure;
use crate::publish;
use known::Known;

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
    record: Option<&RunFolder>,
    why: Why,
    trust: &Trust,
    face: &dyn Face,
) -> Result<Vec<Row>, Failure> {
    if let Some(signed) = publish::read_signed(&notebooks.seal())? {
        let mut rows = as_listed(notebooks, record, &signed, why, trust, face)?;
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
    let mut rows = not_read(notebooks);
    if notebooks.only.is_none() {
        let known = names.iter().map(PathBuf::as_path);
        let known: BTreeSet<&Path> = known.collect();
        rows.extend(foreign(notebooks, record, &known, false, face)?);
    }
    for path in names
        .iter()
        .filter(|path| path.extension().is_some_and(|e| e == "ipynb"))
    {
        match notebooks.read(path) {
            Ok(content) => rows.extend(one_alone(notebooks, path, &content, why, trust, face)),
            Err(error) => rows.push(notebooks.unread(path, &error)),
        }
    }
    Ok(rows)
}

/// Says that nobody who was named stands for signed notebooks whose record is not here.
pub(super) fn asserted(notebooks: &Notebooks, trust: &Trust) -> Result<Option<String>, Failure> {
    let signed = publish::read_signed(&notebooks.seal())?;
    let key = signed.and_then(|signed| Known::of(&signed, trust).key.ok());
    Ok(key.filter(|_| trust.keys.is_empty()).map(|key| {
        format!(
            "{} is self-asserted: whoever holds key {} could have made all of it. Give the public key of who should \
             have signed with `--key`.",
            notebooks.folder.display(),
            key.name()
        )
    }))
}

/// Holds files against the list that was signed, or the statement where the list is not of its key.
fn as_listed(
    notebooks: &Notebooks,
    record: Option<&RunFolder>,
    signed: &SignedStatement,
    why: Why,
    trust: &Trust,
    face: &dyn Face,
) -> Result<Vec<Row>, Failure> {
    let known = Known::of(signed, trust);
    if known::is_of_others(signed, trust) {
        return not_held(notebooks, record, &known, face);
    }
    let listed = known.files(signed);
    let meant = |path: &Path| notebooks.only.as_deref().is_none_or(|only| only == path);
    let there = match &notebooks.only {
        Some(only) => vec![only.clone()],
        None => crate::pages::others(&[], &notebooks.folder)?,
    };
    let not_listed = there.iter().filter(|path| !listed.contains_key(*path));
    let rows = not_listed.map(|path| {
        let what = "nothing of this name was signed";
        notebooks.row(Kind::Different, path, None, what)
    });
    let mut rows = capped(rows.collect());
    rows.extend(known.not_theirs(notebooks, signed));
    let mut same = 0;
    for (path, digest) in listed.iter().filter(|(path, _)| meant(path)) {
        match notebooks.read(path) {
            Ok(found) if Digest::of(&found).to_string() == *digest => {
                same += 1;
                let key = known.key.as_ref().ok();
                rows.extend(key.and_then(|key| signed_by_another(notebooks, path, &found, key)));
            }
            Ok(found) => {
                rows.push(notebooks.row(Kind::Different, path, None, NOT_AS_SIGNED));
                let notebook = serde_json::from_slice(&found).ok();
                rows.extend(notebook.map_or_else(Vec::new, |one| outputs(notebooks, path, &one)));
            }
            Err(error) => rows.push(notebooks.unread(path, &error)),
        }
    }
    if notebooks.only.is_none() {
        rows.extend(not_as_beside(notebooks, signed, &known, trust, face));
        let beside = publish::beside_names();
        let names = listed.keys().chain(&beside).map(PathBuf::as_path);
        let names: BTreeSet<&Path> = names.collect();
        rows.extend(foreign(notebooks, record, &names, true, face)?);
    }
    let by = match &known.key {
        Ok(key) if trust.keys.is_empty() => {
            format!(
                "what {} signed, whose key was not given (`--key`)",
                key.name()
            )
        }
        Ok(key) if trust.knows(key) => format!("what {} signed", key.name()),
        Ok(key) => {
            rows.extend(known.half_given(notebooks, key));
            return Ok(rows);
        }
        Err((name, what)) => {
            let place = Path::new(SealFolder::NAME).join(name);
            rows.push(notebooks.row(Kind::Signature, &place, None, *what));
            rows.extend(not_read(notebooks));
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

/// Says what stands beside notebooks over which only others than those that are given signed something.
fn not_held(
    notebooks: &Notebooks,
    record: Option<&RunFolder>,
    known: &Known,
    face: &dyn Face,
) -> Result<Vec<Row>, Failure> {
    let mut rows = known.of_others(notebooks);
    rows.extend(not_read(notebooks));
    if notebooks.only.is_none() {
        let beside = publish::beside_names();
        let names: BTreeSet<&Path> = beside.iter().map(PathBuf::as_path).collect();
        rows.extend(foreign(notebooks, record, &names, false, face)?);
    }
    Ok(rows)
}

/// What is said of what stands where the folder with what was signed should.
const NO_FOLDER: &str = "it is a file or a device, and no folder";

/// Says which of the files that say what was signed stand beside notebooks, and are not read: what a link leads to, and
/// what is no file or larger than any.
fn not_read(notebooks: &Notebooks) -> Vec<Row> {
    let folder = Path::new(SealFolder::NAME);
    match std::fs::symlink_metadata(notebooks.seal()) {
        Ok(found) if found.is_dir() => {}
        Ok(found) if found.is_symlink() => {
            return vec![notebooks.row(Kind::NotHere, folder, None, LINK)];
        }
        Ok(_) => return vec![notebooks.row(Kind::Different, folder, None, NO_FOLDER)],
        Err(_) => return Vec::new(),
    }
    let paths = SignedStatement::FILES.iter().map(|name| folder.join(name));
    let rows = paths.filter_map(|path| {
        let error = notebooks.read(&path).err()?;
        let is_there = error.kind() != std::io::ErrorKind::NotFound;
        is_there.then(|| notebooks.unread(&path, &error))
    });
    rows.collect()
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

/// Says which of the files that stand beside signed notebooks are not what follows from what was signed and its key.
fn not_as_beside(
    notebooks: &Notebooks,
    signed: &SignedStatement,
    known: &Known,
    trust: &Trust,
    face: &dyn Face,
) -> Vec<Row> {
    let Ok(key) = &known.key else {
        return Vec::new();
    };
    let Some(keys) = publish::keys_in(&notebooks.seal(), key) else {
        let place = Path::new(SealFolder::NAME).join(SignedStatement::P256);
        return vec![match notebooks.read(&place) {
            Ok(_) => notebooks.row(Kind::Signature, &place, None, "it is no P-256 key"),
            Err(error) => notebooks.unread(&place, &error),
        }];
    };
    let broken = signed.broken(&keys).into_iter();
    let broken = broken.filter(|(name, _)| !known.has_judged(name));
    let broken = broken.map(|(name, what)| {
        let place = Path::new(SealFolder::NAME).join(name);
        notebooks.row(Kind::Signature, &place, None, what)
    });
    let beside = publish::beside(&keys, signed).into_iter();
    let is_judged = |path: &Path| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| known.has_judged(name))
    };
    let beside = beside.filter(|(path, _)| !is_judged(path));
    let unlike = beside.filter_map(|(path, expected)| {
        let (kind, what) = match notebooks.read(&path) {
            Ok(found) if found == expected => return None,
            // Nothing that was signed says what another version wrote there.
            Ok(_) if path == Path::new(publish::VERIFY_FILE) => (
                Kind::NotComparable,
                "not the text that this version writes: do not run commands from it".to_owned(),
            ),
            Ok(_) => known.unlike(&path).unwrap_or_else(|| {
                let what = "changed: not what follows from what was signed";
                (Kind::Different, what.to_owned())
            }),
            Err(error) => return Some(notebooks.unread(&path, &error)),
        };
        Some(notebooks.row(kind, &path, None, what))
    });
    let of_another = halves::judge(notebooks, signed, &keys, trust, face);
    broken.chain(unlike).chain(of_another).collect()
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
    let repeated = repeated(notebooks, path, content);
    if !repeated.is_empty() {
        return repeated;
    }
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
    rows.extend(outputs(notebooks, path, &notebook));
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
    let signing = trust.keys.iter().filter(|key| note.is_signed_by(key));
    let signing: Vec<String> = signing.map(PublicKey::name).collect();
    if !signing.is_empty() {
        return Ok(format!("their root is signed by {}", signing.join(", ")));
    }
    let by = note.signers().collect::<Vec<_>>().join(", ");
    if trust.keys.is_empty() {
        return Ok(format!(
            "their root is said to be signed by {by}, whose key was not given (`--key`)"
        ));
    }
    Err(format!(
        "its outputs are said to be signed by {by}, which is none of the given keys"
    ))
}
