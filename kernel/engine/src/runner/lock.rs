//! Taking the lock of application and environment, also from a holder that is asleep.

use std::time::Duration;

use code_deploy_record::{Error as RecordError, LockHolder, RunId, RunLock, RunsFolder, Standing};
use tokio::time::Instant;

use super::OpenOptions;
use crate::{Error, Result};

/// The time between two looks whether a holder that seems asleep renews its lease.
const LOOK: Duration = Duration::from_secs(1);

/// Takes the lock. A holder whose lease looks as if it had run out is watched for a whole lease,
/// by a clock that nobody sets, and taken over only when it did not renew it meanwhile.
///
/// # Errors
/// [`Error::Refused`] (`CD0410`) when another process holds it and is awake.
pub(super) async fn take(runs: &RunsFolder, options: &OpenOptions, run: RunId) -> Result<RunLock> {
    let spec = &options.spec;
    let holder = LockHolder {
        run,
        pid: options.surroundings.process,
        host: options.person.host.clone(),
        user: options.person.name.clone(),
        since: options.clock.now(),
        fencing: 0,
    };
    let (application, environment) = (spec.application.as_str(), spec.environment.as_str());
    let take = || RunLock::take(runs, application, environment, holder.clone());
    let standing = match take() {
        Err(RecordError::Locked {
            standing: Some(standing),
            ..
        }) if standing.seems_asleep(options.clock.now()) => standing,
        taken => return taken.map_err(refused),
    };
    if let Some(taken) = woke_up(&standing, take).await {
        return taken.map_err(refused);
    }
    let taken = RunLock::take_from(&standing, runs, application, environment, holder);
    taken.map_err(refused)
}

/// Watches a holder for a whole lease; returns what taking the lock gave when it showed a sign of
/// life or ended meanwhile.
async fn woke_up(
    asleep: &Standing,
    take: impl Fn() -> Result<RunLock, RecordError>,
) -> Option<Result<RunLock, RecordError>> {
    let began = Instant::now();
    while began.elapsed() < RunLock::LEASE {
        tokio::time::sleep(LOOK).await;
        match take() {
            Err(RecordError::Locked {
                standing: Some(now),
                ..
            }) if *now == *asleep => {}
            taken => return Some(taken),
        }
    }
    None
}

fn refused(error: RecordError) -> Error {
    match error {
        error @ RecordError::Locked { .. } => Error::refused(
            crate::code::LOCKED,
            error.to_string(),
            "Wait until it has ended, or steer it from here: `code-deploy status`, `pause`, `resume` and \
             `rollback` reach a run that is alive.",
        ),
        error => Error::Record(error),
    }
}
