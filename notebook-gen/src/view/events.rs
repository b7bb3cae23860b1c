//! The journal as text, one line an event.

use std::collections::BTreeMap;

use code_deploy_record::{Direction, Event, EventBody, PhaseNumber, Report, RunState};

use crate::Result;
use crate::facts::Facts;
use crate::format::{count, counted, cut, duration, fine_clock};
use crate::view::steps::outcome_word;

/// Lines of one phase that are shown. What is left out is counted by kind, and the journal's
/// digest names the whole.
const MOST: usize = 400;

/// The longest line, in characters.
const LONGEST: usize = 220;

pub(super) fn events(facts: &Facts, wanted: Option<PhaseNumber>) -> Result<Report> {
    let mut lines = Vec::new();
    let mut left_out: BTreeMap<&'static str, u64> = BTreeMap::new();
    let mut state = RunState::default();
    let mut phase = PhaseNumber::new(1);
    let mut reader = facts.folder.events()?;
    while let Some(event) = reader.next_event()? {
        if event.seq >= facts.state.events || state.apply(&event).is_err() {
            break;
        }
        phase = state.present_phase().or(ended_phase(&event)).or(phase);
        if wanted.is_some() && phase != wanted {
            continue;
        }
        let (kind, text) = describe(&event.body);
        if lines.len() >= MOST {
            *left_out.entry(kind).or_default() += 1;
            continue;
        }
        let line = format!(
            "{:>6}  {}  {:<14}  {text}",
            event.seq,
            fine_clock(event.time),
            cut(&event.actor, 14)
        );
        lines.push(cut(&line.replace(['\n', '\r'], " "), LONGEST));
    }
    if lines.is_empty() {
        return Ok(Report::new().with_text("No event of this phase: it was not reached."));
    }
    let shown = u64::try_from(lines.len()).unwrap_or(u64::MAX);
    let mut report = Report::new();
    for part in lines.chunks(200) {
        report = report.with_code("", "text", part.join("\n"));
    }
    if !left_out.is_empty() {
        let kinds: Vec<String> = left_out
            .iter()
            .map(|(k, n)| format!("{} {k}", count(*n)))
            .collect();
        return Ok(report.with_text(format!(
            "{} shown; left out here and in the journal: {}. The journal's last line has the \
             digest {}.",
            counted(shown, "event"),
            kinds.join(", "),
            facts.head
        )));
    }
    Ok(report.with_text(format!("{}, all shown.", counted(shown, "event"))))
}

fn ended_phase(event: &Event) -> Option<PhaseNumber> {
    match event.body {
        EventBody::PhaseFinished { phase, .. } => Some(phase),
        _ => None,
    }
}

fn back(direction: Direction) -> &'static str {
    match direction {
        Direction::Apply => "",
        Direction::Undo => "undo of ",
    }
}

