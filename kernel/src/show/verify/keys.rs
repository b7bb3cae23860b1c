//! The public keys that are given to `verify`, and what of all that was checked they signed.

use std::path::{Path, PathBuf};

use code_deploy_notebook_gen as notebook_gen;
use code_deploy_record::disk::{open_named, read_at_most};
use code_deploy_record::{LARGEST_NOTE, PublicKey, RunFolder, Trust};

use super::kept::Kept;
use super::notebooks::Notebooks;
use super::{Kind, Row};
use crate::commands::VerifyArgs;
use crate::failure::Failure;
use crate::publish;

/// Reads the public keys that are given.
///
/// # Errors
/// When a file cannot be read or holds none.
pub(super) fn read(arguments: &VerifyArgs) -> Result<Trust, Failure> {
    let mut keys = Vec::new();
    for path in &arguments.key {
        let next = "Give a public key: PEM, an OpenSSH `.pub` file, or the key of a signed note.";
        let text = read_named(path).map_err(|error| {
            Failure::usage(format!("{} cannot be read: {error}", path.display()), next)
        })?;
        let key = PublicKey::parse(&text)
            .map_err(|error| Failure::usage(format!("{}: {error}", path.display()), next))?;
        keys.push(key);
    }
    Ok(Trust { keys })
}

/// Reads the text of a file that is given: a public key, or a checkpoint.
///
/// # Errors
/// What the system says, also for a pipe or a device, and for more than a key or a checkpoint has.
pub(super) fn read_named(path: &Path) -> std::io::Result<String> {
    let text = read_at_most(open_named(path)?, LARGEST_NOTE)?;
    let no_text = |_| std::io::Error::new(std::io::ErrorKind::InvalidData, "it is no text");
    String::from_utf8(text).map_err(no_text)
}

/// Returns the given keys that signed the statement which is kept with a record.
pub(super) fn of_statement(record: &RunFolder, trust: &Trust) -> Result<Vec<PublicKey>, Failure> {
    let Some(signed) = publish::kept(record)? else {
        return Ok(Vec::new());
    };
    Ok(those(trust, |key| signed.is_signed_by(key)))
}

/// Returns the given keys that signed notebooks which are not held against a record: their statement, or where there
/// is none the root over the outputs of one of them.
pub(super) fn of_notebooks(
    notebooks: &Notebooks,
    trust: &Trust,
) -> Result<Vec<PublicKey>, Failure> {
    if trust.keys.is_empty() {
        return Ok(Vec::new());
    }
    if let Some(signed) = publish::read_signed(&notebooks.seal())? {
        return Ok(those(trust, |key| signed.is_signed_by(key)));
    }
    let names: Vec<PathBuf> = match &notebooks.only {
        Some(name) => vec![name.clone()],
        None => crate::pages::others(&[], &notebooks.folder)?,
    };
    let notes: Vec<_> = names
        .iter()
        .filter_map(|path| note_of(notebooks, path))
        .collect();
    Ok(those(trust, |key| {
        notes.iter().any(|note| note.is_signed_by(key))
    }))
}

fn note_of(notebooks: &Notebooks, path: &Path) -> Option<code_deploy_record::Checkpoint> {
    let notebook = serde_json::from_slice(&notebooks.read(path).ok()?).ok()?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    notebook_gen::check_outputs(&name, &notebook)?.note
}

fn those(trust: &Trust, signed: impl Fn(&PublicKey) -> bool) -> Vec<PublicKey> {
    let keys = trust.keys.iter().filter(|key| signed(key));
    keys.cloned().collect()
}

/// Says which of the given keys signed nothing of what was checked: whoever gave them takes them to have signed it.
pub(super) fn unused(trust: &Trust, kept: &[Kept], signed_by: &[PublicKey]) -> Vec<Row> {
    let is_unused = |key: &&PublicKey| {
        !signed_by.contains(key) && !kept.iter().any(|kept| kept.is_signed_by(key))
    };
    let rows = trust.keys.iter().filter(is_unused).map(|key| Row {
        kind: Kind::Signature,
        record: "the keys that are given (--key)".to_owned(),
        place: key.name(),
        what: "no signature that was checked is of this key".to_owned(),
    });
    rows.collect()
}
