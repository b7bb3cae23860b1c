//! What a person wants to know when a run has ended, on one screen.

use std::collections::BTreeMap;
use std::path::Path;

use chrono::{DateTime, Utc};
use code_deploy_engine::spec::{Service, Spec};
use code_deploy_notebook_gen::format::duration;
use code_deploy_record::{
    Column, Event, EventBody, GateEvaluated, Outcome, Passed, Report, Role, RunFolder, RunOutcome,
    RunState, Standstills, Verdict,
};

use crate::session::Session;
use crate::show::status::standing;

/// Shows the summary of a run whose notebooks were written to `out`.
pub async fn show(
    session: &Session,
    folder: &RunFolder,
    state: &RunState,
    out: &Path,
    notebooks: usize,
) {
    let mut rows = vec![row("Outcome", standing(state))];
    let told = Told::of(folder);
    let why = told.why(state);
    rows.extend(why.iter().map(|text| row("Why", text.clone())));
    let took = state.since.zip(state.last);
    let took = took.map(|(since, last)| told.standstills.passed(since, last));
    rows.extend(took.map(|passed| row("Took", in_words(passed))));
    let went_back = told.went_back(state);
    rows.extend(went_back.map(|passed| row("Going back took", in_words(passed))));
    rows.extend(client_rows(state));
    if let Some((us, failed, answered)) = state.rehearsed {
        let took = duration(us);
        let asked = failed + answered;
        let text = format!(
            "traffic led back in {took} while both releases ran; {failed} of {asked} requests in the seconds around it failed"
        );
        rows.push(row("Rollback rehearsal", text));
    }
    rows.push(row("Items", items(state)));
    rows.push(row("Record", folder.path().display().to_string()));
    rows.push(row(
        "Notebooks",
        format!("{notebooks} in {}", out.display()),
    ));
    rows.extend(where_it_is(session).await);
    let value = serde_json::json!({
        "run": state.started.as_ref().map(|started| &started.run),
        "outcome": state.finished.as_ref().map(|(outcome, ..)| outcome),
        "why": why,
        "client": state.clients.get("client"),
        "rehearsal_us": state.rehearsed.map(|(us, ..)| us),
        "going_back_seconds": went_back.map(|passed| passed.wall().as_seconds_f64()),
        "going_back_spent_seconds": went_back.map(|passed| passed.spent.as_seconds_f64()),
        "record": folder.path(), "notebooks": out,
    });
    if session.face.value("summary", &value) {
        return;
    }
    let columns = vec![Column::text(""), Column::text("")];
    session
        .face
        .report("Summary", &Report::new().with_table("", columns, rows));
}

fn row(name: &str, value: impl Into<String>) -> Vec<String> {
    vec![name.to_owned(), value.into()]
}

/// Says how much of a time was spent, and how long the run stood still in it.
fn in_words(passed: Passed) -> String {
    let spent = passed.spent.as_seconds_f64();
    format!("{spent:.1} s{}", passed.stood_in_words())
}

/// What the events of a run tell that its state does not hold. What cannot be read of the record says nothing here.
#[derive(Default)]
struct Told {
    standstills: Standstills,
    /// When the run began to go back.
    began: Option<DateTime<Utc>>,
    /// When all was taken back.
    ended: Option<DateTime<Utc>>,
    /// The gates, each where it did not pass the last time that it was asked.
    refused: BTreeMap<(&'static str, String), Option<GateEvaluated>>,
}

impl Told {
    fn of(folder: &RunFolder) -> Self {
        let mut told = Self::default();
        let events = folder.events().into_iter().flatten();
        for event in events.map_while(Result::ok) {
            told.note(event);
        }
        told
    }

    fn note(&mut self, event: Event) {
        self.standstills.note(&event);
        match event.body {
            EventBody::RollbackStarted { .. } => self.began = self.began.or(Some(event.time)),
            EventBody::RollbackFinished {
                outcome: Outcome::Done,
                ..
            } => self.ended = Some(event.time),
            EventBody::GateEvaluated(gate) => {
                let key = (gate.gate.word(), gate.subject.clone());
                self.refused.insert(key, (!gate.passed).then_some(gate));
            }
            _ => {}
        }
    }

    /// Returns how the time of going back was passed, from its beginning until all was taken back; nothing where the run
    /// did not go back.
    fn went_back(&self, state: &RunState) -> Option<Passed> {
        if matches!(state.finished, Some((RunOutcome::Succeeded, ..))) {
            return None;
        }
        Some(self.standstills.passed(self.began?, self.ended?))
    }