/// Returns the word for a kind of event (`steps`, `items`), and what the event says in one line.
#[must_use]
pub fn describe(body: &EventBody) -> (&'static str, String) {
    match body {
        EventBody::RunStarted(started) => {
            let from = started
                .from
                .as_ref()
                .map_or("nothing".to_owned(), ToString::to_string);
            let text = format!(
                "run {} of {} began: {from} -> {} in {} on {}, {}",
                started.run,
                started.application,
                started.to,
                started.environment,
                started.target,
                started.strategy
            );
            ("run", text)
        }
        EventBody::InventoryTaken(taken) => (
            "inventory",
            format!(
                "inventory taken: {}",
                counted(taken.components.len() as u64, "component")
            ),
        ),
        EventBody::Planned(plan) => {
            let steps = counted(plan.steps.len() as u64, "step");
            let text = format!("plan {} made: {steps}", plan.digest.short());
            ("plan", text)
        }
        EventBody::PhaseStarted { phase } => ("phases", format!("phase {phase} began")),
        EventBody::PhaseFinished {
            phase,
            outcome,
            reason,
        } => (
            "phases",
            format!("phase {phase} {} {reason}", outcome_word(*outcome)),
        ),
        EventBody::LockTaken {
            fencing,
            host,
            pid,
            program,
        } => (
            "run",
            format!(
                "process {pid} on {host} (version {program}) carries the run out, number {fencing}"
            ),
        ),
        EventBody::SectionReported { section, title, .. } => {
            ("reports", format!("report of section {section}: {title}"))
        }
        EventBody::StepIntended { .. }
        | EventBody::StepRetried { .. }
        | EventBody::StepSkipped { .. }
        | EventBody::StepApplied { .. }
        | EventBody::StepVerified { .. }
        | EventBody::StepFinished { .. } => ("steps", describe_step(body)),
        EventBody::GateEvaluated(gate) => {
            let word = if gate.passed {
                gate.word()
            } else {
                "DID NOT PASS"
            };
            let name = gate.gate.word();
            (
                "gates",
                format!("{name} gate of {} {word}: {}", gate.subject, gate.reason),
            )
        }
        EventBody::HealthChanged {
            release,
            instance,
            probe,
            healthy,
            detail,
            ..
        } => {
            let word = if *healthy { "passes" } else { "FAILS" };
            let probe = format!("{probe:?}").to_lowercase();
            (
                "health",
                format!("{probe} of {instance} ({release}) {word}: {detail}"),
            )
        }
        EventBody::TrafficShifted {
            service,
            served,
            reason,
            ..
        } => {
            let served: Vec<String> = served.iter().map(|(r, s)| format!("{r} {s} %")).collect();
            (
                "traffic",
                format!("traffic of {service}: {} ({reason})", served.join(", ")),
            )
        }
        EventBody::ItemSettled {
            item,
            verdict,
            reason,
            ..
        } => ("items", format!("item {item} {}: {reason}", verdict.word())),
        EventBody::FindingRaised(finding) => {
            let severity = format!("{:?}", finding.severity).to_lowercase();
            let text = format!(
                "{severity} finding {} at {}: {}",
                finding.rule, finding.place, finding.message
            );
            ("findings", text)
        }
        EventBody::EvidenceKept {
            name,
            digest,
            bytes,
            ..
        } => {
            let text = format!("evidence kept: {name}, {bytes} bytes, {}", digest.short());
            ("evidence", text)
        }
        other => describe_course(other),
    }
}

fn describe_step(body: &EventBody) -> String {
    match body {
        EventBody::StepIntended {
            step,
            direction,
            attempt,
            ..
        } => format!("{}{step} intended, attempt {attempt}", back(*direction)),
        EventBody::StepSkipped { step, by, reason } => {
            format!("{step} is dealt with by hand, says {by}: {reason}")
        }
        EventBody::StepRetried {
            step,
            direction,
            attempt,
            pause_ms,
            problem,
        } => format!(
            "{}{step} attempt {attempt} failed ({}), tried again after {pause_ms} ms",
            back(*direction),
            problem.what
        ),
        EventBody::StepApplied {
            step, direction, ..
        } => format!("{}{step} applied", back(*direction)),
        EventBody::StepVerified {
            step,
            direction,
            check,
        } => {
            let word = if check.passed { "passed" } else { "FAILED" };
            let vantage = format!("{:?}", check.vantage).to_lowercase();
            let (method, detail) = (&check.method, &check.detail);
            format!(
                "{}{step} {word} {vantage}: {method}: {detail}",
                back(*direction)
            )
        }
        EventBody::StepFinished {
            step,
            direction,
            outcome,
            duration_us,
            problem,
        } => {
            let problem = problem.as_ref().map(|p| format!(": {} {}", p.code, p.what));
            format!(
                "{}{step} {} after {}{}",
                back(*direction),
                outcome_word(*outcome),
                duration(*duration_us),
                problem.unwrap_or_default()
            )
        }
        _ => String::new(),
    }
}

