//! The source policy: what must hold of the source tree that is deployed and of its history.
//!
//! Each rule has a name by which the deployment file can switch it off
//! (`security.rules_off`); a rule that is switched off is shown as such, never left out.

mod branch;
mod commit;
mod hygiene;
mod repository;
mod secrets;
#[cfg(test)]
mod tests;
mod tree;

use std::path::Path;

use code_deploy_record::Severity;
use serde::{Deserialize, Serialize};

pub use repository::Repository;
pub use tree::Tree;

/// A rule of the source policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// The name, by which it can be switched off.
    pub name: &'static str,
    /// What it asks.
    pub asks: &'static str,
    /// How serious a breach is.
    pub severity: Severity,
    /// What to do about a breach.
    pub cure: &'static str,
}

const fn rule(
    name: &'static str,
    severity: Severity,
    asks: &'static str,
    cure: &'static str,
) -> Rule {
    Rule {
        name,
        asks,
        severity,
        cure,
    }
}

/// All rules, in the order in which they are shown.
pub const RULES: [Rule; 13] = [
    rule(
        "branch/name",
        Severity::Medium,
        "the branch is named kind/name",
        "Name it after the kind of work, such as feature/checkout, fix/login or chore/images.",
    ),
    rule(
        "branch/protected",
        Severity::Medium,
        "work does not stand on main, master or development",
        "Work on a branch of its own.",
    ),
    rule(
        "branch/origin",
        Severity::Medium,
        "the branch started from the development branch",
        "Rebase it onto the development branch.",
    ),
    rule(
        "branch/pushed",
        Severity::Medium,
        "the branch is pushed",
        "Push it.",
    ),
    rule(
        "commit/conventional",
        Severity::Low,
        "commits are `type(scope): description`",
        "Reword the commits.",
    ),
    rule(
        "hygiene/test-in-root",
        Severity::Low,
        "no test files in the root",
        "Move them into a folder of tests.",
    ),
    rule(
        "hygiene/backup-file",
        Severity::Low,
        "no backup or temporary files",
        "Delete them.",
    ),
    rule(
        "hygiene/duplicate-readme",
        Severity::Low,
        "one README a folder",
        "Keep one.",
    ),
    rule(
        "hygiene/shell-script",
        Severity::Medium,
        "no shell, batch or PowerShell scripts",
        "Write them as a program.",
    ),
    rule("hygiene/emoji", Severity::Low, "no emoji", "Use words."),
    rule(
        "hygiene/todo-marker",
        Severity::Low,
        "no TODO or stub markers in code",
        "Finish it, or track it elsewhere.",
    ),
    rule(
        "hygiene/unreadable",
        Severity::Low,
        "every file can be read",
        "Look at its permissions.",
    ),
    rule(
        "security/hard-coded-secret",
        Severity::Critical,
        "no hard-coded secrets",
        "Revoke it, and refer to it instead.",
    ),
];

/// A breach of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Breach {
    /// The rule's name.
    pub rule: String,
    /// Where: `src/main.rs:12`, a branch, a commit.
    pub place: String,
    /// What was found. Never the value of a secret.
    pub message: String,
}

/// How one rule ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The rule.
    pub rule: Rule,
    /// What it found.
    pub found: Found,
}

/// What a rule found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It holds; how much was looked at.
    Holds(String),
    /// It does not hold.
    Broken(Vec<Breach>),
    /// It is switched off in the deployment file.
    Off,
    /// It cannot be asked here, and why.
    NotAsked(String),
}

impl Found {
    /// Returns the word that every face uses.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Holds(_) => "passed",
            Self::Broken(_) => "failed",
            Self::Off => "switched off",
            Self::NotAsked(_) => "not asked",
        }
    }
}

/// What a check of the source policy gave.
#[derive(Debug, Clone)]
pub struct Report {
    /// The repository, if the source stands in one.
    pub repository: Option<Repository>,
    /// The files that are deployed.
    pub tree: Tree,
    /// How each rule ended.
    pub outcomes: Vec<Outcome>,
    /// Names under `security.rules_off` that are no rules.
    pub unknown_off: Vec<String>,
}

impl Report {
    /// Returns all breaches.
    pub fn breaches(&self) -> impl Iterator<Item = (&Rule, &Breach)> {
        self.outcomes.iter().flat_map(|outcome| {
            let breaches = match &outcome.found {
                Found::Broken(breaches) => breaches.as_slice(),
                _ => &[],
            };
            breaches.iter().map(move |breach| (&outcome.rule, breach))
        })
    }

    /// Returns how the rule of that name ended.
    #[must_use]
    pub fn outcome(&self, name: &str) -> Option<&Found> {
        let outcome = self
            .outcomes
            .iter()
            .find(|outcome| outcome.rule.name == name);
        outcome.map(|outcome| &outcome.found)
    }
}

/// Checks the source in a folder. Reads only.
///
/// # Errors
/// What could not be read, in words: the folder, or the repository it stands in.
pub fn check(folder: &Path, development: Option<&str>, off: &[String]) -> Result<Report, String> {
    let repository = Repository::read(folder, development)?;
    let tree = Tree::read(folder, repository.as_ref())?;
    let breaches = hygiene::check(&tree);
    let outcomes = RULES.iter().map(|rule| {
        let found = if off.iter().any(|name| name == rule.name) {
            Found::Off
        } else if rule.name.starts_with("branch/") {
            branch::check(rule.name, repository.as_ref())
        } else if rule.name.starts_with("commit/") {
            commit::check(repository.as_ref())
        } else {
            let own = breaches
                .iter()
                .filter(|breach| breach.rule == rule.name)
                .cloned();
            let own: Vec<_> = own.collect();
            if own.is_empty() {
                Found::Holds(format!("{} files", tree.files.len()))
            } else {
                Found::Broken(own)
            }
        };
        Outcome { rule: *rule, found }
    });
    let outcomes = outcomes.collect();
    let known = |name: &&String| RULES.iter().any(|rule| rule.name == name.as_str());
    let unknown_off = off.iter().filter(|name| !known(name)).cloned().collect();
    Ok(Report {
        repository,
        tree,
        outcomes,
        unknown_off,
    })
}

/// Returns the kind of secret that a line of text seems to hold, if it seems to hold one.
#[must_use]
pub fn secret_in(line: &str) -> Option<&'static str> {
    secrets::find(line)
}

fn breach(rule: &str, place: impl Into<String>, message: impl Into<String>) -> Breach {
    Breach {
        rule: rule.to_owned(),
        place: place.into(),
        message: message.into(),
    }
}
