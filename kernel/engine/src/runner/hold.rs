//! Holding the target itself, where it is one that runners of several machines can reach.

use code_deploy_record::{LockHolder, RunLock};

use super::OpenOptions;
use crate::lease::answer;
use crate::target::Hold;
use crate::{Error, Result, Target};

/// Holds the target against runners of other machines.
///
/// # Errors
/// [`Error::Refused`] (`CD0440`) when another holds it; what the target says.
pub(super) async fn hold(options: &OpenOptions, holder: &LockHolder) -> Result<()> {
    let held = answer("holding the target", options.target.hold(holder)).await;
    let who = match held {
        Ok(Hold::Ours) => return Ok(()),
        Ok(Hold::Theirs(who)) => who,
        Err(error) => {
            return Err(Error::refused(
                error.code,
                error.to_string(),
                error.next.clone(),
            ));
        }
    };
    let (application, environment) = (&options.spec.application, &options.spec.environment);
    let what = format!("{who} works on {application} in {environment} of the same target");
    let next = format!(
        "Wait until that run has ended, or steer it where it runs. Who does not answer any more is taken \
         over from {} s after the last sign of life.",
        RunLock::LEASE.as_secs()
    );
    Err(Error::refused(crate::code::HELD_ELSEWHERE, what, next))
}

/// Lets the target go. Where it does not answer, nobody is held off for longer than a lease.
pub(super) async fn let_go(target: &dyn Target, holder: &LockHolder) {
    if let Err(error) = answer("letting the target go", target.let_go(holder)).await {
        tracing::warn!(%error, "the target is held until the lease runs out");
    }
}
