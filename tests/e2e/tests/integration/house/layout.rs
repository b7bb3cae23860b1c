//! What lies at the top of the tree.

use super::files;
use std::collections::BTreeSet;

const TOP: &[&str] = &[
    ".cargo",
    ".ci",
    ".config",
    ".editorconfig",
    ".gitignore",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "clippy.toml",
    "deny.toml",
    "kernel",
    "notebook-gen",
    "notebooks",
    "rustfmt.toml",
    "templates",
    "tests",
];

#[test]
fn the_top_level_holds_what_the_design_draws_and_nothing_else() {
    let there: BTreeSet<String> = files()
        .iter()
        .map(|file| file.split('/').next().unwrap().to_owned())
        .collect();
    let drawn: BTreeSet<String> = TOP.iter().map(ToString::to_string).collect();
    let unexpected: Vec<_> = there.difference(&drawn).collect();
    let missing: Vec<_> = drawn.difference(&there).collect();
    assert!(
        unexpected.is_empty() && missing.is_empty(),
        "unexpected: {unexpected:?}; missing: {missing:?}"
    );
}

#[test]
fn modules_are_named_after_what_they_hold() {
    let nameless: Vec<String> = files()
        .into_iter()
        .filter(|file| file.ends_with("/mod.rs"))
        .collect();
    assert_eq!(
        nameless,
        Vec::<String>::new(),
        "use `name.rs` beside a folder `name`"
    );
}
