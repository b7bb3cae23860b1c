//! What the commands of procedures say when all goes well, and how long they took where the record tells: a procedure
//! whose reader does not know what to expect cannot be followed at night.

use code_deploy_record::{Outcome, Steering, said};
use serde::Serialize;

use crate::facts::{Facts, Halt};
use crate::format::clock;
use crate::passed;
use crate::view;

/// What to expect, in sentences; empty where nothing can be said.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Expected {
    /// Of a pause.
    pause: String,
    /// Of a rollback while the run is under way.
    during: String,
    /// Of a rollback once the run has ended.
    after: String,
    /// Of a rollback as the run stands.
    now: String,
}

impl Expected {
    /// Returns what is known before there is a run.
    pub(crate) fn ready() -> Self {
        Self {
            pause: pause(),
            during: said::expected_back_during(),
            ..Self::default()
        }
    }

    /// Returns what the record of a run tells.
    pub(crate) fn of(facts: &Facts) -> Self {
        let (during, after) = (during_in(facts), after(facts));
        let ended = facts.state.has_ended();
        Self {
            pause: format!("{} {}", pause(), paused_in(facts)),
            now: if ended { after.clone() } else { during.clone() },
            during,
            after,
        }
    }
}

fn pause() -> String {
    format!(
        "Expected while a process carries the run out: `{}`.",
        said::steered(Steering::Pause)
    )
}

fn paused_in(facts: &Facts) -> String {
    let mut halts = facts.halts.iter();
    match halts.find(|halt| halt.what == Halt::Paused) {
        Some(halt) => format!(
            "In this run it stood still from {} UTC (event {}).",
            clock(halt.time),
            halt.seq
        ),
        None => "This run was not paused, so its record has no time for it.".to_owned(),
    }
}

fn during_in(facts: &Facts) -> String {
    let mut ends = facts.rollback_ends.iter();
    let took = match ends.rfind(|end| end.what.0 == Outcome::Done) {
        Some(end) => format!(
            "In this run going back took {} (event {}).",
            passed::in_words(&facts.passed_going_back(end)),
            end.seq
        ),
        None => match view::rehearsed(facts) {
            Some(rehearsed) => {
                format!("In the rehearsal: {rehearsed}; undoing the other steps was not rehearsed.")
            }
            None => "It was not rehearsed in this run.".to_owned(),
        },
    };
    format!("{} {took}", said::expected_back_during())
}

fn after(facts: &Facts) -> String {
    let started = &facts.started;
    let from = started.from.as_ref().filter(|_| view::leads_back(facts));
    let expected = said::expected_back_after(&started.run, &started.to, from);
    let took = view::going_back_now(facts);
    match took.trim_start_matches("; ") {
        "" => expected,
        took => format!("{expected} How long it takes: {took}."),
    }
}

#[cfg(test)]
mod tests {
    use code_deploy_record::RunOutcome;
    use code_deploy_synthetic::{self as synthetic, Story};

    use super::*;

    fn expected(story: Story) -> Expected {
        let project = tempfile::tempdir().unwrap();
        let run = synthetic::run(project.path(), "run-1", story);
        Expected::of(&Facts::read(&run).unwrap())
    }

    #[test]
    fn what_commands_say_is_what_they_are_expected_to_say() {
        let whole = expected(Story::Succeeded);
        let first =
            "Run run-1 has ended, so going back is a run of its own: it deploys 1.0.0 over 1.1.0";
        assert!(whole.after.contains(first), "{}", whole.after);
        assert!(whole.after.contains("`run succeeded:`"), "{}", whole.after);
        let stopped = "nothing of 1.1.0 runs any more, so it deploys 1.0.0 where nothing runs";
        assert!(whole.after.contains(stopped), "{}", whole.after);
        assert!(whole.after.contains("How long it takes: going back now"));
        assert_eq!(whole.now, whole.after);
        assert!(
            whole
                .during
                .contains("In the rehearsal: traffic led back in")
        );
        assert!(
            whole
                .pause
                .contains("`the run stops at its next safe point and waits`")
        );
        assert!(whole.pause.ends_with("its record has no time for it."));
        let ready = Expected::ready();
        assert!(whole.pause.starts_with(&ready.pause));
        assert!(whole.during.starts_with(&ready.during));
    }

    #[test]
    fn a_run_that_needs_a_person_can_be_taken_back_as_long_as_it_has_not_ended() {
        let project = tempfile::tempdir().unwrap();
        let run = synthetic::run(project.path(), "run-1", Story::Initial);
        let mut facts = Facts::read(&run).unwrap();
        if let Some((outcome, ..)) = &mut facts.state.finished {
            *outcome = RunOutcome::NeedsPerson;
        }
        let expected = Expected::of(&facts);
        assert_eq!(expected.now, expected.during);
        assert!(!expected.now.contains("CD0418"), "{}", expected.now);
        let after = "Expected once the run has ended: the command is refused (CD0418), and nothing is changed.";
        assert_eq!(expected.after, after);
    }

    #[test]
    fn what_happened_in_the_run_is_told_with_its_time_and_what_cannot_be_done_is_refused() {
        let back = expected(Story::RolledBack);
        assert!(
            back.during.contains("In this run going back took "),
            "{}",
            back.during
        );
        assert!(back.after.contains("is refused"), "{}", back.after);
        let first = expected(Story::Initial);
        assert!(first.after.contains("is refused"), "{}", first.after);
        assert_eq!(first.now, first.after);
        let halted = expected(Story::Halted);
        assert!(
            halted.pause.contains("stood still from 14:00:26 UTC"),
            "{}",
            halted.pause
        );
    }
}
