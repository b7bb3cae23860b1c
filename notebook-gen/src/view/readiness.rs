//! The deployment readiness matrix: component by stage, from the verdicts of the catalogue's items
//! and from what was last seen of each component.

use code_deploy_record::{Component, Gate, Release, Report, Role, SCANS, StepStatus};

use crate::Result;
use crate::facts::Facts;
use crate::view::columns;
use crate::view::verdicts::Verdicts;

/// The stages that are settled for the release as a whole: groups and single items.
const SHARED: [(&str, &[&str], &[&str]); 3] = [
    (
        "Built",
        &["2.3"],
        &[
            "2.2.1", "2.2.2", "2.2.4", "2.2.5", "2.2.6", "2.2.7", "2.5.1",
        ],
    ),
    (
        "Tested",
        &["9.1"],
        &["2.5.2", "2.5.3", "2.5.4", "2.5.5", "2.5.6"],
    ),
    ("Scanned", SCANS.0, SCANS.1),
];

const STAGES: [&str; 5] = ["Built", "Tested", "Scanned", "Deployed", "Verified"];

/// How a stage went, from the worst to the best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Word {
    Failed,
    TakenBack,
    Open,
    Waived,
    Met,
    NotApplicable,
}

impl Word {
    fn text(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::TakenBack => "taken back",
            Self::Open => "open",
            Self::Waived => "waived",
            Self::Met => "met",
            Self::NotApplicable => "not applicable",
        }
    }

    fn of(verdicts: &Verdicts) -> Self {
        match verdicts.word() {
            "failed" => Self::Failed,
            "open" => Self::Open,
            "waived" => Self::Waived,
            "met" => Self::Met,
            _ => Self::NotApplicable,
        }
    }
}

/// An entry: its word, and why.
struct Entry(Word, String);

impl Entry {
    fn items(verdicts: &Verdicts) -> Self {
        Self(Word::of(verdicts), verdicts.to_string())
    }

    fn text(&self) -> String {
        format!("{}: {}", self.0.text(), self.1)
    }
}

/// Deployment readiness: component by stage.
pub(super) fn readiness(facts: &Facts) -> Result<Report> {
    let components = &facts.state.components;
    if components.is_empty() {
        return Ok(Report::new().with_text("No readiness matrix: the inventory was not taken."));
    }
    let mut rows = Vec::new();
    for component in components {
        let entries = match component.role {
            Role::Frontend | Role::Backend => service(facts, component)?,
            _ => store(facts, component)?,
        };
        let role = format!("{:?}", component.role).to_lowercase();
        let mut row = vec![component.name.clone(), role, owner(component)];
        row.extend(entries.iter().map(Entry::text));
        row.push(status(&entries).to_owned());
        rows.push(row);
    }
    let mut titles = columns(["Component", "Role", "Owner"]);
    titles.extend(columns(STAGES));
    titles.extend(columns(["Status"]));
    Ok(Report::new()
        .with_table("Deployment readiness", titles, rows)
        .with_text(rule()))
}

/// Returns who answers for a component. Only of services is an owner asked for: a store that has none lacks nothing.
pub(super) fn owner(component: &Component) -> String {
    let none = match component.role {
        Role::Frontend | Role::Backend => "nobody is named",
        Role::Database | Role::Cache | Role::Queue => "not asked for",
    };
    component.owner.as_deref().unwrap_or(none).to_owned()
}

fn rule() -> String {
    let shared = SHARED.map(|(name, groups, items)| {
        let all: Vec<&str> = groups.iter().chain(items).copied().collect();
        format!("{name}: {}", all.join(", "))
    });
    format!(
        "Built, tested and scanned are settled for the release as a whole, by verdicts of the \
         catalogue's items ({}); an entry gives how many are met. Deployed is the share of traffic \
         as read back where it is served, verified the last answer of the health gate with the \
         probes that were asked last; for a store of data they are the items of its migrations. A \
         component is ready when every stage is met or cannot apply. Owners are those whom the \
         deployment file, or the label `code-deploy.owner` of the Compose file, names for services; \
         of a store of data none is asked for.",
        shared.join("; ")
    )
}

fn status(entries: &[Entry]) -> &'static str {
    match entries.iter().map(|entry| entry.0).min() {
        Some(Word::Failed) => "not ready",
        Some(Word::TakenBack) => "taken back",
        Some(Word::Waived) => "ready with waivers",
        Some(Word::Met | Word::NotApplicable) => "ready",
        Some(Word::Open) | None => "open",
    }
}

fn service(facts: &Facts, component: &Component) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for (_, groups, items) in SHARED {
        entries.push(Entry::items(&Verdicts::named(facts, groups, items)?));
    }
    entries.push(deployed(facts, &component.name));
    entries.push(verified(facts, &component.name));
    Ok(entries)
}

