//! Rules about the files of the tree.

use std::collections::BTreeMap;
use std::path::Path;

use super::tree::{File, Tree};
use super::{Breach, breach, secrets};

/// Breaches of one rule in one file that are listed.
const LISTED: usize = 20;

/// Words that mark what is not finished. Each stands in two parts so that this file does not
/// break the rule it checks.
const MARKERS: [&str; 4] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("HA", "CK"),
];

/// Macros that mark what is not finished.
const STUBS: [&str; 2] = [concat!("todo", "!("), concat!("unimplemented", "!(")];

const CODE: [&str; 22] = [
    "rs", "py", "js", "mjs", "ts", "tsx", "jsx", "go", "java", "kt", "c", "h", "cc", "cpp", "hpp",
    "cs", "rb", "php", "swift", "scala", "sql", "lua",
];

/// Returns every breach in the tree.
pub(super) fn check(tree: &Tree) -> Vec<Breach> {
    let mut found = Vec::new();
    for file in &tree.files {
        found.extend(by_name(&file.path));
        match &file.text {
            Some(text) => by_content(file, text, &mut found),
            None if file.unreadable => {
                found.push(breach(
                    "hygiene/unreadable",
                    place(&file.path),
                    "it cannot be read",
                ));
            }
            None => {}
        }
    }
    found.extend(readmes(tree));
    found
}

fn place(path: &Path) -> String {
    path.display().to_string()
}

fn by_name(path: &Path) -> Vec<Breach> {
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase();
    let ends = |ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
    let mut found = Vec::new();
    let in_root = path
        .parent()
        .is_none_or(|parent| parent.as_os_str().is_empty());
    let stem = name.split('.').next().unwrap_or_default();
    let is_code = extension(path).is_some_and(|end| CODE.contains(&end.as_str()));
    let test = stem.starts_with("test_")
        || stem.ends_with("_test")
        || stem == "test"
        || name.contains(".test.")
        || name.contains(".spec.");
    if in_root && is_code && test {
        found.push(breach(
            "hygiene/test-in-root",
            place(path),
            "a test file stands in the root",
        ));
    }
    if ends(&[
        "~", ".bak", ".backup", ".orig", ".rej", ".tmp", ".temp", ".swp", ".swo", ".old",
    ]) || name == ".ds_store"
    {
        found.push(breach(
            "hygiene/backup-file",
            place(path),
            "a backup or temporary file",
        ));
    }
    if ends(&[".sh", ".bash", ".zsh", ".bat", ".cmd", ".ps1", ".psm1"]) {
        found.push(breach(
            "hygiene/shell-script",
            place(path),
            "a script of a shell",
        ));
    }
    found
}

fn by_content(file: &File, text: &str, found: &mut Vec<Breach>) {
    let script = text.lines().next().is_some_and(|line| {
        let shells = [
            "/sh", "/bash", "/zsh", "/dash", "/ksh", " bash", " sh", " zsh", " pwsh",
        ];
        line.starts_with("#!") && shells.iter().any(|shell| line.trim_end().ends_with(shell))
    });
    if script
        && !found
            .iter()
            .any(|one| one.place == place(&file.path) && one.rule == "hygiene/shell-script")
    {
        found.push(breach(
            "hygiene/shell-script",
            place(&file.path),
            "it begins as a script of a shell",
        ));
    }
    let is_code = extension(&file.path).is_some_and(|end| CODE.contains(&end.as_str()));
    let mut listed: BTreeMap<&str, usize> = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let place = format!("{}:{}", file.path.display(), number + 1);
        let mut add = |rule: &'static str, message: String| {
            let count = listed.entry(rule).or_default();
            *count += 1;
            if *count <= LISTED {
                found.push(breach(rule, place.clone(), message));
            }
        };
        if let Some(letter) = line.chars().find(|letter| is_emoji(*letter)) {
            add(
                "hygiene/emoji",
                format!("it holds U+{:04X}", u32::from(letter)),
            );
        }
        if let Some(marker) = marker(line).filter(|_| is_code) {
            add("hygiene/todo-marker", format!("it holds {marker}"));
        }
        if let Some(kind) = secrets::find(line) {
            add(
                "security/hard-coded-secret",
                format!("it holds what looks like {kind}"),
            );
        }
    }
}

fn extension(path: &Path) -> Option<String> {
    path.extension()
        .map(|end| end.to_string_lossy().to_lowercase())
}

/// Returns a marker that stands in a line as a word of its own.
fn marker(line: &str) -> Option<&'static str> {
    let word = |wanted: &&&str| {
        line.match_indices(**wanted).any(|(start, _)| {
            let plain = |c: char| c.is_alphanumeric() || c == '_';
            let before = line.get(..start).and_then(|text| text.chars().next_back());
            let after = line
                .get(start + wanted.len()..)
                .and_then(|text| text.chars().next());
            !before.is_some_and(plain) && !after.is_some_and(plain)
        })
    };
    let stub = STUBS.iter().find(|stub| line.contains(**stub));
    MARKERS.iter().find(word).or(stub).copied()
}

fn is_emoji(letter: char) -> bool {
    matches!(u32::from(letter),
        0x1F300..=0x1FAFF | 0x1F1E6..=0x1F1FF | 0x2600..=0x26FF | 0x2700..=0x27BF | 0xFE0F)
}

fn readmes(tree: &Tree) -> Vec<Breach> {
    let mut folders: BTreeMap<&Path, Vec<&Path>> = BTreeMap::new();
    for file in &tree.files {
        let name = file
            .path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .to_lowercase();
        if name.split('.').next() == Some("readme") {
            let folder = file.path.parent().unwrap_or(Path::new(""));
            folders.entry(folder).or_default().push(&file.path);
        }
    }
    let doubled = folders.into_values().filter(|files| files.len() > 1);
    doubled
        .flat_map(|files| files.into_iter().skip(1))
        .map(|path| {
            breach(
                "hygiene/duplicate-readme",
                place(path),
                "another README stands beside it",
            )
        })
        .collect()
}
