//! The section of performance: a load test, the objectives, and the release replaced.

use std::time::Duration;

use async_trait::async_trait;
use code_deploy_record::{
    Basis, Column, EventBody, EvidenceRef, Gate, GateCheck, GateEvaluated, LoadTested, Report,
    Source, Verdict,
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::VERB;
use super::objectives::{Measure, Routed, against, compare, routed, verdict};
use crate::duration::Span;
use crate::load::{self, ClientConfig, ClientTotals, run_client};
use crate::phases::look::counted;
use crate::section::{Kept, Outline, Section, Seen, Work};
use crate::spec::LoadProfile;
use crate::step::StepError;

/// Returns the section for a load test that lasts so long.
pub(super) fn outline(load: Duration) -> Outline {
    Outline {
        verb: VERB,
        section: "performance",
        title: "Put load on the release and hold it against objectives and the release replaced",
        items: "9.2.1 9.2.2 9.2.3 9.2.4 9.2.5 9.2.6",
        undo: None,
        methods: (
            "the load test's samples summed up again",
            "a short second load held against the same objectives",
        ),
        expected: load + Duration::from_secs(5),
    }
}

const TOTALS: &str = "load test totals";

/// How long the second, short load lasts.
const SHORT: Span = Span::from_secs(2);

pub(super) struct Performance;

/// Sends the load through the service's usual address, as its users reach it.
async fn load(
    section: &Section<'_>,
    profile: &LoadProfile,
    name: &str,
) -> Result<ClientTotals, StepError> {
    let (context, observed) = (section.context, section.observe().await?);
    let Some(base) = observed.front_url(&profile.service) else {
        let what = format!("service {} has no address to put load on", profile.service);
        return Err(StepError::permanent("CD0781", what, "Run `release` first."));
    };
    let samples = context.run.samples_path();
    let attempt = context.clock.now().timestamp();
    let name = format!("{}-{name}-{attempt}", Source::Load.word());
    let config = ClientConfig::for_profile(profile, &base, Source::Load, &samples, &name);
    let stop = CancellationToken::new();
    let mut client = std::pin::pin!(run_client(config, stop.clone()));
    let mut look = tokio::time::interval(Duration::from_millis(200));
    let mut steered = None;
    let totals = loop {
        tokio::select! {
            totals = &mut client => break totals,
            _ = look.tick() => if steered.is_none() && let Err(error) = context.safe_point() {
                steered = Some(error);
                stop.cancel();
            },
        }
    };
    if let Some(steered) = steered {
        return Err(steered);
    }
    let failed = |error: crate::load::LoadError| {
        let what = format!("the load test of {} broke off: {error}", profile.service);
        StepError::permanent("CD0782", what, "Mend the cause and run `validate` again.")
    };
    totals.map_err(failed)
}

/// Journals a load test; returns the event.
async fn journal(
    section: &Section<'_>,
    profile: &LoadProfile,
    name: &str,
    totals: &ClientTotals,
) -> Result<u64, StepError> {
    let tested = LoadTested {
        name: name.to_owned(),
        release: section.context.to.clone(),
        rate: profile.rate,
        duration_us: u64::try_from(profile.duration.get().as_micros()).unwrap_or(u64::MAX),
        sent: totals.sent,
        failed: totals.failed,
        latency: totals.latency.clone(),
        throughput: measure(totals, profile).throughput.unwrap_or_default(),
    };
    let body = EventBody::LoadTested(tested);
    let event = section.context.journal.append("engine", body).await?;
    Ok(event.seq)
}

fn measure(totals: &ClientTotals, profile: &LoadProfile) -> Measure {
    let seconds = profile.duration.get().as_secs_f64();
    Measure {
        count: totals.due,
        failed: totals.failed,
        latency: totals.latency.clone(),
        throughput: Some(totals.due.saturating_sub(totals.failed) as f64 / seconds),
    }
}

/// Holds all objectives against the load test where it drove their service, otherwise against
/// what the router saw of the release in this run.
fn objectives(
    section: &Section<'_>,
    routed: &Routed,
    load: Option<(&str, &Measure)>,
) -> Vec<GateCheck> {
    let objectives = &section.context.spec.file.objectives;
    let checks = objectives.iter().flat_map(|objective| {
        let own = load.filter(|(service, _)| *service == objective.service);
        let measure = own
            .map(|(_, measure)| measure)
            .or_else(|| routed.all.get(&objective.service));
        against(objective, measure)
    });
    checks.collect()
}

#[async_trait]
impl Work for Performance {
    async fn apply(&self, section: &Section<'_>) -> Result<Value, StepError> {
        let (context, mut kept, since) = (
            section.context,
            Kept::default(),
            section.context.clock.now(),
        );
        let profile = context.spec.file.load.clone();
        let mut evidence = Vec::new();
        let mut loaded = None;
        if let Some(profile) = &profile {
            let totals = load(section, profile, "validation").await?;
            let measure = measure(&totals, profile);
            let text = format!("{:#}\n", json!(totals));
            evidence.push(
                section
                    .keep(&mut kept, TOTALS, "application/json", text)
                    .await?,
            );
            let event = journal(section, profile, "validation", &totals).await?;
            evidence.push(EvidenceRef::Event(event));
            loaded = Some((profile, totals, measure));
        }
        let routed = routed(context).await?;
        let of_load = loaded
            .as_ref()
            .map(|(profile, _, own)| (profile.service.as_str(), own));
        let objectives = objectives(section, &routed, of_load);
        let rule = &context.spec.strategy.analysis;
        let baseline: Vec<_> = routed
            .pairs
            .iter()
            .flat_map(|(service, pair)| compare(service, pair, rule))
            .collect();
        let seconds = routed
            .pairs
            .values()
            .map(|pair| pair.seconds)
            .max()
            .unwrap_or_default();
        let report = report(
            loaded.as_ref().map(|own| (own.0, &own.1)),
            &objectives,
            &baseline,
            seconds,
        );
        evidence.push(section.report("Performance", report).await?);
        settle_load(
            section,
            loaded.as_ref().map(|own| (own.0, &own.1)),
            &objectives,
            &evidence,
        )
        .await?;
        let passed = objectives.iter().chain(&baseline).all(|check| check.passed);
        let reason = settle_baseline(section, &objectives, &baseline, seconds, &evidence).await?;
        let compared = !baseline.is_empty();
        let checks = objectives.into_iter().chain(baseline).collect();
        let subject = format!("{} {}", context.spec.application, context.to);
        let gate = GateEvaluated {
            gate: Gate::Baseline,
            subject,
            passed,
            since,
            checks,
            compared,
            reason,
        };
        context
            .journal
            .append("engine", EventBody::GateEvaluated(gate))
            .await?;
        let sums =
            loaded.map(|(_, totals, _)| json!({ "due": totals.due, "failed": totals.failed }));
        Ok(kept.into_result(json!({ "load": sums, "began": since.timestamp() })))
    }

    async fn inside(&self, section: &Section<'_>, result: &Value) -> Result<Seen, StepError> {
        let Some(due) = result.pointer("/load/due").and_then(Value::as_u64) else {
            return Ok(Seen::new(true, "the deployment file names no load test"));
        };
        let Some(digest) = Kept::of(result).digest(TOTALS) else {
            return Ok(Seen::new(false, "no totals were kept"));
        };
        let totals: Option<ClientTotals> =
            serde_json::from_slice(&section.read(digest).await?).ok();
        let (folder, from) = (
            section.context.run.samples_path(),
            result["began"].as_i64().unwrap_or_default(),
        );
        let until = totals
            .as_ref()
            .map_or(i64::MAX, |totals| totals.updated_at.timestamp());
        let summed = tokio::task::spawn_blocking(move || {
            let mut summed = 0;
            let samples =
                code_deploy_record::SampleReader::open_folder(&folder, "load-validation")?;
            for sample in samples {
                let sample = sample?;
                if (from..=until).contains(&sample.second) {
                    summed += sample.count;
                }
            }
            Ok::<_, code_deploy_record::Error>(summed)
        });
        let cut = |error| crate::section::defect(format!("reading samples was cut off: {error}"));
        let summed: u64 = summed.await.map_err(cut)??;
        let detail = format!("{summed} requests in the samples, {due} in the totals");
        Ok(Seen::new(
            summed == due && totals.is_some_and(|own| own.due == due),
            detail,
        ))
    }

    async fn outside(&self, section: &Section<'_>, _: &Value) -> Result<Seen, StepError> {
        let Some(mut profile) = section.context.spec.file.load.clone() else {
            return Ok(Seen::new(true, "the deployment file names no load test"));
        };
        profile.duration = SHORT;
        let totals = load(section, &profile, "second").await?;
        journal(section, &profile, "second", &totals).await?;
        let measure = measure(&totals, &profile);
        let own = (profile.service.as_str(), &measure);
        let checks: Vec<_> = objectives(section, &routed(section.context).await?, Some(own));
        let missed: Vec<_> = checks.iter().filter(|check| !check.passed).collect();
        let names: Vec<_> = missed.iter().map(|check| check.name.as_str()).collect();
        let missed = if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        };
        let state = section.context.state();
        let before = state
            .gates
            .iter()
            .rev()
            .find(|gate| gate.gate == Gate::Baseline);
        // A first load that missed objectives has failed its items; the second then agrees.
        let agrees = names.is_empty() || before.is_some_and(|gate| !gate.passed);
        let detail = format!(
            "{} requests, {} failed; objectives missed: {missed}",
            totals.due, totals.failed
        );
        Ok(Seen::new(agrees, detail))
    }
}

