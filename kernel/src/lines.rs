//! Events as lines that a person reads while a run goes on.

use std::collections::BTreeMap;

use code_deploy_notebook_gen::format::duration;
use code_deploy_record::{Direction, Event, EventBody, Outcome, Release, Severity, Vantage, said};

/// Tells of a run's events as they come. Traffic of a service is told of when its shares are other
/// than those told last.
#[derive(Debug, Default)]
pub struct Teller {
    shares: BTreeMap<String, BTreeMap<Release, u16>>,
}

impl Teller {
    /// Returns the line that tells of an event; nothing for one that tells a person nothing new.
    pub fn tell(&mut self, event: &Event) -> Option<String> {
        if let EventBody::TrafficShifted {
            service, served, ..
        } = &event.body
        {
            let before = self.shares.insert(service.clone(), served.clone());
            if before.as_ref() == Some(served) {
                return None;
            }
        }
        line_of(event)
    }
}

/// Returns the line that tells of an event; nothing for events that only machines need.
pub fn line_of(event: &Event) -> Option<String> {
    match &event.body {
        EventBody::RunStarted(run) => {
            let from = run
                .from
                .as_ref()
                .map_or("nothing".to_owned(), ToString::to_string);
            let (app, env, target) = (&run.application, &run.environment, &run.target);
            Some(format!(
                "run {}: {app} {from} -> {} in {env} on {target}",
                run.run, run.to
            ))
        }
        EventBody::PhaseStarted { phase } => Some(format!("[{phase}] {}", phase.verb())),
        EventBody::PhaseFinished {
            phase,
            outcome,
            reason,
        } => (*outcome != Outcome::Done).then(|| format!("[{phase}] {}: {reason}", word(*outcome))),
        EventBody::StepFinished {
            step,
            direction,
            outcome,
            duration_us,
            problem,
        } => {
            let seconds = *duration_us as f64 / 1e6;
            let asked = problem
                .as_ref()
                .filter(|problem| problem.code == code_deploy_engine::code::PAUSED);
            if let Some(asked) = asked {
                return Some(format!(
                    "  {step} stops at a safe point ({seconds:.1} s): {}",
                    asked.what
                ));
            }
            let mark = if *outcome == Outcome::Done {
                "ok "
            } else {
                "not"
            };
            let back = if *direction == Direction::Undo {
                "undo "
            } else {
                ""
            };
            let problem = problem
                .as_ref()
                .map(|p| format!(": {}", p.what))
                .unwrap_or_default();
            Some(format!("  {mark} {back}{step} ({seconds:.1} s){problem}"))
        }
        EventBody::StepVerified { step, check, .. } if !check.passed => {
            let side = if check.vantage == Vantage::Inside {
                "inside"
            } else {
                "outside"
            };
            Some(format!(
                "  not {step}, {side}, by {}: {}",
                check.method, check.detail
            ))
        }
        EventBody::GateEvaluated(gate) => {
            let answer = if gate.passed {
                gate.word()
            } else {
                "NOT PASSED"
            };
            Some(format!(
                "  gate {} {answer} ({}): {}",
                gate.gate.word(),
                gate.subject,
                gate.reason
            ))
        }
        EventBody::RollbackRehearsed {
            duration_us,
            failed,
            answered,
        } => {
            let took = duration(*duration_us);
            Some(format!(
                "  rollback rehearsed: traffic led back in {took} while both releases ran; in the seconds \
                 around it {answered} requests were answered, {failed} failed"
            ))
        }
        EventBody::RollbackStarted { reason, .. } => Some(format!("ROLLING BACK: {reason}")),
        EventBody::FindingRaised(finding) if finding.severity >= Severity::Medium => Some(format!(
            "  finding {}: {} ({})",
            finding.rule, finding.message, finding.place
        )),
        EventBody::ApprovalAsked {
            gate,
            plan,
            summary,
            signers,
            ..
        } => {
            let command = match signers.is_empty() {
                true => "`code-deploy approve --reason TEXT`",
                false => "`code-deploy approve --sign KEY --reason TEXT`",
            };
            Some(format!(
                "  waits for {gate} of plan {}: {command}, with `--no-go` against it: {summary}",
                plan.short()
            ))
        }
        EventBody::ApprovalGiven { by, go, reason, .. } => {
            let answer = if *go { "go" } else { "no-go" };
            Some(format!("  {by} says {answer}: {reason}"))
        }
        EventBody::SteeringAsked { verb, by, reason } => {
            Some(format!("  {by} asks for {verb:?}: {reason}").to_lowercase())
        }
        _ => line_of_course(&event.body),
    }
}

