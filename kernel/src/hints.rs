//! Test: every command line that a text of the program names is one that the program takes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::path::{Path, PathBuf};

use crate::commands::CommandLine;
use crate::magic;

/// Folders of the tree whose texts people read.
const PLACES: [&str; 6] = [
    "kernel",
    "notebook-gen",
    "templates",
    "README.md",
    "ARCHITECTURE.md",
    "tests/shop",
];

#[test]
fn every_command_line_that_a_text_names_is_one_that_the_program_takes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = Vec::new();
    for place in PLACES {
        collect(&root.join(place), &mut files);
    }
    let (mut looked_at, mut wrong) = (0, Vec::new());
    for file in files {
        let text = joined(&std::fs::read_to_string(&file).unwrap());
        for named in named(&text) {
            looked_at += 1;
            if let Err(why) = read(&named) {
                wrong.push(format!("{}: `{named}`: {why}", file.display()));
            }
        }
    }
    assert!(looked_at > 60, "only {looked_at} were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_a_text_names_is_found_and_judged() {
    let text = joined(
        "\"see `code-deploy status \\\n         --run {run}` or `%plan risks`, 5 % of `%d`\"",
    );
    let found: Vec<_> = named(&text).collect();
    assert_eq!(found, ["code-deploy status --run {run}", "%plan risks"]);
    assert!(found.iter().all(|found| read(found).is_ok()));
    assert!(read("code-deploy rollback {run}").is_err());
    assert!(read("code-deploy statsu").is_err());
    assert!(read("code-deploy ENVIRONMENT TARGET --to RELEASE").is_ok());
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) {
    if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            collect(&entry.unwrap().path(), files);
        }
        return;
    }
    let name = path.file_name().unwrap().to_string_lossy();
    let test =
        name.ends_with("tests.rs") || path.components().any(|part| part.as_os_str() == "tests");
    let test = (test && !path.to_string_lossy().contains("tests/shop/")) || name == "hints.rs";
    let text = path.extension().is_some_and(|end| {
        ["rs", "md", "yaml", "txt", "json"].contains(&end.to_string_lossy().as_ref())
    });
    if text && !test {
        files.push(path.to_owned());
    }
}

/// Returns a text with what Rust breaks over lines put together again.
fn joined(text: &str) -> String {
    let mut parts = text.split("\\\n");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.trim_start())
}

/// Returns the command lines between backquotes, and those that are lines of their own.
fn named(text: &str) -> impl Iterator<Item = String> + '_ {
    let magics = crate::commands::magic_words();
    let alone = text
        .lines()
        .filter(|line| line.starts_with("code-deploy "))
        .map(|line| line.split(" #").next().unwrap_or(line).trim_end());
    let quoted = text
        .lines()
        .flat_map(|line| line.split('`').skip(1).step_by(2));
    alone.chain(quoted).filter_map(move |code| {
        let word = code.split(char::is_whitespace).next()?;
        let magic = word.trim_start_matches('%').trim_end_matches('?');
        let is_magic = word.starts_with('%') && magics.iter().any(|known| known == magic);
        let is_line = word == "code-deploy" && code.contains(' ');
        (is_magic || is_line).then(|| code.to_owned())
    })
}

/// Reads a command line, a placeholder standing for a value.
fn read(named: &str) -> Result<(), String> {
    // Where the command itself is a placeholder, it can be any.
    if named.starts_with("code-deploy {") {
        return Ok(());
    }
    let words = named.trim_start_matches("%%").trim_start_matches('%');
    let words = words.replace("{}", "value").replace(['{', '}', '…'], "");
    if words.ends_with('?') {
        return magic::help(words.trim_end_matches('?'))
            .map(drop)
            .ok_or("no help".to_owned());
    }
    let mut words = shlex::split(&words).ok_or("a quote is not closed")?;
    if words.first().is_none_or(|word| word != "code-deploy") {
        words.insert(0, "code-deploy".to_owned());
    }
    // An approval's reason stands in the body of its cell.
    if named.starts_with("%%approve") {
        words.extend(["--reason".to_owned(), "body".to_owned()]);
    }
    let line = match CommandLine::read(words) {
        Ok(line) => line,
        Err(error) if magic::is_help(&error) => return Ok(()),
        Err(error) => return Err(error.to_string()),
    };
    match (line.command, line.run.environment, line.run.target) {
        (Some(_), ..) | (None, Some(_), Some(_)) => Ok(()),
        (None, None, _) if line.run.demo => Ok(()),
        (None, environment, _) => Err(format!("{environment:?} is no command")),
    }
}
