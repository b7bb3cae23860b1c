//! The section of acceptance: what every finished run must show, with its figures.

use std::time::Duration;

use async_trait::async_trait;
use code_deploy_record::{
    Catalog, Column, EventBody, Gate, ItemId, Report, RunState, SCANS, Severity, Verdict, WayDown,
};
use serde_json::{Value, json};

use super::VERB;
use crate::Context;
use crate::duration::lasted;
use crate::http::HttpClient;
use crate::load::ClientTotals;
use crate::phases::look::{REQUEST_LIMIT, instances};
use crate::section::{Outline, Section, Seen, Work, blocking};
use crate::step::StepError;

pub(super) const OUTLINE: Outline = Outline {
    verb: VERB,
    section: "acceptance",
    title: "Show the eight criteria of a finished run with their figures",
    items: "",
    undo: None,
    methods: (
        "criteria drawn up again from the record",
        "readiness of every service asked",
    ),
    expected: Duration::from_secs(2),
};

pub(super) struct Acceptance;

/// A criterion: its name, what shows it, and whether it holds; nothing when it is shown later.
type Criterion = (&'static str, String, Option<bool>);

fn gate(state: &RunState, gate: Gate) -> (String, Option<bool>) {
    let last = state.gates.iter().rev().find(|own| own.gate == gate);
    let none = || {
        (
            format!("the {} gate was not asked in this run", gate.word()),
            None,
        )
    };
    last.map_or_else(none, |own| {
        (format!("{}: {}", own.subject, own.reason), Some(own.passed))
    })
}

/// Returns the items of the groups named and those named themselves.
fn about(groups: &[&str], items: &[&str]) -> Result<Vec<String>, StepError> {
    let catalog = Catalog::shipped()?;
    let found = catalog.items().filter(|(group, item)| {
        groups.contains(&group.id.as_str()) || items.contains(&item.id.as_str())
    });
    Ok(found.map(|(_, item)| item.id.to_string()).collect())
}

/// What the items say that a criterion is about: it holds when each is met or does not apply.
struct Verdicts {
    met: usize,
    all: usize,
    failed: Vec<String>,
    open: Vec<String>,
}

impl Verdicts {
    fn of(state: &RunState, items: &[String]) -> Self {
        let (mut met, mut all, mut failed, mut open) = (0, 0, Vec::new(), Vec::new());
        for item in items {
            let settled = item.parse::<ItemId>().ok();
            let settled = settled.and_then(|item| state.items.get(&item));
            match settled.map(|settled| &settled.verdict) {
                Some(Verdict::NotApplicable { .. }) => continue,
                Some(Verdict::Met { .. }) => met += 1,
                Some(Verdict::Failed) => failed.push(item.clone()),
                _ => open.push(item.clone()),
            }
            all += 1;
        }
        Self {
            met,
            all,
            failed,
            open,
        }
    }

    /// Joins what a gate says with what the items say; an open item leaves the criterion open.
    fn with(&self, (shown, holds): (String, Option<bool>)) -> (String, Option<bool>) {
        let mut shown = format!("{shown}; {} of {} items met", self.met, self.all);
        for (word, items) in [("failed", &self.failed), ("open or waived", &self.open)] {
            if !items.is_empty() {
                shown = format!("{shown}, {word}: {}", items.join(", "));
            }
        }
        let items = match (self.failed.is_empty(), self.open.is_empty()) {
            (false, _) => Some(false),
            (true, false) => None,
            (true, true) => Some(true),
        };
        let holds = match (holds, items) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (Some(true), Some(true)) => Some(true),
            _ => None,
        };
        (shown, holds)
    }
}

/// Returns how serious each finding is that the record holds up to now, those of the phases before among them.
async fn found(context: &Context) -> Result<Vec<Severity>, StepError> {
    let run = context.run.clone();
    let read = blocking("reading the findings", move || {
        let mut found = Vec::new();
        for event in run.events()? {
            if let EventBody::FindingRaised(finding) = event?.body {
                found.push(finding.severity);
            }
        }
        Ok::<_, code_deploy_record::Error>(found)
    });
    Ok(read.await??)
}

/// Joins what was shown of the scans with the findings; one of medium severity or above breaks the criterion.
fn with_findings(
    (shown, holds): (String, Option<bool>),
    found: &[Severity],
) -> (String, Option<bool>) {
    let severities = [
        ("critical", Severity::Critical),
        ("high", Severity::High),
        ("medium", Severity::Medium),
    ];
    let texts = severities.map(|(word, severity)| {
        let number = found.iter().filter(|own| **own == severity).count();
        format!("{number} {word}")
    });
    let serious = found.iter().any(|own| *own >= Severity::Medium);
    let holds = if serious { Some(false) } else { holds };
    (
        format!("{shown}; findings up to now: {}", texts.join(", ")),
        holds,
    )
}

