//! What commands say first and last: one home for the commands that say it and for the texts that tell what to expect of
//! them.

use crate::{Release, RunId, RunOutcome, Steering};

/// Returns what a run that is under way answers to whoever steers it.
#[must_use]
pub fn steered(verb: Steering) -> &'static str {
    match verb {
        Steering::Pause => "the run stops at its next safe point and waits",
        Steering::Rollback => "the run goes back from its next safe point",
        Steering::Resume | Steering::Approve => "the run goes on",
    }
}

/// Returns the line with which a run ends.
#[must_use]
pub fn ended(outcome: RunOutcome, summary: &str) -> String {
    format!("run {}: {summary}", outcome.words())
}

/// Returns how the line begins with which a run ends so.
#[must_use]
pub fn end_begins(outcome: RunOutcome) -> String {
    ended(outcome, "").trim_end().to_owned()
}

/// Returns the line with which a run goes on that stood still or that nobody carried out, and what was found then.
#[must_use]
pub fn resumed(found: &str) -> String {
    format!("resumed: {found}")
}

/// Returns how the line begins with which such a run goes on.
#[must_use]
pub fn resumed_begins() -> String {
    resumed("").trim_end().to_owned()
}

/// Returns the line that comes before a way back from a run that has ended. `runs` is whether anything runs.
#[must_use]
pub fn goes_back_from(run: &RunId, to: &Release, from: &Release, runs: bool) -> String {
    let how = how_back(to, from, runs);
    format!("Run {run} has ended, so going back is a run of its own: {how}.")
}

fn how_back(to: &Release, from: &Release, runs: bool) -> String {
    match runs {
        true => format!("it deploys {from} over {to} and moves all traffic at once"),
        false => {
            format!("nothing of {to} runs any more, so it deploys {from} where nothing runs")
        }
    }
}

/// Tells what to expect of `rollback` as long as the run has not ended, also while it needs a person.
#[must_use]
pub fn expected_back_during() -> String {
    format!(
        "Expected while a process carries the run out: `{}`; where none does, a line that begins with `{}`. Then a line \
         for each step that is undone, and at the end one that begins with `{}`, or with `{}` where nothing had been \
         changed yet.",
        steered(Steering::Rollback),
        resumed_begins(),
        end_begins(RunOutcome::RolledBack),
        end_begins(RunOutcome::Refused)
    )
}

/// Tells what to expect of `rollback` once the run has ended. `from` is the release that it leads back to; nothing where
/// it is refused.
#[must_use]
pub fn expected_back_after(run: &RunId, to: &Release, from: Option<&Release>) -> String {
    let Some(from) = from else {
        return "Expected once the run has ended: the command is refused (CD0418), and nothing is changed."
            .to_owned();
    };
    format!(
        "Expected once the run has succeeded, first: `{}` Where nothing runs any more, as after `--stop`, the same line \
         ends in `{}.` At the end stands a line that begins with `{}`.",
        goes_back_from(run, to, from, true),
        how_back(to, from, false),
        end_begins(RunOutcome::Succeeded)
    )
}

/// Returns the line that tells what was stopped; `forced` of all instances did not end by themselves.
#[must_use]
pub fn stopped(service: &str, release: &Release, instances: u32, forced: u32) -> String {
    let by_force = match forced {
        0 => String::new(),
        forced => format!(", {forced} of them by force"),
    };
    format!("Stopped {service} {release}: {instances} instances{by_force}.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_name_what_they_are_of() {
        let (old, new) = ("1.0.0".parse().unwrap(), "1.1.0".parse().unwrap());
        let run = "run-1".parse().unwrap();
        assert_eq!(
            goes_back_from(&run, &new, &old, true),
            "Run run-1 has ended, so going back is a run of its own: it deploys 1.0.0 over 1.1.0 and moves all traffic \
             at once."
        );
        assert!(goes_back_from(&run, &new, &old, false).contains("nothing of 1.1.0 runs any more"));
        assert_eq!(
            stopped("web", &new, 2, 0),
            "Stopped web 1.1.0: 2 instances."
        );
        let forced = "Stopped web 1.1.0: 2 instances, 1 of them by force.";
        assert_eq!(stopped("web", &new, 2, 1), forced);
        assert_eq!(ended(RunOutcome::Refused, "why"), "run refused: why");
        assert_eq!(end_begins(RunOutcome::Refused), "run refused:");
        assert_eq!(resumed_begins(), "resumed:");
    }

    #[test]
    fn what_is_expected_of_going_back_quotes_the_lines_of_the_command() {
        let during = expected_back_during();
        let begins = ["`run rolled back:`", "`run refused:`", "`resumed:`"];
        for words in [steered(Steering::Rollback)].iter().chain(&begins) {
            assert!(during.contains(words), "{words}: {during}");
        }
        let (old, new) = ("1.0.0".parse().unwrap(), "1.1.0".parse().unwrap());
        let run = "run-1".parse().unwrap();
        let after = expected_back_after(&run, &new, Some(&old));
        assert!(after.contains(&goes_back_from(&run, &new, &old, true)));
        // What is quoted of the line after a stop is how that line ends.
        let stopped = goes_back_from(&run, &new, &old, false);
        let quoted = after.split('`').find(|part| part.starts_with("nothing of"));
        assert!(stopped.ends_with(quoted.unwrap()), "{after}");
        let refused = expected_back_after(&run, &new, None);
        assert!(refused.starts_with("Expected once the run has ended: the command is refused"));
    }
}
