//! Joining a run that another process carries out: what it does is shown until it stops working on it.

use std::sync::Arc;

use code_deploy_engine::Notice;
use code_deploy_engine::runner::Ended;
use code_deploy_engine::steer::Asking;
use code_deploy_record::{EventBody, RunFolder, RunLock, RunOutcome};
use tokio_util::sync::CancellationToken;

use crate::failure::{Exit, Failure};
use crate::run::ask;
use crate::session::{Session, exit_of};
use crate::show::follow::wait_for_change;
use crate::show::status::standing;

/// Shows what the process does that carries a run out, until that ends or stands still. An interrupt
/// is passed on: the run stops at its next safe point.
///
/// # Errors
/// When the run was interrupted, or ended otherwise than with the new release.
pub async fn follow(
    session: &Session,
    run: &RunFolder,
    interrupt: &CancellationToken,
) -> Result<Exit, Failure> {
    let from = run.state()?.events;
    let mut events = run.events()?;
    let mut interrupted = false;
    loop {
        // Looked at first, so that what was written before the end is shown.
        let works = is_carried_out(session)?;
        while let Some(event) = events.next_event()? {
            if event.seq < from {
                continue;
            }
            let stands = matches!(event.body, EventBody::Paused { .. });
            session.face.notice(&Notice::Event(Arc::new(event)));
            if stands && interrupted {
                let text = "the run stands at a safe point, in the process that carries it out";
                return exit_of(Ended::Interrupted(text.to_owned()), run);
            }
        }
        if !works {
            return ended(session, run);
        }
        // Cancel safe: both only wait.
        tokio::select! {
            () = wait_for_change(run) => {}
            () = interrupt.cancelled(), if !interrupted => {
                interrupted = true;
                session.face.text("Stopping at the next safe point.");
                let by = &session.machine.user;
                ask(run, Asking::Pause, by, "interrupted").await?;
            }
        }
    }
}

fn is_carried_out(session: &Session) -> Result<bool, Failure> {
    let (spec, runs) = (&session.spec, session.project.runs());
    let holder = RunLock::holder_of(&runs, &spec.application, &spec.environment)?;
    Ok(holder.is_some())
}

fn ended(session: &Session, run: &RunFolder) -> Result<Exit, Failure> {
    let state = run.state()?;
    let stands = standing(&state);
    session.face.text(&format!("The run: {stands}."));
    match &state.finished {
        None | Some((RunOutcome::Succeeded, ..)) => Ok(Exit::Done),
        Some((RunOutcome::RolledBack, summary, _)) => {
            exit_of(Ended::RolledBack(summary.clone()), run)
        }
        Some((outcome, summary, _)) => Err(Failure::new(
            match outcome {
                RunOutcome::NeedsPerson => Exit::NeedsPerson,
                _ => Exit::Refused,
            },
            crate::codes::JOINED_RUN_ENDED,
            format!("the run that was joined did not reach its new release: {summary}"),
            format!("The run: {stands}."),
            "`code-deploy status` shows what did not pass, `code-deploy record` what happened.",
        )),
    }
}