fn line_of_course(body: &EventBody) -> Option<String> {
    match body {
        EventBody::TrafficShifted {
            service,
            served,
            reason,
            ..
        } => {
            let shares: Vec<_> = served
                .iter()
                .map(|(r, share)| format!("{r} {share} %"))
                .collect();
            Some(format!(
                "  traffic of {service}: {} ({reason})",
                shares.join(", ")
            ))
        }
        EventBody::Paused { by, reason, .. } => {
            let who = by.as_ref().zip(reason.as_ref());
            let who = who.map(|(by, reason)| format!(" by {by} ({reason})"));
            let who = who.unwrap_or_default();
            Some(format!("paused{who}: `code-deploy resume` goes on"))
        }
        EventBody::Resumed { found } => Some(said::resumed(found)),
        EventBody::Migrated {
            database,
            version,
            description,
            direction,
            duration_us,
            ..
        } => {
            let seconds = *duration_us as f64 / 1e6;
            let back = match direction {
                Direction::Apply => "",
                Direction::Undo => "taken back, ",
            };
            Some(format!(
                "  {database}: migration {version} {description} ({back}{seconds:.3} s)"
            ))
        }
        EventBody::StepRetried {
            step,
            attempt,
            problem,
            ..
        } => Some(format!(
            "  {step}: attempt {attempt} failed and is made again: {}",
            problem.what
        )),
        EventBody::StepSkipped { step, by, reason } => {
            Some(format!("{step} is dealt with by hand, says {by}: {reason}"))
        }
        EventBody::Noted { severity, text } => {
            (*severity >= Severity::Medium).then(|| format!("  note: {text}"))
        }
        EventBody::RunFinished { outcome, summary } => Some(said::ended(*outcome, summary)),
        _ => None,
    }
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Done => "done",
        Outcome::Failed => "failed",
        Outcome::Stopped => "stopped",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

    use super::*;

    fn event(body: serde_json::Value) -> Event {
        let mut value = serde_json::json!({
            "seq": 3, "time": "2026-01-01T00:00:00Z", "actor": "engine",
            "prev": code_deploy_record::Digest::ZERO,
        });
        let fields = value.as_object_mut().unwrap();
        fields.extend(body.as_object().unwrap().clone());
        serde_json::from_value(value).unwrap()
    }

    fn traffic(service: &str, percent: u16) -> Event {
        event(serde_json::json!({
            "kind": "traffic_shifted", "service": service, "stable": "1.0.0",
            "served": { "1.0.0": 100 - percent, "1.1.0": percent }, "reason": "rollback",
        }))
    }

    #[test]
    fn traffic_is_told_of_when_its_shares_change_and_not_once_more_per_step() {
        let mut teller = Teller::default();
        let told = [5, 0, 0, 0, 25].map(|percent| teller.tell(&traffic("web", percent)).is_some());
        assert_eq!(told, [true, true, false, false, true]);
        assert!(teller.tell(&traffic("api", 25)).is_some());
    }

    #[test]
    fn a_step_that_stops_because_somebody_asked_did_not_fail() {
        let line = line_of(&event(serde_json::json!({
            "kind": "step_finished", "step": "release.traffic.5", "direction": "apply",
            "outcome": "stopped", "duration_us": 1_000_000,
            "problem": { "code": "CD0401", "what": "anna asked for a pause: lunch" },
        })));
        let line = line.unwrap();
        assert!(line.contains("stops at a safe point"), "{line}");
        assert!(!line.contains("not "), "{line}");
    }
}
