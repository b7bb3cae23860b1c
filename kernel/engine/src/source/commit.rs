//! Rules about commits.

use super::{Found, Repository, breach};

const TYPES: [&str; 10] = [
    "feat", "fix", "refactor", "docs", "test", "chore", "perf", "style", "ci", "build",
];

/// Asks whether the commits of the branch have the conventional form. Merges are left out: their
/// text is git's own.
pub(super) fn check(repository: Option<&Repository>) -> Found {
    let Some(repository) = repository else {
        return Found::NotAsked("the source stands in no git repository".to_owned());
    };
    let own: Vec<_> = repository
        .commits
        .iter()
        .filter(|commit| commit.parents < 2)
        .collect();
    let broken = own
        .iter()
        .filter(|commit| !is_conventional(&commit.title))
        .map(|commit| {
            let place: String = commit.id.chars().take(12).collect();
            let title: String = commit.title.chars().take(80).collect();
            breach(
                "commit/conventional",
                place,
                format!("`{title}` is not `type(scope): description`"),
            )
        });
    let broken: Vec<_> = broken.collect();
    if broken.is_empty() {
        Found::Holds(format!("{} commits", own.len()))
    } else {
        Found::Broken(broken)
    }
}

fn is_conventional(title: &str) -> bool {
    let Some((head, description)) = title.split_once(": ") else {
        return false;
    };
    let head = head.strip_suffix('!').unwrap_or(head);
    let kind = match head.split_once('(') {
        None => head,
        Some((kind, scope)) => match scope.strip_suffix(')') {
            Some(scope) if !scope.is_empty() => kind,
            _ => return false,
        },
    };
    (TYPES.contains(&kind) || kind == "revert") && !description.trim().is_empty()
}