fn report(
    loaded: Option<(&LoadProfile, &ClientTotals)>,
    objectives: &[GateCheck],
    baseline: &[GateCheck],
    seconds: u64,
) -> Report {
    let table = |report: Report, caption: &str, checks: &[GateCheck]| {
        let columns = ["what", "measured", "asked for", "result"]
            .map(Column::text)
            .to_vec();
        let rows = checks.iter().map(|check| {
            let result = match (check.passed, check.unshown) {
                (false, _) => "does not hold".to_owned(),
                (true, Some(unshown)) => unshown.to_string(),
                (true, None) => "holds".to_owned(),
            };
            vec![
                check.name.clone(),
                check.measured.clone(),
                check.limit.clone(),
                result,
            ]
        });
        report.with_table(caption, columns, rows.collect())
    };
    let mut report = Report::new();
    if let Some((profile, totals)) = loaded {
        report = load::description(profile, None);
        let ms = |share| {
            let us = totals.latency.quantile_us(share);
            us.map_or_else(
                || "none".to_owned(),
                |us| format!("{:.1}", us as f64 / 1000.0),
            )
        };
        let rows = [
            ("requests due a second", profile.rate.to_string()),
            ("requests due", totals.due.to_string()),
            ("failed", totals.failed.to_string()),
            ("p50 (ms)", ms(0.5)),
            ("p95 (ms)", ms(0.95)),
            ("p99 (ms)", ms(0.99)),
            ("most in flight at once", totals.most_in_flight.to_string()),
        ];
        let rows = rows
            .into_iter()
            .map(|(what, value)| vec![what.to_owned(), value])
            .collect();
        let caption = format!(
            "Load on {} for {:?}",
            profile.service,
            profile.duration.get()
        );
        let columns = vec![Column::text("figure"), Column::number("value")];
        report = report.with_table(caption, columns, rows);
    }
    report = table(report, "Objectives", objectives);
    let caption = format!(
        "Against the release replaced, in the time both served: {}",
        counted(seconds, "second")
    );
    table(report, &caption, baseline)
}

