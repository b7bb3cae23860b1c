//! Real kills: the built program deploys the shop under an outside client while `kill -9` hits one of
//! its processes at an instant that follows from a seed.
//!
//! # Flow
//! Each round deploys the release that does not run over the one that does, kills, lets a person's
//! command go on where nobody else does, and judges from outside: the record, what is served, and
//! each request of the client.
//!
//! # What is judged
//! - The run comes to rest in one of: everything new, everything old, needs a person.
//! - What the record says runs is what runs, and nothing else.
//! - No request fails but those that were in flight when a process that served them was killed.
//!
//! # Caveats
//! A seed fixes who is killed and after which share of the journal, not the nanosecond: a round that
//! is done again is alike, not the same.

mod client;
mod disk;
mod error;
mod judge;
mod place;
mod plan;
mod processes;
mod round;

use std::path::Path;

pub use client::{Client, Request, Sums};
pub use disk::{SmallDisk, Trouble};
pub use error::Error;
pub use judge::{Ending, Verdict};
pub use place::{Place, Said};
pub use plan::{Plan, Victim};
pub use processes::{Process, processes_of};
pub use round::Round;

use code_deploy_fuzz::Random;

/// Carries all rounds out; `told` hears of each.
///
/// # Errors
/// When the stage could not be set up or a command of the program hung. A round that was judged to be
/// wrong is no error: its [`Verdict`] says so.
pub async fn run(
    program: &Path,
    plan: &Plan,
    told: impl FnMut(&Round),
) -> Result<Vec<Round>, Error> {
    let place = Place::new(program)?;
    let rounds = all_rounds(&place, plan, told).await;
    // Also what a round left that broke off: nothing of the stage outlives it.
    let stopped = place.stop().await;
    let rounds = rounds?;
    stopped.map(|()| rounds)
}

async fn all_rounds(
    place: &Place,
    plan: &Plan,
    mut told: impl FnMut(&Round),
) -> Result<Vec<Round>, Error> {
    let mut stage = round::Stage::set_up(place).await?;
    let mut rounds = Vec::new();
    for number in plan.from..plan.from + plan.rounds {
        let mut random = Random::of_case(plan.seed, number);
        let blow = plan.blow(number, &mut random);
        let round = stage.round(number, blow).await?;
        told(&round);
        rounds.push(round);
    }
    Ok(rounds)
}
