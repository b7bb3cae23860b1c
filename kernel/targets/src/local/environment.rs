//! The command and the environment of an instance.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use code_deploy_engine::spec::{SecretRef, Service, Spec};
use code_deploy_record::{Release, Secret};

/// Variables of this program's own environment that every instance gets: what a program needs to
/// find others and to know the user's language and zone.
pub const INHERITED: [&str; 5] = ["PATH", "HOME", "LANG", "TZ", "TMPDIR"];

/// What is put in place of the words in braces.
#[derive(Debug, Clone)]
pub struct Words<'a> {
    /// `{program}`: the program that runs the deployment.
    pub program: &'a Path,
    /// `{port}`: where the instance has to listen.
    pub port: u16,
    /// `{release}`.
    pub release: &'a Release,
    /// `{data}`: the folder of data kept over releases.
    pub data: &'a Path,
    /// `{address:SERVICE}`: where services are reached.
    pub addresses: &'a BTreeMap<String, SocketAddr>,
}

impl Words<'_> {
    /// Returns `text` with the words in braces replaced. Words that are not known stay.
    #[must_use]
    pub fn put(&self, text: &str) -> String {
        let mut text = text
            .replace("{program}", &self.program.to_string_lossy())
            .replace("{port}", &self.port.to_string())
            .replace("{release}", self.release.as_str())
            .replace("{data}", &self.data.to_string_lossy());
        for (service, address) in self.addresses {
            text = text.replace(
                &format!("{{address:{service}}}"),
                &format!("http://{address}"),
            );
        }
        text
    }

    /// Returns a value of the Compose file's environment with `//SERVICE:PORT` and
    /// `//SERVICE` of URLs led to where the service is reached on this machine.
    #[must_use]
    pub fn lead(&self, value: &str) -> String {
        let Some((scheme, rest)) = value.split_once("://") else {
            return value.to_owned();
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        let host = authority
            .rsplit_once('@')
            .map_or(authority, |(_, host)| host);
        let name = host.split_once(':').map_or(host, |(name, _)| name);
        match self.addresses.get(name) {
            Some(address) => format!("{scheme}://{address}{tail}"),
            None => value.to_owned(),
        }
    }
}

/// Returns the command of a service with its words replaced and its program found: relative to
/// the deployment file's folder when it holds a `/`, otherwise on `search`.
///
/// # Errors
/// What is missing, in words.
pub fn command(
    service: &Service,
    project: &Path,
    words: &Words<'_>,
    search: &str,
) -> Result<Vec<String>, String> {
    let process = service.file.process.as_ref();
    let process = process.ok_or("it has no `process` in the deployment file")?;
    let mut command: Vec<_> = process.command.iter().map(|part| words.put(part)).collect();
    let program = command
        .first_mut()
        .ok_or("its `process.command` is empty")?;
    *program = find_program(program, project, search)?;
    Ok(command)
}

fn find_program(program: &str, project: &Path, search: &str) -> Result<String, String> {
    let candidates: Vec<PathBuf> = if program.contains('/') {
        vec![project.join(program)]
    } else {
        search
            .split(':')
            .filter(|f| !f.is_empty())
            .map(|f| Path::new(f).join(program))
            .collect()
    };
    let found = candidates.into_iter().find(|path| path.is_file());
    let missing = || format!("its program `{program}` is neither in the project nor on the path");
    found
        .map(|path| path.to_string_lossy().into_owned())
        .ok_or_else(missing)
}

/// Returns the environment of an instance, without its secrets: what is inherited, then the
/// Compose file's, then the deployment file's.
#[must_use]
pub fn environment(
    service: &Service,
    words: &Words<'_>,
    inherited: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut environment = inherited.clone();
    for (name, value) in &service.environment {
        environment.insert(name.clone(), words.lead(value));
    }
    for (name, value) in service
        .file
        .process
        .iter()
        .flat_map(|process| &process.environment)
    {
        environment.insert(name.clone(), words.put(value));
    }
    environment
}

/// Finds the value of a secret.
///
/// # Errors
/// What is missing, in words, without the value.
pub fn resolve(
    secret: &SecretRef,
    spec: &Spec,
    lookup: &(dyn Fn(&str) -> Option<String> + Send + Sync),
) -> Result<Secret, String> {
    match secret {
        SecretRef::Env(name) => lookup(name)
            .map(Secret::new)
            .ok_or_else(|| format!("the environment variable {name} is not set")),
        SecretRef::File(path) => {
            let path = spec.project.join(path);
            let text = std::fs::read_to_string(&path);
            text.map(|text| Secret::new(text.trim_end_matches('\n').to_owned()))
                .map_err(|error| format!("{} cannot be read: {error}", path.display()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_services_are_led_to_this_machine() {
        let addresses = BTreeMap::from([("catalog".to_owned(), "127.0.0.1:4000".parse().unwrap())]);
        let release = "1.1.0".parse().unwrap();
        let words = Words {
            program: Path::new("/bin/x"),
            port: 5000,
            release: &release,
            data: Path::new("/data"),
            addresses: &addresses,
        };
        assert_eq!(
            words.lead("http://catalog:8080/a?b"),
            "http://127.0.0.1:4000/a?b"
        );
        assert_eq!(
            words.lead("http://catalogue:8080/"),
            "http://catalogue:8080/"
        );
        assert_eq!(words.lead("catalog"), "catalog");
        assert_eq!(
            words.put("{port} {release} {data} {address:catalog} {other}"),
            "5000 1.1.0 /data http://127.0.0.1:4000 {other}"
        );
    }
}
