//! The source that is built: commit, branch, what is not committed, lock files, linters.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use code_deploy_record::{Basis, Column, EvidenceRef, Report};
use serde_json::{Value, json};

use crate::Step;
use crate::phases::look::{self, list};
use crate::phases::policy;
use crate::section::{Outline, Section, Seen, Work, step as section_step};
use crate::source::{self, Found, Repository};
use crate::spec::Reaction;
use crate::step::StepError;

/// Files by which a linter is configured, with its name.
const LINTERS: [(&str, &str); 12] = [
    ("clippy.toml", "clippy"),
    (".clippy.toml", "clippy"),
    ("rustfmt.toml", "rustfmt"),
    (".rustfmt.toml", "rustfmt"),
    ("eslint.config.js", "eslint"),
    (".eslintrc.json", "eslint"),
    ("biome.json", "biome"),
    ("ruff.toml", "ruff"),
    (".flake8", "flake8"),
    (".golangci.yml", "golangci-lint"),
    (".golangci.yaml", "golangci-lint"),
    (".rubocop.yml", "rubocop"),
];

/// Returns the step.
pub(super) fn step() -> Option<Arc<dyn Step>> {
    let outline = Outline {
        verb: ("build", 3),
        section: "source",
        title: "record the commit and ask the source policy",
        items: "2.1.1 2.1.2 2.1.3 2.1.4 2.1.5 2.1.6",
        undo: None,
        methods: (
            "the repository read again",
            "the files of the source counted anew",
        ),
        expected: Duration::from_secs(3),
    };
    section_step(&outline, Source)
}

struct Source;

#[async_trait]
impl Work for Source {
    async fn apply(&self, section: &Section<'_>) -> Result<Value, StepError> {
        let source = policy::check(section.context).await?;
        let event = section
            .report("Source preparation", report(&source))
            .await?;
        settle_repository(section, &source, event).await?;
        settle_tree(section, &source, event).await?;
        let repository = source.repository.as_ref();
        Ok(json!({
            "commit": repository.map(|repository| &repository.commit),
            "changed": repository.map(|repository| repository.changed.len()),
            "files": source.tree.files.len(),
        }))
    }

    async fn inside(&self, section: &Section<'_>, result: &Value) -> Result<Seen, StepError> {
        let source = policy::check(section.context).await?;
        let commit = source.repository.map(|repository| repository.commit);
        let word = commit.clone().unwrap_or_else(|| "no repository".to_owned());
        Ok(Seen::new(json!(commit) == result["commit"], word))
    }

    async fn outside(&self, section: &Section<'_>, result: &Value) -> Result<Seen, StepError> {
        let source = policy::check(section.context).await?;
        let files = source.tree.files.len();
        Ok(Seen::new(
            json!(files) == result["files"],
            format!("{files} files"),
        ))
    }
}

fn report(source: &source::Report) -> Report {
    let report = match &source.repository {
        None => Report::new().with_text("The source stands in no git repository."),
        Some(repository) => {
            let row = |what: &str, value: String| vec![what.to_owned(), value];
            let rows = vec![
                row("Commit", repository.commit.clone()),
                row(
                    "Branch",
                    repository
                        .branch
                        .clone()
                        .unwrap_or_else(|| "none is checked out".to_owned()),
                ),
                row(
                    "Development branch",
                    repository
                        .development
                        .clone()
                        .unwrap_or_else(|| "none".to_owned()),
                ),
                row(
                    "Pushed as",
                    repository
                        .pushed
                        .as_ref()
                        .map_or_else(|| "not pushed".to_owned(), |pushed| pushed.name.clone()),
                ),
                row(
                    "Commits of the branch",
                    repository.commits.len().to_string(),
                ),
                row("Changed and not committed", list(&repository.changed)),
                row("Submodules", repository.submodules.len().to_string()),
            ];
            Report::new().with_table("Source", ["What", "Value"].map(Column::text).to_vec(), rows)
        }
    };
    let mut whole = report;
    whole.blocks.extend(policy::report(source).blocks);
    whole
}

