//! Records without an end: how far something that was signed covers what stands there.

use super::Record;
use super::failures::found;
use crate::failure::{Exit, Failure};

/// The most records of which it is said one by one.
const MOST: usize = 5;

/// The records of those that were checked that have no end.
pub(super) struct Endless {
    /// How many were checked.
    all: usize,
    /// How many of them have no end.
    count: usize,
    /// How far each is signed, in words.
    covered: Vec<String>,
}

impl Endless {
    pub(super) fn of(records: &[Record]) -> Self {
        let endless: Vec<&Record> = records.iter().filter(|one| one.is_endless).collect();
        Self {
            all: records.len(),
            count: endless.len(),
            covered: endless.into_iter().take(MOST).map(covered).collect(),
        }
    }

    pub(super) fn is_any(&self) -> bool {
        self.count > 0
    }

    /// Says how far each is signed.
    pub(super) fn covered(&self) -> String {
        let covered = self.covered.join("; ");
        match self.count.saturating_sub(self.covered.len()) {
            0 => covered,
            more => format!("{covered}; and {more} more (each is listed above)"),
        }
    }

    pub(super) fn failure(&self) -> Failure {
        let Self { all, count, .. } = self;
        let what = format!(
            "{count} of {all} records are not sealed: their end is missing. {}",
            self.covered()
        );
        let next = "A run that is not ended is sealed when it ends. When it has ended, lines were cut \
                    off: compare with a copy kept elsewhere.";
        found(Exit::Endless, "CD0307", what, next)
    }
}

/// Says up to which event of its journal something that was signed covers a record, and what speaks for the rest.
fn covered(record: &Record) -> String {
    let (name, events, signed) = (record.path.display(), record.report.events, record.signed);
    let last = events.saturating_sub(1);
    let chain = "whoever can write there can make such a chain anew";
    let said = |rest: &str| {
        format!(
            "{name}: what was signed covers its journal up to event {}; {rest}, but {chain}",
            signed.saturating_sub(1)
        )
    };
    if signed >= events {
        return format!(
            "{name}: what was signed covers its journal up to event {last}, the last that is here"
        );
    }
    if signed == 0 {
        return format!(
            "{name}: nothing that was signed covers an event of its journal; that each of the {events} follows from the one \
             before is all that speaks for them, and {chain}"
        );
    }
    match events - signed {
        1 => said(&format!(
            "event {last} is not signed: it follows from the one before"
        )),
        _ => said(&format!(
            "events {signed} to {last} are not signed: each follows from the one before"
        )),
    }
}
