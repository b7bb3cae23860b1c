//! Times in which whoever is asked did not answer, for the record of a run that waited for it.

use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};
use code_deploy_engine::target::TargetEvent;
use code_deploy_record::{Clock as _, Severity, SystemClock};

/// What is told of times in which somebody did not answer.
pub struct Silences {
    /// Who, in words.
    who: &'static str,
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    since: Option<DateTime<Utc>>,
    over: Vec<TargetEvent>,
}

impl Silences {
    /// Returns that nothing is to be told of that one yet.
    pub fn of(who: &'static str) -> Self {
        Self {
            who,
            told: Mutex::default(),
        }
    }

    /// Takes note that it has not answered since then, unless that is known.
    pub fn began(&self, since: DateTime<Utc>) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.since.get_or_insert(since);
    }

    /// Takes note that it answers.
    pub fn ended(&self) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(since) = told.since.take() else {
            return;
        };
        let now = SystemClock.now();
        let (who, lasted) = (self.who, (now - since).as_seconds_f64());
        told.over.push(TargetEvent {
            time: now,
            service: None,
            severity: Severity::Medium,
            text: format!(
                "{who} did not answer for {lasted:.1} s; what was asked of it was asked again until it \
                 did"
            ),
        });
    }

    /// Returns what is to be told since the last call.
    pub fn since_last(&self) -> Vec<TargetEvent> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut told.over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_without_answers_is_told_once() {
        let silences = Silences::of("the platform");
        silences.ended();
        assert_eq!(silences.since_last(), []);
        let since = SystemClock.now() - chrono::Duration::seconds(20);
        silences.began(since);
        silences.began(SystemClock.now());
        assert_eq!(silences.since_last(), []);
        silences.ended();
        silences.ended();
        let told = silences.since_last();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told.iter().all(|one| {
            one.text
                .starts_with("the platform did not answer for 20.0 s")
        }));
        assert_eq!(silences.since_last(), []);
    }
}
