//! Drift: what a run found to be other than declared, or than it had set itself.

use code_deploy_record::{Block, PhaseNumber, Report, Verdict};

use crate::facts::{At, Facts, Shift};
use crate::view::{columns, row};

/// The item that says whether what runs is what is declared.
const AGREES: &str = "1.1.7";

/// The table of the inventory that lists where it is not.
const DIFFERENCES: &str = "What runs differently from what is declared";

/// The rule of findings about answers that are not as a service's document declares them.
const CONTRACT: &str = "functional/contract";

/// How the engine begins the reason of shares that it met and had not set.
const MET_SO: &str = "as found";

/// Rows that are shown; the text below says how many more there are.
const MOST: usize = 50;

/// Adds the drift that the record holds, each with its event, or says that and why there is none.
pub(super) fn drift(facts: &Facts, report: Report) -> Report {
    let mut rows = of_components(facts);
    rows.extend(of_contracts(facts));
    rows.extend(of_traffic(facts));
    if rows.is_empty() {
        return report.with_text(format!("Drift: {}", none(facts)));
    }
    let more = rows.len().saturating_sub(MOST);
    rows.truncate(MOST);
    let titles = columns(["What", "Declared or set", "Found", "Event"]);
    let caption = "Drift: found to be other than declared or set";
    let report = report.with_table(caption, titles, rows);
    match more {
        0 => report,
        more => report.with_text(format!("{more} more are in the sections of their phases.")),
    }
}

/// What ran when the run began, against the files.
fn of_components(facts: &Facts) -> Vec<Vec<String>> {
    let sections = facts.sections.iter();
    let reported = sections.filter(|section| {
        section.phase == PhaseNumber::new(1) && section.what.name == "components"
    });
    let mut rows = Vec::new();
    for section in reported {
        for block in &section.what.report.blocks {
            let Block::Table {
                caption,
                rows: entries,
                ..
            } = block
            else {
                continue;
            };
            if caption == DIFFERENCES {
                let entries = entries.iter();
                rows.extend(entries.map(|entry| difference(entry, section.seq)));
            }
        }
    }
    if rows.is_empty()
        && let Some((Verdict::Failed, reason, event)) = agreement(facts)
    {
        let what = format!("what runs, item {AGREES}");
        rows.push(row([&what, "", reason, &event.to_string()]));
    }
    rows
}

fn difference(entry: &[String], event: u64) -> Vec<String> {
    let part = |place: usize| entry.get(place).map_or("", String::as_str);
    row([part(0), part(1), part(2), &event.to_string()])
}

/// Operations that answer otherwise than the document of their service says.
fn of_contracts(facts: &Facts) -> Vec<Vec<String>> {
    let findings = facts.findings.iter();
    let own = findings.filter(|finding| finding.what.rule == CONTRACT);
    own.map(|finding| {
        let (place, event) = (&finding.what.place, finding.seq.to_string());
        let declared = "its OpenAPI document";
        row([place, declared, &finding.what.message, &event])
    })
    .collect()
}

/// Shares of traffic that a run, joined again, met otherwise than it had set them.
fn of_traffic(facts: &Facts) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for (place, shift) in facts.shifts.iter().enumerate() {
        if !shift.what.reason.starts_with(MET_SO) {
            continue;
        }
        let before = facts.shifts.iter().take(place);
        let set = before
            .rev()
            .find(|one| one.what.service == shift.what.service);
        let what = format!("traffic of {}", shift.what.service);
        let found = format!("{} ({})", served(shift), shift.what.reason);
        let set = set.map(served).unwrap_or_default();
        rows.push(row([&what, &set, &found, &shift.seq.to_string()]));
    }
    rows
}

fn served(shift: &At<Shift>) -> String {
    let shares = shift.what.served.iter();
    let shares: Vec<String> = shares
        .map(|(release, s)| format!("{release}: {s} %"))
        .collect();
    shares.join(", ")
}

