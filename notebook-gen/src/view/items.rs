//! The catalogue's items with what became of each.

use std::fmt;

use code_deploy_record::{
    Catalog, EvidenceRef, Group, Item, ItemKind, ItemState, PhaseNumber, Report, Verdict,
};

use crate::Result;
use crate::facts::Facts;
use crate::view::columns;

/// How many items ended how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// They hold, with evidence.
    pub met: u32,
    /// They do not hold.
    pub failed: u32,
    /// They cannot apply.
    pub not_applicable: u32,
    /// A person accepted that they do not hold.
    pub waived: u32,
    /// Not established, or not settled by this run.
    pub open: u32,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            met,
            failed,
            not_applicable,
            waived,
            open,
        } = self;
        write!(
            f,
            "{met} met, {failed} failed, {waived} waived, {open} open, {not_applicable} not \
             applicable"
        )
    }
}

impl Tally {
    pub(super) fn add(&mut self, state: Option<&ItemState>) {
        let count = match state.map(|state| &state.verdict) {
            Some(Verdict::Met { .. }) => &mut self.met,
            Some(Verdict::Failed) => &mut self.failed,
            Some(Verdict::NotApplicable { .. }) => &mut self.not_applicable,
            Some(Verdict::Waived { .. }) => &mut self.waived,
            Some(Verdict::Open) | None => &mut self.open,
        };
        *count += 1;
    }
}

/// Returns how many of all items ended how. Without a catalogue, which a test rules out, only the
/// settled ones are counted.
#[must_use]
pub fn tally(facts: &Facts) -> Tally {
    let mut tally = Tally::default();
    match Catalog::shipped() {
        Ok(catalog) => {
            for (_, item) in catalog.items() {
                tally.add(facts.state.items.get(&item.id));
            }
        }
        Err(_) => facts
            .state
            .items
            .values()
            .for_each(|state| tally.add(Some(state))),
    }
    tally
}

/// An item with what became of it.
#[derive(Debug, Clone)]
pub struct ItemLine {
    /// Its number.
    pub id: String,
    /// Its text; a forbidden condition is marked as such.
    pub text: String,
    /// Whether it is a condition of its group: one that must hold, or must not be.
    pub must: bool,
    /// The phase whose notebook shows it.
    pub phase: PhaseNumber,
    /// The group it belongs to.
    pub group: String,
    /// The verdict's word.
    pub verdict: &'static str,
    /// How it is known.
    pub basis: String,
    /// Why.
    pub reason: String,
    /// Where the evidence stands.
    pub evidence: String,
}

/// Returns the items that a notebook shows, or all, in order.
///
/// # Errors
/// [`crate::Error::Record`] when the catalogue cannot be read.
pub fn items_of(facts: &Facts, phase: Option<PhaseNumber>) -> Result<(Vec<ItemLine>, Tally)> {
    let catalog = Catalog::shipped()?;
    let mut tally = Tally::default();
    let mut lines = Vec::new();
    for (group, item) in catalog.items() {
        if phase.is_none_or(|phase| group.notebook == phase) {
            let state = facts.state.items.get(&item.id);
            tally.add(state);
            lines.push(line(facts, group, item, state));
        }
    }
    Ok((lines, tally))
}

fn line(facts: &Facts, group: &Group, item: &Item, state: Option<&ItemState>) -> ItemLine {
    let text = match item.kind {
        ItemKind::Forbidden => format!("Must not be: {}", item.text),
        ItemKind::Mandatory => format!("Must hold: {}", item.text),
        _ => item.text.clone(),
    };
    let mut line = ItemLine {
        id: item.id.to_string(),
        text,
        must: matches!(item.kind, ItemKind::Forbidden | ItemKind::Mandatory),
        phase: group.notebook,
        group: group.title.clone(),
        verdict: "open",
        basis: String::new(),
        reason: unsettled(facts),
        evidence: String::new(),
    };
    let Some(state) = state else {
        return line;
    };
    line.verdict = state.verdict.word();
    line.reason.clone_from(&state.reason);
    match &state.verdict {
        Verdict::Met { basis } => line.basis = basis.to_string(),
        Verdict::NotApplicable { fact } => line.basis = format!("inventory: {fact}"),
        Verdict::Waived { by, expires } => line.basis = format!("by {by} until {expires}"),
        _ => {}
    }
    line.evidence = evidence(state);
    line
}

