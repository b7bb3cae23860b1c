use code_deploy_engine::surroundings::Sabotage;
use code_deploy_simulation::check::Invariant;
use code_deploy_simulation::run;

/// Seeds after which a planted fault has to be found.
const ENOUGH: u64 = 300;

/// Returns how many seeds it took until the checker named this promise.
fn found_after(sabotage: Sabotage, invariant: Invariant) -> Option<u64> {
    (0..ENOUGH).find(|seed| {
        let report = run::seed(*seed, Some(sabotage));
        let mut broken = report.violations.iter();
        broken.any(|violation| violation.invariant == invariant)
    })
}

#[track_caller]
fn is_found(sabotage: Sabotage, invariant: Invariant) {
    let found = found_after(sabotage, invariant);
    let found = found.unwrap_or_else(|| panic!("{sabotage:?} was not found in {ENOUGH} seeds"));
    println!(
        "{sabotage:?} breaks {invariant:?}: found after {} seeds",
        found + 1
    );
}

#[test]
fn a_rollback_that_forgets_a_step_is_found() {
    is_found(Sabotage::ForgetsAStep, Invariant::AllOrNothing);
}

#[test]
fn a_gate_that_lets_everything_pass_is_found() {
    is_found(Sabotage::PassesGates, Invariant::NeverUntested);
}

#[test]
fn a_step_that_acts_before_its_intent_is_found() {
    is_found(Sabotage::ActsFirst, Invariant::JournalFirst);
}

#[test]
fn a_rollback_that_undoes_only_what_is_done_is_found() {
    is_found(Sabotage::UndoesOnlyDone, Invariant::UndoWhatMayHaveHappened);
}

#[test]
fn a_resumed_run_that_knows_less_than_its_journal_is_found() {
    is_found(Sabotage::ForgetsOnResume, Invariant::ResumeIsTheSame);
}

#[test]
fn a_runner_that_ignores_who_holds_the_lock_is_found() {
    is_found(Sabotage::IgnoresFence, Invariant::OneRunner);
}

#[test]
fn split_traffic_without_a_lease_is_found() {
    is_found(Sabotage::HoldsNoLease, Invariant::DeadMansHandle);
}

#[test]
fn a_joined_run_that_forgets_what_was_asked_for_is_found() {
    is_found(Sabotage::ForgetsWishes, Invariant::SteeringIsHeard);
}
