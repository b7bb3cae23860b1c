//! Which files hold manifests.

use std::path::{Path, PathBuf};

use super::super::error::SpecError;

/// The most entries of a folder that are looked at.
const MAX_ENTRIES: usize = 1_000;

/// The files from which manifests are made, each with the program that makes plain ones.
const SOURCES: &[(&str, &str)] = &[
    ("kustomization.yaml", KUSTOMIZE),
    ("kustomization.yml", KUSTOMIZE),
    ("Kustomization", KUSTOMIZE),
    ("Chart.yaml", HELM),
];

const KUSTOMIZE: &str = "kubectl kustomize";
const HELM: &str = "helm template";

type Failed<'a> = dyn Fn(String, String) -> Box<SpecError> + 'a;

/// Returns the files that a path of the deployment file means: itself, or those of a folder by name.
pub(super) fn files(
    given: &Path,
    project: &Path,
    error: &Failed<'_>,
) -> Result<Vec<PathBuf>, Box<SpecError>> {
    let path = project.join(given);
    if !path.is_dir() {
        return of_file(given, path, error);
    }
    for (name, program) in SOURCES {
        if path.join(name).is_file() {
            return Err(source(given, name, program, error));
        }
    }
    let files = of_folder(given, &path, error)?;
    if files.is_empty() {
        let what = format!("the folder `{}` has no manifest", given.display());
        let help = "Manifests are files whose names end in .yaml, .yml or .json; folders in it \
                    are not looked into.";
        return Err(error(what, help.to_owned()));
    }
    Ok(files)
}

fn of_file(
    given: &Path,
    path: PathBuf,
    error: &Failed<'_>,
) -> Result<Vec<PathBuf>, Box<SpecError>> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if let Some((name, program)) = SOURCES.iter().find(|(source, _)| *source == name) {
        let folder = given.parent().filter(|folder| *folder != Path::new(""));
        let folder = folder.unwrap_or(Path::new("."));
        return Err(source(folder, name, program, error));
    }
    if !path.is_file() {
        let what = format!("the manifest `{}` does not exist", given.display());
        let help = "Write the path of a file or folder, relative to this file.";
        return Err(error(what, help.to_owned()));
    }
    Ok(vec![path])
}

fn source(folder: &Path, name: &str, program: &str, error: &Failed<'_>) -> Box<SpecError> {
    let what = format!(
        "`{}` has a {name}: manifests are made from it, and this program makes none",
        folder.display()
    );
    let help = format!(
        "Make plain manifests of it and name their file: `{program} {} > FILE`.",
        folder.display()
    );
    error(what, help)
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

/// Returns how plain manifests are made of a document that is none itself.
pub(super) fn made_plain_by(api_version: &str, kind: &str) -> Option<String> {
    let is_kustomization = api_version.starts_with("kustomize.config.k8s.io/")
        || (kind == "Kustomization" && !api_version.contains("toolkit.fluxcd.io"));
    is_kustomization
        .then(|| format!("Make plain manifests and name their file: `{KUSTOMIZE} FOLDER > FILE`."))
}
