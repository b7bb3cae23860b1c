//! Environments and metrics, the delivery loop, and the components with what runs of each.

use std::collections::{BTreeMap, BTreeSet};

use code_deploy_record::{
    Block, Component, Gate, PhaseNumber, Report, RunOutcome, StepName, StepStatus, Vantage,
};

use crate::facts::Facts;
use crate::format::{count, counted, duration};
use crate::view::readiness::owner;
use crate::view::steps::belongs;
use crate::view::{columns, row};

/// Written in place of an expression where the service gives no metric for a rule. Records before
/// 2026-11-28 hold such rows among the alerts.
const NO_RULE: &str = "no metric for it";

/// Environment validation: check by environment, from the last run in each.
pub(super) fn environments(facts: &Facts, others: &[Facts]) -> Report {
    let mut last: BTreeMap<&str, &Facts> = BTreeMap::new();
    let mut all: Vec<&Facts> = others.iter().chain([facts]).collect();
    all.sort_by_key(|run| run.since());
    for run in all {
        last.insert(&run.started.environment, run);
    }
    last.insert(&facts.started.environment, facts);
    let mut names = vec!["dev", "test", "staging", "prod"];
    names.extend(
        last.keys()
            .filter(|name| !["dev", "test", "staging", "prod"].contains(name)),
    );
    let line = |label: &str, cell: &dyn Fn(&Facts) -> String| {
        let cells = names
            .iter()
            .map(|name| last.get(name).map_or("no run".to_owned(), |run| cell(run)));
        let mut line = vec![label.to_owned()];
        line.extend(cells);
        line
    };
    let mut rows = vec![
        line("run", &|run| run.started.run.to_string()),
        line("journal's last line", &|run| run.head.short()),
        line("release", &|run| run.started.to.to_string()),
        line("outcome", &|run| super::verdict_word(run).to_owned()),
    ];
    for gate in [
        Gate::Security,
        Gate::Approval,
        Gate::Health,
        Gate::Smoke,
        Gate::Monitoring,
        Gate::Analysis,
        Gate::Baseline,
    ] {
        rows.push(line(&format!("{} gate", gate.word()), &|run| {
            gate_cell(run, gate)
        }));
    }
    rows.push(line("outside client", &|run| {
        let client = run.state.clients.get("client");
        client.map_or("none".to_owned(), |c| {
            format!("{} failed of {}", count(c.failed), count(c.sent))
        })
    }));
    rows.push(line("rollback rehearsal", &|run| {
        let rehearsed = run.state.rehearsed;
        rehearsed.map_or("none".to_owned(), |(time, ..)| {
            format!(
                "traffic led back in {} while both releases ran",
                duration(time)
            )
        })
    }));
    rows.push(line("items", &|run| super::tally(run).to_string()));
    let mut titles = columns(["Check"]);
    titles.extend(
        names
            .iter()
            .map(|name| code_deploy_record::Column::text(*name)),
    );
    Report::new().with_table(
        "Environment validation, from the last run in each",
        titles,
        rows,
    )
}

fn gate_cell(run: &Facts, gate: Gate) -> String {
    let answers = run.last_answers(gate);
    if answers.is_empty() {
        return "not asked".to_owned();
    }
    let of = |word: &str| {
        let own = answers.iter().filter(|one| one.what.word() == word);
        own.count()
    };
    let all = answers.len();
    match (of("did not pass"), of("not compared")) {
        (0, 0) => format!("passed: {all} of {all}"),
        (0, not_compared) => format!("not compared: {not_compared} of {all}"),
        (failed, _) => format!("did not pass: {failed} of {all}"),
    }
}

/// Returns whether a row of the alerts' table tells of an alert that a rule exists for.
pub(crate) fn has_rule(row: &[String]) -> bool {
    row.get(2).is_none_or(|expression| expression != NO_RULE)
}

/// Returns the alerts that this run configured, by the check of an objective that each watches.
fn alerts(facts: &Facts) -> BTreeMap<&str, &str> {
    let sections = facts.sections.iter();
    let of_alerts = sections
        .filter(|one| one.phase == PhaseNumber::new(7) && one.what.name == "alerts")
        .flat_map(|one| &one.what.report.blocks);
    let mut watched = BTreeMap::new();
    for block in of_alerts {
        let Block::Table { columns, rows, .. } = block else {
            continue;
        };
        let Some(place) = columns.iter().position(|one| one.title == "objective") else {
            continue;
        };
        for row in rows.iter().filter(|row| has_rule(row)) {
            if let (Some(check), Some(name)) = (row.get(place), row.first()) {
                watched.insert(check.as_str(), name.as_str());
            }
        }
    }
    watched
}

/// Where a line of the metrics stands: whether it holds, whether that is shown, and the rank of its kind.
type Place = (bool, bool, u8);