/// A store of data is not built by a run, and keeps running through it.
fn store(facts: &Facts, component: &Component) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for _ in SHARED {
        let why = "a store of data is not made by a run".to_owned();
        entries.push(Entry(Word::NotApplicable, why));
    }
    if component.role != Role::Database {
        for _ in 0..2 {
            let why = "the catalogue has no item on stores without migrations".to_owned();
            entries.push(Entry(Word::NotApplicable, why));
        }
        return Ok(entries);
    }
    let undone = facts
        .state
        .steps
        .iter()
        .any(|(step, state)| is(step.as_str(), "migrate.execution") && undone(state.status));
    let migrated = Entry::items(&Verdicts::named(facts, &["4.2"], &[])?);
    entries.push(match undone {
        true => Entry(Word::TakenBack, "its migrations were undone".to_owned()),
        false => migrated,
    });
    entries.push(Entry::items(&Verdicts::named(facts, &["4.1", "4.3"], &[])?));
    Ok(entries)
}

fn is(step: &str, name: &str) -> bool {
    step == name
        || step
            .strip_prefix(name)
            .is_some_and(|rest| rest.starts_with('.'))
}

fn undone(status: StepStatus) -> bool {
    status == StepStatus::Undone
}

fn share(facts: &Facts, service: &str, release: &Release) -> Option<u16> {
    let (served, _) = facts.state.traffic.get(service)?;
    Some(served.get(release).copied().unwrap_or(0))
}

fn deployed(facts: &Facts, service: &str) -> Entry {
    let to = &facts.started.to;
    let step = format!("release.green.{service}");
    let started = facts.state.steps.iter().find(|(s, _)| s.as_str() == step);
    let status = started.map(|(_, state)| state.status);
    let text = match share(facts, service, to) {
        Some(share) => format!("{share} % of its traffic goes to {to}"),
        None => "its traffic was not moved".to_owned(),
    };
    match (status, share(facts, service, to)) {
        (Some(StepStatus::Undone), _) => {
            let now = facts.started.from.iter();
            let now = now
                .filter_map(|from| Some(format!("{} % to {from}", share(facts, service, from)?)));
            let now: Vec<String> = now.collect();
            let text = match now.first() {
                Some(now) => format!("{to} was stopped; its traffic goes {now}"),
                None => format!("{to} was stopped"),
            };
            Entry(Word::TakenBack, text)
        }
        (Some(StepStatus::Failed | StepStatus::UndoFailed), _) => {
            let what = status.map_or("", super::steps::status_word);
            Entry(Word::Failed, format!("{step} {what}; {text}"))
        }
        (_, Some(100)) => Entry(Word::Met, text),
        _ => Entry(Word::Open, text),
    }
}

fn verified(facts: &Facts, service: &str) -> Entry {
    let to = &facts.started.to;
    let subject = format!("{service} {to}");
    let answer = facts.state.gates.iter().rev();
    let answer = answer
        .filter(|one| one.gate == Gate::Health)
        .find(|one| one.subject == subject)
        .map(|one| one.passed);
    let probes = facts.state.health.iter();
    let probes: Vec<bool> = probes
        .filter(|((s, r, ..), _)| s == service && r == to)
        .map(|(_, healthy)| *healthy)
        .collect();
    let passing = probes.iter().filter(|passes| **passes).count();
    let seen = format!(
        "{passing} of {} probes passed when last asked",
        probes.len()
    );
    let green = format!("release.green.{service}");
    let stopped = facts
        .state
        .steps
        .iter()
        .any(|(step, state)| step.as_str() == green && undone(state.status));
    match answer {
        _ if stopped => Entry(Word::TakenBack, format!("{to} was stopped")),
        None => Entry(
            Word::Open,
            "the health gate was not asked about it".to_owned(),
        ),
        Some(false) => Entry(
            Word::Failed,
            format!("the health gate did not pass; {seen}"),
        ),
        Some(true) if passing < probes.len() => {
            Entry(Word::Failed, format!("the health gate passed; {seen}"))
        }
        Some(true) => Entry(Word::Met, format!("the health gate passed; {seen}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_service_lacks_an_owner_that_nobody_named() {
        let component = |role, owner: Option<&str>| Component {
            name: "orders".to_owned(),
            role,
            owner: owner.map(str::to_owned),
            needs: Vec::new(),
            ports: Vec::new(),
            replicas: 1,
            endpoints: None,
        };
        assert_eq!(owner(&component(Role::Backend, None)), "nobody is named");
        assert_eq!(owner(&component(Role::Database, None)), "not asked for");
        let known = component(Role::Database, Some("team shop"));
        assert_eq!(owner(&known), "team shop");
    }
}