async fn settle_load(
    section: &Section<'_>,
    loaded: Option<(&LoadProfile, &ClientTotals)>,
    objectives: &[GateCheck],
    evidence: &[EvidenceRef],
) -> Result<(), StepError> {
    let met = |basis| Verdict::Met { basis };
    let Some((profile, totals)) = loaded else {
        for item in ["9.2.1", "9.2.2", "9.2.3", "9.2.4"] {
            section
                .open(item, "the deployment file names no load test")
                .await?;
        }
        return settle_objectives(section, objectives, evidence).await;
    };
    let reason = format!(
        "{} requests at {} a second, {} failed, on top of those of the outside client",
        totals.sent, profile.rate, totals.failed
    );
    section
        .judge("9.2.1", totals.sent > 0, Basis::Performed, reason, evidence)
        .await?;
    let ms = |share| {
        totals
            .latency
            .quantile_us(share)
            .map(|us| us as f64 / 1000.0)
    };
    match (ms(0.5), ms(0.99)) {
        (Some(p50), Some(p99)) => {
            let reason =
                format!("p50 {p50:.1} ms, p99 {p99:.1} ms, counted from when each request was due");
            section
                .settle("9.2.2", met(Basis::Observed), reason, evidence)
                .await?;
        }
        _ => {
            section
                .settle(
                    "9.2.2",
                    Verdict::Failed,
                    "no request was answered",
                    evidence,
                )
                .await?
        }
    }
    let throughput = measure(totals, profile).throughput.unwrap_or_default();
    let promised = section.context.spec.file.objectives.iter();
    let promised = promised.filter(|objective| objective.throughput.is_some());
    let promised: Vec<String> = promised.map(|one| one.check("throughput")).collect();
    let asked = objectives
        .iter()
        .filter(|check| promised.contains(&check.name));
    let holds = asked.clone().all(|check| check.passed);
    let reason = format!(
        "{throughput:.1} good answers a second of {} due; {} of throughput",
        profile.rate,
        counted(asked.count(), "objective")
    );
    section
        .judge(
            "9.2.3",
            holds && throughput > 0.0,
            Basis::Observed,
            reason,
            evidence,
        )
        .await?;
    let reason = format!(
        "up to {} requests were in flight at once, {} failed",
        totals.most_in_flight, totals.failed
    );
    match totals.most_in_flight > 1 {
        true => {
            section
                .settle("9.2.4", met(Basis::Performed), reason, evidence)
                .await?
        }
        false => {
            section
                .settle("9.2.4", Verdict::Open, reason, evidence)
                .await?
        }
    }
    settle_objectives(section, objectives, evidence).await
}

