//! What templates may say of a run.

use code_deploy_record::{Component, PhaseNumber, Role, RunOutcome, Severity};
use minijinja::value::{Serde, Value};
use serde::Serialize;

use crate::Result;
use crate::expected::Expected;
use crate::facts::Facts;
use crate::format::clock;
use crate::page::ReadySettings;
use crate::template::TEMPLATES;
use crate::trouble::{Trouble, troubles};
use crate::view::{self, ItemLine, items_of};

/// Notable items that are listed at the top of a notebook.
const MOST_NOTABLE: usize = 60;

/// The notebook that lists every item that is not in order.
const LISTED_IN: &str = "Post_Deployment_Report";

/// The notebook that hands over, which also names what of the others is not in order.
const HANDS_OVER: &str = "09_Operational_Handover";

/// The notebook that says what to follow up.
const FOLLOWS_UP: &str = "Lessons_Learned";

/// The item that says whether anybody evaluates alerts.
const ALERTING: &str = "8.1.4";

/// The files of the evidence that Prometheus loads.
const SCRAPE: &str = "Prometheus scrape configuration";
const RULES: &str = "Prometheus alert rules";

/// Open items with one reason in common from which on those of a notebook share a line.
const MANY: usize = 4;

/// Open items of a notebook up to which each is named in another one; a run that was refused leaves nearly all open.
const MOST_NAMED: usize = 12;

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
    /// What the reader of this notebook asks, answered.
    answer: String,
    verdict: String,
    outcome: String,
    /// The name of the key that seals the record; empty where none does.
    key: String,
    /// The digest of the journal's last line, whole.
    head: String,
    facts: Vec<[String; 3]>,
    /// How many earlier runs it is compared with.
    compared: usize,
    items: Items,
    /// The notebook that lists what is not in order anywhere; empty in that notebook.
    listed_in: String,
    /// Whether this is the notebook that hands over.
    hands_over: bool,
    /// What of the other notebooks must hold and does not, or is not known to.
    elsewhere: Vec<Notable>,
    /// The item that says whether anybody evaluates alerts.
    alerting: Option<Notable>,
    /// Who acts on what is open; empty where nothing is.
    acts: String,
    follow_up: FollowUp,
    /// The other notebooks.
    documents: Vec<Document>,
    /// What Prometheus has to load, while nobody is known to evaluate the alerts.
    prometheus: Option<Prometheus>,
    /// Whether figures of memory or processor time were taken, or may yet be.
    resources: bool,
    /// When the criteria were drawn up in phase 8; empty where they were not.
    accepted: String,
    findings: Vec<FindingLine>,
    more_findings: usize,
    troubles: Vec<Trouble>,
    more_troubles: usize,
    services: Vec<Service>,
    alerts: Vec<String>,
    /// What the commands of procedures say.
    expected: Expected,
}

/// A service that has a runbook.
#[derive(Debug, Default, Serialize)]
struct Service {
    name: String,
    /// The databases that it uses, in words; empty where it uses none.
    databases: String,
}

/// A notebook to which another one links.
#[derive(Debug, Serialize)]
struct Document {
    /// Its name, without the extension.
    name: &'static str,
    title: &'static str,
}

/// The files for Prometheus, by their digests.
#[derive(Debug, Serialize)]
struct Prometheus {
    scrape: String,
    rules: String,
}

/// Items that are open when the run is over.
#[derive(Debug, Default, Serialize)]
struct FollowUp {
    /// Those that must hold.
    must: Vec<Notable>,
    /// The others, by notebook.
    more: Vec<MoreOpen>,
}

#[derive(Debug, Serialize)]
struct MoreOpen {
    notebook: &'static str,
    ids: String,
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
    /// The notebook that shows it, without the extension.
    notebook: &'static str,
    text: String,
    verdict: &'static str,
    reason: String,
}

impl Notable {
    fn of(item: &ItemLine) -> Self {
        Self {
            id: item.id.clone(),
            notebook: item.phase.notebook(),
            text: item.text.clone(),
            verdict: item.verdict,
            reason: item.reason.clone(),
        }
    }

