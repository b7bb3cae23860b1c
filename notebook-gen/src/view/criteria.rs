//! What every finished run must show.

use code_deploy_record::{Gate, Report, Role, Severity, Verdict};

use crate::Result;
use crate::facts::Facts;
use crate::format::{count, counted, duration};
use crate::view::{columns, row};

/// One of the eight criteria of a finished run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Criterion {
    /// What must be shown.
    pub name: &'static str,
    /// Whether the record shows it; nothing when the record neither shows nor refutes it.
    pub shown: Option<bool>,
    /// How it is shown, with its figures.
    pub how: String,
}

impl Criterion {
    fn new(name: &'static str, shown: Option<bool>, how: String) -> Self {
        Self { name, shown, how }
    }

    /// Returns the word that pages use.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self.shown {
            Some(true) => "shown",
            Some(false) => "not so",
            None => "open",
        }
    }
}

/// Returns the eight criteria of a finished run with how the record shows each.
///
/// # Errors
/// [`crate::Error::Record`] when the catalogue cannot be read.
pub fn criteria(facts: &Facts) -> Result<Vec<Criterion>> {
    Ok(vec![
        components(facts),
        interruption(facts),
        gate(facts, "all health checks passing", Gate::Health),
        gate(facts, "objectives met or exceeded", Gate::Baseline),
        scans(facts),
        gate(facts, "100 % observability", Gate::Monitoring),
        runbooks(facts)?,
        rehearsal(facts),
    ])
}

pub(super) fn report(facts: &Facts) -> Result<Report> {
    let criteria = criteria(facts)?;
    let shown = criteria
        .iter()
        .filter(|one| one.shown == Some(true))
        .count();
    let rows = criteria
        .iter()
        .map(|one| row([one.name, one.word(), &one.how]));
    let caption = format!(
        "What every finished run must show: {shown} of {} shown",
        criteria.len()
    );
    let titles = columns(["Criterion", "State", "How it is shown"]);
    Ok(Report::new().with_table(caption, titles, rows.collect()))
}

fn components(facts: &Facts) -> Criterion {
    let name = "100 % of components deployed";
    let wanted = facts.state.components.iter();
    let wanted = wanted.filter(|c| matches!(c.role, Role::Frontend | Role::Backend));
    let wanted: Vec<&str> = wanted.map(|component| component.name.as_str()).collect();
    if wanted.is_empty() {
        return Criterion::new(name, None, "the inventory names no component".to_owned());
    }
    let Some(release) = facts.final_release() else {
        let how = "the run has not reached a release on which everything runs".to_owned();
        return Criterion::new(name, None, how);
    };
    let runs = |component: &&&str| {
        let mut probes = facts.state.health.iter();
        let seen = |healthy: bool| {
            probes.clone().any(|((service, r, ..), h)| {
                service == **component && r == release && *h == healthy
            })
        };
        let served = facts.state.traffic.get(**component);
        let all = served.is_none_or(|(served, _)| served.get(release) == Some(&100));
        seen(true) && all && probes.next().is_some()
    };
    let running: Vec<&str> = wanted.iter().filter(runs).copied().collect();
    let missing: Vec<&str> = wanted
        .iter()
        .filter(|one| !running.contains(one))
        .copied()
        .collect();
    let mut how = format!(
        "{} of {} are healthy on {release} and serve all their traffic from it",
        running.len(),
        wanted.len()
    );
    if !missing.is_empty() {
        how.push_str(&format!("; not seen so: {}", missing.join(", ")));
    }
    if *release != facts.started.to {
        let how = format!("{} is not deployed; {how}", facts.started.to);
        return Criterion::new(name, Some(false), how);
    }
    let none_probed = facts.state.health.is_empty();
    let shown = (!none_probed).then_some(missing.is_empty());
    Criterion::new(name, shown, how)
}