async fn settle_objectives(
    section: &Section<'_>,
    objectives: &[GateCheck],
    evidence: &[EvidenceRef],
) -> Result<(), StepError> {
    if objectives.is_empty() {
        return section
            .open("9.2.5", "the deployment file names no objective")
            .await;
    }
    let (verdict, reason) = verdict(objectives);
    section.settle("9.2.5", verdict, reason, evidence).await
}

async fn settle_baseline(
    section: &Section<'_>,
    objectives: &[GateCheck],
    baseline: &[GateCheck],
    seconds: u64,
    evidence: &[EvidenceRef],
) -> Result<String, StepError> {
    let held = objectives.iter().filter(|check| check.passed).count();
    let unshown = objectives.iter().filter(|check| check.unshown.is_some());
    let unshown = match unshown.count() {
        0 => String::new(),
        number => format!(", {number} of them not shown (too few requests)"),
    };
    let objectives = format!("{held} of {} objectives hold{unshown}", objectives.len());
    let Some(from) = &section.context.from else {
        let fact = "no release was replaced".to_owned();
        let reason = format!("{fact}; {objectives}");
        section
            .settle(
                "9.2.6",
                Verdict::NotApplicable { fact },
                reason.clone(),
                evidence,
            )
            .await?;
        return Ok(reason);
    };
    let both = counted(seconds, "second");
    let worse: Vec<_> = baseline.iter().filter(|check| !check.passed).collect();
    let names: Vec<_> = worse
        .iter()
        .map(|check| format!("{} {} ({})", check.name, check.measured, check.limit))
        .collect();
    let reason = match (baseline.is_empty(), names.is_empty()) {
        (true, _) => format!(
            "{from} and {} were both asked in {both}, which is too short or too few requests to \
             compare; {objectives}",
            section.context.to
        ),
        (_, true) => format!(
            "{} figures are within their limits beside those of {from} in the {both} in which both \
             were asked; {objectives}",
            baseline.len()
        ),
        _ => format!("worse than {from}: {}; {objectives}", names.join("; ")),
    };
    match baseline.is_empty() {
        true => {
            section
                .settle("9.2.6", Verdict::Open, reason.clone(), evidence)
                .await?
        }
        false => {
            section
                .judge(
                    "9.2.6",
                    names.is_empty(),
                    Basis::Observed,
                    reason.clone(),
                    evidence,
                )
                .await?
        }
    }
    Ok(reason)
}