/// Operational metrics: figure by target, from the last checks of the gates that measure. What is not met or not shown
/// stands first, then what the users saw, objectives, the comparison of releases, and signals.
pub(super) fn metrics(facts: &Facts) -> Report {
    let mut rows: Vec<(String, Place, Vec<String>)> = Vec::new();
    let alerts = alerts(facts);
    for gate in &facts.gates {
        let answer = &gate.what;
        if !matches!(
            answer.gate,
            Gate::Baseline | Gate::Analysis | Gate::Monitoring
        ) {
            continue;
        }
        for check in &answer.checks {
            // Of an analysis the last stage counts: the notebook of phase 6 has those before it.
            let subject = match answer.gate {
                Gate::Analysis => "",
                _ => answer.subject.as_str(),
            };
            let key = format!("{} {subject} {}", answer.gate.word(), check.name);
            let status = check.standing();
            let alert = alerts.get(check.name.as_str()).copied().unwrap_or("none");
            let source = format!("{} gate, event {}", answer.gate.word(), gate.seq);
            let name = format!("{} ({})", check.name, answer.subject);
            let line = row([
                &name,
                &check.limit,
                &check.measured,
                &status,
                alert,
                &source,
            ]);
            let rank = match answer.gate {
                Gate::Baseline => 1,
                Gate::Analysis => 2,
                _ => 3,
            };
            let place = (check.passed, check.is_met(), rank);
            match rows.iter_mut().find(|(known, ..)| *known == key) {
                Some(known) => *known = (key, place, line),
                None => rows.push((key, place, line)),
            }
        }
    }
    if let Some(client) = facts.state.clients.get("client") {
        let actual = format!("{} of {}", count(client.failed), count(client.sent));
        let met = client.failed == 0;
        let status = if met { "met" } else { "not met" };
        let name = "failed requests of the outside client";
        let line = row([name, "0", &actual, status, "none", "outside client"]);
        rows.push((name.to_owned(), (met, met, 0), line));
    }
    if rows.is_empty() {
        return Report::new().with_text(
            "No metrics matrix: no gate that measures was asked, and no client outside measured.",
        );
    }
    let titles = columns(["Metric", "Target", "Actual", "Status", "Alert", "Source"]);
    rows.sort_by_key(|(_, place, _)| *place);
    let rows = rows.into_iter().map(|(.., row)| row).take(300).collect();
    Report::new().with_table("Operational metrics", titles, rows)
}

/// The stages with the verbs and sections of each. A section that is named counts in its own stage,
/// though its verb stands in another.
const LOOP: [(&str, &[&str]); 8] = [
    ("plan", &["inventory", "plan", "preflight"]),
    ("code", &["build.source"]),
    (
        "build",
        &[
            "build.logs",
            "build.images",
            "build.artifacts",
            "build.registry",
        ],
    ),
    (
        "test",
        &[
            "build.quality",
            "release.smoke",
            "validate.functional",
            "validate.integration",
            "validate.acceptance",
            "validate.performance",
        ],
    ),
    ("deploy", &["provision", "migrate", "release", "finish"]),
    (
        "secure",
        &[
            "preflight.security",
            "build.security",
            "provision.hardening",
            "provision.tls",
            "validate.security",
        ],
    ),
    ("operate", &["handover"]),
    ("monitor", &["observe", "release.monitoring"]),
];

/// Returns the stage of a step: that of the longest prefix of its name.
fn stage_of(step: &StepName) -> Option<&'static str> {
    let prefixes = LOOP
        .iter()
        .flat_map(|(stage, prefixes)| prefixes.iter().map(move |prefix| (*stage, *prefix)));
    let own = prefixes.filter(|(_, prefix)| belongs(step, &[prefix]));
    own.max_by_key(|(_, prefix)| prefix.len())
        .map(|(stage, _)| stage)
}

/// The eight stages of the delivery loop with the steps of each.
pub(super) fn delivery_loop(facts: &Facts) -> Report {
    let all = facts.state.steps.len() as u64;
    let elsewhere: Vec<&str> = facts
        .state
        .steps
        .keys()
        .filter(|step| stage_of(step).is_none())
        .map(StepName::as_str)
        .collect();
    let rows = LOOP.iter().map(|(stage, _)| {
        let steps: Vec<_> = facts
            .state
            .steps
            .iter()
            .filter(|(name, _)| stage_of(name) == Some(*stage))
            .collect();
        let done = steps
            .iter()
            .filter(|(_, s)| s.status == StepStatus::Done)
            .count();
        let names: Vec<&str> = steps
            .iter()
            .take(6)
            .map(|(name, _)| name.as_str())
            .collect();
        let checks = |vantage| {
            let checks = steps.iter().flat_map(|(_, step)| &step.checks);
            let checks: Vec<bool> = checks
                .filter(|c| c.vantage == vantage)
                .map(|c| c.passed)
                .collect();
            format!(
                "{} of {} passed",
                checks.iter().filter(|p| **p).count(),
                checks.len()
            )
        };
        let more = if steps.len() > 6 {
            format!(" and {} more", steps.len() - 6)
        } else {
            String::new()
        };
        let what = if steps.is_empty() {
            "no step of this stage in the record".to_owned()
        } else {
            format!(
                "{done} of {} done: {}{more}",
                counted(steps.len() as u64, "step"),
                names.join(", ")
            )
        };
        row([
            stage,
            &what,
            &checks(Vantage::Inside),
            &checks(Vantage::Outside),
        ])
    });
    let titles = columns([
        "Stage",
        "What was done",
        "Verified inside",
        "Verified outside",
    ]);
    let counts = match elsewhere.as_slice() {
        [] => format!("Of {}, each counts in one stage.", counted(all, "step")),
        names => format!(
            "Of {}, each counts in one stage, but for {}, which belong to none.",
            counted(all, "step"),
            names.join(", ")
        ),
    };
    Report::new()
        .with_table("The delivery loop", titles, rows.collect())
        .with_text(counts)
        .with_text(
            "A step that is done did its work, and its two checks agree with it. Whether what it \
             looked at is in order is said by the verdicts of the items.",
        )
}

