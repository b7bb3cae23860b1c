//! Which files hold manifests, and which say how some are made.

use std::path::{Path, PathBuf};

use super::super::error::SpecError;

/// The most entries of a folder that are looked at.
const MAX_ENTRIES: usize = 1_000;

/// The files from which manifests are made.
const SOURCES: &[(&str, Kind)] = &[
    ("kustomization.yaml", Kind::Kustomization),
    ("kustomization.yml", Kind::Kustomization),
    ("Kustomization", Kind::Kustomization),
    ("Chart.yaml", Kind::Chart),
];

/// What manifests are made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A kustomization.
    Kustomization,
    /// A chart of Helm.
    Chart,
}

impl Kind {
    /// Returns it in a word.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Kustomization => "kustomization",
            Self::Chart => "chart",
        }
    }
}

/// A kustomization or a chart, by paths that are relative to the project.
pub(super) struct Source {
    pub(super) kind: Kind,
    /// Its folder.
    pub(super) folder: PathBuf,
    /// The file in it by which it was found.
    pub(super) file: PathBuf,
}

/// What a path of the deployment file means.
pub(super) enum Found {
    /// Files with manifests.
    Files(Vec<PathBuf>),
    /// What manifests are made from.
    Source(Source),
}

pub(super) type Failed<'a> = dyn Fn(String, String) -> Box<SpecError> + 'a;

/// Returns what a path of the deployment file means: a file, the files of a folder by name, or what manifests are made
/// from.
pub(super) fn of(
    given: &Path,
    project: &Path,
    error: &Failed<'_>,
) -> Result<Found, Box<SpecError>> {
    let path = project.join(given);
    if !path.is_dir() {
        return of_file(given, path, error);
    }
    let sources = SOURCES.iter();
    let mut sources = sources.filter(|(name, _)| path.join(name).is_file());
    match (sources.next(), sources.next()) {
        (Some((name, kind)), None) => return Ok(source(given, name, *kind)),
        (Some((name, _)), Some((other, _))) => {
            let what = format!(
                "the folder `{}` has both {name} and {other}",
                given.display()
            );
            let help = format!("Name the file that is meant: `{}`.", shown(given, name));
            return Err(error(what, help));
        }
        _ => {}
    }
    let files = of_folder(given, &path, error)?;
    if files.is_empty() {
        let what = format!("the folder `{}` has no manifest", given.display());
        let help = "Manifests are files whose names end in .yaml, .yml or .json; folders in it \
                    are not looked into.";
        return Err(error(what, help.to_owned()));
    }
    Ok(Found::Files(files))
}

fn shown(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}

fn source(folder: &Path, name: &str, kind: Kind) -> Found {
    Found::Source(Source {
        kind,
        folder: folder.to_owned(),
        file: folder.join(name),
    })
}

fn of_file(given: &Path, path: PathBuf, error: &Failed<'_>) -> Result<Found, Box<SpecError>> {
    if !path.is_file() {
        let what = format!("the manifest `{}` does not exist", given.display());
        let help = "Write the path of a file or folder, relative to this file.";
        return Err(error(what, help.to_owned()));
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_named = |(source, _): &&(&str, Kind)| *source == name;
    if let Some((name, kind)) = SOURCES.iter().find(is_named) {
        let folder = given.parent().filter(|folder| *folder != Path::new(""));
        let folder = folder.unwrap_or(Path::new("."));
        return Ok(source(folder, name, *kind));
    }
    Ok(Found::Files(vec![path]))
}

fn of_folder(
    given: &Path,
    path: &Path,
    error: &Failed<'_>,
) -> Result<Vec<PathBuf>, Box<SpecError>> {
    let entries = std::fs::read_dir(path).map_err(|why| {
        let what = format!("the folder `{}` cannot be read: {why}", given.display());
        error(what, "Check the permissions.".to_owned())
    })?;
    let mut files: Vec<PathBuf> = Vec::new();
    for (seen, entry) in entries.enumerate() {
        if seen == MAX_ENTRIES {
            let what = format!("`{}` has more than {MAX_ENTRIES} entries", given.display());
            return Err(error(what, "Check the path.".to_owned()));
        }
        files.extend(entry.ok().map(|entry| entry.path()));
    }
    files.retain(|path| is_manifest(path) && path.is_file());
    files.sort();
    Ok(files)
}

fn is_manifest(path: &Path) -> bool {
    let end = path.extension().and_then(|end| end.to_str());
    matches!(end, Some("yaml" | "yml" | "json"))
}

/// Returns what to do about a document that is no manifest itself, but what some are made from.
pub(super) fn made_plain_by(api_version: &str, kind: &str) -> Option<&'static str> {
    let is_kustomization = api_version.starts_with("kustomize.config.k8s.io/")
        || (kind == "Kustomization" && !api_version.contains("toolkit.fluxcd.io"));
    is_kustomization.then_some(
        "Call its file `kustomization.yaml`, in a folder of its own, and name that folder: manifests are then made of it.",
    )
}
