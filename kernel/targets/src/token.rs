//! The token with which requests reach a release on purpose.

use std::path::{Path, PathBuf};

use code_deploy_engine::target::TargetError;
use code_deploy_record::Secret;

use crate::disk::{create_private, write_private};
use crate::failure::files;

/// Returns the token of the environment with that folder; makes one when there is none yet.
pub fn read_or_make(root: &Path) -> Result<Secret, TargetError> {
    if let Some(token) = read(root) {
        return Ok(token);
    }
    let (path, token) = (path(root), new());
    create_private(root).map_err(files(None, "create", root))?;
    write_private(&path, token.expose().as_bytes()).map_err(files(None, "write", &path))?;
    Ok(token)
}

/// Returns the token, if there is one.
pub fn read(root: &Path) -> Option<Secret> {
    let token = std::fs::read_to_string(path(root)).ok()?;
    (token.len() == 32).then(|| Secret::new(token))
}

/// Returns a token that nobody knows.
pub fn new() -> Secret {
    Secret::new(format!("{:032x}", rand::random::<u128>()))
}

fn path(root: &Path) -> PathBuf {
    root.join("token")
}
