//! Where the Docker engine listens, as Docker's own client finds it: `DOCKER_HOST`, or else the context that
//! `DOCKER_CONTEXT` or the client's configuration names.

use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use code_deploy_engine::target::TargetError;
use code_deploy_record::Digest;
use serde_json::Value;

use crate::failure::{code, failed};

/// Where the engine of a machine listens when nothing else is said.
const USUAL: &str = "unix:///var/run/docker.sock";

/// The context that stands for the engine of the machine.
const DEFAULT: &str = "default";

/// What helps where a context is not what is meant.
const OTHERWISE: &str = "`docker context ls` lists the contexts: name another by DOCKER_CONTEXT or `docker context use`; or set \
                         DOCKER_HOST to where the engine listens: while that is set, no context counts.";

/// Where an engine listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its address: `unix:///var/run/docker.sock`.
    pub address: String,
    /// Who says so.
    pub named_by: NamedBy,
}

/// Who says where an engine listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedBy {
    /// The variable `DOCKER_HOST`.
    Variable,
    /// A context of Docker's client.
    Context(String),
    /// Nobody: it is where an engine usually listens.
    Nobody,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)?;
        match &self.named_by {
            NamedBy::Variable => f.write_str(" (DOCKER_HOST)"),
            NamedBy::Context(name) => write!(f, " (the context {name})"),
            NamedBy::Nobody => Ok(()),
        }
    }
}

