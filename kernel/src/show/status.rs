//! `status`: where a run stands.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use code_deploy_record::{
    Column, Direction, Outcome, Report, RunFolder, RunState, Standstills, StepName, StepState,
    StepStatus, Verdict,
};

use crate::face::Face;
use crate::failure::{Exit, Failure};
use crate::session::is_left_to_its_lease;
use crate::show::follow;
use crate::show::live::{Live, utc};

/// Shows where a run stands; with `watch`, also what happens from now on until it has ended.
pub async fn status(
    run: &RunFolder,
    live: Option<&Live>,
    watch: bool,
    face: &dyn Face,
) -> Result<Exit, Failure> {
    let (state, standstills) = run.course()?;
    show(&state, &standstills, live, face);
    if watch && state.finished.is_none() {
        follow::follow(run, state.events, |event| {
            face.notice(&code_deploy_engine::Notice::Event(std::sync::Arc::new(
                event,
            )));
        })
        .await?;
    }
    Ok(Exit::Done)
}

/// Shows where a run stands, and what runs where that was asked.
pub fn show(state: &RunState, standstills: &Standstills, live: Option<&Live>, face: &dyn Face) {
    if !face.value("status", &as_value(state, standstills, live)) {
        face.report(TITLE, &report(state, standstills, live));
    }
}

/// The title of the report on where a run stands.
pub const TITLE: &str = "Status";

/// Returns where a run stands as a report.
fn report(state: &RunState, standstills: &Standstills, live: Option<&Live>) -> Report {
    let Some(started) = &state.started else {
        return Report::new().with_text("This run has not begun.");
    };
    let mut facts = vec![
        fact("Run", started.run.to_string()),
        fact(
            "What",
            format!("{} -> {}", text_of(started.from.as_ref()), started.to),
        ),
        fact(
            "Where",
            format!("{} on {}", started.environment, started.target),
        ),
        fact("Stands", standing(state)),
    ];
    facts.extend(under_way(state).map(|text| fact("Step", text)));
    facts.extend(last_gate(state).map(|text| fact("Last gate", text)));
    facts.extend(time(state, standstills, live).map(|text| fact("Time", text)));
    if let Some(last) = state.last {
        facts.push(fact("Last entry", utc(last)));
    }
    if let Some(live) = live {
        facts.push(fact("Now", live.in_words()));
        facts.extend(live.answers().map(|text| fact("Answers", text)));
        if state.finished.is_none() {
            let worker = live.worker.as_deref();
            let worker = worker
                .unwrap_or("none: `code-deploy resume` goes on, `code-deploy rollback` goes back");
            facts.push(fact("Process", worker.to_owned()));
            if let Some(text) = led_elsewhere(state, live) {
                facts.push(fact("Traffic", text));
            }
        }
    }
    if let Some(client) = state.clients.get("client") {
        let text = format!(
            "{} requests sent, {} failed, longest gap {:.2} s",
            client.sent,
            client.failed,
            client.longest_gap_us as f64 / 1e6
        );
        facts.push(fact("Outside client, as recorded", text));
    }
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for item in state.items.values() {
        *counts.entry(item.verdict.word()).or_default() += 1;
    }
    let counts: Vec<_> = counts
        .iter()
        .map(|(word, count)| format!("{count} {word}"))
        .collect();
    if !counts.is_empty() {
        facts.push(fact("Items", counts.join(", ")));
    }
    let columns = vec![Column::text("Fact"), Column::text("Value")];
    let mut report = Report::new().with_table("The run", columns, facts);
    report = match live.map(Live::table) {
        Some(Ok(Some((title, columns, rows)))) => report.with_table(&title, columns, rows),
        // Nothing runs: what was served last would be read as present.
        Some(Ok(None)) => report,
        Some(Err(())) | None => with_traffic(report, state),
    };
    with_trouble(report, state)
}

fn fact(name: &str, value: String) -> Vec<String> {
    vec![name.to_owned(), value]
}

fn text_of(release: Option<&code_deploy_record::Release>) -> String {
    release.map_or("nothing".to_owned(), ToString::to_string)
}

/// Says in a few words where the run stands.
pub fn standing(state: &RunState) -> String {
    if let Some((outcome, summary, _)) = &state.finished {
        return format!("{}: {summary}", outcome.words());
    }
    let phase = state
        .present_phase()
        .map(|phase| format!("in {} ({phase})", phase.verb()));
    let phase = phase.unwrap_or_else(|| between_phases(state));
    match (&state.rollback, state.paused) {
        (Some((_, reason)), _) => format!("going back, {phase}: {reason}"),
        (None, true) => match &state.paused_by {
            Some((by, reason)) => format!("paused by {by} ({reason}), {phase}"),
            None => format!("paused, {phase}"),
        },
        (None, false) => match waits_for(state) {
            Some(gate) => format!(
                "waits for a person to say go or no-go ({gate}: `code-deploy approve --reason TEXT`, with `--sign KEY` where \
                 the deployment file names signers), {phase}"
            ),
            None => phase,
        },
    }
}