/// Returns what became of the item on declared and running, with its reason and event.
fn agreement(facts: &Facts) -> Option<(&Verdict, &str, u64)> {
    let mut items = facts.state.items.iter();
    let (_, state) = items.find(|(item, _)| item.to_string() == AGREES)?;
    Some((&state.verdict, state.reason.as_str(), state.seq))
}

/// Says that no drift was found, and how far it was looked for.
fn none(facts: &Facts) -> String {
    match agreement(facts) {
        Some((Verdict::Met { .. }, reason, event)) => {
            format!(
                "none found. What runs is what is declared: {reason} (item {AGREES}, event {event})."
            )
        }
        Some((verdict, reason, event)) => format!(
            "none found. Whether what runs is what is declared is {}: {reason} (item {AGREES}, event {event}).",
            verdict.word()
        ),
        None => format!(
            "none found, and not looked for in what runs: item {AGREES} was not settled in this run."
        ),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use code_deploy_record::{Finding, ItemId, Severity};
    use code_deploy_synthetic::{self as synthetic, Story};

    use super::*;

    fn facts(story: Story) -> Facts {
        let project = tempfile::tempdir().unwrap();
        Facts::read(&synthetic::run(project.path(), "run-1", story)).unwrap()
    }

    fn told(facts: &Facts) -> String {
        crate::report_to_text(&drift(facts, Report::new()))
    }

    #[test]
    fn without_drift_it_is_said_how_far_it_was_looked_for() {
        let mut facts = facts(Story::Succeeded);
        let text = told(&facts);
        assert!(
            text.contains("none found. What runs is what is declared: 12 of 12 seen"),
            "{text}"
        );
        assert!(text.contains("item 1.1.7, event "), "{text}");
        let item: ItemId = AGREES.parse().unwrap();
        facts.state.items.get_mut(&item).unwrap().verdict = Verdict::Open;
        assert!(told(&facts).contains("what is declared is open: 12 of 12 seen"));
        facts.state.items.clear();
        assert!(told(&facts).contains("item 1.1.7 was not settled"));
    }

    #[test]
    fn components_contracts_and_traffic_found_otherwise_are_told_with_their_events() {
        let mut facts = facts(Story::Halted);
        let text = told(&facts);
        assert!(text.contains("traffic of catalog"), "{text}");
        assert!(text.contains("1.0.0: 95 %, 1.1.0: 5 %"), "{text}");
        assert!(text.contains("the lease had run out"), "{text}");
        let mut finding = facts.findings.first().unwrap().clone();
        finding.seq = 4711;
        finding.what = Finding {
            rule: CONTRACT.to_owned(),
            severity: Severity::High,
            place: "orders".to_owned(),
            message: "GET /api/orders: status 500 is not declared".to_owned(),
            cure: "mend it".to_owned(),
        };
        facts.findings.push(finding);
        let mut sections = facts.sections.iter_mut();
        let section = sections.find(|one| one.what.name == "components").unwrap();
        let entry = ["catalog", "2 instances", "1 instance"].map(str::to_owned);
        let report = std::mem::take(&mut section.what.report);
        let titles = columns(["Component", "Declared", "Running"]);
        section.what.report = report.with_table(DIFFERENCES, titles, vec![entry.to_vec()]);
        let text = told(&facts);
        let line = |words: &str| text.lines().find(|line| line.contains(words)).unwrap();
        assert!(line("2 instances").contains("1 instance "), "{text}");
        assert!(
            line("status 500 is not declared")
                .trim_end()
                .ends_with("4711"),
            "{text}"
        );
    }

    #[test]
    fn an_item_that_failed_without_a_table_is_drift() {
        let mut facts = facts(Story::Succeeded);
        let item: ItemId = AGREES.parse().unwrap();
        let state = facts.state.items.get_mut(&item).unwrap();
        state.verdict = Verdict::Failed;
        state.reason = "1 difference, the first: catalog".to_owned();
        let text = told(&facts);
        assert!(text.contains("what runs, item 1.1.7"), "{text}");
        assert!(text.contains("1 difference, the first: catalog"), "{text}");
    }
}
