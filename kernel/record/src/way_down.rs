//! What of the way down of migrations a run tried before anybody needed it: one home for the criterion that the engine
//! draws up while the run goes on and for the one on its pages.

use std::fmt;

use crate::{RunState, StepStatus};

/// The step that carries migrations out.
const EXECUTION: &str = "migrate.execution";

/// The step that takes them back on a copy of each database.
const TRIAL: &str = "migrate.rollback";

/// What of the way down of the migrations of a run was tried, by database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WayDown {
    /// Databases whose migrations were taken back on a copy, and whose data agreed with the backup then.
    pub on_a_copy: Vec<String>,
    /// Databases whose way down was not run.
    pub not_run: Vec<String>,
    /// Databases of which the record does not say it: those of versions before the trial told.
    pub not_told: Vec<String>,
    /// Whether the run itself took its migrations back.
    pub taken_back: bool,
}

impl WayDown {
    /// The name, in the result of the trial, of the databases whose migrations it took back on a copy.
    pub const ON_A_COPY: &'static str = "on_a_copy";

    /// The name, in the result of the trial, of the databases with a migration that has no way down.
    pub const WITHOUT: &'static str = "without_way_down";

    /// Returns what was tried of the databases that a run has migrated.
    #[must_use]
    pub fn of<'a>(state: &RunState, migrated: impl IntoIterator<Item = &'a str>) -> Self {
        let tried = listed(state, Self::ON_A_COPY);
        let status = |step: &str| {
            let mut steps = state.steps.iter();
            steps.find_map(|(name, own)| (name.as_str() == step).then_some(own.status))
        };
        let mut way = Self {
            taken_back: status(EXECUTION) == Some(StepStatus::Undone),
            ..Self::default()
        };
        let is_done = status(TRIAL) == Some(StepStatus::Done);
        for database in migrated {
            let kind = match &tried {
                Some(tried) if tried.iter().any(|name| name == database) => &mut way.on_a_copy,
                None if is_done => &mut way.not_told,
                _ => &mut way.not_run,
            };
            kind.push(database.to_owned());
        }
        way
    }

    /// Returns what was tried of the databases that the trial itself found migrated.
    #[must_use]
    pub fn of_trial(state: &RunState) -> Self {
        let names = [Self::ON_A_COPY, Self::WITHOUT].map(|key| listed(state, key));
        let names: Vec<String> = names.into_iter().flatten().flatten().collect();
        Self::of(state, names.iter().map(String::as_str))
    }

    /// Returns whether every way down that there has to be was run, if only on a copy.
    #[must_use]
    pub fn was_run(&self) -> bool {
        self.taken_back || (self.not_run.is_empty() && self.not_told.is_empty())
    }
}

/// Returns the databases that the result of the trial names so; nothing where it names none so.
fn listed(state: &RunState, key: &str) -> Option<Vec<String>> {
    let mut steps = state.steps.iter();
    let (_, trial) = steps.find(|(name, _)| name.as_str() == TRIAL)?;
    let names = trial.result.get(key)?.as_array()?.iter();
    Some(
        names
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect(),
    )
}

impl fmt::Display for WayDown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [&self.on_a_copy, &self.not_run, &self.not_told];
        let all: Vec<&str> = all.into_iter().flatten().map(String::as_str).collect();
        if all.is_empty() {
            return f.write_str("no migration was carried out that would have to be taken back");
        }
        if self.taken_back {
            return write!(
                f,
                "the migrations of {} were taken back in this run",
                all.join(", ")
            );
        }
        let mut parts = Vec::new();
        if !self.on_a_copy.is_empty() {
            parts.push(format!(
                "the migrations of {} were taken back on a copy, where the data agreed with the backup; on the database \
                 itself that was not run",
                self.on_a_copy.join(", ")
            ));
        }
        if !self.not_run.is_empty() {
            parts.push(format!(
                "the way down of the migrations of {} was not run",
                self.not_run.join(", ")
            ));
        }
        if !self.not_told.is_empty() {
            parts.push(format!(
                "whether the way down of the migrations of {} was run stands in the notebook of phase 5",
                self.not_told.join(", ")
            ));
        }
        f.write_str(&parts.join("; "))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

    use serde_json::{Value, json};

    use super::*;
    use crate::{Direction, StepState};

    fn state(steps: &[(&str, StepStatus, Value)]) -> RunState {
        let mut state = RunState::default();
        for (name, status, result) in steps {
            let step = StepState {
                status: *status,
                direction: Direction::Apply,
                attempt: 1,
                intent: Value::Null,
                result: result.clone(),
                started: Default::default(),
                duration_us: None,
                checks: Vec::new(),
                problem: None,
                skipped: None,
            };
            state.steps.insert(name.parse().unwrap(), step);
        }
        state
    }

    #[test]
    fn what_was_run_on_a_copy_is_told_apart_from_what_was_not_run() {
        let result = json!({ "on_a_copy": ["orders"], "without_way_down": ["stock"] });
        let state = state(&[(TRIAL, StepStatus::Done, result)]);
        let orders = WayDown::of(&state, ["orders"]);
        assert!(orders.was_run());
        let words = orders.to_string();
        assert!(
            words.starts_with("the migrations of orders were taken back on a copy"),
            "{words}"
        );
        assert!(
            words.ends_with("on the database itself that was not run"),
            "{words}"
        );
        let both = WayDown::of_trial(&state);
        assert!(!both.was_run());
        let words = both.to_string();
        assert!(
            words.ends_with("; the way down of the migrations of stock was not run"),
            "{words}"
        );
    }

    #[test]
    fn without_a_trial_no_way_down_was_run_and_without_a_migration_none_has_to_be() {
        let bare = state(&[]);
        assert!(WayDown::of(&bare, []).was_run());
        assert!(!WayDown::of(&bare, ["orders"]).was_run());
        // A record that was written before the trial told which databases it had taken back.
        let before = state(&[(TRIAL, StepStatus::Done, json!({ "tried": ["orders"] }))]);
        let way = WayDown::of(&before, ["orders"]);
        assert!(!way.was_run());
        assert!(way.to_string().contains("notebook of phase 5"), "{way}");
    }

    #[test]
    fn a_run_that_took_its_migrations_back_has_run_their_way_down() {
        let gone = state(&[(EXECUTION, StepStatus::Undone, json!({}))]);
        let way = WayDown::of(&gone, ["orders"]);
        assert!(way.was_run());
        assert_eq!(
            way.to_string(),
            "the migrations of orders were taken back in this run"
        );
    }
}
