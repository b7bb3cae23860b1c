//! How a command ends, and the errors that a person reads.

use code_deploy_engine::Error as EngineError;
use code_deploy_record::Problem;
use serde::{Deserialize, Serialize};

/// How a command ended, as its exit code tells. The codes are documented and stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// Done.
    Done,
    /// Refused or failed, with everything as before.
    Refused,
    /// The command line is wrong.
    Usage,
    /// Rolled back.
    RolledBack,
    /// A person must decide.
    NeedsPerson,
    /// `verify`: something is not what was written.
    Changed,
    /// `verify`: a signature does not hold, or is of a key that it should not be of.
    Untrusted,
    /// `verify`: a record has no end.
    Endless,
    /// `verify`: files are not here.
    NotHere,
    /// `verify`: notebooks cannot be compared with the record.
    NotComparable,
    /// `verify`: an approval is not signed as the policy wanted.
    NotApproved,
    /// Interrupted at a safe point.
    Interrupted,
}

impl Exit {
    /// Returns the exit code.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Refused => 1,
            Self::Usage => 2,
            Self::RolledBack => 3,
            Self::NeedsPerson => 4,
            Self::Changed => 10,
            Self::Untrusted => 11,
            Self::Endless => 12,
            Self::NotHere => 13,
            Self::NotComparable => 14,
            Self::NotApproved => 15,
            Self::Interrupted => 130,
        }
    }
}

/// Why a command did not do what was asked, or stopped on the way.
#[derive(Debug, Serialize, Deserialize)]
pub struct Failure {
    /// The error as a person reads it.
    pub problem: Problem,
    /// How the command ends.
    pub exit: Exit,
    /// Lines of the user's file around the place, where there is one.
    pub excerpt: Box<[String]>,
}

impl Failure {
    /// Returns a failure after which everything is as before.
    pub fn refused(code: &str, what: impl Into<String>, next: impl Into<String>) -> Self {
        Self::new(Exit::Refused, code, what, NOTHING_CHANGED, next)
    }

    /// Returns the failure of a command that was not well formed.
    pub fn usage(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self::new(Exit::Usage, "CD0001", what, NOTHING_CHANGED, next)
    }

    /// Returns the failure of a process that cannot be started as it has to be.
    pub fn cannot_start(what: impl Into<String>) -> Self {
        let next = "Look at the limits and permissions of this user, then try again.";
        Self::refused(crate::codes::CANNOT_START, what, next)
    }

    /// Returns the end of a command that only looks at things and was interrupted.
    pub fn stopped_looking() -> Self {
        Self::new(
            Exit::Interrupted,
            crate::codes::STOPPED_LOOKING,
            "the command was stopped before its end",
            "It changes nothing; a run that it looked at goes on.",
            "Give the command again to look again.",
        )
    }

    /// Returns a failure with what the state is after it.
    pub fn new(
        exit: Exit,
        code: &str,
        what: impl Into<String>,
        state: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        let problem = Problem {
            code: code.to_owned(),
            what: what.into(),
            state: state.into(),
            next: next.into(),
        };
        Self::of(problem, exit)
    }

    /// Returns the failure that a problem is. Where the problem does not say what the state is or
    /// what to do, what holds for every problem is said.
    pub fn of(mut problem: Problem, exit: Exit) -> Self {
        if problem.state.is_empty() {
            problem.state = STATE_IN_RECORD.to_owned();
        }
        if problem.next.is_empty() {
            problem.next = "Mend the cause that is named, then give the command again.".to_owned();
        }
        Self {
            problem,
            exit,
            excerpt: Box::default(),
        }
    }

