//! Long tests on Docker engines: faults, kills, foreign things, images that move or are gone, a disk that is full.
//! CI leaves them out.

mod demonstration;
mod faults;
mod foreign;
mod full;
mod images;
mod kills;

use code_deploy_record::{RunOutcome, RunState};

use crate::docker::{containers_of, ended, instances};
use crate::kit::{Place, Said};

/// Asserts that the last run deployed a release to `dev` and that its client lost nothing; returns where it stands.
#[track_caller]
fn deployed(place: &Place, said: &Said, release: &str) -> RunState {
    assert_eq!(said.code, Some(0), "{}\n{}", said.out, said.err);
    let state = ended(place, said, RunOutcome::Succeeded);
    assert_eq!(state.started.as_ref().unwrap().to.as_str(), release);
    assert_eq!(state.clients["client"].failed, 0, "{:?}", state.clients);
    assert_eq!(instances(), containers_of(release));
    state
}
