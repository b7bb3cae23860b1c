//! Everything that was found before the first change on one page, and a person's answer to it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use code_deploy_record::{Basis, Catalog, Column, Item, ItemKind, PhaseNumber, Report, Verdict};
use serde_json::{Value, json};

use crate::gate;
use crate::phases;
use crate::phases::look::{counted, list};
use crate::section::{Outline, Section, Seen, Work, step as section_step};
use crate::spec::ApprovalRule;
use crate::step::StepError;
use crate::{Context, Step};

/// What the approval is asked for.
const SUBJECT: &str = "go/no-go";

/// The items on which complete health rests.
const HEALTH: [&str; 5] = ["1.4.1", "1.4.2", "1.4.3", "1.4.4", "1.4.5"];

/// Returns the step.
pub(super) fn step() -> Option<Arc<dyn Step>> {
    let outline = Outline {
        verb: ("preflight", 2),
        section: "go-no-go",
        title: "sum up what was found and ask for a go where the policy wants one",
        items: "1.4.6",
        undo: None,
        methods: (
            "the verdicts of the first two phases counted again",
            "the answer as it stands in the record",
        ),
        expected: Duration::from_secs(1),
    };
    section_step(&outline, GoNoGo)
}

struct GoNoGo;

#[async_trait]
impl Work for GoNoGo {
    async fn apply(&self, section: &Section<'_>) -> Result<Value, StepError> {
        let context = section.context;
        settle_health(section).await?;
        let rows = counts(context)?;
        let failed = with_verdict(context, &Verdict::Failed)?;
        let columns = [
            "Group",
            "Met",
            "Failed",
            "Not applicable",
            "Waived",
            "Open",
            "Judged later",
        ];
        let table = rows.clone();
        let text = format!(
            "{} The policy of {} asks for {}.",
            found(&failed, &with_verdict(context, &Verdict::Open)?),
            context.spec.environment,
            if context.spec.policy.approval == ApprovalRule::None {
                "no approval"
            } else {
                "an approval"
            }
        );
        let report = Report::new().with_text(text.clone()).with_table(
            "Verdicts before the first change",
            columns.map(Column::text).to_vec(),
            table,
        );
        section.report("Go/no-go decision", report).await?;
        let summary = format!(
            "{} {} to {} on {}. {text}",
            context.spec.application, context.to, context.spec.environment, context.spec.target
        );
        gate::approval::pass(context, SUBJECT, &summary).await?;
        Ok(json!({ "groups": rows.len(), "failed": failed.len() }))
    }

    async fn inside(&self, section: &Section<'_>, result: &Value) -> Result<Seen, StepError> {
        let failed = with_verdict(section.context, &Verdict::Failed)?;
        let same = result.get("failed").and_then(Value::as_u64) == Some(failed.len() as u64);
        let failed = failed.iter().map(|item| &item.id);
        Ok(Seen::new(
            same,
            format!("items that do not hold: {}", list(failed)),
        ))
    }

    async fn outside(&self, section: &Section<'_>, _: &Value) -> Result<Seen, StepError> {
        if section.context.spec.policy.approval == ApprovalRule::None {
            return Ok(Seen::new(true, "the policy asks for no approval"));
        }
        let state = section.context.state();
        let given = state.approvals.get(SUBJECT);
        let detail = given.map_or_else(
            || "nobody answered".to_owned(),
            |(plan, by, _)| format!("{by} answered to plan {}", plan.short()),
        );
        Ok(Seen::new(given.is_some_and(|(.., go)| *go), detail))
    }
}

async fn settle_health(section: &Section<'_>) -> Result<(), StepError> {
    let state = section.context.state();
    if section.context.from.is_none() {
        return section
            .none(
                "1.4.6",
                "a first deployment: nothing of the application runs",
            )
            .await;
    }
    if section.context.goes_back() {
        return section.open("1.4.6", phases::NOT_JUDGED).await;
    }
    let verdict = |item: &str| {
        item.parse()
            .ok()
            .and_then(|id| state.items.get(&id))
            .map(|item| item.verdict.clone())
    };
    let well = |item: &&str| {
        matches!(
            verdict(item),
            Some(Verdict::Met { .. } | Verdict::NotApplicable { .. })
        )
    };
    let not: Vec<_> = HEALTH.iter().filter(|item| !well(item)).collect();
    let text = match not.len() {
        0 => "status, databases, endpoints, integrations and dependencies are all well".to_owned(),
        count => {
            let told = not.iter().map(|item| {
                let verdict = verdict(item);
                format!("{item} {}", verdict.map_or("not judged", |one| one.word()))
            });
            format!(
                "{count} of {} checks of health are not met: {}",
                HEALTH.len(),
                list(told)
            )
        }
    };
    let broken = not
        .iter()
        .any(|item| verdict(item) == Some(Verdict::Failed));
    if not.is_empty() || broken {
        return section
            .judge("1.4.6", !broken, Basis::Observed, text, &[])
            .await;
    }
    section.open("1.4.6", text).await
}

fn before_changes(phase: PhaseNumber) -> bool {
    phase.get() <= 2
}

fn counts(context: &Context) -> Result<Vec<Vec<String>>, StepError> {
    let (catalog, state) = (Catalog::shipped()?, context.state());
    let groups = catalog.phases.iter().flat_map(|phase| &phase.groups);
    let groups = groups.filter(|group| before_changes(group.notebook));
    let row = |group: &code_deploy_record::Group| {
        let mut row = vec![format!("{} {}", group.id, group.title)];
        let settled = || {
            let items = group.items.iter();
            items.filter_map(|item| state.items.get(&item.id))
        };
        for word in ["met", "failed", "not applicable", "waived", "open"] {
            let such = settled().filter(|item| item.verdict.word() == word);
            row.push(such.count().to_string());
        }
        row.push((group.items.len() - settled().count()).to_string());
        row
    };
    Ok(groups.map(row).collect())
}

/// Returns the items that are judged before the first change and have that verdict.
fn with_verdict(context: &Context, verdict: &Verdict) -> Result<Vec<&'static Item>, StepError> {
    let (catalog, state) = (Catalog::shipped()?, context.state());
    let items = catalog
        .items()
        .filter(|(group, _)| before_changes(group.notebook));
    let such = items.filter(|(_, item)| {
        let settled = state.items.get(&item.id);
        settled.is_some_and(|settled| settled.verdict == *verdict)
    });
    Ok(such.map(|(_, item)| item).collect())
}

/// Says what was found: what does not hold, and what is not known to hold.
fn found(failed: &[&Item], open: &[&Item]) -> String {
    let ids = |items: &[&Item]| list(items.iter().map(|item| &item.id));
    let mut text = match failed {
        [] => "By what was found: go. Nothing that was looked at was found not to hold".to_owned(),
        failed => format!("By what was found: no-go. Does not hold: {}", ids(failed)),
    };
    let must = |item: &&Item| matches!(item.kind, ItemKind::Mandatory | ItemKind::Forbidden);
    let conditions: Vec<&Item> = open.iter().copied().filter(must).collect();
    if !open.is_empty() {
        text.push_str(&format!("; {} open", counted(open.len(), "item")));
    }
    if !conditions.is_empty() {
        text.push_str(&format!(", conditions among them: {}", ids(&conditions)));
    }
    text.push('.');
    text
}
