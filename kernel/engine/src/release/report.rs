//! What the sections of phase 6 have to say. Each returns its event, as evidence for items.

use code_deploy_record::{Column, Gate, PhaseNumber, Report};

use super::shift;
use crate::Context;
use crate::step::StepError;
use crate::target::Instance;

async fn say(
    context: &Context,
    section: &str,
    title: &str,
    report: Report,
) -> Result<u64, StepError> {
    let Some(phase) = PhaseNumber::new(6) else {
        return Ok(0);
    };
    context.report(phase, section, title, report).await
}

/// The instances of the new release, of all services, as far as they run.
pub(super) async fn green(context: &Context) -> Result<u64, StepError> {
    let mut instances = context.target.observe().await?.instances;
    instances.retain(|one| one.release == context.to);
    instances.sort_by(|a, b| a.id.cmp(&b.id));
    let rows = instances.iter().map(row).collect();
    let columns = vec![
        Column::text("Instance"),
        Column::text("Service"),
        Column::text("Address"),
        Column::text("Process"),
        Column::number("Restarts"),
    ];
    let text = format!(
        "{} instances of release {} run.",
        instances.len(),
        context.to
    );
    let caption = format!("Instances of release {}", context.to);
    let report = Report::new()
        .with_text(text)
        .with_table(caption, columns, rows);
    say(
        context,
        "green",
        "The new release beside the old one",
        report,
    )
    .await
}

fn row(instance: &Instance) -> Vec<String> {
    vec![
        instance.id.clone(),
        instance.service.clone(),
        instance.address.to_string(),
        instance
            .pid
            .map_or_else(|| "not known".to_owned(), |pid| pid.to_string()),
        instance.restarts.to_string(),
    ]
}

/// The last answers of a gate.
pub(super) async fn gate(
    context: &Context,
    gate: Gate,
    section: &str,
    title: &str,
) -> Result<u64, StepError> {
    let state = context.state();
    let answers = state.gates.iter().filter(|answer| answer.gate == gate);
    let rows: Vec<_> = answers
        .map(|answer| {
            let word = if answer.passed {
                "passed"
            } else {
                "did not pass"
            };
            vec![
                answer.subject.clone(),
                word.to_owned(),
                answer.reason.clone(),
            ]
        })
        .collect();
    let columns = vec![
        Column::text("Subject"),
        Column::text("Answer"),
        Column::text("Reason"),
    ];
    let caption = format!("Answers of the {} gate", gate.word());
    say(
        context,
        section,
        title,
        Report::new().with_table(caption, columns, rows),
    )
    .await
}

/// Where traffic stands and what the analysis said.
pub(super) async fn traffic(context: &Context, percent: u16) -> Result<u64, StepError> {
    let served = shift::served(context).await?;
    let text = format!(
        "Release {} was given {percent} %: {}.",
        context.to,
        shift::text(&served)
    );
    let state = context.state();
    let answers = state
        .gates
        .iter()
        .filter(|answer| answer.gate == Gate::Analysis);
    let rows: Vec<_> = answers
        .map(|answer| vec![answer.subject.clone(), answer.reason.clone()])
        .collect();
    let columns = vec![Column::text("Step"), Column::text("Analysis")];
    let report = Report::new()
        .with_text(text)
        .with_table("Analysis of each step", columns, rows);
    say(context, "traffic", "Traffic routing", report).await
}

/// What the rehearsed rollback took and cost.
pub(super) async fn rehearsal(context: &Context) -> Result<u64, StepError> {
    let state = context.state();
    let text = match state.rehearsed {
        Some((duration_us, failed, answered)) => format!(
            "All traffic was back on the stable release after {:.1} ms. In the \
             seconds around it the outside client had {answered} answers, and {failed} of its requests failed.",
            duration_us as f64 / 1000.0
        ),
        None => "The rollback was not rehearsed.".to_owned(),
    };
    say(
        context,
        "rehearsal",
        "Rehearsed rollback",
        Report::new().with_text(text),
    )
    .await
}

/// That the new release has all traffic.
pub(super) async fn promotion(context: &Context) -> Result<u64, StepError> {
    let served = shift::served(context).await?;
    let stays = match &context.from {
        Some(from) => format!(" Release {from} stays up until the run is finished."),
        None => " This is a first deployment: there was no stable release to share traffic with."
            .to_owned(),
    };
    let text = format!("{}.{stays}", shift::text(&served));
    say(
        context,
        "promotion",
        "Promotion",
        Report::new().with_text(text),
    )
    .await
}
