//! `record`: entries of a run's record.

use std::collections::VecDeque;

use code_deploy_notebook_gen::describe;
use code_deploy_record::{Event, RunFolder};

use crate::face::Face;
use crate::failure::{Exit, Failure};
use crate::lines::line_of;
use crate::show::follow;

/// The most entries that `--last` keeps in memory.
const MOST: usize = 100_000;

/// The kinds of entries.
const KINDS: [&str; 37] = [
    "run_started",
    "lock_taken",
    "inventory_taken",
    "planned",
    "phase_started",
    "phase_finished",
    "section_reported",
    "step_intended",
    "step_retried",
    "step_applied",
    "step_verified",
    "step_finished",
    "step_skipped",
    "gate_evaluated",
    "health_changed",
    "traffic_shifted",
    "approval_asked",
    "consent_signed",
    "approval_given",
    "item_settled",
    "finding_raised",
    "evidence_kept",
    "key_named",
    "steering_asked",
    "paused",
    "resumed",
    "rollback_started",
    "rollback_finished",
    "rollback_rehearsed",
    "migrated",
    "client_started",
    "client_counted",
    "load_tested",
    "samples_closed",
    "noted",
    "run_finished",
    "sealed",
];

/// Returns the kinds of entries.
pub fn kinds() -> Vec<String> {
    KINDS.map(str::to_owned).to_vec()
}

fn refuse_unknown(named: &[String]) -> Result<(), Failure> {
    let known = kinds();
    let Some(unknown) = named.iter().find(|kind| !known.contains(kind)) else {
        return Ok(());
    };
    let near = crate::commands::did_you_mean(unknown, &known);
    let what = format!("there is no kind of entry `{unknown}`");
    let next = format!("{near}There are: {}.", KINDS.join(", "));
    Err(Failure::usage(what, next))
}

/// Shows the entries of a record that are of one of the kinds; all when none is given.
pub async fn record(
    run: &RunFolder,
    kinds: &[String],
    last: Option<usize>,
    watch: bool,
    face: &dyn Face,
) -> Result<Exit, Failure> {
    refuse_unknown(kinds)?;
    let wanted = |event: &Event| kinds.is_empty() || kinds.contains(&kind_of(event));
    let mut kept = VecDeque::new();
    let mut next = 0;
    for event in run.events()? {
        let event = event?;
        next = event.seq + 1;
        if !wanted(&event) {
            continue;
        }
        match last {
            None => show(&event, face),
            Some(last) => {
                kept.push_back(event);
                if kept.len() > last.min(MOST) {
                    kept.pop_front();
                }
            }
        }
    }
    kept.iter().for_each(|event| show(event, face));
    if watch && run.state()?.finished.is_none() {
        let each = |event: Event| {
            if wanted(&event) {
                show(&event, face);
            }
        };
        follow::follow(run, next, each).await?;
    }
    Ok(Exit::Done)
}

fn kind_of(event: &Event) -> String {
    let value = serde_json::to_value(event).unwrap_or_default();
    value
        .get("kind")
        .and_then(|kind| kind.as_str())
        .unwrap_or_default()
        .to_owned()
}

fn show(event: &Event, face: &dyn Face) {
    let value = serde_json::to_value(event).unwrap_or_default();
    if face.value("event", &value) {
        return;
    }
    let time = event.time.format("%H:%M:%S%.3f");
    let line = line_of(event).unwrap_or_else(|| describe(&event.body).1);
    let (seq, actor) = (event.seq, &event.actor);
    face.text(&format!(
        "{seq:>5}  {time}  {actor:<8}  {}",
        line.trim_start()
    ));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

    use super::*;

    #[test]
    fn the_known_kinds_are_those_of_the_record() {
        let unknown = serde_json::json!({ "kind": "?" });
        let error = serde_json::from_value::<code_deploy_record::EventBody>(unknown).unwrap_err();
        let text = error.to_string();
        let kinds: Vec<_> = text.split('`').skip(3).step_by(2).collect();
        assert_eq!(kinds, KINDS);
    }

    #[test]
    fn an_unknown_kind_is_refused_with_the_nearest() {
        let failure = refuse_unknown(&["gate_evaluatd".to_owned()]).unwrap_err();
        let next = &failure.problem.next;
        assert!(next.contains("Did you mean `gate_evaluated`?"), "{next}");
        assert!(refuse_unknown(&["sealed".to_owned()]).is_ok());
    }
}
