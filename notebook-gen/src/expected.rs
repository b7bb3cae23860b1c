//! What the commands of procedures say when all goes well, and how long they took where the record tells: a procedure
//! whose reader does not know what to expect cannot be followed at night.

use code_deploy_record::{Outcome, RunOutcome, Steering, said};
use serde::Serialize;

use crate::facts::{Facts, Halt};
use crate::format::{clock, duration};
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

/// Returns what a line begins with that ends a run so.
fn end(outcome: RunOutcome) -> String {
    said::ended(outcome, "").trim_end().to_owned()
}

impl Expected {
    /// Returns what is known before there is a run.
    pub(crate) fn ready() -> Self {
        Self {
            pause: pause(),
            during: during(),
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
        "Expected, while a process carries the run out: `{}`.",
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

fn during() -> String {
    format!(
        "Expected, while a process carries the run out: `{}`, then a line for each step that is undone, and at the \
         end one that begins with `{}`.",
        said::steered(Steering::Rollback),
        end(RunOutcome::RolledBack)
    )
}

fn during_in(facts: &Facts) -> String {
    let mut ends = facts.rollback_ends.iter();
    let took = match ends.rfind(|end| end.what.0 == Outcome::Done) {
        Some(end) => format!(
            "In this run going back took {} (event {}).",
            duration(end.what.1),
            end.seq
        ),
        None => match view::rehearsed(facts) {
            Some(rehearsed) => {
                format!("In the rehearsal: {rehearsed}; undoing the other steps was not rehearsed.")
            }
            None => "It was not rehearsed in this run.".to_owned(),
        },
    };
    format!("{} {took}", during())
}

fn after(facts: &Facts) -> String {
    let started = &facts.started;
    let from = started.from.as_ref().filter(|_| view::leads_back(facts));
    let Some(from) = from else {
        return "Expected: the command is refused, and nothing is changed.".to_owned();
    };
    let first = said::goes_back_from(&started.run, &started.to, from, true);
    let took = view::going_back_now(facts);
    let took = match took.trim_start_matches("; ") {
        "" => String::new(),
        took => format!(" How long it takes: {took}."),
    };
    format!(
        "Expected first: `{first}` At the end stands a line that begins with `{}`.{took}",
        end(RunOutcome::Succeeded)
    )
}

#[cfg(test)]
mod tests {
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
        let halted = expected(Story::Halted);
        assert!(
            halted.pause.contains("stood still from 14:00:26 UTC"),
            "{}",
            halted.pause
        );
    }
}