/// Says where a run stands that is in no phase: which one did not pass, or how many are done.
fn between_phases(state: &RunState) -> String {
    let phases = state.phases.iter();
    let ended = phases.filter_map(|(phase, state)| Some((phase, state, state.finished?)));
    let last = ended.max_by_key(|(.., (time, _))| *time);
    if let Some((phase, ended, (_, outcome))) = last
        && outcome != Outcome::Done
    {
        return format!("{} ({phase}) did not pass: {}", phase.verb(), ended.reason);
    }
    let done = state.phases.keys();
    let done = done.filter(|phase| state.phase_done(**phase)).count();
    format!("{done} of 9 phases done")
}

/// Says where traffic goes that is not as the run has set it last, where no process is at work on that.
fn led_elsewhere(state: &RunState, live: &Live) -> Option<String> {
    let is_left = live.worker.is_none() && state.finished.is_none();
    let elsewhere = live.led_elsewhere(state);
    let why = match is_left_to_its_lease(state) && live.all_is_stable(state) {
        true => format!(
            "no process went on with the run within {} s, so the stable release has all of it",
            code_deploy_engine::release::LEASE.as_secs()
        ),
        false => "no process goes on with the run".to_owned(),
    };
    (is_left && !elsewhere.is_empty()).then(|| {
        let served = elsewhere.join("; ");
        format!("not as the run has set it last: {why}. Served now: {served}")
    })
}

/// Returns the step that began last and has not ended, where the run goes on.
fn step_under_way(state: &RunState) -> Option<(&StepName, &StepState)> {
    let is_back = state.rollback.is_some();
    let open = |status| match status {
        StepStatus::Intended | StepStatus::Applied => !is_back,
        StepStatus::Undoing => true,
        _ => false,
    };
    let steps = state.steps.iter().filter(|(_, step)| open(step.status));
    let last = steps.max_by_key(|(_, step)| step.started);
    last.filter(|_| state.finished.is_none())
}

fn under_way(state: &RunState) -> Option<String> {
    let (name, step) = step_under_way(state)?;
    let planned = state.planned(name);
    if step.direction == Direction::Undo {
        let undo = planned.and_then(|planned| planned.undo.as_deref());
        return Some(format!(
            "{name}, going back: {}",
            undo.unwrap_or("nothing to undo")
        ));
    }
    let expected = planned.map_or(String::new(), |planned| {
        let expected = planned.expected_ms as f64 / 1e3;
        format!(", planned for {expected:.1} s: {}", planned.title)
    });
    let since = match step.attempt {
        0 | 1 => format!("since {}", step.started.format("%H:%M:%S UTC")),
        again => format!("attempt {again}"),
    };
    Some(format!("{name}, {since}{expected}"))
}

fn last_gate(state: &RunState) -> Option<String> {
    let gate = state.gates.iter().max_by_key(|gate| gate.time)?;
    let answer = if gate.passed { gate.word } else { "NOT PASSED" };
    let (name, time) = (gate.gate.word(), gate.time.format("%H:%M:%S UTC"));
    Some(format!(
        "{name} {answer} at {time} ({}): {}",
        gate.subject, gate.reason
    ))
}

/// Returns until when the run has taken time: until now where a process works on it or it stands still, and otherwise
/// until its last entry.
fn until(state: &RunState, live: Option<&Live>) -> Option<DateTime<Utc>> {
    let last = state.finished.as_ref().map(|(.., time)| *time);
    let now = live.filter(|live| live.worker.is_some() || state.paused);
    last.or(now.map(|live| live.time)).or(state.last)
}

/// Says how long the run has taken without what it stood still, beside what its plan says of all steps, and how long that
/// was.
fn time(state: &RunState, standstills: &Standstills, live: Option<&Live>) -> Option<String> {
    let passed = standstills.passed(state.since?, until(state, live)?);
    let planned = state.plan.iter().flat_map(|plan| &plan.steps);
    let planned: u64 = planned.map(|step| step.expected_ms).sum();
    let stood = passed.stood_in_words();
    let word = if state.finished.is_some() {
        "took"
    } else {
        "spent"
    };
    let planned = match planned {
        0 => String::new(),
        planned => format!(", planned for at most {:.0} s", planned as f64 / 1e3),
    };
    let spent = passed.spent.num_seconds();
    Some(format!("{word} {spent} s{planned}{stood}"))
}

