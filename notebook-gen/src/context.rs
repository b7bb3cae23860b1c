//! What templates may say of a run.

use code_deploy_record::{Component, PhaseNumber, Role, Severity};
use minijinja::value::{Serde, Value};
use serde::Serialize;

use crate::Result;
use crate::facts::Facts;
use crate::page::ReadySettings;
use crate::trouble::{Trouble, troubles};
use crate::view::{self, ItemLine, items_of};

/// Notable items that are listed at the top of a notebook.
const MOST_NOTABLE: usize = 60;

/// The notebook that lists every item that is not in order.
const LISTED_IN: &str = "Post_Deployment_Report";

/// Open items with one reason in common from which on they share a line.
const MANY: usize = 4;

#[derive(Debug, Default, Serialize)]
struct Context {
    ready: bool,
    phase: String,
    application: String,
    environment: String,
    target: String,
    strategy: String,
    run: String,
    from: String,
    to: String,
    verdict: String,
    outcome: String,
    /// The name of the key that seals the record; empty where none does.
    key: String,
    facts: Vec<(String, String)>,
    /// How many earlier runs it is compared with.
    compared: usize,
    items: Items,
    /// The notebook that lists what is not in order anywhere; empty in that notebook.
    listed_in: String,
    findings: Vec<FindingLine>,
    more_findings: usize,
    troubles: Vec<Trouble>,
    more_troubles: usize,
    services: Vec<Service>,
    databases: Vec<String>,
    alerts: Vec<String>,
}

/// A service that has a runbook.
#[derive(Debug, Default, Serialize)]
struct Service {
    name: String,
}

#[derive(Debug, Default, Serialize)]
struct Items {
    all: usize,
    tally: String,
    notable: Vec<Notable>,
    more: usize,
}

#[derive(Debug, Serialize)]
struct Notable {
    id: String,
    /// The notebooks that show it, without the extension.
    notebooks: Vec<&'static str>,
    text: String,
    verdict: &'static str,
    reason: String,
}

#[derive(Debug, Serialize)]
struct FindingLine {
    severity: String,
    rule: String,
    place: String,
    message: String,
    cure: String,
}

/// Returns what the template of a ready notebook may say.
pub(crate) fn ready(settings: &ReadySettings, phase: Option<PhaseNumber>) -> Value {
    Value::from(Serde(Context {
        ready: true,
        phase: phase.map(|phase| phase.to_string()).unwrap_or_default(),
        application: settings.application.clone(),
        environment: settings.environment.clone(),
        target: settings.target.clone(),
        to: settings.release.clone().unwrap_or_default(),
        services: settings
            .services
            .iter()
            .map(|name| Service { name: name.clone() })
            .collect(),
        ..Context::default()
    }))
}

/// Returns what the template of an executed notebook may say.
pub(crate) fn executed(facts: &Facts, compared: usize, name: &str) -> Result<Value> {
    let phase = phase_of(name);
    let with_open = phase.is_some() || name == LISTED_IN;
    let started = &facts.started;
    let (lines, tally) = items_of(facts, phase)?;
    let named = |roles: &[Role]| -> Vec<String> {
        let components = facts.state.components.iter();
        let matching = components.filter(|component| roles.contains(&component.role));
        matching.map(|component| component.name.clone()).collect()
    };
    let (findings, more_findings) = findings(facts, phase);
    let (troubles, more_troubles) = troubles(facts, phase);
    Ok(Value::from(Serde(Context {
        ready: false,
        phase: phase.map(|phase| phase.to_string()).unwrap_or_default(),
        application: started.application.clone(),
        environment: started.environment.clone(),
        target: started.target.clone(),
        strategy: started.strategy.clone(),
        run: started.run.to_string(),
        from: started
            .from
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        to: started.to.to_string(),
        verdict: view::verdict(facts),
        outcome: view::verdict_word(facts).to_owned(),
        key: facts
            .state
            .key
            .as_ref()
            .map(code_deploy_record::PublicKeys::name)
            .unwrap_or_default(),
        facts: view::fact_lines(facts),
        compared,
        items: notable(&lines, tally, with_open),
        listed_in: if with_open {
            String::new()
        } else {
            LISTED_IN.to_owned()
        },
        findings,
        more_findings,
        troubles,
        more_troubles,
        services: services(facts),
        databases: named(&[Role::Database]),
        alerts: alerts(facts),
    })))
}

