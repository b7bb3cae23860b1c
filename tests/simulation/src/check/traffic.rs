//! No traffic to what has not passed its gates, and never to nothing.

use std::collections::BTreeMap;

use code_deploy_record::{Direction, Event, EventBody, Gate, Outcome};

use super::{Invariant, Trace, Violation, broken};
use crate::scene::NEW;
use crate::world::{Shares, What};

pub(super) fn check(trace: &Trace<'_>) -> Vec<Violation> {
    let mut found = in_order(trace);
    let mut running = trace.before.clone();
    let mut served: BTreeMap<String, Shares> = BTreeMap::new();
    if let Some(from) = trace.scene.from() {
        for (service, _) in &trace.scene.services {
            served.insert(service.clone(), Shares::from([(from.to_owned(), 100)]));
        }
    }
    let mut gates = Gates::default();
    for entry in trace.log {
        match &entry.what {
            What::Started { service, release } => {
                *running
                    .entry((service.clone(), release.clone()))
                    .or_default() += 1;
                continue;
            }
            What::Stopped {
                service,
                release,
                left,
            } => {
                running.insert((service.clone(), release.clone()), *left);
            }
            What::Served(now) => {
                gates.follow(trace.known(entry));
                found.extend(untested(trace, &gates, &served, now));
                served.clone_from(now);
            }
            _ => continue,
        }
        found.extend(to_nothing(trace, &served, &running, entry.at));
    }
    found
}

/// The last answer of each gate to each subject.
#[derive(Default)]
struct Gates {
    read: usize,
    answers: BTreeMap<(Gate, String), bool>,
}

impl Gates {
    fn follow(&mut self, known: &[Event]) {
        for event in known.get(self.read..).unwrap_or_default() {
            if let EventBody::GateEvaluated(gate) = &event.body {
                self.answers
                    .insert((gate.gate, gate.subject.clone()), gate.passed);
            }
        }
        self.read = self.read.max(known.len());
    }

    fn passed(&self, gate: Gate, subject: &str) -> bool {
        self.answers.get(&(gate, subject.to_owned())) == Some(&true)
    }
}

/// What of a change gives the new release more traffic than its gates allow.
fn untested(
    trace: &Trace<'_>,
    gates: &Gates,
    before: &BTreeMap<String, Shares>,
    now: &BTreeMap<String, Shares>,
) -> Vec<Violation> {
    let mut found = Vec::new();
    let of_new = |all: &BTreeMap<String, Shares>, service: &String| {
        let share = all.get(service).and_then(|shares| shares.get(NEW));
        share.copied().unwrap_or(0)
    };
    for service in now.keys() {
        if of_new(now, service) <= of_new(before, service) {
            continue;
        }
        let mut asked = vec![(Gate::Health, format!("{service} {NEW}"))];
        if !trace.scene.initial {
            // Traffic of all services moves together, so all have to be well.
            let others = trace.scene.services.iter();
            asked.extend(others.map(|(name, _)| (Gate::Health, format!("{name} {NEW}"))));
            asked.push((Gate::Smoke, format!("shop {NEW}")));
            asked.push((Gate::Monitoring, format!("shop {NEW}")));
        }
        for ((_, subject), _) in gates
            .answers
            .iter()
            .filter(|((gate, _), passed)| *gate == Gate::Analysis && !**passed)
        {
            let what =
                format!("{service} serves more of {NEW} after the analysis of {subject} failed");
            found.push(broken(Invariant::NeverUntested, what));
        }
        for (gate, subject) in asked {
            if !gates.passed(gate, &subject) {
                let what = format!(
                    "{service} serves {NEW}, whose {} gate ({subject}) has not passed",
                    gate.word()
                );
                found.push(broken(Invariant::NeverUntested, what));
            }
        }
    }
    found
}

fn to_nothing(
    trace: &Trace<'_>,
    served: &BTreeMap<String, Shares>,
    running: &BTreeMap<(String, String), usize>,
    at: std::time::Duration,
) -> Vec<Violation> {
    let mut found = Vec::new();
    for (service, shares) in served {
        let sum: u16 = shares.values().sum();
        // In a first deployment nobody is served before, and nobody after it went back.
        if sum != 100 && !(trace.scene.initial && sum == 0) {
            let what = format!("{service} serves {shares:?} at {at:?}, not 100 %");
            found.push(broken(Invariant::NeverUntested, what));
        }
        for (release, _) in shares.iter().filter(|(_, share)| **share > 0) {
            let key = (service.clone(), release.clone());
            if running.get(&key).is_none_or(|number| *number == 0) {
                let what = format!("{service} serves {release}, of which nothing runs, at {at:?}");
                found.push(broken(Invariant::NeverUntested, what));
            }
        }
    }
    found
}

/// Each step is carried out after those that its plan names.
fn in_order(trace: &Trace<'_>) -> Vec<Violation> {
    let Some(plan) = trace.plan() else {
        return Vec::new();
    };
    let plan: BTreeMap<_, _> = plan.steps.iter().map(|step| (&step.step, step)).collect();
    let mut done: BTreeMap<&code_deploy_record::StepName, bool> = BTreeMap::new();
    let mut found = Vec::new();
    for event in trace.events {
        match &event.body {
            EventBody::StepIntended {
                step,
                direction: Direction::Apply,
                ..
            } => {
                done.insert(step, false);
                let before = plan.get(step).into_iter().flat_map(|step| &step.after);
                for before in before.filter(|before| done.get(before) != Some(&true)) {
                    let what = format!("{step} is carried out before {before} is done");
                    found.push(broken(Invariant::NeverUntested, what));
                }
            }
            EventBody::StepIntended { step, .. } => {
                done.insert(step, false);
            }
            EventBody::StepFinished {
                step,
                direction: Direction::Apply,
                outcome,
                ..
            } => {
                done.insert(step, *outcome == Outcome::Done);
            }
            _ => {}
        }
    }
    found
}
