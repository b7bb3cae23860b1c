//! Hostile bytes for a kernel: valid, mutated, truncated, oversized, badly signed and wrongly ordered messages,
//! and bytes that are no messages at all, on all five ports of a real kernel process.
//!
//! Each case follows from the seed and its number alone, so that a run, a part of it, or one case can be done
//! again exactly. After every few cases the kernel must still answer on shell, control and the heartbeat, must
//! publish, must not have panicked, and must not have grown beyond a limit.

mod attack;
mod check;
mod message;
mod random;

use std::time::{Duration, Instant};

pub use check::Fault;
use code_deploy_wire::{Kernel, Socket, Spec};
pub use random::Random;

/// Cases between two looks at the kernel.
const CHECK_EVERY: u64 = 20;
/// Connections that are left open and silent; the oldest are closed.
const LEFT_OPEN: usize = 24;

/// What is run.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// What all cases follow from.
    pub seed: u64,
    /// The number of the first case.
    pub from: u64,
    /// How many cases at most.
    pub cases: u64,
    /// How long at most; no limit when there is none.
    pub time: Option<Duration>,
    /// What the kernel may have as resident memory, in bytes.
    pub memory: u64,
}

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// Cases that were done.
    pub cases: u64,
    /// The most resident memory that was seen, in bytes.
    pub memory: u64,
    /// What the kernel did wrong first, if it did.
    pub fault: Option<Fault>,
}

/// Starts a kernel and attacks it until something is wrong, or the plan is done.
///
/// # Errors
/// When the kernel cannot be started at all.
pub fn run(
    spec: &Spec,
    plan: &Plan,
    mut told: impl FnMut(u64, u64),
) -> Result<Outcome, code_deploy_wire::Error> {
    let mut kernel = Kernel::start(spec)?;
    drop(kernel.answers()?);
    let began = Instant::now();
    let mut open: Vec<Socket> = Vec::new();
    let mut outcome = Outcome {
        cases: 0,
        memory: 0,
        fault: None,
    };
    while outcome.cases < plan.cases && plan.time.is_none_or(|time| began.elapsed() < time) {
        let case = plan.from + outcome.cases;
        open.extend(attack::case(&kernel, plan.seed, case));
        open.drain(..open.len().saturating_sub(LEFT_OPEN));
        outcome.cases += 1;
        let last = outcome.cases == plan.cases;
        if last || outcome.cases.is_multiple_of(CHECK_EVERY) {
            let looked = check::look(&mut kernel, plan.memory);
            outcome.memory = outcome.memory.max(kernel.memory());
            if let Err(reason) = looked {
                let since = outcome.cases.saturating_sub(CHECK_EVERY);
                let (first, said) = (plan.from + since, check::end_of(&kernel.said()));
                outcome.fault = Some(Fault {
                    seed: plan.seed,
                    first,
                    last: case,
                    reason,
                    said,
                });
                break;
            }
            told(outcome.cases, outcome.memory);
        }
    }
    Ok(outcome)
}
