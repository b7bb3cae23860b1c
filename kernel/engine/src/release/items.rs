//! The catalogue's items of phase 6 that these steps settle, with the figures they rest on.

use std::collections::BTreeSet;
use std::time::Duration;

use code_deploy_record::{Basis, EvidenceRef, ItemId, Probe, Verdict};

use super::{green, relief};
use crate::Context;
use crate::gate::probe::probes_of;
use crate::spec::StrategyKind;
use crate::step::StepError;

/// The items that starting green helps to settle.
pub(super) const GREEN: [&str; 4] = ["5.1.1", "5.4.1", "6.1.1", "6.1.2"];

/// What full validation before traffic consists of.
const BEFORE_TRAFFIC: [&str; 5] = ["5.1.1", "5.1.2", "5.1.3", "5.1.4", "5.1.5"];

/// The items that the promotion helps to settle.
pub(super) const PROMOTION: [&str; 4] = ["5.2.6", "5.3.3", "5.4.6", "6.1.6"];

async fn settle(
    context: &Context,
    item: &str,
    verdict: Verdict,
    reason: String,
    event: u64,
) -> Result<(), StepError> {
    let Ok(item) = item.parse::<ItemId>() else {
        return Ok(());
    };
    context
        .settle(&item, verdict, reason, vec![EvidenceRef::Event(event)])
        .await
}

fn met(basis: Basis) -> Verdict {
    Verdict::Met { basis }
}

/// Settles what starting green, its health and the critical paths show.
pub(super) async fn settle_started(context: &Context, event: u64) -> Result<(), StepError> {
    let (services, to) = (&context.spec.services, &context.to);
    let mut instances = 0;
    for service in services {
        instances += green::running(context, &service.name, to).await?.len();
    }
    let started = format!(
        "{instances} instances of {} services run release {to}",
        services.len()
    );
    let performed = met(Basis::Performed);
    let early = relief::served_early(context);
    let green = match early.as_slice() {
        [] => format!("{started}, with no share of traffic"),
        early => format!(
            "{started}, with no share of traffic until it was healthy; served from then on, because \
             what ran was not: {}",
            early.join(", ")
        ),
    };
    settle(context, "5.1.1", performed.clone(), green, event).await?;
    if context.target.name() != "local" {
        settle(context, "5.4.1", performed.clone(), started, event).await?;
    }
    let observed = context.target.observe().await?;
    let known = |name: &str| observed.addresses.iter().any(|place| place.service == name);
    let missing: Vec<_> = services.iter().filter(|s| !known(&s.name)).collect();
    let (verdict, text) = match missing.first() {
        None => (
            performed.clone(),
            format!("all {} services have an address", services.len()),
        ),
        Some(first) => (Verdict::Failed, format!("{} has no address", first.name)),
    };
    settle(context, "6.1.1", verdict.clone(), text.clone(), event).await?;
    settle(context, "6.1.2", verdict, text, event).await?;
    let checked = checked(context).await?;
    settle_probes(context, &checked, event).await?;
    let smoke = context
        .spec
        .journeys
        .iter()
        .filter(|journey| journey.smoke)
        .count();
    let text = walked(context, smoke, &checked);
    settle(context, "5.1.2", performed, text, event).await?;
    let left: Vec<_> = context
        .spec
        .journeys
        .iter()
        .filter(|journey| !journey.smoke)
        .map(|journey| journey.name.as_str())
        .collect();
    let (verdict, text) = match (smoke, left.as_slice()) {
        (0, _) => (
            Verdict::Open,
            "no journey is marked as a critical path (`smoke: true`)".to_owned(),
        ),
        (_, []) => (
            met(Basis::Observed),
            format!("all {smoke} journeys passed against release {to}"),
        ),
        (_, left) => (
            Verdict::Open,
            format!(
                "{smoke} of {} journeys were walked against release {to} before it had traffic; not \
                 marked `smoke: true`: {}",
                smoke + left.len(),
                left.join(", ")
            ),
        ),
    };
    settle(context, "5.2.4", verdict, text, event).await
}

