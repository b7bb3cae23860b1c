//! Lock files: which packages an application depends on.

use std::collections::BTreeSet;
use std::path::Path;

use code_deploy_record::Digest;
use serde::Deserialize;

use super::files::{self, Found};
use super::{Dependencies, Ecosystem, MAX_PACKAGES, Package};
use crate::spec::Spec;

/// Reads the lock files that were found. `go.mod` counts where there is no `go.sum` beside it.
pub(super) fn read(spec: &Spec, found: &Found, unread: &mut Vec<String>) -> Vec<Dependencies> {
    let mut all = Vec::new();
    for path in &found.locks {
        let beside = path.with_file_name("go.sum");
        if path.ends_with("go.mod") && found.locks.contains(&beside) {
            continue;
        }
        let read = files::read(&spec.project, path).and_then(|content| {
            let (ecosystem, packages) = packages(path, &content)
                .map_err(|why| format!("{}: not a lock file of its kind: {why}", path.display()))?;
            Ok(Dependencies {
                ecosystem,
                file: path.clone(),
                digest: Digest::of(&content),
                count: packages.len(),
                unpinned: packages.iter().filter(|one| one.version.is_none()).count(),
                packages: packages.into_iter().take(MAX_PACKAGES).collect(),
            })
        });
        match read {
            Ok(dependencies) => all.push(dependencies),
            Err(why) => unread.push(why),
        }
    }
    all
}

type Packages = BTreeSet<Package>;

fn packages(path: &Path, content: &[u8]) -> Result<(Ecosystem, Packages), String> {
    let text = std::str::from_utf8(content).map_err(|error| error.to_string())?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match name.as_ref() {
        "Cargo.lock" => Ok((Ecosystem::Cargo, of_toml(text, true)?)),
        "poetry.lock" | "uv.lock" => Ok((Ecosystem::PyPi, of_toml(text, false)?)),
        "requirements.txt" => Ok((Ecosystem::PyPi, of_requirements(text))),
        "yarn.lock" => Ok((Ecosystem::Npm, of_yarn(text))),
        "go.sum" => Ok((Ecosystem::Go, of_go_sum(text))),
        "go.mod" => Ok((Ecosystem::Go, of_go_mod(text))),
        _ => Ok((Ecosystem::Npm, of_npm(text)?)),
    }
}

fn package(name: &str, version: Option<&str>) -> Package {
    Package {
        name: name.to_owned(),
        version: version.map(str::to_owned),
    }
}

#[derive(Deserialize)]
struct TomlLock {
    #[serde(default)]
    package: Vec<TomlPackage>,
}

#[derive(Deserialize)]
struct TomlPackage {
    name: String,
    version: Option<String>,
    source: Option<toml::Value>,
}

/// Packages without a source are the project's own, in a file of Cargo.
fn of_toml(text: &str, own_have_no_source: bool) -> Result<Packages, String> {
    let lock: TomlLock = toml::from_str(text).map_err(|error| error.message().to_owned())?;
    Ok(lock
        .package
        .into_iter()
        .filter(|one| one.source.is_some() || !own_have_no_source)
        .map(|one| package(&one.name, one.version.as_deref()))
        .collect())
}

fn of_npm(text: &str) -> Result<Packages, String> {
    let lock: serde_json::Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let mut all = Packages::new();
    if let Some(packages) = lock.get("packages").and_then(|value| value.as_object()) {
        for (path, one) in packages {
            // The project itself has the empty path, its own parts one outside node_modules.
            let Some((_, name)) = path.rsplit_once("node_modules/") else {
                continue;
            };
            let name = one
                .get("name")
                .and_then(|name| name.as_str())
                .unwrap_or(name);
            all.insert(package(name, one.get("version").and_then(|v| v.as_str())));
        }
        return Ok(all);
    }
    // Versions before 7 of npm nest what each package depends on.
    let mut waiting: Vec<&serde_json::Value> = lock.get("dependencies").into_iter().collect();
    while let Some(dependencies) = waiting.pop() {
        for (name, one) in dependencies.as_object().into_iter().flatten() {
            all.insert(package(name, one.get("version").and_then(|v| v.as_str())));
            waiting.extend(one.get("dependencies"));
        }
    }
    Ok(all)
}

fn of_yarn(text: &str) -> Packages {
    let mut all = Packages::new();
    let mut name: Option<String> = None;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if !line.starts_with(' ') {
            let spec = line
                .trim_end_matches(':')
                .split(',')
                .next()
                .unwrap_or_default();
            let spec = spec.trim().trim_matches('"');
            name = spec.rfind('@').filter(|at| *at > 0).and_then(|at| {
                let found = spec.get(..at)?;
                // `name@npm:other@1` is a package under another name.
                Some(found.split("@npm:").next().unwrap_or(found).to_owned())
            });
            continue;
        }
        let version = line.trim().strip_prefix("version");
        if let (Some(version), Some(found)) = (version, &name)
            && line.starts_with("  ")
            && !line.starts_with("   ")
        {
            let version = version.trim_start_matches([':', ' ']).trim_matches('"');
            all.insert(package(found, Some(version)));
            name = None;
        }
    }
    all
}

fn of_requirements(text: &str) -> Packages {
    let mut all = Packages::new();
    for line in text.lines() {
        let line = line.split(" #").next().unwrap_or_default().trim();
        let line = line.split([';', '\\']).next().unwrap_or_default().trim();
        if line.is_empty() || line.starts_with(['#', '-']) {
            continue;
        }
        let end = line
            .find(['=', '<', '>', '!', '~', ' ', '@', '['])
            .unwrap_or(line.len());
        let (name, rest) = line.split_at(end);
        let pinned = rest
            .split_once("==")
            .map(|(_, version)| version.split([',', ' ']).next().unwrap_or(version).trim())
            .filter(|version| !version.is_empty() && !version.contains('*'));
        if !name.is_empty() {
            all.insert(package(name, pinned));
        }
    }
    all
}

fn of_go_sum(text: &str) -> Packages {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (name, version) = (words.next()?, words.next()?);
            (!version.ends_with("/go.mod")).then(|| package(name, Some(version)))
        })
        .collect()
}

fn of_go_mod(text: &str) -> Packages {
    let mut all = Packages::new();
    let mut inside = false;
    for line in text.lines().map(str::trim) {
        match line {
            "require (" => inside = true,
            ")" => inside = false,
            _ => {
                let line = match line.strip_prefix("require ") {
                    Some(line) => line,
                    None if inside => line,
                    None => continue,
                };
                let mut words = line.split_whitespace();
                if let (Some(name), Some(version)) = (words.next(), words.next())
                    && !name.starts_with("//")
                {
                    all.insert(package(name, Some(version)));
                }
            }
        }
    }
    all
}
