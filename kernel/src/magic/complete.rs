//! What could stand at the cursor of a cell that is a command.

use clap::CommandFactory as _;

use super::HELP;
use crate::commands::{CommandLine, magic_words};
use crate::show::record::kinds;

/// What could stand at the cursor: where it begins, and the candidates with their kinds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Candidates {
    /// Where the text to replace begins, in characters.
    pub start: usize,
    /// Candidates with their kinds.
    pub found: Vec<(String, &'static str)>,
}

/// Words that are known where the command is used: environments, targets, sections, runs.
pub trait Known {
    /// Environments of the deployment file.
    fn environments(&self) -> Vec<String>;
    /// Targets.
    fn targets(&self) -> Vec<String>;
    /// Sections of a verb.
    fn sections(&self, verb: &str) -> Vec<String>;
    /// Runs of the project, the last one first.
    fn runs(&self) -> Vec<String>;
    /// Notebooks of a run.
    fn notebooks(&self) -> Vec<String>;
    /// Charts.
    fn charts(&self) -> Vec<String>;
    /// Views of a record.
    fn views(&self) -> Vec<String>;
    /// Steps of the run that are begun and not done: what a person may have dealt with by hand.
    fn steps(&self) -> Vec<String>;
    /// Releases of the deployment file and of earlier runs.
    fn releases(&self) -> Vec<String>;
}

/// Returns what could stand at the cursor, in characters from the start of `code`; nothing when
/// the line is not a command.
pub fn complete(code: &str, cursor: usize, known: &dyn Known) -> Option<Candidates> {
    let before: String = code.chars().take(cursor).collect();
    // A cursor behind the end stands at it.
    let cursor = before.chars().count();
    let line = before.rsplit('\n').next().unwrap_or_default();
    let stripped = line.trim_start();
    let rest = stripped
        .strip_prefix("%%")
        .or_else(|| stripped.strip_prefix('%'))?;
    let typed = rest.rsplit(char::is_whitespace).next().unwrap_or_default();
    let start = cursor.saturating_sub(typed.chars().count());
    let words: Vec<_> = rest.split_whitespace().collect();
    let earlier = words.len() - usize::from(!typed.is_empty());
    let candidates = match (earlier, words.first()) {
        (0, _) => {
            let words = magic_words().into_iter().chain([HELP.to_owned()]);
            words.map(|word| (word, "magic")).collect()
        }
        (_, Some(word)) => arguments(word, &words[1..earlier], typed, known),
        (_, None) => Vec::new(),
    };
    let found = candidates
        .into_iter()
        .filter(|(text, _)| text.starts_with(typed))
        .collect();
    Some(Candidates { start, found })
}

fn arguments(
    word: &str,
    earlier: &[&str],
    typed: &str,
    known: &dyn Known,
) -> Vec<(String, &'static str)> {
    if typed.starts_with('-') {
        return options(word);
    }
    let of = |values: Vec<String>, kind| values.into_iter().map(|v| (v, kind)).collect::<Vec<_>>();
    match earlier.last() {
        Some(&"--run" | &"--diff") => return of(known.runs(), "run"),
        Some(&"--to") => return of(known.releases(), "release"),
        Some(&"--environment" | &"-e") => return of(known.environments(), "environment"),
        Some(&"--target" | &"-t") => return of(known.targets(), "target"),
        Some(&"--kind") => return of(kinds(), "kind"),
        Some(option) if takes_value(word, option) => return Vec::new(),
        _ => {}
    }
    let plain = plain_words(word, earlier);
    match (word, plain) {
        (HELP, 0) => of(magic_words(), "magic"),
        ("code-deploy", 0) => of(known.environments(), "environment"),
        ("code-deploy", 1) => of(known.targets(), "target"),
        ("chart", 0) => of(known.charts(), "chart"),
        ("record", 0) => of(known.views(), "view"),
        ("skip", 0) => of(known.steps(), "step"),
        ("doctor", 0) => of(
            ["kernel", "rust", "docker"].map(str::to_owned).into(),
            "part",
        ),
        ("verify", _) => of(known.runs(), "run"),
        ("show", _) => of(known.notebooks(), "notebook"),
        (verb, 0) => of(known.sections(verb), "section"),
        _ => Vec::new(),
    }
}

/// Returns how many of the words are neither options nor their values.
fn plain_words(word: &str, earlier: &[&str]) -> usize {
    let before = std::iter::once(None).chain(earlier.iter().map(Some));
    let words = earlier.iter().zip(before);
    let plain = words.filter(|(text, before)| {
        let is_value = before.is_some_and(|before| takes_value(word, before));
        !text.starts_with('-') && !is_value
    });
    plain.count()
}

/// Returns whether a word is an option that the next word belongs to.
fn takes_value(word: &str, option: &str) -> bool {
    let mut table = CommandLine::command();
    table.build();
    let command = table.find_subcommand(word);
    let mut arguments = command.into_iter().flat_map(clap::Command::get_arguments);
    arguments.any(|argument| {
        let long = argument.get_long().map(|long| format!("--{long}"));
        let short = argument.get_short().map(|short| format!("-{short}"));
        let named = [long, short].iter().flatten().any(|name| name == option);
        named && argument.get_action().takes_values()
    })
}

fn options(word: &str) -> Vec<(String, &'static str)> {
    let mut table = CommandLine::command();
    table.build();
    let Some(command) = table.find_subcommand(word) else {
        return Vec::new();
    };
    let arguments = command
        .get_arguments()
        .filter(|argument| !argument.is_hide_set());
    arguments
        .filter_map(|argument| Some((format!("--{}", argument.get_long()?), "option")))
        .collect()
}
