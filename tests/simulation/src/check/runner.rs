//! Who does not hold the lock changes nothing.

use super::{Invariant, Trace, Violation, broken};
use crate::world::What;

pub(super) fn check(trace: &Trace<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    let (mut holder, mut number) = (None, 0);
    for entry in trace.log {
        match &entry.what {
            What::LockTaken(fencing) => {
                if *fencing <= number {
                    let what = format!("the lock was taken under {fencing} after {number}");
                    found.push(broken(Invariant::OneRunner, what));
                }
                (holder, number) = (entry.process, *fencing);
            }
            What::Started { .. }
            | What::Stopped { .. }
            | What::Served(_)
            | What::Leased(_)
            | What::Effect { .. }
            | What::Appended
                if entry.process.is_some() && entry.process != holder =>
            {
                let what = format!(
                    "process {:?} did {:?} at {:?}, while {holder:?} held the lock",
                    entry.process, entry.what, entry.at
                );
                found.push(broken(Invariant::OneRunner, what));
            }
            _ => {}
        }
    }
    found
}
