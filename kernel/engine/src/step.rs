//! A step: the smallest thing that is planned, done, verified twice and undone.

use std::time::Duration;

use async_trait::async_trait;
use code_deploy_record::{Check, PlannedStep, Problem};
use serde_json::Value;

use crate::Context;

/// What an attempt may take on top of ten times its expected duration.
const SLACK: Duration = Duration::from_secs(600);

/// A step of a plan.
///
/// # Flow
/// The engine writes the [`intent`](Self::intent) to the journal, then calls
/// [`apply`](Self::apply), [`verify`](Self::verify) and [`cross_check`](Self::cross_check), and
/// writes what each gave before it goes on. A rollback writes the intent of the undo, then calls
/// [`undo`](Self::undo), [`verify_undone`](Self::verify_undone) and
/// [`cross_check_undone`](Self::cross_check_undone).
///
/// # What an implementation must hold
/// - `apply` states the wanted state and finds out what is already there: it may be called again
///   after it never happened, half happened or happened whole.
/// - `undo` tolerates that `apply` never happened or half happened, and may be called twice.
/// - `intent` holds what is needed to find, finish or undo the effect in another process.
/// - Nothing is kept in the step between calls: what a later call needs goes into the result,
///   which the engine journals and gives back through [`Context::state`].
/// - Every wait has a limit, and its error names it.
/// - `verify` asks the platform, `cross_check` looks from outside; they share no assumption.
/// - Long waits call [`Context::safe_point`] between atomic actions, so that a person can stop or
///   go back within a second.
#[async_trait]
pub trait Step: Send + Sync {
    /// Returns the step as it stands in the plan.
    fn planned(&self) -> &PlannedStep;

    /// Returns how long one attempt may take; ten times what is expected and ten minutes unless
    /// the step says otherwise.
    fn limit(&self) -> Duration {
        Duration::from_millis(self.planned().expected_ms.saturating_mul(10)) + SLACK
    }

    /// Returns whether it asks and waits for most of its time and keeps no machine busy: many such
    /// steps may be under way side by side.
    fn mostly_waits(&self) -> bool {
        false
    }

    /// Returns what is going to be done, for the journal. Holds no secret.
    fn intent(&self, context: &Context) -> Value;

    /// Does it. Returns what later steps and the undo need to know.
    ///
    /// # Errors
    /// Any reason why it could not be done; the effect may have happened in part.
    async fn apply(&self, context: &Context) -> Result<Value, StepError>;

    /// Checks the effect by what the platform says.
    ///
    /// # Errors
    /// When the check itself could not be made. A check that was made and did not pass is `Ok`.
    async fn verify(&self, context: &Context) -> Result<Check, StepError>;

    /// Checks the effect by what a client outside sees.
    ///
    /// # Errors
    /// When the check itself could not be made. A check that was made and did not pass is `Ok`.
    async fn cross_check(&self, context: &Context) -> Result<Check, StepError>;

    /// Takes the effect back. A step that changes nothing has nothing to undo and is never asked.
    ///
    /// # Errors
    /// Any reason why it could not be undone.
    async fn undo(&self, context: &Context) -> Result<Value, StepError> {
        let _ = context;
        Ok(Value::Null)
    }

    /// Checks by what the platform says that the effect is gone.
    ///
    /// # Errors
    /// When the check itself could not be made.
    async fn verify_undone(&self, context: &Context) -> Result<Check, StepError> {
        self.verify(context).await
    }

    /// Checks from outside that the effect is gone.
    ///
    /// # Errors
    /// When the check itself could not be made.
    async fn cross_check_undone(&self, context: &Context) -> Result<Check, StepError> {
        self.cross_check(context).await
    }
}

/// Why a step could not go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .problem.what)]
pub struct StepError {
    /// The error as a person reads it.
    pub problem: Problem,
    /// What the engine does about it.
    pub kind: StepErrorKind,
}

/// What the engine does about an error of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepErrorKind {
    /// Tries again, a limited number of times, with growing pauses.
    Transient,
    /// Ends the step as failed.
    Permanent,
    /// A gate did not pass: the step and its phase end as failed.
    Gate,
    /// A person asked to stop, pause or go back, and this is a safe point.
    Steered,
}

impl StepError {
    /// Returns an error that ends the step.
    #[must_use]
    pub fn permanent(code: &str, what: impl Into<String>, next: impl Into<String>) -> Self {
        Self::new(StepErrorKind::Permanent, code, what, next)
    }

    /// Returns an error after which the step is tried again.
    #[must_use]
    pub fn transient(code: &str, what: impl Into<String>, next: impl Into<String>) -> Self {
        Self::new(StepErrorKind::Transient, code, what, next)
    }

    /// Returns the error of a gate that did not pass.
    #[must_use]
    pub fn gate(code: &str, what: impl Into<String>, next: impl Into<String>) -> Self {
        Self::new(StepErrorKind::Gate, code, what, next)
    }

    fn new(
        kind: StepErrorKind,
        code: &str,
        what: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        let (what, next) = (what.into(), next.into());
        Self {
            problem: Problem {
                code: code.to_owned(),
                what,
                state: String::new(),
                next,
            },
            kind,
        }
    }
}

impl From<code_deploy_record::Error> for StepError {
    fn from(error: code_deploy_record::Error) -> Self {
        let problem = crate::Error::Record(error).problem();
        Self {
            problem,
            kind: StepErrorKind::Permanent,
        }
    }
}

impl From<crate::target::TargetError> for StepError {
    fn from(error: crate::target::TargetError) -> Self {
        let kind = if error.transient {
            StepErrorKind::Transient
        } else {
            StepErrorKind::Permanent
        };
        Self {
            problem: error.problem(),
            kind,
        }
    }
}
