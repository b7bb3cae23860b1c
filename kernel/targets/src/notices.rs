//! What a target has done or left undone that whoever follows a run is to know.

use std::sync::{Mutex, PoisonError};

use code_deploy_engine::target::TargetEvent;
use code_deploy_record::{Clock as _, Severity, SystemClock};

/// What is to be told since it was asked for last.
#[derive(Debug, Default)]
pub(crate) struct Notices(Mutex<Vec<TargetEvent>>);

impl Notices {
    /// Has something told, of a service where it is about one.
    pub fn tell(&self, service: Option<&str>, severity: Severity, text: String) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push(TargetEvent {
            time: SystemClock.now(),
            service: service.map(str::to_owned),
            severity,
            text,
        });
    }

    /// Returns what is to be told since the last call.
    pub fn since_last(&self) -> Vec<TargetEvent> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