    /// Puts items of one notebook into one line. Their titles are named unless the notebook lists them itself.
    fn of_all(first: &ItemLine, items: &[&ItemLine], with_titles: bool) -> Self {
        let ids: Vec<&str> = items.iter().map(|item| item.id.as_str()).collect();
        let titles = items
            .iter()
            .map(|item| format!("{}: {}", item.id, item.text));
        let text = match (items.len(), with_titles) {
            (1, _) => first.text.clone(),
            (_, true) => titles.collect::<Vec<_>>().join("; "),
            (number, false) => format!("{number} items, each in the table of all items"),
        };
        Self {
            id: ids.join(", "),
            text,
            ..Self::of(first)
        }
    }
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
pub(crate) fn ready(settings: &ReadySettings, name: &str) -> Value {
    let phase = phase_of(name);
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
            .map(|name| Service {
                name: name.clone(),
                databases: String::new(),
            })
            .collect(),
        documents: documents(name),
        resources: true,
        expected: Expected::ready(),
        ..Context::default()
    }))
}

/// Returns what the template of an executed notebook may say; `resources` is whether figures of memory or
/// processor time were taken.
pub(crate) fn executed(
    facts: &Facts,
    compared: usize,
    resources: bool,
    name: &str,
) -> Result<Value> {
    let phase = phase_of(name);
    let with_open = phase.is_some() || name == LISTED_IN;
    let started = &facts.started;
    let (all, whole) = items_of(facts, None)?;
    let (lines, tally) = match phase {
        Some(phase) => items_of(facts, Some(phase))?,
        None => (all.clone(), whole),
    };
    // Who takes over has to know of all that was found.
    let of = phase.filter(|_| name != HANDS_OVER);
    let (findings, more_findings) = findings(facts, of);
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
        answer: view::answer(facts, name)?,
        verdict: view::verdict(facts),
        outcome: view::verdict_word(facts).to_owned(),
        key: facts
            .state
            .key
            .as_ref()
            .map(code_deploy_record::PublicKeys::name)
            .unwrap_or_default(),
        facts: view::fact_lines(facts),
        head: facts.head.to_string(),
        compared,
        items: notable(&lines, tally, with_open, phase.is_none()),
        listed_in: if with_open {
            String::new()
        } else {
            LISTED_IN.to_owned()
        },
        hands_over: name == HANDS_OVER,
        elsewhere: elsewhere(&all, name),
        alerting: alerting(&all).map(Notable::of),
        acts: acts(facts, name, &all, &lines),
        follow_up: follow_up(&all, name),
        documents: documents(name),
        prometheus: prometheus(facts, &all),
        resources,
        accepted: accepted(facts),
        findings,
        more_findings,
        troubles,
        more_troubles,
        services: services(facts),
        alerts: alerts(facts),
        expected: Expected::of(facts),
    })))
}

/// Failed items first, then waived, then open ones, and of each the conditions that must hold before the others.
fn not_in_order(lines: &[ItemLine], with_open: bool) -> Vec<&ItemLine> {
    let mut found: Vec<&ItemLine> = Vec::new();
    for verdict in ["failed", "waived", "open"] {
        if verdict != "open" || with_open {
            let these = || lines.iter().filter(|line| line.verdict == verdict);
            found.extend(these().filter(|line| line.must));
            found.extend(these().filter(|line| !line.must));
        }
    }
    found
}

fn notable(lines: &[ItemLine], tally: view::Tally, with_open: bool, with_titles: bool) -> Items {
    let gathered = gather(&not_in_order(lines, with_open), with_titles);
    let more = gathered.len().saturating_sub(MOST_NOTABLE);
    Items {
        all: lines.len(),
        tally: tally.to_string(),
        notable: gathered.into_iter().take(MOST_NOTABLE).collect(),
        more,
    }
}

/// Puts open items of a notebook that have one reason in common into one line, so that what stands out does.
fn gather(notable: &[&ItemLine], with_titles: bool) -> Vec<Notable> {
    let mut lines: Vec<Notable> = Vec::new();
    for &item in notable {
        let alike: Vec<&ItemLine> = notable
            .iter()
            .copied()
            .filter(|line| {
                line.verdict == "open" && item.verdict == "open" && line.reason == item.reason
            })
            .collect();
        if alike.len() < MANY {
            lines.push(Notable::of(item));
            continue;
        }
        let together: Vec<&ItemLine> = alike
            .into_iter()
            .filter(|line| line.phase == item.phase)
            .collect();
        if together.first().is_some_and(|first| first.id == item.id) {
            lines.push(Notable::of_all(item, &together, with_titles));
        }
    }
    lines
}