    /// Returns the failure of a command line or cell that the table of commands does not know.
    pub fn of_command_line(error: &clap::Error, more: &str) -> Self {
        let text = error.render().to_string();
        let text = text.trim_start_matches("error: ");
        let (what, rest) = text.split_once("\n\n").unwrap_or((text, ""));
        let what = what.split_whitespace().collect::<Vec<_>>().join(" ");
        let tips = rest
            .lines()
            .filter_map(|line| line.trim().strip_prefix("tip: "))
            // Nobody means an option as a section's name.
            .filter(|tip| !tip.starts_with("to pass '-"));
        let tips: String = tips.map(|tip| format!("{}. ", sentence(tip))).collect();
        Self::usage(what, format!("{tips}{more}"))
    }

    /// Returns whether the run stands at a safe point because somebody wanted that: no error.
    pub fn is_pause(&self) -> bool {
        self.problem.code == code_deploy_engine::code::PAUSED
    }

    /// Returns the word that says what this is: `error`, or `paused`.
    pub fn word(&self) -> &'static str {
        if self.is_pause() { "paused" } else { "error" }
    }

    /// Returns the failure of what only looks: it has nothing to say of what was done.
    pub fn of_a_look(mut self) -> Self {
        if self.problem.state == STATE_IN_RECORD {
            self.problem.state = NOTHING_CHANGED.to_owned();
        }
        self
    }

    /// Returns the failure as a terminal and a cell show it: what, where, what the state is now,
    /// what to do next.
    pub fn lines(&self) -> Vec<String> {
        let problem = &self.problem;
        let mut lines = vec![format!(
            "{}[{}]: {}",
            self.word(),
            problem.code,
            problem.what
        )];
        lines.extend(self.excerpt.iter().map(|line| format!("  {line}")));
        lines.push(format!("  state: {}", problem.state));
        lines.push(format!("  next: {}", problem.next));
        lines
    }
}

const NOTHING_CHANGED: &str = "Nothing was changed.";

/// What is true after every error of something that may have acted.
const STATE_IN_RECORD: &str =
    "What was done stands in the record; `code-deploy status` asks what runs.";

fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|first| first.to_uppercase().to_string());
    first.unwrap_or_default() + chars.as_str()
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        let excerpt = match &error {
            EngineError::Spec(spec) => spec.excerpt().unwrap_or_default(),
            _ => Vec::new(),
        };
        Self {
            excerpt: excerpt.into(),
            ..Self::of(error.problem(), Exit::Refused)
        }
    }
}

impl From<code_deploy_engine::spec::SpecError> for Failure {
    fn from(error: code_deploy_engine::spec::SpecError) -> Self {
        Self::from(Box::new(error))
    }
}

impl From<Box<code_deploy_engine::spec::SpecError>> for Failure {
    fn from(error: Box<code_deploy_engine::spec::SpecError>) -> Self {
        Self::from(EngineError::Spec(error))
    }
}

impl From<code_deploy_record::Error> for Failure {
    fn from(error: code_deploy_record::Error) -> Self {
        Self::from(EngineError::Record(error))
    }
}

impl From<code_deploy_engine::target::TargetError> for Failure {
    fn from(error: code_deploy_engine::target::TargetError) -> Self {
        Self::from(EngineError::Target(error))
    }
}

impl From<code_deploy_engine::StepError> for Failure {
    fn from(error: code_deploy_engine::StepError) -> Self {
        Self::from(EngineError::Step(error))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

    use super::*;

    fn problem(code: &str) -> Problem {
        Problem {
            code: code.to_owned(),
            what: "it broke".to_owned(),
            state: String::new(),
            next: String::new(),
        }
    }

    #[test]
    fn every_failure_says_what_the_state_is_and_what_to_do() {
        let failure = Failure::of(problem("CD9999"), Exit::Refused);
        let lines = failure.lines();
        assert_eq!(lines[0], "error[CD9999]: it broke");
        assert!(lines[1].starts_with("  state: What was done"), "{lines:?}");
        assert!(lines[2].starts_with("  next: Mend"), "{lines:?}");
    }

    #[test]
    fn a_pause_is_not_called_an_error() {
        let failure = Failure::of(problem("CD0401"), Exit::Interrupted);
        assert_eq!(failure.lines()[0], "paused[CD0401]: it broke");
    }
}
