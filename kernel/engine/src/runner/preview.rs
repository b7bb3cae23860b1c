//! What opening a run would do, without doing it.

use code_deploy_record::{Release, RunOutcome, RunsFolder};

use super::join::plan_of_open_run;
use super::open::{Last, inputs_from, last_run, refuse_what_cannot_be_honoured, stable};
use super::{OpenOptions, Runner};
use crate::Result;
use crate::plan::Plan;

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

/// Returns the release on which an ended run left everything.
fn release_left(last: &Last) -> Option<Release> {
    let started = last.state.started.as_ref()?;
    match last.state.finished.as_ref()?.0 {
        RunOutcome::Succeeded => Some(started.to.clone()),
        _ => started.from.clone(),
    }
}
