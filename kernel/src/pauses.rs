//! How long a run stood still because somebody wanted that, or because no process carried it out: no time that its steps
//! took.

use chrono::{DateTime, TimeDelta, Utc};
use code_deploy_record::{Error, Event, EventBody, RunFolder, RunState};

/// The pauses of a run, or of a part of it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pauses {
    /// Of all that are over.
    over: TimeDelta,
    /// When the one began that is not over.
    since: Option<DateTime<Utc>>,
    /// Between processes that carried it out, outside of pauses.
    unattended: TimeDelta,
    /// When the last event was written that tells of a process at work.
    last: Option<DateTime<Utc>>,
}

impl Pauses {
    /// Reads the pauses of a run.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub fn of(run: &RunFolder) -> Result<Self, Error> {
        let mut pauses = Self::default();
        for event in run.events()? {
            pauses.take(&event?);
        }
        Ok(pauses)
    }

    /// Takes the next event of the run.
    pub fn take(&mut self, event: &Event) {
        match event.body {
            EventBody::Paused { .. } => self.since = self.since.or(Some(event.time)),
            // A pause is over only once the run goes on, whichever process waits meanwhile.
            EventBody::LockTaken { .. } if self.since.is_none() => {
                let gone = self.last.map(|last| event.time - last);
                self.unattended += gone.unwrap_or_default().max(TimeDelta::zero());
            }
            EventBody::Resumed { .. }
            | EventBody::RollbackStarted { .. }
            | EventBody::RunFinished { .. } => {
                self.over = self.until(event.time);
                self.since = None;
            }
            _ => {}
        }
        // A process that takes over may name its key before it says that it does.
        if !matches!(event.body, EventBody::KeyNamed(_)) {
            self.last = Some(event.time);
        }
    }

    /// Returns how long all pauses were until that moment. A clock that was set back makes none shorter than nothing.
    pub fn until(&self, moment: DateTime<Utc>) -> TimeDelta {
        let open = self.since.map(|since| moment - since);
        self.over + open.unwrap_or_default().max(TimeDelta::zero())
    }

    /// Returns how long no process carried the run out, outside of pauses: from the last event of one to the first of
    /// the next. A process that was killed may have worked on for a part of it, so it is the most that it can be.
    pub fn unattended(&self) -> TimeDelta {
        self.unattended
    }

    /// Returns how long the run stood still until that moment, for whichever reason.
    pub fn stood_still(&self, moment: DateTime<Utc>) -> TimeDelta {
        self.until(moment) + self.unattended
    }

    /// Says how long the run stood still until that moment, to be added to a time; nothing where that is under a second.
    pub fn in_words(&self, until: DateTime<Utc>) -> String {
        let paused = match self.until(until).num_seconds() {
            ..=0 => String::new(),
            seconds => format!("; paused for {seconds} s"),
        };
        match self.unattended.num_seconds() {
            ..=0 => paused,
            seconds => format!("{paused}; no process carried it out for up to {seconds} s"),
        }
    }
}

/// Reads a record once: where its run stands, and its pauses.
///
/// # Errors
/// When the record cannot be read.
pub fn read(run: &RunFolder) -> Result<(RunState, Pauses), Error> {
    let (mut state, mut pauses) = (RunState::default(), Pauses::default());
    for event in run.events()? {
        let event = event?;
        state.apply(&event).map_err(|what| Error::Broken {
            path: run.journal_path(),
            event: event.seq,
            what,
        })?;
        pauses.take(&event);
    }
    Ok((state, pauses))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

    use code_deploy_record::Trigger;

    use super::*;
    use crate::fixtures::{at, event, lock_taken, paused, resumed};

    #[test]
    fn a_pause_lasts_until_the_run_goes_on_or_back() {
        let mut pauses = Pauses::default();
        pauses.take(&event(10, resumed()));
        assert_eq!(pauses.in_words(at(99)), "");
        pauses.take(&event(100, paused()));
        assert_eq!(pauses.in_words(at(90)), "");
        assert_eq!(pauses.in_words(at(107)), "; paused for 7 s");
        pauses.take(&event(130, resumed()));
        pauses.take(&event(200, paused()));
        let back = EventBody::RollbackStarted {
            trigger: Trigger::Person,
            reason: "it is ill".to_owned(),
        };
        pauses.take(&event(205, back));
        assert_eq!(pauses.until(at(1000)), TimeDelta::seconds(35));
    }

    #[test]
    fn the_time_between_two_processes_is_told_apart_and_counts_once_where_the_run_was_paused() {
        let mut pauses = Pauses::default();
        pauses.take(&event(0, lock_taken(1)));
        pauses.take(&event(30, resumed()));
        pauses.take(&event(150, lock_taken(2)));
        pauses.take(&event(150, resumed()));
        assert_eq!(pauses.unattended(), TimeDelta::seconds(120));
        let told = "; no process carried it out for up to 120 s";
        assert_eq!(pauses.in_words(at(160)), told);
        pauses.take(&event(170, paused()));
        pauses.take(&event(200, lock_taken(3)));
        pauses.take(&event(200, resumed()));
        assert_eq!(pauses.in_words(at(210)), format!("; paused for 30 s{told}"));
        assert_eq!(pauses.stood_still(at(210)), TimeDelta::seconds(150));
    }
}
