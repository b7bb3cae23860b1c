//! When a backend counts as healthy.

use serde::{Deserialize, Serialize};

/// What is known about a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HealthStatus {
    /// Not yet enough checks to tell; gets no requests.
    Unknown,
    /// Gets requests.
    Healthy,
    /// Gets requests only where no other in use is healthy, and only after it once was; goes on being
    /// checked.
    Unhealthy,
}

/// The thresholds at work: a status changes only after several equal results in a row.
#[derive(Debug)]
pub(crate) struct Health {
    status: HealthStatus,
    was_healthy: bool,
    passes: u32,
    failures: u32,
    last_error: Option<String>,
}

impl Health {
    /// Returns a state with the given beginning.
    pub(crate) fn new(status: HealthStatus) -> Self {
        Self {
            status,
            was_healthy: status == HealthStatus::Healthy,
            passes: 0,
            failures: 0,
            last_error: None,
        }
    }

    /// Returns it with the status that another router has found. That it was healthy stays.
    pub(crate) fn found(self, status: HealthStatus) -> Self {
        let was_healthy = self.was_healthy || status == HealthStatus::Healthy;
        Self {
            status,
            was_healthy,
            ..self
        }
    }

    /// Takes in one result; returns the new status if it changed.
    pub(crate) fn record(
        &mut self,
        result: Result<(), String>,
        healthy_after: u32,
        unhealthy_after: u32,
    ) -> Option<HealthStatus> {
        let next = match result {
            Ok(()) => {
                self.passes = self.passes.saturating_add(1);
                self.failures = 0;
                self.last_error = None;
                (self.passes >= healthy_after).then_some(HealthStatus::Healthy)
            }
            Err(reason) => {
                self.failures = self.failures.saturating_add(1);
                self.passes = 0;
                self.last_error = Some(reason);
                (self.failures >= unhealthy_after).then_some(HealthStatus::Unhealthy)
            }
        };
        let changed = next.filter(|status| *status != self.status)?;
        self.status = changed;
        self.was_healthy |= changed == HealthStatus::Healthy;
        Some(changed)
    }

    /// Returns the status.
    pub(crate) fn status(&self) -> HealthStatus {
        self.status
    }

    /// Tells whether it has ever been healthy.
    pub(crate) fn was_healthy(&self) -> bool {
        self.was_healthy
    }

    /// Returns passes in a row, failures in a row, and why the last check failed.
    pub(crate) fn detail(&self) -> (u32, u32, Option<String>) {
        (self.passes, self.failures, self.last_error.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_lucky_answer_does_not_make_a_backend_healthy() {
        let mut health = Health::new(HealthStatus::Unknown);
        assert_eq!(health.record(Ok(()), 3, 3), None);
        assert_eq!(health.record(Ok(()), 3, 3), None);
        assert_eq!(health.record(Err("503".into()), 3, 3), None);
        assert_eq!(health.record(Ok(()), 3, 3), None);
        assert_eq!(health.record(Ok(()), 3, 3), None);
        assert_eq!(health.record(Ok(()), 3, 3), Some(HealthStatus::Healthy));
    }

    #[test]
    fn one_failure_does_not_make_a_backend_unhealthy_and_it_recovers() {
        let mut health = Health::new(HealthStatus::Healthy);
        assert_eq!(health.record(Err("timeout".into()), 1, 2), None);
        assert_eq!(
            health.record(Err("timeout".into()), 1, 2),
            Some(HealthStatus::Unhealthy)
        );
        assert_eq!(health.record(Ok(()), 1, 2), Some(HealthStatus::Healthy));
    }
}
