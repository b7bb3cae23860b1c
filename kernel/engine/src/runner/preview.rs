//! What opening a run would do, without doing it.

use std::sync::Arc;

use code_deploy_record::{Release, RunsFolder};

use super::join::plan_of_open_run;
use super::last::{Last, last_run, require_earlier, runs_of};
use super::open::{admit, stable, wanted_release};
use super::{OpenOptions, Runner};
use crate::foresight::{self, Foreseen, Outlook};
use crate::lease::answer;
use crate::plan::{Inputs, Plan};
use crate::target::Observed;
use crate::{Error, Result};

impl Runner {
    /// Returns the plan that a run opened now would carry out. Makes the checks of
    /// [`open`](Self::open) except that of the lock and those of the policy, which
    /// [`foresee`](Self::foresee) tells, and writes nothing.
    ///
    /// # Errors
    /// What `open` would refuse, with the same codes.
    pub async fn preview(options: &OpenOptions) -> Result<Plan> {
        Ok(look_ahead(options).await?.1)
    }

    /// Returns what the files alone tell of a run opened now, and the plan that it would carry
    /// out. Makes the checks of [`preview`](Self::preview), and writes nothing.
    ///
    /// # Errors
    /// What `open` would refuse, with the same codes; that the files cannot be read.
    pub async fn foresee(options: &OpenOptions) -> Result<(Plan, Vec<Foreseen>)> {
        let (inputs, plan) = look_ahead(options).await?;
        tell_by_files(options, inputs, plan).await
    }

    /// As [`foresee`](Self::foresee), also with what the run would change of the objects that the target holds.
    ///
    /// # Errors
    /// As `foresee`.
    pub async fn foresee_changes(options: &OpenOptions) -> Result<(Plan, Vec<Foreseen>, Outlook)> {
        let (inputs, plan) = look_ahead(options).await?;
        let from = inputs.from.as_ref();
        let outlook = Outlook::of(options.target.as_ref(), &inputs.spec, from, &inputs.to).await;
        let (plan, foreseen) = tell_by_files(options, inputs, plan).await?;
        Ok((plan, foreseen, outlook))
    }
}

async fn tell_by_files(
    options: &OpenOptions,
    inputs: Inputs,
    plan: Plan,
) -> Result<(Plan, Vec<Foreseen>)> {
    let (program, today) = (options.program.clone(), options.clock.now().date_naive());
    let images = options.target.image_health_checks(&inputs.to);
    let images = answer("looking at the health checks of images", images).await?;
    // The source is read whole, which is not for the runtime's threads.
    let looked = tokio::task::spawn_blocking(move || {
        let found = foresight::foreseen(&inputs, &plan.planned(), &program, &images, today)?;
        Ok((plan, found))
    });
    looked.await.unwrap_or_else(|error| {
        let what = format!("looking at the files was cut off: {error}");
        Err(Error::refused(crate::code::CUT_OFF, what, "Try again."))
    })
}

async fn look_ahead(options: &OpenOptions) -> Result<(Inputs, Plan)> {
    Runner::refuse_unfit(options.target.as_ref(), &options.spec)?;
    let runs = runs_of(options);
    let last = last_run(&runs, options)?;
    if let Some(last) = last.as_ref().filter(|last| !last.is_ended()) {
        return plan_of_open_run(options, last);
    }
    let observed = answer("finding out what runs", options.target.observe()).await?;
    let runs_now = observed.instances.iter().any(|instance| instance.running);
    // A router that died is started again when a run begins; here nothing may be started, so
    // what it served is taken from the record.
    let from = if runs_now && observed.traffic.is_empty() {
        last.as_ref().and_then(Last::release_left)
    } else {
        None
    };
    let from = match from {
        Some(from) => Some(from),
        None => stable(&observed, options, last.as_ref())?,
    };
    let inputs = inputs_from(options, &runs, &observed, from)?;
    admit(options, &inputs.to).await?;
    let plan = Plan::of(&inputs, options.steps)?;
    Ok((inputs, plan))
}

/// Returns what a run that begins now rests on: the release `from` that is there, by what was observed or by the record.
pub(super) fn inputs_from(
    options: &OpenOptions,
    runs: &RunsFolder,
    observed: &Observed,
    from: Option<Release>,
) -> Result<Inputs> {
    let to = wanted_release(options)?;
    if from.as_ref() == Some(&to) {
        return Err(deployed_already(options, observed, &to));
    }
    refuse_unlisted(options, &to)?;
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

/// Returns the refusal of a release that is there. That it has all traffic is said only where that was seen.
fn deployed_already(options: &OpenOptions, observed: &Observed, to: &Release) -> Error {
    let what = if observed.stable.as_ref() == Some(to) {
        format!("release {to} is deployed already and has all traffic")
    } else {
        format!(
            "release {to} is deployed already by the record of the last run; that it has all traffic was not seen"
        )
    };
    let (environment, target) = (&options.spec.environment, &options.spec.target);
    let next = format!(
        "What changed is deployed as a release of its own: name it as `release:` of the deployment file or by `--to RELEASE`. \
         To start {to} anew, `code-deploy {environment} {target} --stop`, then deploy it again. `code-deploy status` shows what \
         serves now."
    );
    Error::refused(crate::code::DEPLOYED_ALREADY, what, next)
}

/// Refuses a release that the deployment file does not list, where it lists them. Nobody is kept
/// from going back to one that ran.
fn refuse_unlisted(options: &OpenOptions, to: &Release) -> Result<()> {
    let listed = &options.spec.file.releases;
    let known = listed.is_empty() || listed.iter().any(|one| one == to.as_str());
    if known || options.reverts.is_some() {
        return Ok(());
    }
    Err(Error::refused(
        "CD0438",
        format!(
            "there is no release {to}: `releases` of {} lists {}",
            options.spec.path.display(),
            listed.join(", ")
        ),
        "Name one of these, or add the release there.",
    ))
}