/// Returns requests, failures and longest gap of the outside client: as journaled, or as its
/// status file has it while it still sends.
fn client(section: &Section<'_>, state: &RunState) -> Option<(u64, u64, u64)> {
    let files = std::fs::read_dir(section.context.run.samples_path()).ok();
    let mut newest: Option<ClientTotals> = None;
    for entry in files.into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("client")
            && name.ends_with(".status.json")
            && let Ok(totals) = ClientTotals::read(&entry.path())
            && newest
                .as_ref()
                .is_none_or(|known| known.updated_at < totals.updated_at)
        {
            newest = Some(totals);
        }
    }
    let live = newest.map(|own| (own.sent, own.failed, own.longest_gap_us));
    let counted = state.clients.get("client");
    live.or_else(|| counted.map(|own| (own.sent, own.failed, own.longest_gap_us)))
}

async fn criteria(section: &Section<'_>) -> Result<Vec<Criterion>, StepError> {
    let (context, state, observed) = (
        section.context,
        section.context.state(),
        section.observe().await?,
    );
    let mut criteria: Vec<Criterion> = Vec::new();
    let services = &context.spec.services;
    let runs = |name: &str| {
        instances(&observed, context)
            .filter(|one| one.service == name)
            .count()
    };
    let full = services
        .iter()
        .filter(|own| runs(&own.name) >= own.replicas as usize)
        .count();
    let shown = format!(
        "{full} of {} services run {} with all wanted instances",
        services.len(),
        context.to
    );
    criteria.push((
        "100 % of components deployed",
        shown,
        Some(full == services.len()),
    ));
    let (shown, holds) = match client(section, &state) {
        Some((sent, failed, gap)) => (
            format!(
                "{sent} requests from outside, {failed} failed, longest gap {}",
                lasted(gap)
            ),
            Some(failed == 0 && sent > 0),
        ),
        None => ("no outside client was sending".to_owned(), None),
    };
    criteria.push(("no service interruption", shown, holds));
    let own = state
        .health
        .iter()
        .filter(|((_, release, _, _), _)| *release == context.to);
    let (count, well) = own.fold((0, 0), |sum, (_, well)| {
        (sum.0 + 1, sum.1 + usize::from(*well))
    });
    let shown = format!("{well} of {count} probes of instances pass");
    criteria.push((
        "all health checks passing",
        shown,
        (count > 0).then_some(well == count),
    ));
    let performance = about(&["9.2"], &[])?;
    let (shown, holds) = Verdicts::of(&state, &performance).with(gate(&state, Gate::Baseline));
    criteria.push(("objectives met or exceeded", shown, holds));
    let scans = about(SCANS.0, SCANS.1)?;
    let scans = Verdicts::of(&state, &scans).with(gate(&state, Gate::Security));
    let (shown, holds) = with_findings(scans, &found(context).await?);
    criteria.push(("all scans clean", shown, holds));
    let covered = about(&["8.1", "8.2", "8.3"], &[])?;
    let (shown, holds) = Verdicts::of(&state, &covered).with(gate(&state, Gate::Monitoring));
    criteria.push(("100 % observability", shown, holds));
    let shown = "shown by the handover, which comes next".to_owned();
    criteria.push(("runbooks complete", shown, None));
    let (shown, holds) = match (state.rehearsed, &context.from) {
        (Some(rehearsed), _) => rehearsal(&state, rehearsed),
        (None, None) => (
            "a first deployment has nothing to go back to".to_owned(),
            None,
        ),
        (None, Some(_)) => ("not rehearsed in this run".to_owned(), None),
    };
    criteria.push(("rollback verified", shown, holds));
    Ok(criteria)
}

/// Says what of the way back was rehearsed, and what not: time in microseconds, requests that failed and were answered
/// around it. Traffic without a request that shows it, and a way down of migrations that was not run, leave it open.
fn rehearsal(state: &RunState, (us, failed, answered): (u64, u64, u64)) -> (String, Option<bool>) {
    let (took, down) = (lasted(us), WayDown::of_trial(state));
    let shown = format!(
        "rehearsed: traffic led back in {took} while both releases ran, {failed} of {} requests in the seconds around it \
         failed; {down}; the undo of the other steps was not rehearsed",
        failed + answered
    );
    let holds = match (failed, answered) {
        (0, 0) => None,
        (0, _) => down.was_run().then_some(true),
        _ => Some(false),
    };
    (shown, holds)
}

fn broken(criteria: &[Criterion]) -> Vec<&'static str> {
    criteria
        .iter()
        .filter(|own| own.2 == Some(false))
        .map(|own| own.0)
        .collect()
}

