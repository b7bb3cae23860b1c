//! Which build of the program a router runs.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::error::Error;
use crate::router::Router;

/// How much of a file is read at once.
const PART: usize = 1 << 16;

/// Returns the digest of the program in that file: two files with the same content are the same build.
///
/// # Errors
/// When the file cannot be read.
pub fn program_build(program: &Path) -> std::io::Result<String> {
    let mut file = File::open(program)?;
    let (mut digest, mut part) = (Sha256::new(), vec![0; PART]);
    loop {
        match file.read(&mut part) {
            Ok(0) => return Ok(hex::encode(digest.finalize())),
            Ok(read) => digest.update(part.get(..read).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

impl Router {
    /// Returns the build of this very process, found out when it is first asked for.
    pub(crate) async fn build(&self) -> Result<String, Error> {
        // The link leads to what runs, also after the file was replaced.
        let program = self.program.clone();
        let program = program.unwrap_or_else(|| PathBuf::from("/proc/self/exe"));
        let found = self.build.get_or_try_init(|| build_of(program));
        found.await.cloned()
    }
}

async fn build_of(program: PathBuf) -> Result<String, Error> {
    let path = program.clone();
    let found = tokio::task::spawn_blocking(move || program_build(&path)).await;
    let found = found.map_err(|_| Error::TaskEnded {
        task: "reader of its own program",
    })?;
    found.map_err(|source| Error::File {
        action: "read",
        path: program,
        source,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_program_is_another_build_when_a_byte_is_added() {
        let folder = tempfile::tempdir().unwrap();
        let [one, same, other] = ["one", "same", "other"].map(|name| folder.path().join(name));
        let content = vec![7_u8; PART + 1];
        std::fs::write(&one, &content).unwrap();
        std::fs::write(&same, &content).unwrap();
        std::fs::write(&other, [&content[..], &[0]].concat()).unwrap();
        let build = |path: &Path| program_build(path).unwrap();
        assert_eq!(build(&one), build(&same));
        assert_ne!(build(&one), build(&other));
        assert!(program_build(&folder.path().join("none")).is_err());
    }
}
