//! The command line of `cargo verify`.

use crate::error::Error;
use crate::part::Part;
use crate::stage::Stage;
use std::fmt::Write as _;

/// What a person asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Print the help text.
    Help,
    /// Verify.
    Verify(Selection),
}

/// What of the verification runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    /// The stages that were asked for by name; empty for all.
    pub only: Vec<Stage>,
    /// The parts that are not brought up.
    pub without: Vec<Part>,
    /// The context of the user's cluster that the tests use instead of a node of their own.
    pub kubernetes_context: Option<String>,
    /// Whether what was brought up stays until somebody interrupts.
    pub stay: bool,
    /// Words handed to the test runner as they are.
    pub runner_words: Vec<String>,
}

impl Selection {
    /// Returns the stages to run, in order, with those that they require.
    pub fn stages(&self) -> Vec<Stage> {
        let wanted = |stage: Stage| {
            self.only.is_empty()
                || self.only.contains(&stage)
                || self
                    .only
                    .iter()
                    .any(|only| only.requires().contains(&stage))
        };
        Stage::ALL
            .into_iter()
            .filter(|stage| wanted(*stage))
            .collect()
    }

    /// Returns the parts that are brought up.
    pub fn parts(&self) -> Vec<Part> {
        Part::ALL
            .into_iter()
            .filter(|part| !self.without.contains(part))
            .collect()
    }
}

/// Reads the words after `cargo verify`.
///
/// # Errors
/// [`Error::Usage`] for a word, stage or part that does not exist, and for a missing value.
pub fn parse(words: impl IntoIterator<Item = String>) -> Result<Request, Error> {
    let mut selection = Selection::default();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let (flag, inline) = match word.split_once('=') {
            Some((flag, value)) => (flag.to_owned(), Some(value.to_owned())),
            None => (word, None),
        };
        match flag.as_str() {
            "-h" | "--help" => return Ok(Request::Help),
            "--stay" => selection.stay = true,
            "--only" => {
                let value = value_of("--only", inline.or_else(|| words.next()))?;
                selection
                    .only
                    .extend(named(&value, "stage", Stage::from_name)?);
            }
            "--without" => {
                let value = value_of("--without", inline.or_else(|| words.next()))?;
                selection
                    .without
                    .extend(named(&value, "part", Part::from_name)?);
            }
            "--kubernetes-context" => {
                let value = value_of("--kubernetes-context", inline.or_else(|| words.next()))?;
                selection.kubernetes_context = Some(value);
            }
            "--" => selection.runner_words = words.by_ref().collect(),
            other => return Err(usage(format!("unknown word `{other}`"))),
        }
    }
    Ok(Request::Verify(selection))
}

/// Returns the help text.
pub fn help() -> String {
    let mut text = String::from(
        "Verifies the whole tree: brings up what the tests need, then checks and tests everything.\n\n\
         Usage: cargo verify [--only STAGE,...] [--without PART,...]\n\
         \x20                   [--kubernetes-context NAME] [--stay] [-- WORDS]\n\n\
         Stages, in order (--only; what a stage requires runs with it):\n",
    );
    for stage in Stage::ALL {
        let _ = writeln!(text, "  {:<10} {}", stage.name(), stage.about());
    }
    text.push_str("\nParts (--without; the tests that need the part are named and do not run. A part that\ncannot be had is a failure unless it is left out so; what does not need it runs):\n");
    for part in Part::ALL {
        let _ = writeln!(text, "  {:<10} {}", part.name(), part.about());
    }
    text.push_str(
        "\n--kubernetes-context NAME has the tests use a cluster of yours, in place of the node: that of\n\
         the context NAME of your KUBECONFIG (or ~/.kube/config). They make namespaces there, start\n\
         pods and remove all of it, so name one on which that does no harm. Without this word your\n\
         contexts are never used, whatever KUBECONFIG says. Images are put into the engine of\n\
         DOCKER_HOST, from which the cluster's nodes must take them.\n\n\
         --stay keeps up what was brought up until you interrupt, and says what tests that are run by\n\
         hand have to be told: cargo verify --only setup --stay\n\n\
         WORDS go to the test runner: cargo verify --only tests -- house::\n\n\
         Parts and tools are kept in $CODE_DEPLOY_CACHE/code-deploy/stage, by default under\n\
         $XDG_CACHE_HOME or ~/.cache. Exit status: 0 all is well, 1 something is not, 2 usage,\n\
         130 interrupted.\n",
    );
    text
}

fn value_of(flag: &str, value: Option<String>) -> Result<String, Error> {
    value
        .filter(|value| !value.is_empty())
        .ok_or_else(|| usage(format!("{flag} needs a value")))
}

fn named<T>(list: &str, kind: &str, find: fn(&str) -> Option<T>) -> Result<Vec<T>, Error> {
    list.split(',')
        .map(|name| find(name).ok_or_else(|| usage(format!("there is no {kind} `{name}`"))))
        .collect()
}

fn usage(problem: String) -> Error {
    Error::Usage { problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(words: &[&str]) -> Selection {
        match parse(words.iter().map(ToString::to_string)) {
            Ok(Request::Verify(selection)) => selection,
            other => panic!("expected a selection, got {other:?}"),
        }
    }

    fn problem(words: &[&str]) -> String {
        parse(words.iter().map(ToString::to_string))
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn without_words_everything_runs_and_the_tests_close() {
        let stages = selection(&[]).stages();
        assert_eq!(stages, Stage::ALL);
        assert_eq!(stages.last(), Some(&Stage::Tests));
        assert_eq!(selection(&[]).parts(), Part::ALL);
    }

    #[test]
    fn only_brings_what_the_named_stages_require_and_keeps_the_order() {
        assert_eq!(
            selection(&["--only", "tests,fmt"]).stages(),
            [Stage::Setup, Stage::Fmt, Stage::Build, Stage::Tests]
        );
        assert_eq!(selection(&["--only=fmt"]).stages(), [Stage::Fmt]);
    }

    #[test]
    fn a_part_that_is_left_out_is_not_brought_up() {
        let selection = selection(&["--without", "chromium"]);
        assert_eq!(
            selection.parts(),
            [
                Part::Python,
                Part::Mounts,
                Part::Docker,
                Part::Kubernetes,
                Part::Postgres,
                Part::Registry,
                Part::Engine
            ]
        );
    }

    #[test]
    fn a_cluster_of_the_user_is_taken_only_when_it_is_named() {
        assert_eq!(selection(&[]).kubernetes_context, None);
        let named = selection(&["--kubernetes-context", "kind-test"]);
        assert_eq!(named.kubernetes_context.as_deref(), Some("kind-test"));
        assert!(problem(&["--kubernetes-context"]).contains("needs a value"));
    }

    #[test]
    fn words_after_two_dashes_go_to_the_test_runner() {
        let selection = selection(&["--only", "tests", "--", "house::", "--no-capture"]);
        assert_eq!(selection.runner_words, ["house::", "--no-capture"]);
    }

    #[test]
    fn what_does_not_exist_is_named() {
        assert!(problem(&["--only", "fmt,lint"]).contains("there is no stage `lint`"));
        assert!(problem(&["--without", "podman"]).contains("there is no part `podman`"));
        assert!(problem(&["--fast"]).contains("unknown word `--fast`"));
        assert!(problem(&["--only"]).contains("--only needs a value"));
    }

    #[test]
    fn the_help_names_every_stage_and_part() {
        let help = help();
        assert!(Stage::ALL.iter().all(|stage| help.contains(stage.about())));
        assert!(Part::ALL.iter().all(|part| help.contains(part.about())));
    }
}
