//! The gates: what has to hold before a run goes on.

pub mod analysis;
pub mod approval;
pub mod health;
pub mod judge;
pub mod monitoring;
pub mod probe;
pub mod smoke;
pub mod window;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use code_deploy_record::{EventBody, Gate, GateCheck, GateEvaluated, Release};

use crate::Context;
use crate::step::StepError;
use crate::surroundings::Sabotage;
use crate::target::ServiceAddress;

/// What a gate found.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// What it looked at.
    pub checks: Vec<GateCheck>,
    /// The reason in one sentence.
    pub reason: String,
}

impl Answer {
    /// Returns whether everything looked at holds. Nothing looked at is a failure.
    #[must_use]
    pub fn passed(&self) -> bool {
        !self.checks.is_empty() && self.checks.iter().all(|check| check.passed)
    }
}

/// Journals a gate's answer; returns an error with `code` when it did not pass.
///
/// # Errors
/// [`StepErrorKind::Gate`](crate::step::StepErrorKind::Gate), or that the journal cannot be
/// written.
pub async fn answer(
    context: &Context,
    gate: Gate,
    code: &str,
    subject: &str,
    since: DateTime<Utc>,
    answer: Answer,
) -> Result<(), StepError> {
    let (passed, reason) = (answer.passed(), answer.reason.clone());
    let evaluated = GateEvaluated {
        gate,
        subject: subject.to_owned(),
        passed,
        since,
        checks: answer.checks,
        compared: false,
        reason: reason.clone(),
    };
    context
        .journal
        .append("engine", EventBody::GateEvaluated(evaluated))
        .await?;
    if passed || context.surroundings.sabotaged(Sabotage::PassesGates) {
        return Ok(());
    }
    let what = format!(
        "the {} gate of {subject} did not pass: {reason}",
        gate.word()
    );
    Err(StepError::gate(
        code,
        what,
        "The gate's checks say what was measured and what is asked.",
    ))
}

/// Returns where each service is reached by clients, as `http://HOST:PORT`: through what the place has
/// in front of it, if there is something.
///
/// # Errors
/// When the target cannot be observed.
pub async fn base_urls(context: &Context) -> Result<BTreeMap<String, String>, StepError> {
    let observed = context.target.observe().await?;
    let mut reached = urls(observed.addresses);
    reached.extend(observed.fronts);
    Ok(reached)
}

/// Returns where each service of a release is reached on purpose, together with the headers of
/// [`Target::reach`](crate::Target::reach).
///
/// # Errors
/// When the target cannot be observed.
pub async fn urls_of(
    context: &Context,
    release: &Release,
) -> Result<BTreeMap<String, String>, StepError> {
    match context.target.addresses_of(release).await? {
        Some(addresses) => Ok(urls(addresses)),
        None => base_urls(context).await,
    }
}

fn urls(addresses: Vec<ServiceAddress>) -> BTreeMap<String, String> {
    let urls = addresses.into_iter();
    urls.map(|place| (place.service.clone(), place.url()))
        .collect()
}
