//! How long a run stood still because somebody wanted that: no time that its steps took.

use chrono::{DateTime, TimeDelta, Utc};
use code_deploy_record::{Error, Event, EventBody, RunFolder, RunState};

/// The pauses of a run, or of a part of it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pauses {
    /// Of all that are over.
    over: TimeDelta,
    /// When the one began that is not over.
    since: Option<DateTime<Utc>>,
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
            EventBody::Resumed { .. }
            | EventBody::RollbackStarted { .. }
            | EventBody::RunFinished { .. } => {
                self.over = self.until(event.time);
                self.since = None;
            }
            _ => {}
        }
    }

    /// Returns how long all pauses were until that moment. A clock that was set back makes none shorter than nothing.
    pub fn until(&self, moment: DateTime<Utc>) -> TimeDelta {
        let open = self.since.map(|since| moment - since);
        self.over + open.unwrap_or_default().max(TimeDelta::zero())
    }

    /// Says how long all pauses were until that moment, to be added to a time; nothing where that is under a second.
    pub fn in_words(&self, until: DateTime<Utc>) -> String {
        match self.until(until).num_seconds() {
            ..=0 => String::new(),
            seconds => format!("; paused for {seconds} s"),
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
            line: event.seq + 1,
            what,
        })?;
        pauses.take(&event);
    }
    Ok((state, pauses))
}

#[cfg(test)]
pub mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

    use code_deploy_record::{Digest, Trigger};

    use super::*;

    pub fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
    }

    pub fn event(seconds: i64, body: EventBody) -> Event {
        Event {
            seq: 1,
            time: at(seconds),
            actor: "engine".to_owned(),
            prev: Digest::ZERO,
            body,
        }
    }

    pub fn paused() -> EventBody {
        EventBody::Paused {
            after: None,
            by: None,
            reason: None,
        }
    }

    pub fn resumed() -> EventBody {
        let found = "ann resumed it: on".to_owned();
        EventBody::Resumed { found }
    }

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
}