#[async_trait]
impl Work for Acceptance {
    async fn apply(&self, section: &Section<'_>) -> Result<Value, StepError> {
        let criteria = criteria(section).await?;
        let rows = criteria.iter().map(|(name, shown, holds)| {
            let word = holds.map_or("open", |holds| if holds { "shown" } else { "not so" });
            vec![(*name).to_owned(), shown.clone(), word.to_owned()]
        });
        let columns = ["Criterion", "Shown by", "State"]
            .map(Column::text)
            .to_vec();
        let caption = "What every finished run must show, as far as it is measured now";
        let rest = "Whether the items behind each criterion are met, too, is drawn up when the run ends: in notebook 09 \
                    and in Post_Deployment_Report.";
        let report = Report::new()
            .with_table(caption, columns, rows.collect())
            .with_text(rest);
        section.report("Acceptance", report).await?;
        Ok(json!({ "broken": broken(&criteria) }))
    }

    async fn inside(&self, section: &Section<'_>, result: &Value) -> Result<Seen, StepError> {
        let again = broken(&criteria(section).await?);
        let detail = match again.is_empty() {
            true => "no figure breaks a criterion".to_owned(),
            false => format!("broken: {}", again.join(", ")),
        };
        Ok(Seen::new(
            result.get("broken") == Some(&json!(again)),
            detail,
        ))
    }

    async fn outside(&self, section: &Section<'_>, _: &Value) -> Result<Seen, StepError> {
        let (client, observed) = (HttpClient::new(), section.observe().await?);
        let (mut asked, mut ready) = (0, 0);
        for service in &section.context.spec.services {
            let (Some(path), Some(base)) = (
                &service.file.probes.readiness,
                observed.address_url(&service.name),
            ) else {
                continue;
            };
            asked += 1;
            let answer = client.get(&format!("{base}{path}"), REQUEST_LIMIT).await;
            ready += usize::from(answer.is_ok_and(|answer| answer.status.is_success()));
        }
        Ok(Seen::new(
            ready == asked,
            format!("{ready} of {asked} services are ready at their address"),
        ))
    }
}

#[cfg(test)]
mod tests {
    use code_deploy_record::{Direction, StepState, StepStatus};

    use super::*;

    /// Returns the state of a run whose trial of the way down gave that.
    fn tried(result: Value) -> RunState {
        let mut state = RunState::default();
        let step = StepState {
            status: StepStatus::Done,
            direction: Direction::Apply,
            attempt: 1,
            intent: Value::Null,
            result,
            started: chrono::DateTime::UNIX_EPOCH,
            duration_us: None,
            checks: Vec::new(),
            problem: None,
            skipped: None,
        };
        state
            .steps
            .insert("migrate.rollback".parse().unwrap(), step);
        state
    }

    #[test]
    fn a_rollback_is_shown_only_as_far_as_it_was_rehearsed() {
        let whole = tried(json!({ "on_a_copy": ["orders"], "without_way_down": [] }));
        let (shown, holds) = rehearsal(&whole, (4_340, 0, 150));
        assert_eq!(holds, Some(true), "{shown}");
        assert!(
            shown.contains("of orders were taken back on a copy"),
            "{shown}"
        );
        assert!(shown.ends_with("the undo of the other steps was not rehearsed"));
        // Nobody asked while traffic was led back, or somebody was refused.
        assert_eq!(rehearsal(&whole, (4_340, 0, 0)).1, None);
        assert_eq!(rehearsal(&whole, (4_340, 1, 149)).1, Some(false));
        let part = tried(json!({ "on_a_copy": [], "without_way_down": ["orders"] }));
        let (shown, holds) = rehearsal(&part, (4_340, 0, 150));
        assert_eq!(holds, None, "{shown}");
        assert!(
            shown.contains("the way down of the migrations of orders was not run"),
            "{shown}"
        );
        assert_eq!(
            rehearsal(&RunState::default(), (4_340, 0, 150)).1,
            Some(true)
        );
    }

    #[test]
    fn a_finding_of_any_phase_before_breaks_the_criterion_of_scans() {
        let open = || ("1 of 2 items met".to_owned(), None);
        let (shown, holds) = with_findings(open(), &[Severity::Info, Severity::Medium]);
        assert_eq!(
            shown,
            "1 of 2 items met; findings up to now: 0 critical, 0 high, 1 medium"
        );
        assert_eq!(holds, Some(false));
        assert_eq!(with_findings(open(), &[Severity::Low]).1, None);
        let all = ("2 of 2 items met".to_owned(), Some(true));
        assert_eq!(with_findings(all, &[]).1, Some(true));
    }
}