fn describe_course(body: &EventBody) -> (&'static str, String) {
    match body {
        EventBody::ApprovalAsked { gate, summary, .. } => {
            ("approvals", format!("approval of {gate} asked: {summary}"))
        }
        EventBody::ApprovalGiven {
            gate,
            by,
            go,
            reason,
            ..
        } => {
            let word = if *go { "go" } else { "no-go" };
            ("approvals", format!("{by} says {word} to {gate}: {reason}"))
        }
        EventBody::KeyNamed(key) => (
            "run",
            format!("signed from here on with key {}", key.name()),
        ),
        EventBody::ConsentSigned(signed) => {
            let text = match signed.read() {
                Ok((consent, key)) => format!(
                    "{} signs an answer to {} with {}; it counts until {}",
                    consent.by,
                    consent.gate,
                    key.name(),
                    consent.expires.format("%Y-%m-%d %H:%M:%S UTC")
                ),
                Err(_) => "a signed answer that cannot be read".to_owned(),
            };
            ("approvals", text)
        }
        EventBody::SteeringAsked { verb, by, reason } => {
            let verb = format!("{verb:?}").to_lowercase();
            ("steering", format!("{by} asks to {verb}: {reason}"))
        }
        EventBody::Paused { after, by, reason } => {
            let after = after.as_ref().map(|step| format!(" after {step}"));
            let who = by.as_ref().zip(reason.as_ref());
            let who = who.map(|(by, reason)| format!(", asked by {by}: {reason}"));
            let (after, who) = (after.unwrap_or_default(), who.unwrap_or_default());
            ("steering", format!("the run stands still{after}{who}"))
        }
        EventBody::Resumed { found } => ("steering", format!("the run goes on: {found}")),
        EventBody::RollbackStarted { trigger, reason } => {
            let trigger = format!("{trigger:?}").to_lowercase();
            (
                "rollback",
                format!("rollback begins, set off by {trigger}: {reason}"),
            )
        }
        EventBody::RollbackFinished {
            outcome,
            duration_us,
        } => {
            let text = format!(
                "rollback {} after {}",
                outcome_word(*outcome),
                duration(*duration_us)
            );
            ("rollback", text)
        }
        EventBody::RollbackRehearsed {
            duration_us,
            failed,
            answered,
        } => {
            let took = duration(*duration_us);
            let all = counted(failed + answered, "request");
            let text = format!(
                "rollback rehearsed: traffic led back in {took} while both releases ran; {failed} of {all} in the seconds around it failed"
            );
            ("rollback", text)
        }
        EventBody::Migrated {
            database,
            version,
            direction,
            duration_us,
            ..
        } => {
            let way = crate::view::steps::direction_word(*direction);
            let took = duration(*duration_us);
            (
                "migrations",
                format!("migration {version} of {database} {way} in {took}"),
            )
        }
        EventBody::ClientStarted { client, rate, url } => (
            "clients",
            format!("{client} begins to send {rate} requests a second to {url}"),
        ),
        EventBody::ClientCounted(c) => (
            "clients",
            format!(
                "{}: {} sent, {} failed",
                c.client,
                counted(c.sent, "request"),
                count(c.failed)
            ),
        ),
        EventBody::LoadTested(load) => {
            let text = format!(
                "load test {}: {} sent, {} failed",
                load.name,
                counted(load.sent, "request"),
                count(load.failed)
            );
            ("load tests", text)
        }
        EventBody::SamplesClosed { file, samples, .. } => (
            "samples",
            format!("samples file {file} complete: {samples} samples"),
        ),
        EventBody::Noted { severity, text } => {
            let severity = format!("{severity:?}").to_lowercase();
            // Nobody who writes the record was there: it reads of it when the run goes on.
            let late = match text.contains("did not renew its lease") {
                true => " (told when the run went on, not when it happened)",
                false => "",
            };
            ("notes", format!("{severity}: {text}{late}"))
        }
        EventBody::RunFinished { outcome, summary } => {
            ("run", format!("run {}: {summary}", outcome.words()))
        }
        EventBody::Sealed { events } => ("run", format!("sealed after {events} events")),
        _ => ("others", "an entry of another kind".to_owned()),
    }
}