/// Returns the endpoints of a component as the report of the inventory gives them. The inventory
/// itself is taken from files, before the services that run are asked for their documents.
fn endpoints(facts: &Facts, component: &str) -> Option<String> {
    let mut sections = facts.sections.iter();
    let reported = sections.find(|section| {
        section.phase == PhaseNumber::new(1) && section.what.name == "components"
    })?;
    reported.what.report.blocks.iter().find_map(|block| {
        let Block::Table { columns, rows, .. } = block else {
            return None;
        };
        let place = |title: &str| columns.iter().position(|column| column.title == title);
        let (name, number) = (place("Component")?, place("Endpoints")?);
        let row = rows
            .iter()
            .find(|row| row.get(name).is_some_and(|entry| entry == component))?;
        row.get(number).cloned()
    })
}

/// Returns how many operations of each service phase 8 found in the documents of the release that is deployed;
/// nothing where another release is live at the end, or where it did not look.
fn operations(facts: &Facts) -> Option<BTreeMap<&str, usize>> {
    facts
        .final_release()
        .filter(|live| **live == facts.started.to)?;
    let mut sections = facts.sections.iter();
    let looked = sections.find(|section| {
        section.phase == PhaseNumber::new(8) && section.what.name == "functional"
    })?;
    looked.what.report.blocks.iter().find_map(|block| {
        let Block::Table { columns, rows, .. } = block else {
            return None;
        };
        let place = |title: &str| columns.iter().position(|column| column.title == title);
        let (service, operation) = (place("service")?, place("operation")?);
        let mut known: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for row in rows {
            let entry = |place: usize| row.get(place).map(String::as_str);
            let (service, operation) = (entry(service)?, entry(operation)?);
            known.entry(service).or_default().insert(operation);
        }
        let counts = known.into_iter().map(|(name, known)| (name, known.len()));
        let counts: BTreeMap<&str, usize> = counts.collect();
        (!counts.is_empty()).then_some(counts)
    })
}

/// The components with what runs of each.
pub(super) fn components(facts: &Facts) -> Report {
    if facts.state.components.is_empty() {
        return Report::new().with_text("The inventory was not taken.");
    }
    let of_live = operations(facts);
    let number = |component: &Component| {
        let own = match &of_live {
            Some(counts) => counts.get(component.name.as_str()).map(usize::to_string),
            None => endpoints(facts, &component.name)
                .or_else(|| component.endpoints.map(|number| number.to_string())),
        };
        own.unwrap_or_else(|| "not known".to_owned())
    };
    let rows = facts.state.components.iter().map(|component| {
        let ports: Vec<String> = component.ports.iter().map(u16::to_string).collect();
        let served = facts.state.traffic.get(&component.name).map(|(served, _)| {
            let served: Vec<String> = served.iter().map(|(r, s)| format!("{r}: {s} %")).collect();
            served.join(", ")
        });
        vec![
            component.name.clone(),
            format!("{:?}", component.role).to_lowercase(),
            owner(component),
            component.needs.join(", "),
            ports.join(", "),
            component.replicas.to_string(),
            number(component),
            served.unwrap_or_default(),
        ]
    });
    // The inventory asks what runs before the run changes it.
    let endpoints_of = match (&of_live, &facts.started.from) {
        (Some(_), _) => format!("Endpoints of {}", facts.started.to),
        (None, Some(before)) => format!("Endpoints of {before}"),
        (None, None) => "Endpoints".to_owned(),
    };
    let titles = [
        "Component",
        "Role",
        "Owner",
        "Needs",
        "Ports",
        "Instances",
        &endpoints_of,
        "Traffic served",
    ];
    let outcome = facts.state.finished.as_ref().map(|(outcome, ..)| *outcome);
    let report = Report::new().with_table("Components", columns(titles), rows.collect());
    if outcome == Some(RunOutcome::Refused)
        && PhaseNumber::new(1).is_some_and(|p| facts.state.phase_done(p))
    {
        return report.with_text("Nothing of it was changed by this run.");
    }
    report
}
