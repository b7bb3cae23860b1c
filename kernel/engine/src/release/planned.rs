//! Steps of this phase as they stand in the plan.

use code_deploy_record::{ItemId, PhaseNumber, PlannedStep, StepName};

/// Builds a planned step of phase 6; what is not said is empty.
pub(super) struct Draft(PlannedStep);

impl Draft {
    /// Returns a draft of a step that changes nothing.
    pub(super) fn new(name: &str, title: impl Into<String>) -> Self {
        Self::of_phase(6, name, title)
    }

    /// Returns a draft of a step of another phase.
    pub(super) fn of_phase(phase: u8, name: &str, title: impl Into<String>) -> Self {
        Self(PlannedStep {
            step: step_name(name),
            title: title.into(),
            phase: phase_number(phase),
            service: None,
            after: Vec::new(),
            items: Vec::new(),
            undo: None,
            changes: false,
            inside: String::new(),
            outside: String::new(),
            expected_ms: 1_000,
        })
    }

    pub(super) fn service(mut self, service: &str) -> Self {
        self.0.service = Some(service.to_owned());
        self
    }

    pub(super) fn after<'a>(mut self, steps: impl IntoIterator<Item = &'a StepName>) -> Self {
        self.0.after.extend(steps.into_iter().cloned());
        self
    }

    pub(super) fn items(mut self, items: &[&str]) -> Self {
        self.0
            .items
            .extend(items.iter().filter_map(|item| item.parse::<ItemId>().ok()));
        self
    }

    pub(super) fn undo(mut self, undo: impl Into<String>) -> Self {
        self.0.undo = Some(undo.into());
        self.0.changes = true;
        self
    }

    pub(super) fn verified(mut self, inside: &str, outside: &str) -> Self {
        (self.0.inside, self.0.outside) = (inside.to_owned(), outside.to_owned());
        self
    }

    pub(super) fn expected(mut self, duration: std::time::Duration) -> Self {
        self.0.expected_ms = crate::duration::whole_milliseconds(duration);
        self
    }

    pub(super) fn build(self) -> PlannedStep {
        self.0
    }
}

/// Returns a step's name. Letters that a name cannot hold become `-`.
pub(super) fn step_name(text: &str) -> StepName {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let clean: String = text
        .chars()
        .map(|c| if allowed(c) { c } else { '-' })
        .take(120)
        .collect();
    #[expect(
        clippy::expect_used,
        reason = "every name begins with a verb and holds valid letters"
    )]
    clean.parse().expect("a valid step name")
}

fn phase_number(number: u8) -> PhaseNumber {
    #[expect(clippy::expect_used, reason = "the numbers are constants from 1 to 9")]
    PhaseNumber::new(number).expect("a phase")
}
