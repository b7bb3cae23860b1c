//! What became of instances on its own, told by comparing with what was seen before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};
use code_deploy_engine::target::TargetEvent;
use code_deploy_record::{Clock as _, Severity, SystemClock};

use super::store::Known;

/// How an instance was when it was last looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Seen {
    restarts: u32,
    running: bool,
    started: DateTime<Utc>,
    healthy: Option<bool>,
}

impl Seen {
    fn of(known: &Known) -> Self {
        Self {
            restarts: known.restarts,
            running: known.running,
            started: known.started,
            healthy: known.healthy(),
        }
    }
}

/// The instances and routers as they were last seen.
#[derive(Default)]
pub struct Happenings {
    seen: Mutex<BTreeMap<String, Seen>>,
    /// The containers that are ended on purpose: they stand on the engine until they are removed.
    asked: Mutex<BTreeSet<String>>,
}

impl Happenings {
    /// Takes note that a container is about to be ended on purpose.
    pub fn is_asked_to_end(&self, container: &Known) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.insert(container.id.clone());
    }

    /// Returns whether a container was started again since it was last looked at.
    pub fn was_started_again(&self, container: &Known) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(&container.id)
            .is_some_and(|was| was.restarts < container.restarts)
    }

    /// Returns what happened to instances and routers since the last call. Those that are ended on
    /// purpose are not told of. That a router was started again is told also when that
    /// was before the first call.
    pub fn since_last(&self, instances: &[Known], routers: &[Known]) -> Vec<TargetEvent> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut now = BTreeMap::new();
        let mut events = Vec::new();
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let told_of = |known: &&Known| !asked.contains(&known.id);
        for router in routers.iter().filter(told_of) {
            let was = seen.get(&router.id);
            let again = was.map_or(0, |was| was.restarts) < router.restarts
                || was.is_some_and(|was| was.started < router.started);
            events.extend(again.then(|| router_restart(router)));
            now.insert(router.id.clone(), Seen::of(router));
        }
        for known in instances.iter().filter(told_of) {
            let is = Seen::of(known);
            let was = seen.get(&known.id);
            events.extend(told(known, was, is).map(|text| TargetEvent {
                time: SystemClock.now(),
                service: Some(known.service.clone()),
                severity: Severity::Medium,
                text,
            }));
            now.insert(known.id.clone(), is);
        }
        *seen = now;
        events
    }
}

fn router_restart(router: &Known) -> TargetEvent {
    let (name, again) = (&router.name, again(router));
    TargetEvent {
        time: router.started,
        service: Some(router.service.clone()),
        severity: Severity::High,
        text: format!("the router {name} had ended and {again}"),
    }
}

/// Says how a container runs again. An engine counts no start with which it brings back what ended with it.
fn again(known: &Known) -> String {
    match known.restarts {
        0 => "was started again".to_owned(),
        restarts => format!("was started again by Docker, restart {restarts}"),
    }
}

fn told(known: &Known, was: Option<&Seen>, is: Seen) -> Option<String> {
    let was = was?;
    let (name, end) = (&known.name, known.end());
    if was.restarts < is.restarts {
        let again = again(known);
        return Some(format!("instance {name} ended ({end}) and {again}"));
    }
    if was.running && is.running && was.started < is.started {
        return Some(format!("instance {name} had ended and {}", again(known)));
    }
    if was.running && !is.running {
        return Some(format!("instance {name} ended ({end}) and does not run"));
    }
    if !was.running && is.running {
        return Some(format!("instance {name} runs again"));
    }
    (was.healthy == Some(true) && is.healthy == Some(false))
        .then(|| format!("the health check of instance {name} fails"))
}
