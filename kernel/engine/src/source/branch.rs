//! Rules about the branch.

use super::{Found, Repository, breach};

/// The kinds of work that a branch's name begins with.
pub(super) const KINDS: [&str; 13] = [
    "feature", "fix", "bugfix", "hotfix", "refactor", "docs", "test", "chore", "perf", "style",
    "ci", "build", "revert",
];

/// Branches on which nobody works.
const PROTECTED: [&str; 3] = ["main", "master", "development"];

/// Asks one rule about the branch.
pub(super) fn check(rule: &str, repository: Option<&Repository>) -> Found {
    let Some(repository) = repository else {
        return Found::NotAsked("the source stands in no git repository".to_owned());
    };
    let Some(branch) = &repository.branch else {
        let commit = repository.commit.chars().take(12).collect::<String>();
        return Found::Broken(vec![breach(rule, commit, "no branch is checked out")]);
    };
    let broken = |message: String| Found::Broken(vec![breach(rule, branch.clone(), message)]);
    match rule {
        "branch/name" if is_named(branch) => Found::Holds(branch.clone()),
        "branch/name" => broken(format!(
            "it is not KIND/NAME with KIND one of {}",
            KINDS.join(", ")
        )),
        "branch/protected" if PROTECTED.contains(&branch.as_str()) => {
            broken("work stands on a branch that others build on".to_owned())
        }
        "branch/protected" => Found::Holds(branch.clone()),
        "branch/origin" => origin(repository, broken),
        _ => match &repository.pushed {
            Some(remote) if remote.same => {
                Found::Holds(format!("{} has the same commit", remote.name))
            }
            Some(remote) => broken(format!("{} has another commit", remote.name)),
            None => broken("no remote has it".to_owned()),
        },
    }
}

fn origin(repository: &Repository, broken: impl Fn(String) -> Found) -> Found {
    match (&repository.development, repository.from_development) {
        (None, _) => Found::NotAsked("there is no development branch".to_owned()),
        (Some(name), true) => Found::Holds(format!("it has its beginning in {name}")),
        (Some(name), false) => broken(format!("it has no commit in common with {name}")),
    }
}

fn is_named(branch: &str) -> bool {
    let Some((kind, name)) = branch.split_once('/') else {
        return false;
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    KINDS.contains(&kind) && !name.is_empty() && name.chars().all(plain)
}