/// Returns what a person is to approve before the run goes on.
fn waits_for(state: &RunState) -> Option<&str> {
    let goes_on = state.finished.is_none() && state.rollback.is_none();
    let asked = state.approval_asked.as_ref().filter(|_| goes_on);
    asked.map(|(gate, _)| gate.as_str())
}

fn with_traffic(report: Report, state: &RunState) -> Report {
    if state.traffic.is_empty() {
        return report;
    }
    let rows = state.traffic.iter().map(|(service, (shares, stable))| {
        let shares: Vec<_> = shares
            .iter()
            .map(|(r, share)| format!("{r}: {share} %"))
            .collect();
        vec![service.clone(), shares.join(", "), stable.to_string()]
    });
    let columns = vec![
        Column::text("Service"),
        Column::text("Served"),
        Column::text("Stable release"),
    ];
    let last = state.last.map(utc).unwrap_or_default();
    let title = format!("Traffic as it was when the record's last entry was written, {last}");
    report.with_table(&title, columns, rows.collect())
}

fn with_trouble(report: Report, state: &RunState) -> Report {
    let steps = state
        .steps
        .iter()
        .filter(|(_, step)| matches!(step.status, StepStatus::Failed | StepStatus::UndoFailed))
        .filter(|(_, step)| {
            let code = step.problem.as_ref().map(|problem| problem.code.as_str());
            code != Some(code_deploy_engine::code::PAUSED)
        });
    let mut rows: Vec<_> = steps
        .map(|(name, step)| {
            let what = step.problem.as_ref().map(|problem| problem.what.clone());
            vec![format!("step {name}"), what.unwrap_or_default()]
        })
        .collect();
    let gates = state.gates.iter().filter(|gate| !gate.passed);
    rows.extend(gates.map(|gate| {
        vec![
            format!("gate {} ({})", gate.gate.word(), gate.subject),
            gate.reason.clone(),
        ]
    }));
    let items = state
        .items
        .iter()
        .filter(|(_, item)| item.verdict == Verdict::Failed);
    rows.extend(items.map(|(id, item)| vec![format!("item {id}"), item.reason.clone()]));
    if rows.is_empty() {
        return report;
    }
    let columns = vec![Column::text("What"), Column::text("Why")];
    report.with_table("What did not pass", columns, rows)
}

