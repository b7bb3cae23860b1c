//! How the time of a run was passed: pages compare and rank by what was spent, and say beside it for how long the run was
//! paused, or unattended.

use chrono::{DateTime, TimeDelta, Utc};
use code_deploy_record::{Column, Direction, Outcome, Passed, PhaseState, StepName};

use crate::facts::{At, Facts, StepEnd};
use crate::format::duration;

/// What pages say of the two kinds of time in which a run stands still.
pub(crate) const KINDS: &str = "Paused is time in which the run waited for a person: in a pause, for the answer to an \
                                approval, or because it needed somebody to decide. Unattended is time in which no process \
                                carried it out, from the last event of one to the first of the next, which is the most \
                                that it can be.";

impl Facts {
    /// Returns how the time between two moments was passed.
    #[must_use]
    pub fn passed(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> Passed {
        self.standstills.passed(from, to)
    }

    /// Returns how the time of the whole run was passed, up to its last event while it goes on.
    #[must_use]
    pub fn whole(&self) -> Passed {
        self.passed(self.since(), self.until())
    }

    /// Returns how the time of a phase was passed, up to the last event while it is under way.
    pub(crate) fn passed_in(&self, phase: &PhaseState) -> Passed {
        let end = phase.finished.map_or_else(|| self.until(), |(end, _)| end);
        self.passed(phase.started, end)
    }

    /// Returns how the time of a step that ended was passed.
    pub(crate) fn passed_by(&self, step: &At<StepEnd>) -> Passed {
        self.before(step.time, step.what.duration_us)
    }

    /// Returns the same of the last end of a step in that direction; nothing where it did not end so.
    pub(crate) fn passed_last(&self, step: &StepName, direction: Direction) -> Option<Passed> {
        let mut ends = self.steps.iter().rev();
        let end = ends.find(|end| end.what.step == *step && end.what.direction == direction)?;
        Some(self.passed_by(end))
    }

    /// Returns how the time of going back was passed that ended with that event: from its beginning, whichever process
    /// carried it out.
    pub(crate) fn passed_going_back(&self, end: &At<(Outcome, u64)>) -> Passed {
        let mut begun = self.rollbacks.iter().rev();
        match begun.find(|begun| begun.seq < end.seq) {
            Some(begun) => self.passed(begun.time, end.time),
            None => self.before(end.time, end.what.1),
        }
    }

    /// Returns how so many microseconds before a moment were passed.
    fn before(&self, end: DateTime<Utc>, took: u64) -> Passed {
        let took = TimeDelta::microseconds(i64::try_from(took).unwrap_or(i64::MAX));
        self.passed(end.checked_sub_signed(took).unwrap_or(end), end)
    }
}

/// Returns a span in microseconds.
pub(crate) fn microseconds(span: TimeDelta) -> u64 {
    let span = span.num_microseconds().unwrap_or(i64::MAX);
    u64::try_from(span).unwrap_or(0)
}

/// Returns what was spent, in microseconds.
pub(crate) fn spent(passed: &Passed) -> u64 {
    microseconds(passed.spent)
}

/// Says how much was spent, and how long the run stood still meanwhile where that was a second or more.
pub(crate) fn in_words(passed: &Passed) -> String {
    let took = duration(spent(passed));
    match stood(passed) {
        None => took,
        Some(stood) => format!("{took} (without {stood})"),
    }
}

/// Returns the time on the wall in words, and of what it is made up where the run stood still for a second or more.
pub(crate) fn on_the_wall(passed: &Passed) -> String {
    let wall = duration(microseconds(passed.wall()));
    match stood(passed) {
        None => wall,
        Some(stood) => format!(
            "{wall} on the wall: {} spent, {stood}",
            duration(spent(passed))
        ),
    }
}

/// Says how long the run stood still; nothing where that was under a second.
fn stood(passed: &Passed) -> Option<String> {
    let kinds = [(passed.paused, "paused"), (passed.unattended, "unattended")];
    let told = kinds.iter().filter(|(span, _)| span.num_seconds() > 0);
    let told: Vec<String> = told
        .map(|(span, word)| format!("{} {word}", duration(microseconds(*span))))
        .collect();
    (!told.is_empty()).then(|| told.join(", "))
}

/// The columns of a table that tell how time was passed: one where the run never stood still.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TimeColumns {
    /// Whether the run stood still at all.
    pub(crate) split: bool,
}

impl TimeColumns {
    pub(crate) fn of(facts: &Facts) -> Self {
        let split = !facts.whole().stood_still().is_zero();
        Self { split }
    }

    pub(crate) fn titles(self) -> Vec<Column> {
        let titles = ["Spent", "Paused", "Unattended"];
        let number = if self.split { titles.len() } else { 1 };
        titles
            .into_iter()
            .take(number)
            .map(Column::number)
            .collect()
    }

    /// Returns the entries of a row; empty ones where there is no time.
    pub(crate) fn cells(self, passed: Option<Passed>) -> Vec<String> {
        let of = |span: TimeDelta| match span.is_zero() {
            true => String::new(),
            false => duration(microseconds(span)),
        };
        let mut cells = match passed {
            Some(passed) => vec![
                duration(spent(&passed)),
                of(passed.paused),
                of(passed.unattended),
            ],
            None => vec![String::new(); 3],
        };
        cells.truncate(if self.split { 3 } else { 1 });
        cells
    }
}
