//! When a run stood still, because it waited for a person or because no process carried it out. What `status`, the
//! summary of a run and its pages take from its time has its home here.

use chrono::{DateTime, TimeDelta, Utc};

use crate::{Error, Event, EventBody, Outcome, Result, RunFolder, RunOutcome, RunState};

/// Why a run stood still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idle {
    /// It waited for a person: it was paused, an approval was asked for, or it needed somebody to decide.
    Paused,
    /// No process carried it out.
    Unattended,
}

/// A time in which a run stood still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standstill {
    /// Why.
    pub idle: Idle,
    /// From when on.
    pub from: DateTime<Utc>,
    /// Until when.
    pub to: DateTime<Utc>,
}

impl Standstill {
    /// Returns how long it was.
    #[must_use]
    pub fn lasted(&self) -> TimeDelta {
        (self.to - self.from).max(TimeDelta::zero())
    }
}

/// How a part of a run's time was passed. The three sum up to the time on the wall, to the microsecond.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Passed {
    /// Time in which a process carried the run out.
    pub spent: TimeDelta,
    /// Time in which it waited for a person.
    pub paused: TimeDelta,
    /// Time in which no process carried it out, from the last event of one to the first of the next. A process that was
    /// killed may have worked on for a part of it, so it is the most that it can be.
    pub unattended: TimeDelta,
}

impl Passed {
    /// Returns how long the run stood still, for whichever reason.
    #[must_use]
    pub fn stood_still(&self) -> TimeDelta {
        self.paused + self.unattended
    }

    /// Returns the time on the wall.
    #[must_use]
    pub fn wall(&self) -> TimeDelta {
        self.spent + self.stood_still()
    }

    /// Says how long the run stood still, to be added to a time; nothing where that is under a second.
    #[must_use]
    pub fn stood_in_words(&self) -> String {
        let paused = match self.paused.num_seconds() {
            ..=0 => String::new(),
            seconds => format!("; paused for {seconds} s"),
        };
        match self.unattended.num_seconds() {
            ..=0 => paused,
            seconds => format!("{paused}; no process carried it out for up to {seconds} s"),
        }
    }
}

/// For what a run waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// For the answer to an approval, while its step is under way.
    Answer,
    /// For somebody who resumes it, decides, or takes it back.
    Person,
}

/// The times in which a run, or a part of it, stood still. They grow with its pauses and processes, not with its journal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standstills {
    /// Those that are over, in order of time; none begins before the one before it ended.
    over: Vec<Standstill>,
    /// Since when the run waits, and for what.
    waits: Option<(DateTime<Utc>, Wait)>,
    /// When the first event was written.
    begun: Option<DateTime<Utc>>,
    /// When the last event was written that tells of a process at work.
    last: Option<DateTime<Utc>>,
    /// Whether a process has taken the run on.
    attended: bool,
}

impl Standstills {
    /// Takes the next event of the run.
    pub fn note(&mut self, event: &Event) {
        let time = event.time;
        self.begun = self.begun.or(Some(time));
        match &event.body {
            EventBody::Paused { .. } => self.wait(time, Wait::Person),
            EventBody::ApprovalAsked { .. } => self.wait(time, Wait::Answer),
            // A step that asks and gets no answer does not end as intended.
            EventBody::ApprovalGiven { .. }
            | EventBody::StepFinished {
                outcome: Outcome::Failed | Outcome::Stopped,
                ..
            } if self.waits.is_some_and(|(_, wait)| wait == Wait::Answer) => self.go_on(time),
            // A pause is over only once the run goes on, whichever process waits meanwhile.
            EventBody::LockTaken { .. } => self.taken(time),
            EventBody::Resumed { .. } | EventBody::RollbackStarted { .. } => self.go_on(time),
            EventBody::RunFinished { outcome, .. } => {
                self.go_on(time);
                if *outcome == RunOutcome::NeedsPerson {
                    self.wait(time, Wait::Person);
                }
            }
            _ => {}
        }
        // A process that takes over may name its key before it says that it does.
        if !matches!(event.body, EventBody::KeyNamed(_)) {
            self.last = Some(time);
        }
    }

    /// Who waits for a person to go on waits for that, whatever is asked meanwhile.
    fn wait(&mut self, time: DateTime<Utc>, wait: Wait) {
        self.waits = Some(match self.waits {
            Some((since, Wait::Answer)) => (since, wait),
            Some(waits) => waits,
            None => (time, wait),
        });
    }

    fn go_on(&mut self, time: DateTime<Utc>) {
        if let Some((since, _)) = self.waits.take() {
            self.add(Idle::Paused, since, time);
        }
    }

    /// The first process that takes the run on begins it.
    fn taken(&mut self, time: DateTime<Utc>) {
        let is_first = !std::mem::replace(&mut self.attended, true);
        if let Some(last) = self.last.filter(|_| !is_first && self.waits.is_none()) {
            self.add(Idle::Unattended, last, time);
        }
    }

    fn add(&mut self, idle: Idle, from: DateTime<Utc>, to: DateTime<Utc>) {
        if from < to {
            self.over.push(Standstill { idle, from, to });
        }
    }

    /// Returns those that are over, in order of time.
    #[must_use]
    pub fn over(&self) -> &[Standstill] {
        &self.over
    }

    /// Returns how the time between two moments was passed. A clock that was set back makes nothing shorter than
    /// nothing.
    #[must_use]
    pub fn passed(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> Passed {
        let mut passed = Passed::default();
        let first = self.over.partition_point(|one| one.to <= from);
        let over = self.over.iter().skip(first).copied();
        let open = self.waits.map(|(since, _)| Standstill {
            idle: Idle::Paused,
            from: since,
            to,
        });
        for one in over.take_while(|one| one.from < to).chain(open) {
            let within = Standstill {
                from: one.from.max(from),
                to: one.to.min(to),
                ..one
            };
            match one.idle {
                Idle::Paused => passed.paused += within.lasted(),
                Idle::Unattended => passed.unattended += within.lasted(),
            }
        }
        let whole = (to - from).max(TimeDelta::zero());
        passed.spent = (whole - passed.stood_still()).max(TimeDelta::zero());
        passed
    }

    /// Returns how the time was passed from the first event that was taken until that moment.
    #[must_use]
    pub fn until(&self, moment: DateTime<Utc>) -> Passed {
        self.passed(self.begun.unwrap_or(moment), moment)
    }
}

impl RunFolder {
    /// Reads the journal once: where the run stands, and when it stood still.
    ///
    /// # Errors
    /// [`Error::Broken`], [`Error::Io`].
    pub fn course(&self) -> Result<(RunState, Standstills)> {
        let (mut state, mut standstills) = (RunState::default(), Standstills::default());
        for event in self.events()? {
            let event = event?;
            state.apply(&event).map_err(|what| Error::Broken {
                path: self.journal_path(),
                event: event.seq,
                what,
            })?;
            standstills.note(&event);
        }
        Ok((state, standstills))
    }
}

#[cfg(test)]
mod tests;