impl Endpoint {
    /// Finds out where the engine listens.
    ///
    /// # Errors
    /// When the context that is meant is not there, cannot be read, or asks for what this program does not do.
    pub fn find(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self, TargetError> {
        let given = |name: &str| lookup(name).filter(|value| !value.is_empty());
        if let Some(address) = given("DOCKER_HOST") {
            return Ok(Self {
                address,
                named_by: NamedBy::Variable,
            });
        }
        let home = || Some(PathBuf::from(given("HOME")?).join(".docker"));
        let folder = given("DOCKER_CONFIG").map(PathBuf::from).or_else(home);
        let (name, place) = match (given("DOCKER_CONTEXT"), &folder) {
            (Some(name), _) => (Some(name), "DOCKER_CONTEXT".to_owned()),
            (None, Some(folder)) => current(&folder.join("config.json")),
            (None, None) => (None, String::new()),
        };
        match name.filter(|name| name != DEFAULT) {
            Some(name) => of_context(folder.as_deref(), name, &place),
            None => Ok(Self {
                address: USUAL.to_owned(),
                named_by: NamedBy::Nobody,
            }),
        }
    }
}

/// Returns the context that the configuration of Docker's client names, and the file. One that cannot be read names
/// none, as for that client, which warns of it.
fn current(path: &Path) -> (Option<String>, String) {
    let place = path.display().to_string();
    let config = read(path).unwrap_or_else(|why| {
        tracing::warn!(%place, %why, "the configuration of Docker's client cannot be read, and is passed over");
        None
    });
    let name = config
        .as_ref()
        .and_then(|config| config.get("currentContext"));
    let name = name.and_then(Value::as_str).filter(|name| !name.is_empty());
    (name.map(str::to_owned), place)
}

/// Returns where the engine of a context listens. `place` says who names the context.
fn of_context(folder: Option<&Path>, name: String, place: &str) -> Result<Endpoint, TargetError> {
    let unfit = |what: String| Err(failed(code::ENGINE_UNFIT, None, what, OTHERWISE));
    // Docker's client names the folder of a context by the digest of its name.
    let own = Digest::of(name.as_bytes()).to_string();
    let contexts = folder.map(|folder| folder.join("contexts"));
    let meta = contexts
        .as_ref()
        .map(|contexts| contexts.join("meta").join(&own).join("meta.json"));
    let found = match &meta {
        Some(meta) => read(meta).map_err(|why| unreadable(meta, &why))?,
        None => None,
    };
    let Some(found) = found else {
        return unfit(format!(
            "there is no Docker context {name}, which {place} names; nothing was changed"
        ));
    };
    let address = found.pointer("/Endpoints/docker/Host");
    let address = address.and_then(Value::as_str).unwrap_or_default();
    if address.is_empty() {
        return unfit(format!(
            "the Docker context {name} does not say where its engine listens; nothing was changed"
        ));
    }
    let keys = contexts.map(|contexts| contexts.join("tls").join(&own).join("docker"));
    if keys.is_some_and(|keys| keys.is_dir()) {
        return unfit(format!(
            "the Docker context {name} asks for TLS to {address}, and this program reaches an engine by unix:// or by \
             tcp:// without TLS only; nothing was changed"
        ));
    }
    Ok(Endpoint {
        address: address.to_owned(),
        named_by: NamedBy::Context(name),
    })
}

fn unreadable(path: &Path, why: &str) -> TargetError {
    let what = format!(
        "{} says which engine is meant, and cannot be read: {why}; nothing was changed",
        path.display()
    );
    let next = "Mend the file, or set DOCKER_HOST to where the engine listens.";
    failed(code::ENGINE_UNFIT, None, what, next)
}

/// Reads a file of JSON; nothing where there is none.
///
/// # Errors
/// In words, why it cannot be read.
fn read(path: &Path) -> Result<Option<Value>, String> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(error.to_string()),
    };
    let value = serde_json::from_slice(&text);
    value.map(Some).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, missing_docs)]

    use super::*;

    /// A folder of configuration in which a context of that name leads there.
    fn folder(name: &str, address: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let own = Digest::of(name.as_bytes()).to_string();
        let meta = folder.path().join("contexts/meta").join(own);
        std::fs::create_dir_all(&meta).unwrap();
        let content = serde_json::json!({
            "Name": name, "Metadata": {},
            "Endpoints": { "docker": { "Host": address, "SkipTLSVerify": false } },
        });
        std::fs::write(meta.join("meta.json"), content.to_string()).unwrap();
        folder
    }

    fn find(folder: &Path, variables: &[(&str, &str)]) -> Result<Endpoint, TargetError> {
        Endpoint::find(&|name| {
            let set = variables.iter().find(|(known, _)| *known == name);
            match set {
                Some((_, value)) => Some((*value).to_owned()),
                None if name == "DOCKER_CONFIG" => Some(folder.display().to_string()),
                None => None,
            }
        })
    }

    #[test]
    fn the_engine_is_found_as_dockers_client_finds_it() {
        let folder = folder("work", "tcp://127.0.0.1:2375");
        let path = folder.path();
        let told = |variables: &[(&str, &str)]| find(path, variables).unwrap().to_string();
        let of_work = "tcp://127.0.0.1:2375 (the context work)";
        assert_eq!(told(&[]), USUAL);
        assert_eq!(told(&[("DOCKER_CONTEXT", "work")]), of_work);
        assert_eq!(told(&[("DOCKER_CONTEXT", "default")]), USUAL);
        std::fs::write(path.join("config.json"), r#"{"currentContext": "work"}"#).unwrap();
        assert_eq!(told(&[]), of_work);
        assert_eq!(told(&[("DOCKER_CONTEXT", "")]), of_work);
        assert_eq!(told(&[("DOCKER_CONTEXT", "default")]), USUAL);
        let host = ("DOCKER_HOST", "unix:///run/other.sock");
        let both = [host, ("DOCKER_CONTEXT", "gone")];
        assert_eq!(told(&both), "unix:///run/other.sock (DOCKER_HOST)");
        std::fs::write(path.join("config.json"), r#"{"auths": {}}"#).unwrap();
        assert_eq!(told(&[]), USUAL);
    }

    #[test]
    fn the_configuration_is_that_of_the_home_where_no_other_is_named() {
        let home = tempfile::tempdir().unwrap();
        let found = folder("work", "unix:///run/work.sock");
        std::fs::rename(found.keep(), home.path().join(".docker")).unwrap();
        let home = home.path().display().to_string();
        let variables = [
            ("DOCKER_CONFIG", ""),
            ("HOME", home.as_str()),
            ("DOCKER_CONTEXT", "work"),
        ];
        let found = find(Path::new("/nowhere"), &variables).unwrap();
        assert_eq!(found.address, "unix:///run/work.sock");
        assert_eq!(find(Path::new("/nowhere"), &[]).unwrap().address, USUAL);
    }

    #[test]
    fn a_context_that_is_not_there_or_not_to_be_used_is_refused_with_its_name() {
        let folder = folder("work", "tcp://127.0.0.1:2376");
        let path = folder.path();
        let refused = |variables: &[(&str, &str)], words: &[&str]| {
            let error = find(path, variables).unwrap_err();
            assert_eq!(error.code, code::ENGINE_UNFIT);
            for word in words {
                assert!(
                    error.what.contains(word),
                    "`{word}` is not in {}",
                    error.what
                );
            }
        };
        refused(&[("DOCKER_CONTEXT", "gone")], &["gone", "DOCKER_CONTEXT"]);
        let config = path.join("config.json");
        std::fs::write(&config, r#"{"currentContext": "lost"}"#).unwrap();
        refused(&[], &["lost", "config.json"]);
        let own = Digest::of(b"work").to_string();
        std::fs::create_dir_all(path.join("contexts/tls").join(&own).join("docker")).unwrap();
        refused(&[("DOCKER_CONTEXT", "work")], &["work", "TLS"]);
        let meta = path.join("contexts/meta").join(own).join("meta.json");
        std::fs::write(&meta, "{}").unwrap();
        refused(&[("DOCKER_CONTEXT", "work")], &["does not say where"]);
        std::fs::write(&meta, "no json").unwrap();
        let words = ["meta.json", "cannot be read"];
        refused(&[("DOCKER_CONTEXT", "work")], &words);
    }

    #[test]
    fn a_configuration_that_cannot_be_read_names_no_context() {
        let folder = folder("work", "tcp://127.0.0.1:2375");
        let config = folder.path().join("config.json");
        let told = || find(folder.path(), &[]).unwrap().to_string();
        std::fs::write(&config, "no json").unwrap();
        assert_eq!(told(), USUAL);
        std::fs::write(&config, "[]").unwrap();
        assert_eq!(told(), USUAL);
        std::fs::remove_file(&config).unwrap();
        std::fs::create_dir(&config).unwrap();
        assert_eq!(told(), USUAL);
    }
}
