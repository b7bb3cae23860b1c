//! What a person reads: one stream of lines, and a table at the end.

use crate::stage::Stage;
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

/// How a stage ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Everything is as it should be.
    Passed,
    /// Something is wrong, in these words.
    Failed(String),
    /// It did not run, for this reason.
    NotRun(String),
}

/// The stages that have ended, in order, and what a reader must know beside them.
#[derive(Debug, Default)]
pub struct Report {
    rows: Vec<(Stage, Outcome, Duration)>,
    remarks: Vec<String>,
    unfinished: bool,
}

impl Report {
    /// Adds a stage that has ended.
    pub fn add(&mut self, stage: Stage, outcome: Outcome, took: Duration) {
        self.rows.push((stage, outcome, took));
    }

    /// Adds something that was not checked although nothing is wrong with it.
    pub fn remark(&mut self, text: impl Into<String>) {
        self.remarks.push(text.into());
    }

    /// Adds something that was not checked and that makes the verification fail.
    pub fn leave_unfinished(&mut self, text: impl Into<String>) {
        self.unfinished = true;
        self.remark(text);
    }

    /// Tells whether the stage has passed.
    pub fn has_passed(&self, stage: Stage) -> bool {
        self.rows
            .iter()
            .any(|(s, outcome, _)| *s == stage && *outcome == Outcome::Passed)
    }

    /// Tells whether everything that ran passed, and nothing that should have run did not.
    pub fn is_good(&self) -> bool {
        !self.unfinished
            && self
                .rows
                .iter()
                .all(|(_, outcome, _)| *outcome == Outcome::Passed)
    }

    /// Returns the table of stages with their times, what failed and how to run it alone.
    pub fn summary(&self) -> String {
        let mut text = String::from("\n== what was verified\n");
        for (stage, outcome, took) in &self.rows {
            let word = match outcome {
                Outcome::Passed => "passed",
                Outcome::Failed(_) => "FAILED",
                Outcome::NotRun(_) => "NOT RUN",
            };
            let _ = writeln!(
                text,
                "   {:<9} {word:<8} {:>7.1} s",
                stage.name(),
                took.as_secs_f64()
            );
        }
        for (stage, outcome, _) in &self.rows {
            let (Outcome::Failed(why) | Outcome::NotRun(why)) = outcome else {
                continue;
            };
            let _ = writeln!(text, "{}: {why}", stage.name());
            let _ = writeln!(text, "   alone: cargo verify --only {}", stage.name());
        }
        for remark in &self.remarks {
            let _ = writeln!(text, "note: {remark}");
        }
        text
    }
}

/// Prints the heading of a stage.
pub fn heading(stage: Stage) {
    print(&format!("\n== {}: {}\n", stage.name(), stage.about()));
}

/// Prints one line about what is going on.
pub fn note(text: &str) {
    print(&format!("-- {text}\n"));
}

/// Prints text as it is. A reader who has gone away is no reason to stop verifying.
pub fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}

/// Prints what went wrong where the output is read by a program.
pub fn complain(text: &str) {
    // A reader who has gone away cannot be told.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_failed_stage_is_named_with_the_way_to_run_it_alone() {
        let mut report = Report::default();
        report.add(
            Stage::Fmt,
            Outcome::Failed("`cargo fmt` ended with 1".into()),
            SECOND,
        );
        report.add(Stage::Deny, Outcome::Passed, SECOND);
        assert!(!report.is_good());
        let summary = report.summary();
        assert!(
            summary.contains("fmt: `cargo fmt` ended with 1"),
            "{summary}"
        );
        assert!(summary.contains("cargo verify --only fmt"), "{summary}");
        assert!(!summary.contains("--only deny"), "{summary}");
    }

    #[test]
    fn a_stage_that_did_not_run_is_no_success() {
        let mut report = Report::default();
        report.add(
            Stage::Tests,
            Outcome::NotRun("build failed".into()),
            Duration::ZERO,
        );
        assert!(!report.is_good());
        assert!(!report.has_passed(Stage::Tests));
    }

    #[test]
    fn a_remark_is_shown_and_only_what_is_unfinished_fails() {
        let mut report = Report::default();
        report.add(Stage::Deny, Outcome::Passed, SECOND);
        report.remark("advisories were not checked");
        assert!(report.is_good());
        report.leave_unfinished("browser tests did not run");
        assert!(!report.is_good());
        assert!(
            report
                .summary()
                .contains("note: advisories were not checked")
        );
    }
}
