//! Events as lines that a person reads while a run goes on.

use code_deploy_record::{Direction, Event, EventBody, Outcome, Severity, Vantage};

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
            let answer = if gate.passed { "passed" } else { "NOT PASSED" };
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
            let seconds = *duration_us as f64 / 1e6;
            Some(format!(
                "  rollback rehearsed in {seconds:.2} s: {answered} requests answered meanwhile, \
                 {failed} failed"
            ))
        }
        EventBody::RollbackStarted { reason, .. } => Some(format!("ROLLING BACK: {reason}")),
        EventBody::FindingRaised(finding) if finding.severity >= Severity::Medium => Some(format!(
            "  finding {}: {} ({})",
            finding.rule, finding.message, finding.place
        )),
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
        EventBody::Paused { .. } => Some("paused: `code-deploy resume` goes on".to_owned()),
        EventBody::Resumed { found } => Some(format!("resumed: {found}")),
        EventBody::Migrated {
            database,
            version,
            description,
            duration_us,
            ..
        } => {
            let seconds = *duration_us as f64 / 1e6;
            Some(format!(
                "  {database}: migration {version} {description} ({seconds:.3} s)"
            ))
        }
        EventBody::Noted { severity, text } => {
            (*severity >= Severity::Medium).then(|| format!("  note: {text}"))
        }
        EventBody::RunFinished { outcome, summary } => {
            Some(format!("run {}: {summary}", outcome.words()))
        }
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