    /// Returns, of a run that did not succeed, the gates that did not pass and the items that do not hold, with what was
    /// measured and asked for, as far as its outcome does not say so.
    fn why(&self, state: &RunState) -> Vec<String> {
        if matches!(state.finished, None | Some((RunOutcome::Succeeded, ..))) {
            return Vec::new();
        }
        let outcome = standing(state);
        let gates = self.refused.values().flatten();
        let gates = gates.filter_map(|gate| refusal(gate, &outcome));
        let items = state.items.iter();
        let items = items.filter(|(_, item)| item.verdict == Verdict::Failed);
        let items = items.filter(|(_, item)| !outcome.contains(&item.reason));
        let items = items.map(|(id, item)| format!("item {id} does not hold: {}", item.reason));
        gates.chain(items).collect()
    }
}

/// Says why a gate did not pass; nothing where that, with all figures, was said already.
fn refusal(gate: &GateEvaluated, said: &str) -> Option<String> {
    let mut text = format!(
        "the {} gate of {} did not pass: {}",
        gate.gate.word(),
        gate.subject,
        gate.reason
    );
    let mut new = !said.contains(&gate.reason);
    for check in gate.checks.iter().filter(|check| !check.passed) {
        let (name, measured, limit) = (&check.name, &check.measured, &check.limit);
        if !gate.reason.contains(measured) || !gate.reason.contains(limit) {
            text.push_str(&format!("; {name}: {measured} (asked for: {limit})"));
            new = true;
        }
    }
    new.then_some(text)
}

fn client_rows(state: &RunState) -> Vec<Vec<String>> {
    let Some(client) = state.clients.get("client") else {
        return Vec::new();
    };
    let mut text = format!(
        "{} requests, {} failed, longest gap between good answers {:.3} s",
        client.sent,
        client.failed,
        client.longest_gap_us as f64 / 1e6
    );
    let by: Vec<_> = client
        .by_release()
        .map(|(release, count)| {
            format!(
                "{release}: {} answered, {} failed",
                count.answered, count.failed
            )
        })
        .collect();
    if !by.is_empty() {
        text.push_str(&format!(" ({})", by.join("; ")));
    }
    vec![row("Outside client", text)]
}

fn items(state: &RunState) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for item in state.items.values() {
        *counts.entry(item.verdict.word()).or_default() += 1;
    }
    let order = [
        Verdict::Failed.word(),
        Verdict::Open.word(),
        "waived",
        "not applicable",
        "met",
    ];
    let parts = order
        .iter()
        .filter_map(|word| counts.get(word).map(|n| format!("{n} {word}")));
    parts.collect::<Vec<_>>().join(", ")
}

async fn where_it_is(session: &Session) -> Vec<Vec<String>> {
    let Ok(observed) = session.target.observe().await else {
        return Vec::new();
    };
    let spec = &session.spec;
    let met_first = met_first(spec);
    let addresses = observed.addresses.iter();
    let urls: Vec<_> = addresses
        .filter(|address| met_first.contains(&address.service.as_str()))
        .filter_map(|address| {
            let url = observed.front_url(&address.service)?;
            Some(format!("{url} ({})", address.service))
        })
        .collect();
    if urls.is_empty() {
        return Vec::new();
    }
    let file = spec.path.display();
    let stop = format!(
        "code-deploy -f {file} {} {} --stop",
        spec.environment, spec.target
    );
    vec![row("Look at it", urls.join(", ")), row("Stop it", stop)]
}

/// Returns the services that users meet: frontends, or else those that no other needs.
fn met_first(spec: &Spec) -> Vec<&str> {
    let names = |is: &dyn Fn(&Service) -> bool| -> Vec<&str> {
        let found = spec.services.iter().filter(|service| is(service));
        found.map(|service| service.name.as_str()).collect()
    };
    let frontends = names(&|service| service.role == Role::Frontend);
    if !frontends.is_empty() {
        return frontends;
    }
    let needed = |name: &String| spec.services.iter().any(|other| other.needs.contains(name));
    names(&|service| !needed(&service.name))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

    use code_deploy_record::{Digest, Gate, GateCheck, Trigger};

    use super::*;

    #[test]
    fn of_a_way_back_the_time_that_was_spent_is_told_apart_from_that_on_the_wall() {
        let event = |second: u32, body: EventBody| Event {
            seq: 0,
            time: format!("2026-01-02T03:04:{second:02}Z").parse().unwrap(),
            actor: "engine".to_owned(),
            prev: Digest::ZERO,
            body,
        };
        let going = EventBody::RollbackStarted {
            trigger: Trigger::Failure,
            reason: "it fails".to_owned(),
        };
        let paused = EventBody::Paused {
            after: None,
            by: None,
            reason: None,
        };
        let found = String::new();
        let back = EventBody::RollbackFinished {
            outcome: Outcome::Done,
            duration_us: 14_000_000,
        };
        let course = [
            (1, going),
            (3, paused),
            (13, EventBody::Resumed { found }),
            (15, back),
        ];
        let mut told = Told::default();
        for (second, body) in course {
            told.note(event(second, body));
        }
        let passed = told.went_back(&RunState::default()).unwrap();
        assert_eq!(passed.wall().num_seconds(), 14);
        assert_eq!(passed.spent.num_seconds(), 4);
    }

    #[test]
    fn a_gate_that_did_not_pass_is_told_once_and_with_its_figures() {
        let check = GateCheck::new("web p99", "90 ms", "at most 60 ms", false);
        let gate = |reason: &str| GateEvaluated {
            gate: Gate::Analysis,
            subject: "canary at 5 %".to_owned(),
            passed: false,
            since: Default::default(),
            checks: vec![check.clone()],
            compared: false,
            reason: reason.to_owned(),
        };
        let whole = "web p99: 90 ms, at most 60 ms";
        let outcome = format!("rolled back: everything is on release 1.0.0: {whole}");
        assert_eq!(refusal(&gate(whole), &outcome), None);
        let told = refusal(&gate("1 figure is worse"), "rolled back: 1 figure is worse").unwrap();
        assert!(
            told.ends_with("web p99: 90 ms (asked for: at most 60 ms)"),
            "{told}"
        );
        assert!(
            refusal(&gate(whole), "needs a person")
                .unwrap()
                .ends_with(whole)
        );
    }
}