fn unsettled(facts: &Facts) -> String {
    match &facts.state.finished {
        Some((outcome, ..)) => format!("not settled by this run, which {}", past(*outcome)),
        None => "not settled yet".to_owned(),
    }
}

fn past(outcome: code_deploy_record::RunOutcome) -> &'static str {
    use code_deploy_record::RunOutcome as O;
    match outcome {
        O::Succeeded => "succeeded",
        O::RolledBack => "was rolled back",
        O::Refused => "was refused",
        _ => "needs a person",
    }
}

fn evidence(state: &ItemState) -> String {
    let mut texts: Vec<String> = state
        .evidence
        .iter()
        .take(6)
        .map(|reference| match reference {
            EvidenceRef::Event(seq) => format!("event {seq}"),
            EvidenceRef::File(digest) => format!("file {}", digest.short()),
        })
        .collect();
    if texts.is_empty() {
        texts.push(format!("event {}", state.seq));
    }
    if state.evidence.len() > 6 {
        texts.push(format!("{} more", state.evidence.len() - 6));
    }
    texts.join(", ")
}

pub(super) fn items(facts: &Facts, phase: Option<PhaseNumber>) -> Result<Report> {
    let (lines, tally) = items_of(facts, phase)?;
    let caption = format!("{} items: {tally}", lines.len());
    Ok(table(Report::new(), caption, lines))
}

fn table(report: Report, caption: String, lines: Vec<ItemLine>) -> Report {
    let rows = lines.into_iter().map(|line| {
        vec![
            line.id,
            line.text,
            line.verdict.to_owned(),
            line.basis,
            line.reason,
            line.evidence,
        ]
    });
    let titles = ["Item", "What", "Verdict", "Basis", "Reason", "Evidence"];
    report.with_table(caption, columns(titles), rows.collect())
}

/// The groups of the catalogue that are about security as a whole.
const SECURITY_GROUPS: [&str; 5] = ["2.4", "7.1", "7.2", "7.3", "9.3"];

/// The items about security that stand in groups about something else: dependencies, secrets,
/// certificates, firewalls, tunnels, images, permissions, transport, backups.
const SECURITY_ITEMS: [&str; 15] = [
    "1.1.5", "1.1.6", "1.3.3", "1.3.5", "1.3.6", "2.2.3", "2.2.4", "2.2.7", "2.5.2", "3.3.3",
    "3.3.5", "3.3.6", "3.4.3", "3.4.4", "4.1.5",
];

/// Returns every item of the catalogue that is about security, whichever phase settles it.
pub(super) fn security_lines(facts: &Facts) -> Result<(Vec<ItemLine>, Tally)> {
    let mut tally = Tally::default();
    let mut lines = Vec::new();
    for (group, item) in Catalog::shipped()?.items() {
        let id = item.id.to_string();
        if SECURITY_GROUPS.contains(&group.id.as_str()) || SECURITY_ITEMS.contains(&id.as_str()) {
            let state = facts.state.items.get(&item.id);
            tally.add(state);
            lines.push(line(facts, group, item, state));
        }
    }
    Ok((lines, tally))
}

/// The items on security: what failed, was waived or is open before what is met.
pub(super) fn security(facts: &Facts) -> Result<Report> {
    let (mut lines, tally) = security_lines(facts)?;
    const ORDER: [&str; 5] = ["failed", "waived", "open", "met", "not applicable"];
    let place = |line: &ItemLine| ORDER.iter().position(|word| *word == line.verdict);
    lines.sort_by_key(place);
    let text = format!(
        "Of {} items on security, {tally}. What is open was not established by this run, so it is \
         no evidence of security.",
        lines.len()
    );
    let caption = "Items on security, those that do not hold or are open first".to_owned();
    Ok(table(Report::new().with_text(text), caption, lines))
}
