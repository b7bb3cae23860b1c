//! No effect without its intent on disk.

use std::collections::BTreeMap;

use code_deploy_record::{Direction, Event, EventBody};

use super::{Invariant, Trace, Violation, broken};
use crate::scene::NEW;
use crate::world::What;

pub(super) fn check(trace: &Trace<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut open = Open::default();
    for entry in trace.log {
        let Some(wanted) = intents_of(&entry.what) else {
            continue;
        };
        if entry.process.is_none() {
            continue;
        }
        open.follow(trace.known(entry));
        let covered = wanted
            .iter()
            .any(|(direction, prefix)| open.has(*direction, prefix));
        if !covered {
            let what = format!(
                "{:?} at {:?} without an intent on disk",
                entry.what, entry.at
            );
            found.push(broken(Invariant::JournalFirst, what));
        }
    }
    found
}

/// The steps whose intent is on disk and whose end is not.
#[derive(Default)]
struct Open {
    read: usize,
    steps: BTreeMap<String, Direction>,
}

impl Open {
    fn follow(&mut self, known: &[Event]) {
        for event in known.get(self.read..).unwrap_or_default() {
            match &event.body {
                EventBody::StepIntended {
                    step, direction, ..
                } => {
                    self.steps.insert(step.to_string(), *direction);
                }
                EventBody::StepFinished { step, .. } => {
                    self.steps.remove(step.as_str());
                }
                _ => {}
            }
        }
        self.read = self.read.max(known.len());
    }

    fn has(&self, direction: Direction, prefix: &str) -> bool {
        let mut own = self.steps.iter();
        own.any(|(step, open)| *open == direction && step.starts_with(prefix))
    }
}

/// Returns which intents an effect may follow from: the direction, and how the step's name begins.
fn intents_of(what: &What) -> Option<Vec<(Direction, String)>> {
    use Direction::{Apply, Undo};
    let each = |all: &[(Direction, &str)]| {
        let all = all
            .iter()
            .map(|(direction, name)| (*direction, (*name).to_owned()));
        Some(all.collect::<Vec<_>>())
    };
    match what {
        What::Started { service, release } if release == NEW => each(&[
            (Apply, &format!("release.green.{service}")),
            (Apply, "release.traffic."),
        ]),
        What::Started { .. } => each(&[(Undo, "finish.old-release"), (Undo, "release.traffic.")]),
        What::Stopped {
            service, release, ..
        } if release == NEW => each(&[(Undo, &format!("release.green.{service}"))]),
        What::Stopped { .. } => each(&[(Apply, "finish.old-release"), (Apply, "release.traffic.")]),
        What::Served(_) => each(&[
            (Apply, "release.traffic."),
            (Apply, "release.rehearsal"),
            (Apply, "release.promotion"),
            (Apply, "release.health."),
            (Undo, "release.traffic."),
            (Undo, "release.rehearsal"),
            (Undo, "release.promotion"),
            (Undo, "release.green."),
        ]),
        What::Effect { name, there: true } => each(&[(Apply, name)]),
        What::Effect { name, .. } => each(&[(Undo, name)]),
        _ => None,
    }
}