/// Says what of the new release answered before it had traffic, where so many journeys are critical paths.
fn walked(context: &Context, smoke: usize, checked: &BTreeSet<&str>) -> String {
    let to = &context.to;
    let services = context.spec.services.iter();
    let (ready, other): (Vec<_>, Vec<_>) =
        services.partition(|service| service.file.probes.readiness.is_some());
    let by_check = other
        .iter()
        .filter(|service| checked.contains(service.name.as_str()))
        .count();
    let ready = ready.len();
    match (smoke, by_check) {
        (0, 0) => format!(
            "no journey is a critical path: the readiness path of each of {ready} services answered of \
             release {to}"
        ),
        (0, by_check) => format!(
            "no journey is a critical path: the readiness path of each of {ready} services answered of \
             release {to}, and the instances of {by_check} without one passed the health check that the target \
             runs"
        ),
        _ => format!("{smoke} critical paths were walked against release {to}"),
    }
}

async fn settle_probes(
    context: &Context,
    checked: &BTreeSet<&str>,
    event: u64,
) -> Result<(), StepError> {
    let services = &context.spec.services;
    let kinds = [
        ("5.4.2", Probe::Startup, "startup"),
        ("5.4.3", Probe::Readiness, "readiness"),
        ("5.4.4", Probe::Liveness, "liveness"),
    ];
    for (item, probe, word) in kinds {
        let unnamed = services.iter().filter(|service| {
            let mut named = probes_of(&service.file.probes).into_iter();
            !named.any(|(known, _)| known == probe)
        });
        let (by_check, without): (Vec<_>, Vec<_>) = unnamed
            .map(|service| service.name.as_str())
            .partition(|name| checked.contains(name));
        let (verdict, text) = if without.is_empty() {
            let text = format!(
                "all {} services have a {word} probe, and it is asked{}",
                services.len(),
                by_health_check(context, &by_check)
            );
            (met(Basis::Performed), text)
        } else {
            (
                Verdict::Failed,
                format!("no {word} probe: {}", without.join(", ")),
            )
        };
        settle(context, item, verdict, text, event).await?;
    }
    let every = context.spec.strategy.health.interval;
    let looked = match checked.is_empty() {
        true => "",
        false => ", where it has no path by what the target's own health check found last",
    };
    let text = format!("every instance that is registered is probed every {every}{looked}");
    settle(context, "6.1.3", met(Basis::Performed), text, event).await
}

/// Returns the services of which all running instances of the release have a health check that the target runs.
async fn checked(context: &Context) -> Result<BTreeSet<&str>, StepError> {
    let mut checked = BTreeSet::new();
    for service in &context.spec.services {
        let running = green::running(context, &service.name, &context.to).await?;
        if !running.is_empty() && running.iter().all(|one| one.health.is_some()) {
            checked.insert(service.name.as_str());
        }
    }
    Ok(checked)
}

/// Says of which services a health check stands for a probe, and which.
fn by_health_check(context: &Context, services: &[&str]) -> String {
    if services.is_empty() {
        return String::new();
    }
    let told: Vec<_> = services
        .iter()
        .map(|name| {
            let check = context.spec.health_check_in_words(name);
            format!("that of {name} is {check}")
        })
        .collect();
    format!(
        "; {}: one check stands for every probe that names no path",
        told.join(", ")
    )
}

/// Settles what the monitoring gate shows.
pub(super) async fn settle_watched(context: &Context, event: u64) -> Result<(), StepError> {
    let text = format!(
        "every service of release {} gives probes, logs and metrics",
        context.to
    );
    settle(context, "5.1.5", met(Basis::Observed), text, event).await?;
    let (verdict, text) = before_traffic(context);
    settle(context, "5.1.6", verdict, text, event).await
}

/// Full validation is no more than what it consists of: an open part leaves it open.
fn before_traffic(context: &Context) -> (Verdict, String) {
    let early = relief::served_early(context);
    if !early.is_empty() {
        let text = format!(
            "health, smoke and monitoring gates passed, but {} had traffic before the last two, because \
             what ran was not healthy",
            early.join(", ")
        );
        return (Verdict::Open, text);
    }
    let gates = "health, smoke and monitoring gates passed before any share of traffic";
    let state = context.state();
    let holds = |item: &&str| {
        let settled = item.parse::<ItemId>().ok();
        let settled = settled.and_then(|id| state.items.get(&id));
        settled.is_some_and(|one| {
            matches!(
                one.verdict,
                Verdict::Met { .. } | Verdict::NotApplicable { .. } | Verdict::Waived { .. }
            )
        })
    };
    let left: Vec<_> = BEFORE_TRAFFIC
        .into_iter()
        .filter(|item| !holds(item))
        .collect();
    if left.is_empty() {
        return (met(Basis::Observed), gates.to_owned());
    }
    let text = format!("{gates}; not established then: {}", left.join(", "));
    (Verdict::Open, text)
}

