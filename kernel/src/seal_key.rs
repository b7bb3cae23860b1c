//! The key that seals records: where it is found, and how the user's own is made.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use code_deploy_engine::spec::{SecretRef, Spec};
use code_deploy_record::{Redactor, SealKey, Secret};

use crate::failure::Failure;
use crate::machine::Machine;

/// The variable that says where the key is, before what the deployment file says.
const VARIABLE: &str = "CODE_DEPLOY_SEAL_KEY";

/// The key's file in the user's folder for what outlives a session.
const FILE: &str = "seal.pem";

/// The largest file that is read as a key, in bytes.
const LARGEST: u64 = 64 * 1024;

/// Returns the key that seals the records of a project; nothing where none is named and the user has
/// no folder for one. A file that is not there yet is made, for its owner alone. The key is one of
/// the secrets that must not leave.
///
/// # Errors
/// `CD0313` when the key that is named cannot be had.
pub fn seal_key(
    machine: &Machine,
    spec: &Spec,
    redactor: &Redactor,
) -> Result<Option<Arc<SealKey>>, Failure> {
    let text = match reference(machine, spec)? {
        Some(SecretRef::Env(name)) => {
            let value = machine.variable(&name).map(Secret::new);
            let value =
                value.ok_or_else(|| unusable(&format!("the variable {name} is not set")))?;
            (value, format!("the key in the variable {name}"))
        }
        Some(SecretRef::File(path)) => of_file(&path_of(machine, spec, &path))?,
        None => match machine.state() {
            Some(folder) => of_file(&folder.join(FILE))?,
            None => return Ok(None),
        },
    };
    let (text, name) = text;
    let key = SealKey::parse(text.expose()).map_err(|error| {
        unusable(&format!(
            "{name}: {}",
            code_deploy_engine::error::with_sources(&error)
        ))
    })?;
    // A line of the key's text would give it away as the whole would.
    let lines = text
        .expose()
        .lines()
        .filter(|line| !line.starts_with("-----"));
    for line in lines.map(str::trim).filter(|line| line.len() >= 32) {
        redactor.know("seal key", Secret::new(line.to_owned()));
    }
    Ok(Some(Arc::new(key)))
}

fn reference(machine: &Machine, spec: &Spec) -> Result<Option<SecretRef>, Failure> {
    match machine.variable(VARIABLE) {
        Some(named) => SecretRef::try_from(named)
            .map(Some)
            .map_err(|_| unusable(&format!("{VARIABLE} is neither env:NAME nor file:PATH"))),
        None => Ok(spec.file.seal.key.clone()),
    }
}

/// Paths are relative to the deployment file; `~/` is the user's home.
fn path_of(machine: &Machine, spec: &Spec, path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), machine.variable("HOME")) {
        (Ok(below), Some(home)) => Path::new(&home).join(below),
        _ => spec.project.join(path),
    }
}

fn of_file(path: &Path) -> Result<(Secret, String), Failure> {
    let name = format!("the key in {}", path.display());
    let failed = |what: &str, error: std::io::Error| unusable(&format!("{name} {what}: {error}"));
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let text = make(path).map_err(|error| failed("cannot be made", error))?;
            return Ok((text, name));
        }
        Err(error) => return Err(failed("cannot be read", error)),
    };
    let metadata = file
        .metadata()
        .map_err(|error| failed("cannot be read", error))?;
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(unusable(&format!(
            "{name} can be read by others: `chmod 600` it"
        )));
    }
    let mut text = String::new();
    file.take(LARGEST)
        .read_to_string(&mut text)
        .map_err(|error| failed("cannot be read", error))?;
    Ok((Secret::new(text), name))
}

/// Makes a key in a file that is not there yet, whole or not at all: another process that makes one
/// at the same moment wins or loses, and both use the one that is there then.
fn make(path: &Path) -> std::io::Result<Secret> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let key = SealKey::from_seed(&rand::random()).map_err(std::io::Error::other)?;
    let text = key.to_pem().map_err(std::io::Error::other)?;
    let temporary = path.with_extension(format!("{}.part", std::process::id()));
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all());
    let named = written.and_then(|()| std::fs::hard_link(&temporary, path));
    std::fs::remove_file(&temporary)?;
    match named {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
        _ => std::fs::File::open(folder)?.sync_all()?,
    }
    std::fs::read_to_string(path).map(Secret::new)
}

fn unusable(what: &str) -> Failure {
    let next = "Name an Ed25519 key (`openssl genpkey -algorithm ed25519`, or `ssh-keygen -t ed25519` \
                without a passphrase) by `seal: {key: file:PATH}` or `env:NAME` in the deployment \
                file, or by the variable CODE_DEPLOY_SEAL_KEY.";
    Failure::refused(
        crate::codes::SEAL_KEY,
        format!("the record cannot be sealed: {what}"),
        next,
    )
}
