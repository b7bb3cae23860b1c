//! A step's attempts are journaled one by one, by whichever process they are made.

use std::collections::BTreeMap;

use code_deploy_record::EventBody;

use super::{Invariant, Trace, Violation, broken};

pub(super) fn check(trace: &Trace<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut attempts: BTreeMap<String, (code_deploy_record::Direction, u32)> = BTreeMap::new();
    let mut fencing = 0;
    for event in trace.events {
        match &event.body {
            EventBody::StepIntended {
                step,
                direction,
                attempt,
                ..
            } => {
                let before = attempts.insert(step.to_string(), (*direction, *attempt));
                let expected = match before {
                    Some((known, number)) if known == *direction => number + 1,
                    _ => 1,
                };
                if *attempt != expected {
                    let what = format!("{step} has attempt {attempt} where {expected} is due");
                    found.push(broken(Invariant::ResumeIsTheSame, what));
                }
            }
            EventBody::LockTaken { fencing: now, .. } => {
                if *now <= fencing {
                    let what = format!("the journal has fencing number {now} after {fencing}");
                    found.push(broken(Invariant::ResumeIsTheSame, what));
                }
                fencing = *now;
            }
            _ => {}
        }
    }
    found
}