/// Failed items first, then waived, then open ones, and of each the conditions that must hold before the others.
fn notable(lines: &[ItemLine], tally: view::Tally, with_open: bool) -> Items {
    let mut notable: Vec<&ItemLine> = Vec::new();
    for verdict in ["failed", "waived", "open"] {
        if verdict != "open" || with_open {
            let these = || lines.iter().filter(|line| line.verdict == verdict);
            notable.extend(these().filter(|line| line.must));
            notable.extend(these().filter(|line| !line.must));
        }
    }
    let gathered = gather(&notable);
    let more = gathered.len().saturating_sub(MOST_NOTABLE);
    Items {
        all: lines.len(),
        tally: tally.to_string(),
        notable: gathered.into_iter().take(MOST_NOTABLE).collect(),
        more,
    }
}

/// Puts open items that have one reason in common into one line, so that what stands out does.
fn gather(notable: &[&ItemLine]) -> Vec<Notable> {
    let mut lines: Vec<Notable> = Vec::new();
    for item in notable {
        let same = |line: &&ItemLine| {
            line.verdict == "open" && item.verdict == "open" && line.reason == item.reason
        };
        let together: Vec<&&ItemLine> = notable.iter().filter(|line| same(line)).collect();
        if together.len() < MANY {
            lines.push(Notable {
                id: item.id.clone(),
                notebooks: vec![item.phase.notebook()],
                text: item.text.clone(),
                verdict: item.verdict,
                reason: item.reason.clone(),
            });
        } else if together.first().is_some_and(|first| first.id == item.id) {
            let ids: Vec<&str> = together.iter().map(|line| line.id.as_str()).collect();
            let mut notebooks: Vec<_> = together.iter().map(|line| line.phase.notebook()).collect();
            notebooks.dedup();
            lines.push(Notable {
                id: ids.join(", "),
                notebooks,
                text: format!("{} items, each in the table of all items", ids.len()),
                verdict: item.verdict,
                reason: item.reason.clone(),
            });
        }
    }
    lines
}

/// Returns the phase whose notebook has that name.
pub(crate) fn phase_of(name: &str) -> Option<PhaseNumber> {
    PhaseNumber::all().find(|phase| phase.notebook() == name)
}

fn services(facts: &Facts) -> Vec<Service> {
    let components = facts.state.components.iter();
    let services = components.filter(|c| matches!(c.role, Role::Frontend | Role::Backend));
    let service = |component: &Component| Service {
        name: component.name.clone(),
    };
    services.map(service).collect()
}

/// Returns the findings that a person must look at, of one phase or all, and how many more there
/// are.
fn findings(facts: &Facts, phase: Option<PhaseNumber>) -> (Vec<FindingLine>, usize) {
    let here = facts.findings.iter();
    let here = here.filter(|finding| phase.is_none() || finding.phase == phase);
    let all = here.clone().count();
    let mut serious: Vec<_> = here
        .filter(|finding| finding.what.severity >= Severity::Medium)
        .collect();
    serious.sort_by_key(|finding| (std::cmp::Reverse(finding.what.severity), finding.seq));
    let lines = serious.iter().take(20).map(|finding| FindingLine {
        severity: format!("{:?}", finding.what.severity).to_lowercase(),
        rule: finding.what.rule.clone(),
        place: finding.what.place.clone(),
        message: finding.what.message.clone(),
        cure: finding.what.cure.clone(),
    });
    let lines: Vec<FindingLine> = lines.collect();
    let more = all - lines.len();
    (lines, more)
}

/// Returns the names of the alerts, from the first column of the alerts' table.
fn alerts(facts: &Facts) -> Vec<String> {
    let section = facts
        .sections
        .iter()
        .find(|section| section.phase == PhaseNumber::new(7) && section.what.name == "alerts");
    let blocks = section.map(|section| section.what.report.blocks.as_slice());
    let tables = blocks
        .unwrap_or_default()
        .iter()
        .filter_map(|block| match block {
            code_deploy_record::Block::Table { rows, .. } => Some(rows),
            _ => None,
        });
    let rows = tables.take(1).flatten().filter(|row| view::has_rule(row));
    let rows = rows.take(60);
    rows.filter_map(|row| row.first().cloned()).collect()
}
