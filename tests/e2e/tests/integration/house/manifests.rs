//! What every crate has in common, and what the build may need.

use super::metadata;
use cargo_metadata::{Metadata, Package};

/// Crates that name a native library, each with the reason why none of the system is needed.
const LINKS: &[(&str, &str)] = &[
    (
        "sqlite3",
        "compiled from the C source inside libsqlite3-sys",
    ),
    (
        "mimalloc",
        "compiled from the C source inside libmimalloc-sys",
    ),
    (
        "ring_core_0_17_14_",
        "compiled from the C and assembler source inside ring",
    ),
    (
        "k8s-openapi-0.29.0",
        "a guard against two versions, no library",
    ),
    ("rayon-core", "a guard against two versions, no library"),
    (
        "wasm_bindgen",
        "a guard against two versions, and only on WebAssembly",
    ),
    (
        "defmt",
        "a linker script of embedded targets, not part of this build",
    ),
];

#[test]
fn every_crate_inherits_lints_and_metadata_from_the_workspace() {
    let mut wrong = Vec::new();
    for package in metadata().workspace_packages() {
        let manifest = manifest(package);
        if !inherits(&manifest["lints"]) {
            wrong.push(format!("{}: [lints]", package.name));
        }
        for key in ["version", "edition", "rust-version", "license", "publish"] {
            if !manifest["package"].get(key).is_some_and(inherits) {
                wrong.push(format!("{}: package.{key}", package.name));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new(), "say `workspace = true`");
}

#[test]
fn versions_of_dependencies_are_declared_once_at_the_root() {
    let mut wrong = Vec::new();
    for package in metadata().workspace_packages() {
        let manifest = manifest(package);
        for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let table = manifest.get(kind).and_then(toml::Value::as_table);
            let loose = table
                .into_iter()
                .flatten()
                .filter(|(_, value)| !inherits(value));
            wrong.extend(loose.map(|(name, _)| format!("{}: {kind}.{name}", package.name)));
        }
    }
    assert_eq!(wrong, Vec::<String>::new(), "say `workspace = true`");
}

#[test]
fn no_crate_of_ours_runs_code_while_it_is_built() {
    let metadata = metadata();
    let scripts: Vec<_> = metadata
        .workspace_packages()
        .into_iter()
        .filter(|package| {
            package
                .targets
                .iter()
                .any(cargo_metadata::Target::is_custom_build)
        })
        .map(|package| package.name.to_string())
        .collect();
    assert_eq!(scripts, Vec::<String>::new());
}

#[test]
fn no_dependency_needs_a_library_of_the_system() {
    let metadata = metadata();
    let unknown: Vec<String> = metadata
        .packages
        .iter()
        .filter_map(|package| Some((package, package.links.as_deref()?)))
        .filter(|(_, links)| LINKS.iter().all(|(known, _)| known != links))
        .map(|(package, links)| format!("{} {} links {links}", package.name, package.version))
        .collect();
    assert_eq!(unknown, Vec::<String>::new());
    assert!(features(&metadata, "libsqlite3-sys").contains(&"bundled".to_owned()));
}

fn manifest(package: &Package) -> toml::Table {
    std::fs::read_to_string(&package.manifest_path)
        .unwrap()
        .parse()
        .unwrap()
}

fn inherits(value: &toml::Value) -> bool {
    value.get("workspace").and_then(toml::Value::as_bool) == Some(true)
}

fn features(metadata: &Metadata, name: &str) -> Vec<String> {
    let package = metadata
        .packages
        .iter()
        .find(|package| package.name.as_str() == name)
        .unwrap();
    let nodes = &metadata.resolve.as_ref().unwrap().nodes;
    let node = nodes.iter().find(|node| node.id == package.id).unwrap();
    node.features.iter().map(ToString::to_string).collect()
}
