#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::*;

struct Source {
    folder: TempDir,
}

impl Source {
    fn outside_git() -> Self {
        Self {
            folder: TempDir::new().unwrap(),
        }
    }

    fn new(branch: &str) -> Self {
        let source = Self::outside_git();
        source.git(&["init", "-q", "-b", "development"]);
        source.write("README.md", "A project.\n");
        source.commit("chore: begin");
        if branch != "development" {
            source.git(&["checkout", "-q", "-b", branch]);
        }
        source
    }

    fn git(&self, arguments: &[&str]) {
        let done = Command::new("git")
            .args([
                "-c",
                "user.name=A",
                "-c",
                "user.email=a@example.org",
                "-c",
                "commit.gpgsign=false",
            ])
            .args(arguments)
            .current_dir(self.path())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .output()
            .unwrap();
        assert!(
            done.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn commit(&self, message: &str) {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", message]);
    }

    fn check(&self, off: &[&str]) -> Report {
        let off: Vec<_> = off.iter().map(|name| (*name).to_owned()).collect();
        super::check(self.path(), None, &off).unwrap()
    }

    fn breaks(&self, rule: &str) -> bool {
        matches!(self.check(&[]).outcome(rule), Some(Found::Broken(_)))
    }
}

#[test]
fn a_clean_branch_keeps_every_rule_but_that_it_is_pushed() {
    let source = Source::new("feature/notes");
    source.write("src/lib.rs", "pub fn f() {}\n");
    source.commit("feat(notes): add notes");
    let report = source.check(&[]);
    let broken: Vec<_> = report.breaches().map(|(rule, _)| rule.name).collect();
    assert_eq!(broken, ["branch/pushed"]);
    assert!(report.repository.unwrap().changed.is_empty());
}

#[test]
fn branches_that_others_build_on_and_names_of_another_form_are_found() {
    assert!(Source::new("development").breaks("branch/protected"));
    assert!(Source::new("notes").breaks("branch/name"));
    assert!(Source::new("feature").breaks("branch/name"));
    assert!(!Source::new("hotfix/a.b-c").breaks("branch/name"));
}

#[test]
fn a_branch_without_a_common_beginning_is_found() {
    let source = Source::new("feature/a");
    assert!(!source.breaks("branch/origin"));
    source.git(&["checkout", "-q", "--orphan", "feature/b"]);
    source.commit("feat: begin anew");
    assert!(source.breaks("branch/origin"));
}

#[test]
fn a_pushed_branch_is_recognised_until_it_goes_on() {
    let source = Source::new("fix/a");
    let remote = TempDir::new().unwrap();
    let url = remote.path().to_str().unwrap();
    source.git(&["init", "-q", "--bare", url]);
    source.git(&["remote", "add", "origin", url]);
    source.git(&["push", "-q", "-u", "origin", "fix/a"]);
    assert!(!source.breaks("branch/pushed"));
    source.commit("fix: go on");
    assert!(source.breaks("branch/pushed"));
}

#[test]
fn commits_of_another_form_are_found_and_merges_are_not() {
    let source = Source::new("fix/a");
    source.commit("fix(cart)!: count again");
    assert!(!source.breaks("commit/conventional"));
    source.commit("Fixed the cart");
    assert!(source.breaks("commit/conventional"));
    let report = source.check(&[]);
    assert_eq!(report.repository.unwrap().commits.len(), 2);
}

#[test]
fn each_rule_of_hygiene_finds_its_file() {
    let todo = format!("// {}: later\n", concat!("TO", "DO"));
    let key = format!("const KEY: &str = \"{}{}\";\n", "AKIA", "ABCDEFGHIJKLMNOP");
    for (rule, path, text) in [
        ("hygiene/test-in-root", "test_shop.py", "x = 1\n"),
        ("hygiene/backup-file", "src/a.rs.bak", "x\n"),
        ("hygiene/backup-file", "notes~", "x\n"),
        ("hygiene/duplicate-readme", "README.txt", "Another.\n"),
        ("hygiene/shell-script", "deploy.sh", "true\n"),
        (
            "hygiene/shell-script",
            "tools/deploy",
            "#!/usr/bin/env bash\ntrue\n",
        ),
        ("hygiene/shell-script", "a.ps1", "x\n"),
        ("hygiene/emoji", "docs/a.md", "Done \u{1F680}\n"),
        ("hygiene/todo-marker", "src/a.rs", todo.as_str()),
        ("security/hard-coded-secret", "src/b.rs", key.as_str()),
    ] {
        let source = Source::new("feature/a");
        assert!(!source.breaks(rule), "{rule} before {path}");
        source.write(path, text);
        source.commit("feat: add a file");
        assert!(source.breaks(rule), "{rule} at {path}");
        let report = source.check(&[rule]);
        assert_eq!(report.outcome(rule), Some(&Found::Off));
        assert!(report.breaches().all(|(found, _)| found.name != rule));
    }
}

#[test]
fn words_that_only_look_like_markers_are_let_through() {
    let source = Source::new("feature/a");
    source.write("src/a.rs", "fn todos() -> Vec<TodoItem> { METODO }\n");
    source.commit("feat: add todos");
    assert!(!source.breaks("hygiene/todo-marker"));
}

#[test]
fn what_is_changed_is_listed_without_what_the_program_writes_itself() {
    let source = Source::new("feature/a");
    source.write("README.md", "Changed.\n");
    source.write("new.txt", "New.\n");
    source.write(".code-deploy/runs/a/journal.jsonl", "{}\n");
    source.write("deployments/a/01.ipynb", "{}\n");
    let changed = source.check(&[]).repository.unwrap().changed;
    assert_eq!(changed, ["README.md", "new.txt"]);
}

#[test]
fn a_folder_outside_git_is_checked_by_its_files_alone() {
    let source = Source::outside_git();
    source.write("run.sh", "true\n");
    let report = source.check(&["no/such-rule"]);
    assert!(report.repository.is_none());
    assert!(matches!(
        report.outcome("branch/name"),
        Some(Found::NotAsked(_))
    ));
    assert!(matches!(
        report.outcome("hygiene/shell-script"),
        Some(Found::Broken(_))
    ));
    assert_eq!(report.unknown_off, ["no/such-rule"]);
}
