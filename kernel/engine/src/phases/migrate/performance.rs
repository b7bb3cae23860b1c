//! The declared queries before and after the migrations: how they are planned, how long they take.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use code_deploy_record::{Basis, Column, Report};
use serde_json::{Value, json};

use super::backup::before;
use super::database::Database;
use super::sqlite::Sqlite;
use crate::Step;
use crate::duration::milliseconds;
use crate::section::{Outline, Section, Seen, Work, step as section_step};
use crate::step::StepError;

/// A query may take this many times what it took before.
const SLOWER: f64 = 5.0;

/// Times below this are not told apart, in microseconds.
const FLOOR_US: u64 = 20_000;

/// Returns the step.
pub(super) fn step() -> Option<Arc<dyn Step>> {
    let outline = Outline {
        verb: ("migrate", 5),
        section: "performance",
        title: "compare plans and times of the declared queries before and after",
        items: "4.3.5",
        undo: None,
        methods: (
            "the queries planned and timed again",
            "the queries timed on a connection for reading only",
        ),
        expected: Duration::from_secs(1),
    };
    section_step(&outline, Performance)
}

struct Performance;

#[async_trait]
impl Work for Performance {
    async fn apply(&self, section: &Section<'_>) -> Result<Value, StepError> {
        let (mut rows, mut slower) = (Vec::new(), Vec::new());
        let (mut compared, mut longer) = (0, 0);
        for database in Database::all(section.context).await? {
            let before = before(section).remove(database.name);
            let mut live = Sqlite::open(database.name, &database.path, false).await?;
            for check in &database.file.checks {
                let now = live.timed(&check.query).await?;
                let then = before
                    .as_ref()
                    .and_then(|before| before.timed.get(&check.name));
                let limit = then.map(|then| (then.median_us as f64 * SLOWER).max(FLOOR_US as f64));
                if limit.is_some_and(|limit| now.median_us as f64 > limit) {
                    slower.push(check.name.clone());
                }
                compared += u32::from(then.is_some());
                longer +=
                    u32::from(then.is_some_and(|then| took_longer(then.median_us, now.median_us)));
                rows.push(vec![
                    check.name.clone(),
                    then.map_or_else(
                        || "not there".to_owned(),
                        |then| milliseconds(then.median_us as f64),
                    ),
                    milliseconds(now.median_us as f64),
                    then.map_or_else(String::new, |then| then.plan.clone()),
                    now.plan,
                ]);
            }
            live.close().await?;
        }
        let columns = vec![
            Column::text("Query"),
            Column::number("Before, median (ms)"),
            Column::number("After, median (ms)"),
            Column::text("Plan before"),
            Column::text("Plan after"),
        ];
        let queries = rows.len();
        let report = Report::new().with_table("Query performance", columns, rows);
        let event = section.report("Performance", report).await?;
        if compared == 0 {
            let fact = if queries == 0 {
                "no check is declared in `databases`"
            } else {
                "no database is there before this run"
            };
            section.none("4.3.5", fact).await?;
        } else {
            let limit = format!("{SLOWER} times the time before and {} ms", FLOOR_US / 1000);
            let text = match slower.first() {
                None => format!(
                    "{compared} queries are planned and timed before and after: {longer} took longer, \
                     none more than {limit}"
                ),
                Some(first) => format!(
                    "{} of {compared} queries took more than {limit}, the first: {first}",
                    slower.len()
                ),
            };
            section
                .judge("4.3.5", slower.is_empty(), Basis::Observed, text, &[event])
                .await?;
        }
        Ok(json!({ "queries": queries }))
    }

    async fn inside(&self, section: &Section<'_>, result: &Value) -> Result<Seen, StepError> {
        let mut planned = 0;
        for database in Database::all(section.context).await? {
            let mut live = Sqlite::open(database.name, &database.path, false).await?;
            for check in &database.file.checks {
                live.timed(&check.query).await?;
                planned += 1;
            }
            live.close().await?;
        }
        let expected = result.get("queries").and_then(Value::as_u64);
        Ok(Seen::new(
            expected == Some(planned),
            format!("{planned} queries planned again"),
        ))
    }

    async fn outside(&self, section: &Section<'_>, _: &Value) -> Result<Seen, StepError> {
        let (mut timed, mut longest) = (0, 0);
        for database in Database::all(section.context).await? {
            let mut live = Sqlite::read(database.name, &database.path).await?;
            for check in &database.file.checks {
                longest = longest.max(live.timed(&check.query).await?.median_us);
                timed += 1;
            }
            live.close().await?;
        }
        let detail = format!(
            "{timed} queries, the longest {} ms",
            milliseconds(longest as f64)
        );
        Ok(Seen::new(longest < 5_000_000, detail))
    }
}

/// Returns whether a query took longer than before, as far as the table shows it: what is less than its last digit
/// cannot be told from chance.
fn took_longer(then_us: u64, now_us: u64) -> bool {
    now_us > then_us && milliseconds(now_us as f64) != milliseconds(then_us as f64)
}

#[cfg(test)]
mod tests {
    use super::took_longer;

    #[test]
    fn what_the_table_does_not_show_is_not_longer() {
        assert!(took_longer(100, 120));
        assert!(!took_longer(100, 101), "0.10 and 0.10 ms");
        assert!(!took_longer(120, 100));
    }
}
