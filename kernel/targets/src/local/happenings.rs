//! What became of instances on its own, told by comparing with what was seen before.

use std::collections::BTreeMap;
use std::sync::Mutex;

use code_deploy_engine::target::TargetEvent;
use code_deploy_record::{Clock as _, Severity, SystemClock};

use super::store::Known;

/// How an instance was when it was last looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Seen {
    restarts: u32,
    course: Course,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Course {
    LookedAfter,
    GivenUp,
    Alone,
}

/// The instances as they were last seen.
#[derive(Default)]
pub(crate) struct Happenings {
    seen: Mutex<BTreeMap<String, Seen>>,
}

impl Happenings {
    /// Returns what happened to the instances since the last call. Instances that were stopped
    /// on purpose are not told of.
    pub fn since_last(&self, instances: &[Known]) -> Vec<TargetEvent> {
        let mut seen = match self.seen.lock() {
            Ok(seen) => seen,
            Err(poisoned) => poisoned.into_inner(),
        };
        let mut now = BTreeMap::new();
        let mut events = Vec::new();
        for known in instances {
            let Some(is) = look(known) else { continue };
            let id = known.1.id.clone();
            let was = seen.get(&id);
            events.extend(told(known, was, is).map(|text| TargetEvent {
                time: SystemClock.now(),
                service: Some(known.1.service.clone()),
                severity: Severity::Medium,
                text,
            }));
            now.insert(id, is);
        }
        *seen = now;
        events
    }
}

fn look((folder, _): &Known) -> Option<Seen> {
    let state = folder.state()?;
    let course = match (state.ended, state.supervisor.runs()) {
        (true, _) if state.asked => return None,
        (true, _) => Course::GivenUp,
        (false, true) => Course::LookedAfter,
        (false, false) => Course::Alone,
    };
    let restarts = state.restarts;
    Some(Seen { restarts, course })
}

fn told((folder, config): &Known, was: Option<&Seen>, is: Seen) -> Option<String> {
    let state = folder.state()?;
    let end = state.last_end.unwrap_or_default();
    let (id, restarts) = (&config.id, is.restarts);
    if was.map(|was| was.course) != Some(is.course) {
        match is.course {
            Course::GivenUp => {
                return Some(format!(
                    "instance {id} ended ({end}) and is not started again, after {restarts} restarts"
                ));
            }
            Course::Alone => {
                let process = match state.process {
                    Some(process) if process.runs() => "its process runs on",
                    _ => "its process is gone too",
                };
                return Some(format!(
                    "the supervisor of instance {id} is gone; {process}, and nothing starts it again"
                ));
            }
            Course::LookedAfter => {}
        }
    }
    let more = was.is_some_and(|was| was.restarts < restarts);
    more.then(|| format!("instance {id} ended ({end}) and was started again, restart {restarts}"))
}
