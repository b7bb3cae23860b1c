//! What commands say first: one home for the commands that say it and for the texts that tell what to expect of them.

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

/// Returns the line with which a run goes on that stood still or that nobody carried out, and what was found then.
#[must_use]
pub fn resumed(found: &str) -> String {
    format!("resumed: {found}")
}

/// Returns the line that comes before a way back from a run that has ended. `runs` is whether anything runs.
#[must_use]
pub fn goes_back_from(run: &RunId, to: &Release, from: &Release, runs: bool) -> String {
    let how = match runs {
        true => format!("it deploys {from} over {to} and moves all traffic at once"),
        false => {
            format!("nothing of {to} runs any more, so it deploys {from} where nothing runs")
        }
    };
    format!("Run {run} has ended, so going back is a run of its own: {how}.")
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
    }
}