async fn settle_repository(
    section: &Section<'_>,
    source: &source::Report,
    event: EvidenceRef,
) -> Result<(), StepError> {
    let evidence = [event];
    let Some(repository) = &source.repository else {
        for item in ["2.1.1", "2.1.2", "2.1.3", "2.1.6"] {
            section
                .none(
                    item,
                    "the source that is deployed stands in no git repository",
                )
                .await?;
        }
        return Ok(());
    };
    let short: String = repository.commit.chars().take(12).collect();
    let text =
        format!("commit {short} is recorded; whether a remote has a later one was not asked");
    section.open("2.1.1", text).await?;
    settle_branch(section, source, repository, event).await?;
    if repository.submodules.is_empty() {
        section
            .none("2.1.3", "the repository has no submodule")
            .await?;
    } else {
        let other: Vec<_> = repository
            .submodules
            .iter()
            .filter(|one| one.recorded != one.checked_out)
            .map(|one| &one.path)
            .collect();
        let text = format!(
            "{} submodules; at another commit: {}",
            repository.submodules.len(),
            list(other.iter())
        );
        section
            .judge("2.1.3", other.is_empty(), Basis::Observed, text, &evidence)
            .await?;
    }
    let changed = repository.changed.len();
    let text = format!(
        "{changed} files changed and not committed: {}",
        list(repository.changed.iter().take(10))
    );
    if changed > 0 && section.context.spec.policy.uncommitted == Reaction::Note {
        let noted = format!(
            "noted, as the policy of {} asks: {text}",
            section.context.spec.environment
        );
        return section.open("2.1.6", noted).await;
    }
    section
        .judge("2.1.6", changed == 0, Basis::Observed, text, &evidence)
        .await
}

async fn settle_branch(
    section: &Section<'_>,
    source: &source::Report,
    repository: &Repository,
    event: EvidenceRef,
) -> Result<(), StepError> {
    let rules = [
        "branch/name",
        "branch/protected",
        "branch/origin",
        "branch/pushed",
    ];
    let ended: Vec<_> = rules
        .iter()
        .filter_map(|rule| Some((*rule, source.outcome(rule)?)))
        .collect();
    let broken: Vec<_> = ended
        .iter()
        .filter(|(_, found)| matches!(found, Found::Broken(_)))
        .map(|(rule, _)| *rule)
        .collect();
    let off: Vec<_> = ended
        .iter()
        .filter(|(_, found)| matches!(found, Found::Off))
        .map(|(rule, _)| *rule)
        .collect();
    let branch = repository
        .branch
        .clone()
        .unwrap_or_else(|| "no branch".to_owned());
    let text = format!(
        "{branch}; broken: {}; switched off: {}",
        list(&broken),
        list(&off)
    );
    if off.len() == ended.len() {
        return section
            .open(
                "2.1.2",
                format!("every rule about branches is switched off ({branch})"),
            )
            .await;
    }
    section
        .judge("2.1.2", broken.is_empty(), Basis::Observed, text, &[event])
        .await
}

async fn settle_tree(
    section: &Section<'_>,
    source: &source::Report,
    event: EvidenceRef,
) -> Result<(), StepError> {
    let (inventory, _) = look::inventory(section.context).await?;
    let unpinned: usize = inventory.dependencies.iter().map(|one| one.unpinned).sum();
    if inventory.dependencies.is_empty() {
        section.none("2.1.4", look::NO_LOCK_FILE).await?;
    } else {
        let packages: usize = inventory.dependencies.iter().map(|one| one.count).sum();
        let text = format!(
            "{packages} packages in {} lock files, {unpinned} without an exact version",
            inventory.dependencies.len()
        );
        section
            .judge("2.1.4", unpinned == 0, Basis::Observed, text, &[event])
            .await?;
    }
    let names = source
        .tree
        .files
        .iter()
        .filter_map(|file| file.path.file_name()?.to_str());
    let mut linters: Vec<_> = names
        .filter_map(|name| LINTERS.iter().find(|(file, _)| *file == name))
        .map(|(_, tool)| *tool)
        .collect();
    linters.sort_unstable();
    linters.dedup();
    if linters.is_empty() {
        return section
            .none("2.1.5", "the source tree configures no linter")
            .await;
    }
    section
        .open(
            "2.1.5",
            format!("this program does not run {}", list(&linters)),
        )
        .await
}
