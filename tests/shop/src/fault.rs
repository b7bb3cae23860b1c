//! Faults chosen at start, so that a deployment can be seen to fail and go back.

use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::config::{millis, parse};
use crate::error::Error;
use crate::release::Release;
use crate::service::Service;

/// A growing latency stays below what callers wait for, as a real leak does for a long while.
const LEAK_LIMIT: Duration = Duration::from_secs(5);

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// Nothing.
    None,
    /// A share of the requests is answered with status 500.
    Errors,
    /// A share of the requests takes much longer.
    Slow,
    /// Every request takes a little longer than the one before.
    Leak,
    /// The process ends after a number of requests, without answering those under way.
    Crash,
    /// The service never becomes ready.
    Unready,
    /// One endpoint always answers with status 500.
    Partial,
}

impl FromStr for FaultKind {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Ok(match text {
            "none" => FaultKind::None,
            "errors" => FaultKind::Errors,
            "slow" => FaultKind::Slow,
            "leak" => FaultKind::Leak,
            "crash" => FaultKind::Crash,
            "unready" => FaultKind::Unready,
            "partial" => FaultKind::Partial,
            _ => return Err(()),
        })
    }
}

/// A fault and its measures.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// What goes wrong (`SHOP_FAULT`).
    pub kind: FaultKind,
    /// The share of requests that `errors` and `slow` reach, from 0 to 1 (`SHOP_FAULT_SHARE`,
    /// default 0.2).
    pub share: f64,
    /// The number of requests after which `crash` ends the process (`SHOP_FAULT_AFTER`, default
    /// 50).
    pub after: u64,
    /// How much longer a request that `slow` reaches takes (`SHOP_FAULT_DELAY_MS`, default 800).
    pub delay: Duration,
    /// How much longer each request takes than the one before with `leak`
    /// (`SHOP_FAULT_STEP_MS`, default 5).
    pub step: Duration,
}

impl Fault {
    /// A service that works.
    pub const NONE: Fault = Fault {
        kind: FaultKind::None,
        share: 0.2,
        after: 50,
        delay: Duration::from_millis(800),
        step: Duration::from_millis(5),
    };

    /// Reads the fault for one service and release.
    ///
    /// `SHOP_FAULT_SERVICE` names the service it applies to, or `all`. It is the storefront
    /// unless set: a fault there is seen by a client only in answers of the faulty release
    /// itself, whereas a faulty catalog also harms the answers of the stable storefront.
    /// `SHOP_FAULT_RELEASE` narrows it to one release.
    pub(crate) fn from_env(
        service: Service,
        release: &Release,
        get: &impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Error> {
        let kinds = "none, errors, slow, leak, crash, unready or partial";
        let fault = Fault {
            kind: parse(get, "SHOP_FAULT", kinds, FaultKind::None)?,
            share: parse(
                get,
                "SHOP_FAULT_SHARE",
                "a number from 0 to 1",
                Self::NONE.share,
            )?,
            after: parse(
                get,
                "SHOP_FAULT_AFTER",
                "a number of requests",
                Self::NONE.after,
            )?,
            delay: millis(get, "SHOP_FAULT_DELAY_MS", 800)?,
            step: millis(get, "SHOP_FAULT_STEP_MS", 5)?,
        };
        if !(0.0..=1.0).contains(&fault.share) {
            return Err(Error::Setting {
                name: "SHOP_FAULT_SHARE",
                value: fault.share.to_string(),
                expected: "a number from 0 to 1",
            });
        }
        let target = get("SHOP_FAULT_SERVICE").unwrap_or_else(|| "storefront".to_owned());
        let here = target == "all" || target.parse::<Service>()? == service;
        let now = get("SHOP_FAULT_RELEASE").is_none_or(|only| only == release.as_str());
        let kind = if here && now {
            fault.kind
        } else {
            FaultKind::None
        };
        Ok(Fault { kind, ..fault })
    }
}

/// What happens to one request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Proceed,
    Delay(Duration),
    Fail,
    Crash,
}

/// Decides for each request in turn; the same sequence of requests gives the same decisions.
#[derive(Debug)]
pub(crate) struct Injector {
    fault: Fault,
    broken_route: &'static str,
    seen: AtomicU64,
}

impl Injector {
    pub(crate) fn new(fault: Fault, service: Service) -> Self {
        let broken_route = match service {
            Service::Storefront => "/product/{id}",
            Service::Catalog => "/api/products/{id}",
            Service::Orders => "/api/orders/{id}",
        };
        Injector {
            fault,
            broken_route,
            seen: AtomicU64::new(0),
        }
    }

    pub(crate) fn never_ready(&self) -> bool {
        self.fault.kind == FaultKind::Unready
    }

    pub(crate) fn crash_after(&self) -> u64 {
        self.fault.after
    }

    pub(crate) fn decide(&self, route: &str) -> Decision {
        if self.fault.kind == FaultKind::None || is_exempt(route) {
            return Decision::Proceed;
        }
        let number = self.seen.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        match self.fault.kind {
            FaultKind::Errors if self.reaches(number) => Decision::Fail,
            FaultKind::Slow if self.reaches(number) => Decision::Delay(self.fault.delay),
            FaultKind::Leak => {
                let steps = u32::try_from(number).unwrap_or(u32::MAX);
                Decision::Delay(self.fault.step.saturating_mul(steps).min(LEAK_LIMIT))
            }
            FaultKind::Crash if number > self.fault.after => Decision::Crash,
            FaultKind::Partial if route == self.broken_route => Decision::Fail,
            _ => Decision::Proceed,
        }
    }

    /// Spreads the share evenly: a share of 0.2 reaches every fifth request.
    fn reaches(&self, number: u64) -> bool {
        #[allow(clippy::cast_precision_loss)]
        let step = |n: u64| (n as f64 * self.fault.share).floor();
        step(number) > step(number.saturating_sub(1))
    }
}

/// Probes and metrics stay truthful: a fault is to be found by what customers see.
fn is_exempt(route: &str) -> bool {
    matches!(
        route,
        "/livez" | "/readyz" | "/startupz" | "/metrics" | "/openapi.json"
    ) || route.starts_with("/internal/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn injector(kind: FaultKind) -> Injector {
        Injector::new(
            Fault {
                kind,
                ..Fault::NONE
            },
            Service::Storefront,
        )
    }

    #[test]
    fn errors_reach_their_share_evenly() {
        let injector = injector(FaultKind::Errors);
        let failed: Vec<_> = (1..=100)
            .filter(|_| injector.decide("/") == Decision::Fail)
            .collect();
        assert_eq!(failed, (1..=20).map(|n| n * 5).collect::<Vec<_>>());
    }

    #[test]
    fn a_leak_grows_and_stops_growing() {
        let injector = injector(FaultKind::Leak);
        assert_eq!(
            injector.decide("/"),
            Decision::Delay(Duration::from_millis(5))
        );
        assert_eq!(
            injector.decide("/"),
            Decision::Delay(Duration::from_millis(10))
        );
        let last = (0..2000).map(|_| injector.decide("/")).last();
        assert_eq!(last, Some(Decision::Delay(LEAK_LIMIT)));
    }

    #[test]
    fn probes_are_never_touched() {
        let injector = injector(FaultKind::Crash);
        let touched = (0..1000).any(|_| injector.decide("/readyz") != Decision::Proceed);
        assert!(!touched);
    }
}
