//! The packages of Kubernetes whose objects are described to clients.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The folders of the sources that hold such packages. Those of `staging` are seen by Go under `vendor`.
const FOLDERS: [&str; 4] = ["cmd", "pkg", "plugin", "staging/src"];
/// Examples, which no program holds.
const EXAMPLES: [&str; 2] = [
    "staging/src/k8s.io/code-generator",
    "staging/src/k8s.io/sample-apiserver",
];
/// What marks such a package, in one of its files.
const MARK: &str = "+k8s:openapi-gen=true";

/// Returns the marked packages by the names under which Go imports them, in order.
pub(super) fn packages(tree: &Path) -> std::io::Result<Vec<String>> {
    let mut found = BTreeSet::new();
    let mut folders: Vec<PathBuf> = FOLDERS.map(|name| tree.join(name)).into();
    let examples = EXAMPLES.map(|name| tree.join(name));
    while let Some(folder) = folders.pop() {
        if examples.contains(&folder) {
            continue;
        }
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "go")
                && String::from_utf8_lossy(&std::fs::read(&path)?).contains(MARK)
            {
                found.extend(folder.strip_prefix(tree).ok().map(import));
            }
        }
    }
    Ok(found.into_iter().collect())
}

fn import(folder: &Path) -> String {
    let folder = folder.to_string_lossy();
    let seen = match folder.strip_prefix("staging/src/") {
        Some(package) => format!("vendor/{package}"),
        None => folder.into_owned(),
    };
    format!("k8s.io/kubernetes/{seen}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marked_packages_are_named_as_go_imports_them_and_examples_are_not() {
        let tree = tempfile::tempdir().unwrap();
        for (file, text) in [
            ("cmd/a/main.go", "package main"),
            ("pkg/apis/x/doc.go", "// +k8s:openapi-gen=true\npackage x"),
            ("pkg/apis/x/notes.md", "+k8s:openapi-gen=true"),
            ("plugin/p.go", "package p"),
            (
                "staging/src/k8s.io/api/apps/v1/doc.go",
                "// +k8s:openapi-gen=true",
            ),
            (
                "staging/src/k8s.io/code-generator/e/doc.go",
                "// +k8s:openapi-gen=true",
            ),
        ] {
            let path = tree.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        assert_eq!(
            packages(tree.path()).unwrap(),
            [
                "k8s.io/kubernetes/pkg/apis/x",
                "k8s.io/kubernetes/vendor/k8s.io/api/apps/v1"
            ]
        );
    }
}
