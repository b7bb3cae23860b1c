//! Times in which the cluster did not answer, for the record of a run that waited for it.

use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};
use code_deploy_engine::target::TargetEvent;
use code_deploy_record::{Clock as _, Severity, SystemClock};

/// What is told of times in which the cluster did not answer.
#[derive(Default)]
pub struct Silences(Mutex<Told>);

#[derive(Default)]
struct Told {
    since: Option<DateTime<Utc>>,
    over: Vec<TargetEvent>,
}

impl Silences {
    /// Takes note that it does not answer since then, unless that is known.
    pub fn began(&self, since: DateTime<Utc>) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.since.get_or_insert(since);
    }

    /// Takes note that it answers.
    pub fn ended(&self) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(since) = told.since.take() else {
            return;
        };
        let now = SystemClock.now();
        let lasted = (now - since).num_seconds();
        told.over.push(TargetEvent {
            time: now,
            service: None,
            severity: Severity::Medium,
            text: format!(
                "the cluster's API server did not answer for {lasted} s; what was asked of it was \
                 asked again until it did"
            ),
        });
    }

    /// Returns what is to be told since the last call.
    pub fn since_last(&self) -> Vec<TargetEvent> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut told.over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_without_answers_is_told_once() {
        let silences = Silences::default();
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
        assert!(told.iter().all(|one| one.text.contains("for 20 s")));
        assert_eq!(silences.since_last(), []);
    }
}