fn as_value(state: &RunState, standstills: &Standstills, live: Option<&Live>) -> serde_json::Value {
    let times = state.since.zip(until(state, live));
    let passed = times.map(|(since, until)| standstills.passed(since, until));
    serde_json::json!({
        "run": state.started,
        "standing": standing(state),
        "phase": state.present_phase(),
        "step": step_under_way(state).map(|(name, _)| name),
        "last_gate": state.gates.iter().max_by_key(|gate| gate.time).map(|gate| {
            serde_json::json!({
                "gate": gate.gate, "subject": gate.subject, "passed": gate.passed,
                "reason": gate.reason, "time": gate.time,
            })
        }),
        "paused": state.paused,
        "paused_seconds": passed.map(|passed| passed.paused.as_seconds_f64()),
        "unattended_seconds": passed.map(|passed| passed.unattended.as_seconds_f64()),
        "waits_for": waits_for(state),
        "paused_by": state.paused_by.as_ref().map(|(by, reason)| {
            serde_json::json!({ "by": by, "reason": reason })
        }),
        "outcome": state.finished.as_ref().map(|(outcome, ..)| outcome),
        "traffic": state.traffic.iter().map(|(service, (shares, stable))| {
            (service.clone(), serde_json::json!({ "served": shares, "stable": stable }))
        }).collect::<BTreeMap<_, _>>(),
        "client": state.clients.get("client"),
        "events": state.events,
        "last_entry": state.last,
        "led_elsewhere": live.and_then(|live| led_elsewhere(state, live)),
        "now": live.map(Live::as_value),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

    use code_deploy_record::{PhaseNumber, PhaseState, Trigger};

    use super::*;
    use crate::fixtures::{at, event, lock_taken, paused, resumed};
    use crate::show::live::Seen;

    fn step(status: StepStatus, seconds: i64) -> StepState {
        StepState {
            status,
            direction: Direction::Apply,
            attempt: 1,
            intent: serde_json::Value::Null,
            result: serde_json::Value::Null,
            started: at(seconds),
            duration_us: None,
            checks: Vec::new(),
            problem: None,
            skipped: None,
        }
    }

    #[test]
    fn a_phase_that_did_not_pass_is_named_with_its_reason() {
        let mut state = RunState::default();
        let build = PhaseState {
            started: at(1),
            finished: Some((at(2), Outcome::Failed)),
            reason: "building catalog: it ended".to_owned(),
        };
        state.phases.insert(PhaseNumber::new(3).unwrap(), build);
        let expected = "build (03) did not pass: building catalog: it ended";
        assert_eq!(standing(&state), expected);
    }

    #[test]
    fn while_a_run_goes_back_the_step_is_one_that_is_undone() {
        let mut state = RunState::default();
        let left = step(StepStatus::Intended, 9);
        state
            .steps
            .insert("validate.performance".parse().unwrap(), left);
        let undone = step(StepStatus::Undoing, 3);
        state.steps.insert("release.green".parse().unwrap(), undone);
        let name = |state: &RunState| step_under_way(state).map(|(name, _)| name.to_string());
        assert_eq!(name(&state).as_deref(), Some("validate.performance"));
        state.rollback = Some((Trigger::Person, "it is ill".to_owned()));
        assert_eq!(name(&state).as_deref(), Some("release.green"));
    }

    #[test]
    fn the_time_goes_on_while_a_process_works_on_the_run() {
        let state = RunState {
            since: Some(at(0)),
            last: Some(at(35)),
            ..RunState::default()
        };
        let mut live = Live {
            time: at(7200),
            seen: Err("not asked".to_owned()),
            worker: None,
        };
        let told = |state: &RunState, live: &Live| time(state, &Standstills::default(), Some(live));
        assert_eq!(told(&state, &live).as_deref(), Some("spent 35 s"));
        live.worker = Some("process 7".to_owned());
        assert_eq!(told(&state, &live).as_deref(), Some("spent 7200 s"));
    }

    #[test]
    fn where_the_lease_ran_out_traffic_is_told_as_it_is() {
        let release = |text: &str| text.parse::<code_deploy_record::Release>().unwrap();
        let shares =
            |new: u16| BTreeMap::from([(release("1.0.0"), 100 - new), (release("1.1.0"), new)]);
        let mut state = RunState::default();
        let set = (shares(25), release("1.0.0"));
        state.traffic.insert("catalog".to_owned(), set);
        let told = |new: u16| {
            let served = BTreeMap::from([("catalog".to_owned(), shares(new))]);
            let live = Live {
                time: at(0),
                seen: Ok(Seen::serving(served)),
                worker: None,
            };
            led_elsewhere(&state, &live)
        };
        assert_eq!(told(25), None);
        let text = told(0).unwrap();
        assert!(
            text.contains("so the stable release has all of it"),
            "{text}"
        );
        assert!(
            text.ends_with("Served now: catalog by 1.0.0 100 %"),
            "{text}"
        );
        let text = told(50).unwrap();
        assert!(text.contains("no process goes on with the run."), "{text}");
    }

    #[test]
    fn a_pause_is_told_beside_the_time_that_was_spent() {
        let mut standstills = Standstills::default();
        standstills.note(&event(5, paused()));
        standstills.note(&event(8, resumed()));
        standstills.note(&event(35, paused()));
        let state = RunState {
            since: Some(at(0)),
            last: Some(at(35)),
            paused: true,
            ..RunState::default()
        };
        let live = Live {
            time: at(7235),
            seen: Err("not asked".to_owned()),
            worker: None,
        };
        let told = time(&state, &standstills, Some(&live));
        assert_eq!(told.as_deref(), Some("spent 32 s; paused for 7203 s"));
        let value = as_value(&state, &standstills, Some(&live));
        assert_eq!(value["paused_seconds"], 7203.0);
        assert_eq!(value["unattended_seconds"], 0.0);
    }

    #[test]
    fn the_time_in_which_a_killed_process_was_not_replaced_is_no_time_that_was_spent() {
        let mut standstills = Standstills::default();
        standstills.note(&event(0, lock_taken(1)));
        standstills.note(&event(3600, lock_taken(2)));
        standstills.note(&event(3600, resumed()));
        let state = RunState {
            since: Some(at(0)),
            last: Some(at(3608)),
            ..RunState::default()
        };
        let told = time(&state, &standstills, None);
        let expected = "spent 8 s; no process carried it out for up to 3600 s";
        assert_eq!(told.as_deref(), Some(expected));
        let value = as_value(&state, &standstills, None);
        assert_eq!(value["unattended_seconds"], 3600.0);
    }
}
