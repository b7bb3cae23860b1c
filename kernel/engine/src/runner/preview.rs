//! What opening a run would do, without doing it.

use std::sync::Arc;

use code_deploy_record::{Release, RunOutcome, RunsFolder};

use super::join::plan_of_open_run;
use super::open::{
    Last, last_run, refuse_what_cannot_be_honoured, require_earlier, stable, wanted_release,
};
use super::{OpenOptions, Runner};
use crate::plan::{Inputs, Plan};
use crate::{Error, Result};

impl Runner {
    /// Returns the plan that a run opened now would carry out. Makes the checks of
    /// [`open`](Self::open) except that of the lock, and writes nothing.
    ///
    /// # Errors
    /// What `open` would refuse, with the same codes.
    pub async fn preview(options: &OpenOptions) -> Result<Plan> {
        refuse_what_cannot_be_honoured(options)?;
        let runs = RunsFolder::of_project(&options.spec.project);
        let last = last_run(&runs, options)?;
        if let Some(last) = last.as_ref().filter(|last| !last.is_ended()) {
            return plan_of_open_run(options, last).map(|(_, plan)| plan);
        }
        let observed = options.target.observe().await?;
        let runs_now = observed.instances.iter().any(|instance| instance.running);
        // A router that died is started again when a run begins; here nothing may be started, so
        // what it served is taken from the record.
        let from = if runs_now && observed.traffic.is_empty() {
            last.as_ref().and_then(release_left)
        } else {
            None
        };
        let from = match from {
            Some(from) => Some(from),
            None => stable(&observed, options)?,
        };
        let inputs = inputs_from(options, &runs, from)?;
        Plan::of(&inputs, options.steps)
    }
}

/// Returns what a run that begins now rests on.
pub(super) fn inputs_from(
    options: &OpenOptions,
    runs: &RunsFolder,
    from: Option<Release>,
) -> Result<Inputs> {
    let to = wanted_release(options)?;
    if from.as_ref() == Some(&to) {
        return Err(Error::refused(
            "CD0411",
            format!("release {to} is deployed already and has all traffic"),
            "Name another release, or see what runs with `code-deploy status`.",
        ));
    }
    require_earlier(options, runs, &to)?;
    Ok(Inputs {
        spec: Arc::clone(&options.spec),
        inventory: Arc::clone(&options.inventory),
        initial: from.is_none(),
        from,
        to,
        reverts: options.reverts.clone(),
    })
}

/// Returns the release on which an ended run left everything.
fn release_left(last: &Last) -> Option<Release> {
    let started = last.state.started.as_ref()?;
    match last.state.finished.as_ref()?.0 {
        RunOutcome::Succeeded => Some(started.to.clone()),
        _ => started.from.clone(),
    }
}
