//! The circuit breaker of one backend.

use std::time::{Duration, Instant};

use crate::config::BreakerConfig;

/// Leaves a failing backend alone, then lets one request probe it.
#[derive(Debug)]
pub(crate) struct Breaker {
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant },
    HalfOpen { probing: bool },
}

impl Breaker {
    /// Returns a breaker that lets everything through.
    pub(crate) fn new() -> Self {
        Self {
            state: State::Closed { failures: 0 },
        }
    }

    /// Tells whether a request may go to the backend now.
    pub(crate) fn allows(&self, now: Instant) -> bool {
        match self.state {
            State::Closed { .. } => true,
            State::Open { until } => now >= until,
            State::HalfOpen { probing } => !probing,
        }
    }

    /// Returns for how long it lets nothing through, from now on.
    pub(crate) fn opens_in(&self, now: Instant) -> Duration {
        match self.state {
            State::Open { until } => until.saturating_duration_since(now),
            State::Closed { .. } | State::HalfOpen { .. } => Duration::ZERO,
        }
    }

    /// Takes note that a request goes to the backend; after an opening it is the only probe.
    pub(crate) fn admit(&mut self, now: Instant) {
        match self.state {
            State::Open { until } if now >= until => self.state = State::HalfOpen { probing: true },
            State::HalfOpen { .. } => self.state = State::HalfOpen { probing: true },
            State::Closed { .. } | State::Open { .. } => {}
        }
    }

    /// Takes note that the backend answered.
    pub(crate) fn succeeded(&mut self) {
        self.state = State::Closed { failures: 0 };
    }

    /// Takes note that the backend failed; returns whether this opened the breaker.
    pub(crate) fn failed(&mut self, config: &BreakerConfig, now: Instant) -> bool {
        let opening = match self.state {
            State::Closed { failures } => failures + 1 >= config.failures,
            State::HalfOpen { .. } => true,
            State::Open { .. } => return false,
        };
        self.state = match self.state {
            State::Closed { failures } if !opening => State::Closed {
                failures: failures + 1,
            },
            _ => State::Open {
                until: later(now, config.open_for),
            },
        };
        opening
    }

    /// Takes note that a request ended without telling anything about the backend.
    pub(crate) fn abandoned(&mut self) {
        if let State::HalfOpen { .. } = self.state {
            self.state = State::HalfOpen { probing: false };
        }
    }

    /// Returns the state's name: `closed`, `open` or `half-open`.
    pub(crate) fn name(&self) -> &'static str {
        match self.state {
            State::Closed { .. } => "closed",
            State::Open { .. } => "open",
            State::HalfOpen { .. } => "half-open",
        }
    }
}

fn later(now: Instant, by: Duration) -> Instant {
    now.checked_add(by).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> BreakerConfig {
        BreakerConfig {
            failures: 3,
            open_for: Duration::from_secs(5),
            count_5xx: false,
        }
    }

    #[test]
    fn failures_in_a_row_open_it_and_a_success_between_starts_over() {
        let now = Instant::now();
        let mut breaker = Breaker::new();
        assert!(!breaker.failed(&config(), now));
        assert!(!breaker.failed(&config(), now));
        breaker.succeeded();
        assert!(!breaker.failed(&config(), now));
        assert!(!breaker.failed(&config(), now));
        assert_eq!(breaker.opens_in(now), Duration::ZERO);
        assert!(breaker.failed(&config(), now));
        assert!(!breaker.allows(now));
        assert_eq!(breaker.opens_in(now), config().open_for);
        assert_eq!(breaker.opens_in(now + config().open_for), Duration::ZERO);
    }

    #[test]
    fn after_the_interval_exactly_one_request_probes() {
        let now = Instant::now();
        let mut breaker = Breaker::new();
        for _ in 0..3 {
            breaker.failed(&config(), now);
        }
        let later = now + Duration::from_secs(5);
        assert!(breaker.allows(later));
        breaker.admit(later);
        assert!(!breaker.allows(later));
        assert!(breaker.failed(&config(), later));
        assert!(!breaker.allows(later + Duration::from_secs(4)));
        let again = later + Duration::from_secs(5);
        breaker.admit(again);
        breaker.succeeded();
        assert_eq!(breaker.name(), "closed");
    }

    #[test]
    fn a_probe_whose_client_left_makes_room_for_the_next() {
        let now = Instant::now();
        let mut breaker = Breaker::new();
        for _ in 0..3 {
            breaker.failed(&config(), now);
        }
        let later = now + Duration::from_secs(6);
        breaker.admit(later);
        breaker.abandoned();
        assert!(breaker.allows(later));
    }
}
