//! Migrations that were carried out: how they are shown, and what they settle.

use std::collections::BTreeMap;
use std::time::Duration;

use code_deploy_record::{Basis, Column, EvidenceRef, Report};

use super::execution::DESTRUCTIVE;
use super::guard::Guarded;
use super::statements::{Does, Statement};
use crate::phases::look::counted;
use crate::section::Section;
use crate::step::StepError;

/// A migration that holds a lock for longer than this is shown as one that blocks writers.
const LONG_LOCK: Duration = Duration::from_secs(1);

/// A migration that was carried out.
pub(super) struct Ran {
    pub database: String,
    pub version: i64,
    pub description: String,
    pub statements: Vec<Statement>,
    pub took: Duration,
    pub rows: u64,
    pub guarded: Guarded,
}

/// Returns what was carried out.
pub(super) fn report(ran: &[Ran], versions: &BTreeMap<String, i64>) -> Report {
    let columns = vec![
        Column::text("Database"),
        Column::number("Version"),
        Column::text("Migration"),
        Column::number("Statements"),
        Column::number("Rows before"),
        Column::number("Took (ms)"),
        Column::text("Data under the lock"),
    ];
    let rows = ran.iter().map(|one| {
        vec![
            one.database.clone(),
            one.version.to_string(),
            one.description.clone(),
            one.statements.len().to_string(),
            one.rows.to_string(),
            format!("{:.1}", one.took.as_secs_f64() * 1000.0),
            match one.guarded {
                Guarded::Agrees(rows) => format!("{rows} rows are as before"),
                Guarded::NotCompared(why) => format!("not compared: {why}"),
            },
        ]
    });
    let stands = versions
        .iter()
        .map(|(name, version)| format!("database {name} is at version {version}"));
    let text = format!(
        "{}; {} carried out.",
        stands.collect::<Vec<_>>().join(", "),
        counted(ran.len(), "migration")
    );
    let mut report =
        Report::new()
            .with_text(text)
            .with_table("Migrations carried out", columns, rows.collect());
    for one in ran {
        let text: Vec<_> = one
            .statements
            .iter()
            .map(|one| format!("{};", one.text))
            .collect();
        let caption = format!("{} {}: {}", one.database, one.version, one.description);
        report = report.with_code(caption, "sql", text.join("\n"));
    }
    report
}

/// Settles the items of the migrations that were carried out.
pub(super) async fn settle(
    section: &Section<'_>,
    ran: &[Ran],
    (triggers, destroying): (&[String], &[String]),
    event: EvidenceRef,
) -> Result<(), StepError> {
    let evidence = [event];
    let all = || ran.iter().flat_map(|one| one.statements.iter());
    let slowest = ran.iter().map(|one| one.took).max().unwrap_or_default();
    let longest = format!(
        "the longest migration took {:.1} ms",
        slowest.as_secs_f64() * 1000.0
    );
    let performed = Basis::Performed;
    let text = format!("{} carried out; {longest}", counted(ran.len(), "migration"));
    section
        .judge("4.2.1", true, performed, text, &evidence)
        .await?;
    let adds = all().filter(|one| one.does == Does::AddsRows).count();
    let changes = all().filter(|one| one.does == Does::ChangesRows).count();
    if changes > 0 {
        let text = format!(
            "changing rows in one transaction, not in batches: {}",
            counted(changes, "statement")
        );
        section.open("4.2.2", text).await?;
    } else if adds > 0 {
        let text = format!(
            "adding rows that stand in the migration: {}; none changes rows that exist",
            counted(adds, "statement")
        );
        section
            .judge("4.2.2", true, performed, text, &evidence)
            .await?;
    } else {
        section
            .none("4.2.2", "no pending migration changes data")
            .await?;
    }
    settle_indexes(section, ran, event).await?;
    let constrains = all().filter(|one| one.does == Does::Constrains).count();
    if constrains == 0 {
        section
            .none(
                "4.2.4",
                "no pending migration changes a constraint of a table that exists",
            )
            .await?;
    } else {
        let text = format!("{constrains} constraints changed; {longest}");
        section
            .judge("4.2.4", slowest < LONG_LOCK, performed, text, &evidence)
            .await?;
    }
    if triggers.is_empty() {
        section
            .none("4.2.5", "no database of the inventory has a trigger")
            .await?;
    } else {
        let text = format!(
            "{} triggers are there: {}",
            triggers.len(),
            triggers.join(", ")
        );
        section
            .judge("4.2.5", true, Basis::Observed, text, &evidence)
            .await?;
    }
    let text = match destroying.first() {
        None => format!(
            "{} statements read, none destroys anything that was there",
            all().count()
        ),
        Some(first) => format!(
            "{} statements destroy, the first: {first}",
            destroying.len()
        ),
    };
    section
        .judge(
            DESTRUCTIVE,
            destroying.is_empty(),
            Basis::Observed,
            text,
            &evidence,
        )
        .await
}

async fn settle_indexes(
    section: &Section<'_>,
    ran: &[Ran],
    event: EvidenceRef,
) -> Result<(), StepError> {
    let (mut on_new, mut on_old) = (0, Vec::new());
    for one in ran {
        let created: Vec<_> = one
            .statements
            .iter()
            .filter_map(|one| match &one.does {
                Does::Creates(name) => Some(name.as_str()),
                _ => None,
            })
            .collect();
        for statement in &one.statements {
            match &statement.does {
                Does::Indexes(table) if created.contains(&table.as_str()) => on_new += 1,
                Does::Indexes(table) => on_old.push((table.clone(), one.took)),
                _ => {}
            }
        }
    }
    if on_new == 0 && on_old.is_empty() {
        return section
            .none("4.2.3", "no pending migration builds an index")
            .await;
    }
    let longest = on_old
        .iter()
        .map(|(_, took)| *took)
        .max()
        .unwrap_or_default();
    let mut text = format!(
        "{} on tables of the same migration, which nobody writes yet; {} on tables that exist",
        counted(on_new, "index"),
        on_old.len()
    );
    if !on_old.is_empty() {
        let waited = longest.as_secs_f64() * 1000.0;
        text.push_str(&format!(", whose writers waited at most {waited:.1} ms"));
    }
    section
        .judge(
            "4.2.3",
            longest < LONG_LOCK,
            Basis::Performed,
            text,
            &[event],
        )
        .await
}