fn interruption(facts: &Facts) -> Criterion {
    let name = "no service interruption";
    let Some(client) = facts.state.clients.get("client") else {
        let how = match facts.started.initial {
            true => "not applicable: no release ran before that could be interrupted",
            false => "no client outside measured this run",
        };
        return Criterion::new(name, None, how.to_owned());
    };
    let how = format!(
        "a client outside sent {} from {} to {} UTC: {} failed, longest gap between good answers {}",
        counted(client.sent, "request"),
        crate::format::clock(client.first),
        crate::format::clock(client.last),
        count(client.failed),
        duration(client.longest_gap_us)
    );
    Criterion::new(name, (client.sent > 0).then_some(client.failed == 0), how)
}

/// The last answer of a gate to each of its subjects.
fn gate(facts: &Facts, name: &'static str, gate: Gate) -> Criterion {
    let answers: Vec<_> = facts
        .state
        .gates
        .iter()
        .filter(|one| one.gate == gate)
        .collect();
    if answers.is_empty() {
        let how = format!("the {} gate was not asked in this run", gate.word());
        return Criterion::new(name, None, how);
    }
    let failed: Vec<_> = answers.iter().filter(|one| !one.passed).collect();
    let mut how = format!(
        "{} gate: the last answers to {} of {} subjects are a pass",
        gate.word(),
        answers.len() - failed.len(),
        answers.len()
    );
    if let Some(first) = failed.first() {
        how.push_str(&format!("; {}: {}", first.subject, first.reason));
    }
    Criterion::new(name, Some(failed.is_empty()), how)
}

fn scans(facts: &Facts) -> Criterion {
    let name = "all scans clean";
    let of = |severity| {
        facts
            .findings
            .iter()
            .filter(move |f| f.what.severity == severity)
            .count()
    };
    let (critical, high) = (of(Severity::Critical), of(Severity::High));
    let mut criterion = gate(facts, name, Gate::Security);
    let kept = facts
        .evidence
        .iter()
        .filter(|kept| kept.what.name.contains("scan"));
    let kept: Vec<String> = kept.map(|k| k.what.digest.short()).take(6).collect();
    criterion
        .how
        .push_str(&format!("; {critical} critical and {high} high findings"));
    if !kept.is_empty() {
        criterion
            .how
            .push_str(&format!("; scan results {}", kept.join(", ")));
    }
    if critical > 0 {
        criterion.shown = Some(false);
    }
    criterion
}

fn runbooks(facts: &Facts) -> Result<Criterion> {
    let name = "runbooks complete";
    let catalog = crate::view::items::catalog()?;
    let items = catalog.items().filter(|(group, _)| group.id == "10.2");
    let states: Vec<_> = items
        .map(|(_, item)| facts.state.items.get(&item.id))
        .collect();
    let met = states
        .iter()
        .flatten()
        .filter(|s| matches!(s.verdict, Verdict::Met { .. }))
        .count();
    let failed = states
        .iter()
        .flatten()
        .any(|s| matches!(s.verdict, Verdict::Failed));
    let how = format!(
        "{met} of {} items of operational documentation are met",
        states.len()
    );
    let shown = match (failed, met == states.len()) {
        (true, _) => Some(false),
        (false, true) => Some(true),
        (false, false) => None,
    };
    Ok(Criterion::new(name, shown, how))
}

fn rehearsal(facts: &Facts) -> Criterion {
    let name = "rollback verified";
    match facts.state.rehearsed {
        Some((time, failed, answered)) => {
            let how = format!(
                "rehearsed: all traffic back in {}, {} failed of {} meanwhile",
                duration(time),
                count(failed),
                counted(failed + answered, "request")
            );
            Criterion::new(name, Some(failed == 0), how)
        }
        None if facts.started.from.is_none() => {
            let how = "not applicable: no release ran before to go back to".to_owned();
            Criterion::new(name, None, how)
        }
        None => Criterion::new(name, None, "the rehearsal was not reached".to_owned()),
    }
}