/// Settles what a share of traffic and its watch show.
pub(super) async fn settle_traffic(
    context: &Context,
    percent: u16,
    soak: Duration,
    event: u64,
) -> Result<(), StepError> {
    let watched = format!("watched for {} s", soak.as_secs());
    let text = format!(
        "release {} has {percent} % of the traffic, {watched}",
        context.to
    );
    let (performed, observed) = (met(Basis::Performed), met(Basis::Observed));
    let canary = context.spec.strategy.kind == StrategyKind::Canary;
    let rolling = context.spec.strategy.kind == StrategyKind::Rolling;
    if canary {
        let first = if percent == 5 { "5.2.1" } else { "5.2.5" };
        settle(context, first, performed.clone(), text.clone(), event).await?;
        if !soak.is_zero() {
            let errors = format!("error shares by release at {percent} %, {watched}");
            settle(context, "5.2.2", observed.clone(), errors, event).await?;
            let latency = format!("latency quantiles by release at {percent} %, {watched}");
            settle(context, "5.2.3", observed.clone(), latency, event).await?;
        }
    }
    if rolling {
        let item = match percent {
            25 => Some("5.3.1"),
            50 => Some("5.3.2"),
            100 => Some("5.3.3"),
            _ => None,
        };
        if let Some(item) = item {
            settle(context, item, performed, text.clone(), event).await?;
        }
        settle(context, "5.3.4", observed, text, event).await?;
    }
    Ok(())
}

/// Settles what holds when the new release has all traffic.
pub(super) async fn settle_promotion(context: &Context, event: u64) -> Result<(), StepError> {
    let to = &context.to;
    let (mut running, mut wanted) = (0, 0);
    for service in &context.spec.services {
        running += green::running(context, &service.name, to).await?.len();
        wanted += service.replicas as usize;
    }
    let text = format!(
        "{running} of {wanted} instances of release {to} run by the target's own status, and each \
         service answered through its address"
    );
    let verdict = if running >= wanted {
        met(Basis::Observed)
    } else {
        Verdict::Failed
    };
    settle(context, "5.4.6", verdict, text, event).await?;
    let services = context.spec.services.len();
    let text = format!("all {services} services are registered and serve release {to}");
    settle(context, "6.1.6", met(Basis::Observed), text, event).await?;
    settle_strategy(context, event).await
}

async fn settle_strategy(context: &Context, event: u64) -> Result<(), StepError> {
    let (kind, to) = (context.spec.strategy.kind, &context.to);
    let Some(from) = &context.from else {
        let fact = "a first deployment: no release runs that could be replaced".to_owned();
        for item in [
            "5.2.1", "5.2.2", "5.2.3", "5.2.5", "5.2.6", "5.3.1", "5.3.2", "5.3.4",
        ] {
            let verdict = Verdict::NotApplicable { fact: fact.clone() };
            settle(
                context,
                item,
                verdict,
                format!("does not apply: {fact}"),
                event,
            )
            .await?;
        }
        return Ok(());
    };
    let text = format!(
        "release {to} ran beside {from} and passed its gates before it replaced it ({})",
        kind.word()
    );
    settle(context, "5.2.6", met(Basis::Observed), text, event).await?;
    let canary: &[&str] = &["5.2.1", "5.2.2", "5.2.3", "5.2.5"];
    let rolling: &[&str] = &["5.3.1", "5.3.2", "5.3.3", "5.3.4"];
    let other = match kind {
        StrategyKind::Canary => rolling.to_vec(),
        StrategyKind::Rolling => canary.to_vec(),
        StrategyKind::BlueGreen => [canary, rolling].concat(),
    };
    let fact = format!("the strategy of this environment is {}", kind.word());
    for item in other {
        let verdict = Verdict::NotApplicable { fact: fact.clone() };
        settle(
            context,
            item,
            verdict,
            format!("does not apply: {fact}"),
            event,
        )
        .await?;
    }
    if kind == StrategyKind::Rolling {
        let text = format!("all instances are of release {to}");
        settle(context, "5.3.3", met(Basis::Performed), text, event).await?;
    }
    Ok(())
}
