//! The sources of what makes notebooks, and of what reads the record for it, so that a notebook says by which build it
//! was made.
//!
//! They are read when the program is compiled: nothing of a machine, a folder or a time is in their digest, and the same
//! sources have the same one everywhere.

use std::sync::LazyLock;

use code_deploy_record::Digest;

macro_rules! sources {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!($name))),*]
    };
}

/// The files of this crate, in the order of their names.
const SOURCES: &[(&str, &str)] = sources![
    "approval.rs",
    "cell.rs",
    "chart.rs",
    "chart/accessible.rs",
    "chart/bands.rs",
    "chart/canvas.rs",
    "chart/errors.rs",
    "chart/gates.rs",
    "chart/health.rs",
    "chart/latency.rs",
    "chart/layers.rs",
    "chart/load.rs",
    "chart/markers.rs",
    "chart/markers/tests.rs",
    "chart/markers/unattended.rs",
    "chart/migrations.rs",
    "chart/network.rs",
    "chart/panel.rs",
    "chart/raster.rs",
    "chart/rollout.rs",
    "chart/rollout/held.rs",
    "chart/scene.rs",
    "chart/services.rs",
    "chart/shapes.rs",
    "chart/steps.rs",
    "chart/ticks.rs",
    "chart/topology.rs",
    "chart/traffic.rs",
    "compare.rs",
    "context.rs",
    "document.rs",
    "error.rs",
    "expected.rs",
    "facts.rs",
    "format.rs",
    "lib.rs",
    "markdown.rs",
    "narrow.rs",
    "origin.rs",
    "outcome.rs",
    "page.rs",
    "passed.rs",
    "place.rs",
    "proof.rs",
    "reader.rs",
    "reader/prose.rs",
    "repeated.rs",
    "runbook.rs",
    "series.rs",
    "series/merge.rs",
    "source.rs",
    "statement.rs",
    "stopped.rs",
    "template.rs",
    "trouble.rs",
    "view.rs",
    "view/acts.rs",
    "view/answers.rs",
    "view/answers/deliverables.rs",
    "view/answers/tests.rs",
    "view/approvals.rs",
    "view/approvals/tests.rs",
    "view/checkpoints.rs",
    "view/criteria.rs",
    "view/dora.rs",
    "view/drift.rs",
    "view/durations.rs",
    "view/events.rs",
    "view/items.rs",
    "view/lessons.rs",
    "view/lists.rs",
    "view/matrices.rs",
    "view/objectives.rs",
    "view/objectives/tests.rs",
    "view/others.rs",
    "view/overview.rs",
    "view/readiness.rs",
    "view/rollback.rs",
    "view/rollback/rehearsal.rs",
    "view/runbook.rs",
    "view/steps.rs",
    "view/verdicts.rs",
    "write.rs",
];

/// The versions of all crates that this one is built with: those that draw and write decide on bytes, too.
const LOCK: &str = include_str!("../../Cargo.lock");

/// The guide that stands beside signed notebooks, which a build with another text writes otherwise.
const GUIDE: &str = include_str!("../../templates/VERIFY.md");

static DIGEST: LazyLock<Digest> = LazyLock::new(|| digest_of(&all()));

/// Returns the digest of the sources. Texts have one of their own.
pub(crate) fn digest() -> Digest {
    *DIGEST
}

/// Returns all that decides on the bytes of what is written, but for the texts, each under its name.
fn all() -> Vec<(String, &'static str)> {
    let own = SOURCES.iter();
    let own = own.map(|(name, text)| ((*name).to_owned(), *text));
    let record = code_deploy_record::SOURCES.iter();
    let record = record.map(|(name, text)| (format!("record/{name}"), *text));
    let others = [("Cargo.lock", LOCK), ("VERIFY.md", GUIDE)];
    let others = others.map(|(name, text)| (name.to_owned(), text));
    own.chain(record).chain(others).collect()
}

fn digest_of(sources: &[(String, &str)]) -> Digest {
    let all: Vec<String> = sources
        .iter()
        .map(|(name, text)| format!("{name} {}\n", Digest::of(text.as_bytes())))
        .collect();
    Digest::of(all.concat().as_bytes())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::{Path, PathBuf};

    use super::*;

    fn files(folder: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut found = Vec::new();
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                found.extend(files(&path));
            } else if path.extension().is_some_and(|end| end == "rs") {
                found.push(path);
            }
        }
        found
    }

    #[test]
    fn every_source_of_this_crate_is_in_the_digest_under_its_name() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut there: Vec<String> = files(&folder)
            .iter()
            .map(|path| path.strip_prefix(&folder).unwrap().display().to_string())
            .collect();
        there.sort();
        let named: Vec<&str> = SOURCES.iter().map(|(name, _)| *name).collect();
        assert_eq!(named, there, "name the files in `sources!`");
        for (name, text) in SOURCES {
            let written = std::fs::read_to_string(folder.join(name)).unwrap();
            assert!(*text == written, "{name}");
        }
    }

    #[test]
    fn another_source_gives_another_digest() {
        let all = all();
        assert_eq!(digest(), digest_of(&all));
        for name in ["source.rs", "record/journal.rs", "Cargo.lock", "VERIFY.md"] {
            let mut changed = all.clone();
            let place = changed.iter().position(|(known, _)| known == name);
            changed[place.unwrap()].1 = "another";
            assert_ne!(digest(), digest_of(&changed), "{name}");
        }
        let moved = |one, other| digest_of(&[("a.rs".to_owned(), one), ("c.rs".to_owned(), other)]);
        assert_ne!(moved("b", ""), moved("", "b"));
    }
}
