//! The folder where parts and tools are kept between runs.

use crate::error::Error;
use sha2::{Digest, Sha256};
use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A whole verification on a new machine takes an hour; three mean that its holder hangs.
const LOCK_LIMIT: Duration = Duration::from_secs(3 * 3600);
const LOCK_PAUSE: Duration = Duration::from_millis(500);

/// The stage's folder in the user's cache.
#[derive(Debug, Clone)]
pub struct Cache {
    folder: PathBuf,
}

/// Holds the stage for one verification at a time; dropped with the process at the latest.
#[derive(Debug)]
pub struct Hold {
    _file: File,
}

impl Cache {
    /// Returns the cache that the environment names.
    ///
    /// # Errors
    /// [`Error::Machine`] if no variable tells where it could be.
    pub fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, Error> {
        let set = |name: &str| {
            variable(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let base = set("CODE_DEPLOY_CACHE")
            .or_else(|| set("XDG_CACHE_HOME"))
            .or_else(|| set("HOME").map(|home| home.join(".cache")))
            .ok_or_else(|| Error::Machine {
                missing: "HOME is not set, so there is no place for tools.".into(),
                remedy: "Set CODE_DEPLOY_CACHE to a folder and try again.".into(),
            })?;
        Ok(Self {
            folder: base.join("code-deploy/stage"),
        })
    }

    /// Returns a path in the cache.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.join(name)
    }

    /// Takes the stage for this process, and waits while another verification sets it up
    /// or has something of it to itself.
    ///
    /// # Errors
    /// [`Error::File`] if the lock cannot be made or taken, or is not free after three hours.
    pub async fn hold(&self) -> Result<Hold, Error> {
        let path = self.path("lock");
        let failed = |action| {
            let path = path.clone();
            move |source| Error::File {
                action,
                path,
                source,
            }
        };
        std::fs::create_dir_all(&self.folder).map_err(failed("make the folder of"))?;
        let lock = File::create(&path).map_err(failed("make"))?;
        let end = Instant::now() + LOCK_LIMIT;
        let mut told = false;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(Hold { _file: lock }),
                Err(TryLockError::WouldBlock) if Instant::now() < end => {}
                Err(error) => return Err(failed("lock")(error.into())),
            }
            if !told {
                crate::report::note("another verification has the stage; waiting for it");
                told = true;
            }
            tokio::time::sleep(LOCK_PAUSE).await;
        }
    }
}

/// Returns a short digest of what an environment is made of.
pub fn digest(ingredients: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for ingredient in ingredients {
        hasher.update(ingredient.len().to_le_bytes());
        hasher.update(ingredient);
    }
    let mut text = hex::encode(hasher.finalize());
    text.truncate(16);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(variables: &'static [(&str, &str)]) -> PathBuf {
        let find = |name: &str| {
            variables
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.into())
        };
        Cache::from_variables(find).unwrap().path("x")
    }

    #[test]
    fn the_nearest_variable_decides_where_the_stage_is() {
        assert_eq!(
            folder(&[
                ("CODE_DEPLOY_CACHE", "/c"),
                ("XDG_CACHE_HOME", "/x"),
                ("HOME", "/h")
            ]),
            Path::new("/c/code-deploy/stage/x")
        );
        assert_eq!(
            folder(&[
                ("CODE_DEPLOY_CACHE", ""),
                ("XDG_CACHE_HOME", "/x"),
                ("HOME", "/h")
            ]),
            Path::new("/x/code-deploy/stage/x")
        );
        assert_eq!(
            folder(&[("HOME", "/h")]),
            Path::new("/h/.cache/code-deploy/stage/x")
        );
    }

    #[test]
    fn where_nothing_is_set_the_error_says_what_to_set() {
        let error = Cache::from_variables(|_| None).unwrap_err();
        assert!(error.to_string().contains("Set CODE_DEPLOY_CACHE"));
    }

    #[test]
    fn another_list_is_another_environment() {
        assert_ne!(digest(&["a==1", "3.11"]), digest(&["a==2", "3.11"]));
        assert_ne!(digest(&["ab", "c"]), digest(&["a", "bc"]));
        assert_eq!(digest(&["a"]).len(), 16);
    }
}
