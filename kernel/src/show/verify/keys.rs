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
/// When a file cannot be read or holds none, or a key is given both as one that seals and as a witness's.
pub(super) fn read(arguments: &VerifyArgs) -> Result<Trust, Failure> {
    let (keys, witnesses) = (all(&arguments.key)?, all(&arguments.witness)?);
    for (path, key) in arguments.key.iter().zip(&keys) {
        let mut as_witness = arguments.witness.iter().zip(&witnesses);
        if let Some((other, _)) = as_witness.find(|(_, one)| *one == key) {
            let what = format!(
                "{} is given twice, with `--key` ({}) and with `--witness` ({})",
                key.name(),
                path.display(),
                other.display()
            );
            let next = "Give it with `--key` where its holder may seal records, with `--witness` where they stand for \
                        what others sealed: nobody is a second person to themselves.";
            return Err(Failure::usage(what, next));
        }
    }
    Ok(Trust { keys, witnesses })
}

fn all(paths: &[PathBuf]) -> Result<Vec<PublicKey>, Failure> {
    paths.iter().map(|path| key_in(path)).collect()
}

fn key_in(path: &Path) -> Result<PublicKey, Failure> {
    let next = "Give a public key: PEM, an OpenSSH `.pub` file, or the key of a signed note.";
    let text = read_named(path).map_err(|error| {
        Failure::usage(format!("{} cannot be read: {error}", path.display()), next)
    })?;
    PublicKey::parse(&text)
        .map_err(|error| Failure::usage(format!("{}: {error}", path.display()), next))
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

/// Returns the given keys that signed the statement which is kept with a record: one of a witness signs none.
pub(super) fn of_statement(record: &RunFolder, trust: &Trust) -> Result<Vec<PublicKey>, Failure> {
    let Some(signed) = publish::kept(record)? else {
        return Ok(Vec::new());
    };
    Ok(those(trust, |key| signed.is_signed_by(key)))
}

/// Returns the given keys that signed notebooks which are not held against a record: their statement or list, or where
/// there is none the root over the outputs of one of them.
pub(super) fn of_notebooks(
    notebooks: &Notebooks,
    trust: &Trust,
) -> Result<Vec<PublicKey>, Failure> {
    if trust.keys.is_empty() {
        return Ok(Vec::new());
    }
    if let Some(signed) = publish::read_signed(&notebooks.seal())? {
        let lister = signed.list_signer();
        return Ok(those(trust, |key| {
            signed.is_signed_by(key) || lister.as_ref() == Some(key)
        }));
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
    let row = |option: &str, key: &PublicKey| Row {
        kind: Kind::Signature,
        record: format!("the keys that are given ({option})"),
        place: key.name(),
        what: "no signature that was checked is of this key".to_owned(),
    };
    let keys = trust.keys.iter().filter(is_unused);
    let witnesses = trust.witnesses.iter().filter(is_unused);
    let rows = keys.map(|key| row("--key", key));
    rows.chain(witnesses.map(|key| row("--witness", key)))
        .collect()
}