/// Returns, for the notebook that hands over, what of the others must hold and is not met.
fn elsewhere(all: &[ItemLine], name: &str) -> Vec<Notable> {
    if name != HANDS_OVER {
        return Vec::new();
    }
    let mut found = not_in_order(all, true);
    found.retain(|item| item.must && item.phase.notebook() != name);
    gather(&found, true)
}

fn alerting(all: &[ItemLine]) -> Option<&ItemLine> {
    all.iter().find(|item| item.id == ALERTING)
}

/// Returns who acts on what is open or failed, for a notebook that lists such items; empty where none is, and where
/// another notebook lists them.
fn acts(facts: &Facts, name: &str, all: &[ItemLine], own: &[ItemLine]) -> String {
    let listed = match name {
        HANDS_OVER | FOLLOWS_UP | LISTED_IN => all,
        _ if phase_of(name).is_some() => own,
        _ => return String::new(),
    };
    let waits = |item: &ItemLine| matches!(item.verdict, "failed" | "open");
    match listed.iter().any(waits) {
        true => view::who_acts(facts),
        false => String::new(),
    }
}

/// Returns, for the notebook that says it, what is open: what must hold with its reason, the rest by notebook.
fn follow_up(all: &[ItemLine], name: &str) -> FollowUp {
    if name != FOLLOWS_UP {
        return FollowUp::default();
    }
    let open: Vec<&ItemLine> = all.iter().filter(|item| item.verdict == "open").collect();
    let must: Vec<&ItemLine> = open.iter().copied().filter(|item| item.must).collect();
    let more = PhaseNumber::all().filter_map(|phase| {
        let own = open.iter().filter(|item| !item.must && item.phase == phase);
        let ids: Vec<&str> = own.map(|item| item.id.as_str()).collect();
        let ids = match ids.len() {
            number if number > MOST_NAMED => format!("{number} items"),
            _ => ids.join(", "),
        };
        (!ids.is_empty()).then(|| MoreOpen {
            notebook: phase.notebook(),
            ids,
        })
    });
    FollowUp {
        must: gather(&must, true),
        more: more.collect(),
    }
}

/// Returns all notebooks but that of this name, with their headings.
fn documents(name: &str) -> Vec<Document> {
    let others = TEMPLATES.iter().filter(|(other, _)| *other != name);
    let document = |&(name, text): &(&'static str, &'static str)| Document {
        name,
        title: text
            .lines()
            .next()
            .and_then(|line| line.strip_prefix("# "))
            .unwrap_or(name),
    };
    others.map(document).collect()
}

/// Returns the files that Prometheus has to load; nothing where somebody evaluates the alerts already, or where
/// what they watch was taken away.
fn prometheus(facts: &Facts, all: &[ItemLine]) -> Option<Prometheus> {
    let evaluated = alerting(all).is_some_and(|item| item.verdict == "met");
    let ended = facts.state.finished.as_ref().map(|(outcome, ..)| *outcome);
    let gone = matches!(ended, Some(RunOutcome::RolledBack | RunOutcome::Refused));
    if gone || evaluated {
        return None;
    }
    let digest = |name: &str| {
        let kept = facts.evidence.iter().rfind(|kept| kept.what.name == name);
        kept.map(|kept| kept.what.digest.to_string())
    };
    Some(Prometheus {
        scrape: digest(SCRAPE)?,
        rules: digest(RULES)?,
    })
}

/// Returns when phase 8 drew up the criteria.
fn accepted(facts: &Facts) -> String {
    let mut sections = facts.sections.iter();
    let section =
        sections.find(|one| one.phase == PhaseNumber::new(8) && one.what.name == "acceptance");
    section.map(|one| clock(one.time)).unwrap_or_default()
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
        databases: databases_of(facts, component),
    };
    services.map(service).collect()
}

/// Names the databases that a component needs.
fn databases_of(facts: &Facts, component: &Component) -> String {
    let components = facts.state.components.iter();
    let databases =
        components.filter(|one| one.role == Role::Database && component.needs.contains(&one.name));
    let names: Vec<&str> = databases.map(Component::own_name).collect();
    names.join(", ")
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
pub(crate) fn alerts(facts: &Facts) -> Vec<String> {
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
