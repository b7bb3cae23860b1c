//! The analysis gate: new against stable release while traffic flows.

use std::time::Duration;

use chrono::{DateTime, Utc};
use code_deploy_record::{Gate, GateCheck, Release, StepName};
use tokio::time::Instant;

use super::judge::Judge;
use super::window::{Window, WindowReader};
use crate::step::StepError;
use crate::{Context, Progress, gate};

/// The time between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// How long after a soak its last second may still be written.
const LATE: Duration = Duration::from_millis(1500);

/// How far back a release is looked at, at least, whose traffic was taken away.
const LOOK_BACK: Duration = Duration::from_secs(60);

/// What is compared, from when on and for how long.
#[derive(Debug, Clone)]
pub struct Soak {
    /// What it is of: `canary at 25 %`.
    pub subject: String,
    /// How long.
    pub length: Duration,
    /// The release that is compared with; nothing in a first deployment.
    pub stable: Option<Release>,
    /// From when on the stable release is looked at, where that is not from the beginning of the soak:
    /// a release whose traffic was taken away is looked at as it was before.
    pub stable_since: Option<DateTime<Utc>>,
}

impl Soak {
    /// Returns from when on a release is looked at whose traffic a step takes away: as far back from
    /// where the step began, whatever the step has done since, as the new one is then watched, and a
    /// minute at least, because it may have had few requests by then. Never from before the run, which has measured
    /// nothing of that time.
    #[must_use]
    pub fn look_back(context: &Context, step: &StepName, length: Duration) -> DateTime<Utc> {
        let began = context.state().steps.get(step).map(|step| step.started);
        let began = began.unwrap_or_else(|| context.clock.now());
        let length = chrono::Duration::from_std(length.max(LOOK_BACK)).ok();
        let back = length
            .and_then(|length| began.checked_sub_signed(length))
            .unwrap_or(began);
        context.state().since.map_or(back, |begin| back.max(begin))
    }
}

/// Watches the new release for the length of a soak. Stops at once on evidence of harm.
///
/// # Errors
/// `CD0453` on harm, or when the limits do not hold at the end, or when too little was measured to
/// say so; that somebody asked the run to stop; that samples or journal fail.
pub async fn pass(context: &Context, judge: &dyn Judge, soak: &Soak) -> Result<(), StepError> {
    let (since, began) = (context.clock.now(), Instant::now());
    let second = since.timestamp() + 1;
    let stable_since = soak.stable_since.map_or(second, |since| since.timestamp());
    let stable = soak.stable.clone().map(|stable| (stable, stable_since));
    let seen = seen(second, stable.as_ref());
    let source = context.target.counted_by();
    let mut reader = WindowReader::new(&context.run, source, (context.to.clone(), second), stable);
    let services: Vec<_> = context
        .spec
        .services
        .iter()
        .map(|s| s.name.clone())
        .collect();
    let policy = &context.spec.strategy.analysis;
    let end = soak.length + LATE;
    loop {
        let left = end.saturating_sub(began.elapsed());
        tokio::time::sleep(LOOK.min(left)).await;
        context.safe_point()?;
        let last = began.elapsed() >= end;
        reader = look(context, reader).await?;
        let window = reader.window();
        let mut checks = judge.judge(&services, window, policy, last);
        checks.push(health(context));
        let harm = checks.iter().any(|check| !check.passed);
        if harm || last {
            let reason = reason(judge, soak, &checks, began.elapsed(), last);
            let reason = format!("{reason}; {seen}");
            let answer = gate::Answer { checks, reason };
            return gate::answer(
                context,
                Gate::Analysis,
                "CD0453",
                &soak.subject,
                since,
                answer,
            )
            .await;
        }
        context.progress(progress(soak, window, began.elapsed(), end));
    }
}

async fn look(context: &Context, mut reader: WindowReader) -> Result<WindowReader, StepError> {
    let look = move || -> Result<_, code_deploy_record::Error> {
        reader.look()?;
        Ok(reader)
    };
    context.surroundings.on_disk("reading samples", look).await
}

/// The probes of the new release's instances, as last seen.
fn health(context: &Context) -> GateCheck {
    let state = context.state();
    let own = state
        .health
        .iter()
        .filter(|((_, release, ..), _)| *release == context.to);
    let ill: Vec<_> = own
        .clone()
        .filter(|(_, healthy)| !**healthy)
        .map(|((_, _, instance, probe), _)| format!("{instance} {probe:?}").to_lowercase())
        .collect();
    let all = own.count();
    let measured = if ill.is_empty() {
        format!("all {all} probes pass")
    } else {
        format!("{} of {all} probes fail: {}", ill.len(), ill.join(", "))
    };
    GateCheck {
        name: "health of the new release's instances".to_owned(),
        measured,
        limit: "every probe passes".to_owned(),
        passed: ill.is_empty(),
        used: None,
        unshown: None,
    }
}

/// Says from which seconds on requests count. The last ones are those that were written when the gate answered.
fn seen(second: i64, stable: Option<&(Release, i64)>) -> String {
    let clock = |second| {
        let time = DateTime::<Utc>::from_timestamp(second, 0).unwrap_or_default();
        time.format("%H:%M:%S").to_string()
    };
    let own = format!("requests from {} UTC on count", clock(second));
    match stable {
        Some((release, since)) if *since < second => {
            format!(
                "{own}, those of {release}, whose traffic was taken away, from {}",
                clock(*since)
            )
        }
        _ => own,
    }
}

fn reason(
    judge: &dyn Judge,
    soak: &Soak,
    checks: &[GateCheck],
    elapsed: Duration,
    last: bool,
) -> String {
    let soaked = format!("{} s", soak.length.as_secs_f64());
    match checks.iter().find(|check| !check.passed) {
        None => format!(
            "{} checks by {} hold over {soaked}",
            checks.len(),
            judge.name()
        ),
        Some(failed) => {
            let when = if last {
                format!("at the end of {soaked}")
            } else {
                format!(
                    "stopped at once, {:.1} s into {soaked}",
                    elapsed.as_secs_f64()
                )
            };
            format!(
                "{}: {}; asked: {} ({when})",
                failed.name, failed.measured, failed.limit
            )
        }
    }
}

fn progress(soak: &Soak, window: &Window, elapsed: Duration, end: Duration) -> Progress {
    let requests: u64 = window.new.values().map(|sums| sums.count).sum();
    let failed: u64 = window.new.values().map(|sums| sums.failed).sum();
    Progress {
        what: format!(
            "{}: {requests} requests to the new release, {failed} failed",
            soak.subject
        ),
        elapsed,
        limit: Some(end),
        share: Some((elapsed.as_secs_f64() / end.as_secs_f64()).min(1.0)),
    }
}
