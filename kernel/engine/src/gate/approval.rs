//! The approval gate: a named person says go.

use std::time::Duration;

use code_deploy_record::{Digest, EventBody, Gate, GateCheck};
use tokio::time::Instant;

use crate::spec::ApprovalRule;
use crate::step::StepError;
use crate::{Context, Progress, gate};

/// How long a person may take.
pub const LIMIT: Duration = Duration::from_secs(24 * 3600);

/// The time between two looks whether somebody answered from elsewhere.
const LOOK: Duration = Duration::from_millis(200);

/// Asks for a go where the environment's policy wants one; returns at once where it does not. The
/// person may answer here, or from elsewhere by `code-deploy approve --reason TEXT`.
///
/// # Errors
/// `CD0454` when the answer is no-go or nobody answered within a day; that somebody asked the run
/// to stop; that the journal cannot be written.
pub async fn pass(context: &Context, subject: &str, summary: &str) -> Result<(), StepError> {
    let rule = context.spec.policy.approval;
    if rule == ApprovalRule::None {
        return Ok(());
    }
    let state = context.state();
    let plan = state.plan.as_ref().map_or(Digest::ZERO, |plan| plan.digest);
    let since = context.clock.now();
    let known = given(context, subject, plan);
    if known.is_none() {
        let (gate, summary) = (subject.to_owned(), summary.to_owned());
        context
            .journal
            .append(
                "engine",
                EventBody::ApprovalAsked {
                    gate,
                    plan,
                    summary,
                    two_persons: rule == ApprovalRule::SomebodyElse,
                    signers: context.spec.file.approvals.signers.clone(),
                },
            )
            .await?;
    }
    let question = format!("{subject} of plan {}: {summary} Go?", plan.short());
    let question = known.is_none().then_some(question);
    let (by, go) = answered(context, subject, plan, question).await?;
    let word = if go { "go" } else { "no-go" };
    let checks = vec![GateCheck {
        name: format!("answer of {by}"),
        measured: word.to_owned(),
        limit: "go".to_owned(),
        passed: go,
        used: None,
        unshown: None,
    }];
    let reason = format!("{by} said {word} to plan {}", plan.short());
    let answer = gate::Answer { checks, reason };
    gate::answer(
        context,
        Gate::Approval,
        crate::code::NOT_APPROVED,
        subject,
        since,
        answer,
    )
    .await
}

/// Waits for the answer, from here or from elsewhere, whichever comes first.
async fn answered(
    context: &Context,
    subject: &str,
    plan: Digest,
    question: Option<String>,
) -> Result<(String, bool), StepError> {
    let here = async {
        if let Some(question) = question {
            ask_here(context, subject, plan, question).await?;
        }
        // An answer given here is seen by the other arm.
        std::future::pending::<Result<(String, bool), StepError>>().await
    };
    tokio::select! {
        biased;
        // A prompt that is cut off because somebody answered elsewhere loses nothing.
        failed = here => failed,
        answer = wait(context, subject, plan) => answer,
    }
}

fn given(context: &Context, subject: &str, plan: Digest) -> Option<(String, bool)> {
    let state = context.state();
    let (seen, by, go) = state.approvals.get(subject)?;
    let expires = state.approvals_expire.get(subject);
    let expired = expires.is_some_and(|expires| context.clock.now() >= *expires);
    (*seen == plan && !expired).then(|| (by.clone(), *go))
}

/// Asks in this terminal or notebook, unless the policy wants somebody else than who runs it.
async fn ask_here(
    context: &Context,
    subject: &str,
    plan: Digest,
    question: String,
) -> Result<(), StepError> {
    let user = context
        .state()
        .started
        .as_ref()
        .map(|s| s.user.clone())
        .unwrap_or_default();
    let Some(answer) = context.approver.ask(&question).await else {
        return Ok(());
    };
    let named = &context.spec.file.approvals.by;
    let must_sign = !context.spec.file.approvals.signers.is_empty();
    let same = answer.by == user && context.spec.policy.approval == ApprovalRule::SomebodyElse;
    if must_sign || same || (!named.is_empty() && !named.contains(&answer.by)) {
        let text = format!(
            "the answer of {} to {subject} does not count by the policy of approvals",
            answer.by
        );
        let severity = code_deploy_record::Severity::Medium;
        context
            .journal
            .append("engine", EventBody::Noted { severity, text })
            .await?;
        return Ok(());
    }
    let body = EventBody::ApprovalGiven {
        gate: subject.to_owned(),
        plan,
        by: answer.by.clone(),
        go: answer.go,
        reason: answer.reason,
    };
    context
        .journal
        .append(&format!("person:{}", answer.by), body)
        .await?;
    Ok(())
}

async fn wait(context: &Context, subject: &str, plan: Digest) -> Result<(String, bool), StepError> {
    let began = Instant::now();
    loop {
        if let Some(answer) = given(context, subject, plan) {
            return Ok(answer);
        }
        context.safe_point()?;
        context.may_act.check().await?;
        let elapsed = began.elapsed();
        if elapsed >= LIMIT {
            let hours = LIMIT.as_secs() / 3600;
            let what = format!("nobody answered {subject} within {hours} hours");
            return Err(StepError::gate(
                crate::code::NOT_APPROVED,
                what,
                "Deploy again when somebody can.",
            ));
        }
        context.progress(Progress {
            what: format!("waits for `code-deploy approve --reason TEXT`: {subject}"),
            elapsed,
            limit: Some(LIMIT),
            share: None,
        });
        tokio::time::sleep(LOOK).await;
    }
}
