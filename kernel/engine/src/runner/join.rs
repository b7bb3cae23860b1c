//! Joining a run that is not ended.

use std::sync::Arc;

use code_deploy_record::{
    EventBody, Recovered, RunLock, RunStarted, RunState, Steering, StepStatus,
};

use super::last::{Last, damaged_name};
use super::open::{assemble, fence, name_key, no_thread};
use super::{OpenOptions, Purpose, Runner};
use crate::lease::answer;
use crate::plan::{Inputs, Plan};
use crate::surroundings::Sabotage;
use crate::{Error, Journal, Result, left};

/// Joins a run that is not ended: goes on from where its record stands.
pub(super) async fn join(options: OpenOptions, last: Last, lock: Arc<RunLock>) -> Result<Runner> {
    let (inputs, plan) = plan_of_open_run(&options, &last)?;
    let recovered_target = answer("looking after the place", options.target.recover()).await?;
    let (clock, redactor) = (Arc::clone(&options.clock), options.redactor.clone());
    let (mut writer, mut state, recovered) = last.folder.open_journal(clock, redactor)?;
    fence(&mut writer, &lock, &options);
    if options.surroundings.sabotaged(Sabotage::ForgetsOnResume) {
        state.applied.pop();
    }
    name_key(&options, &last.folder, &mut writer, &mut state)?;
    let noted = state.last;
    let mut found = found_text(&state, recovered);
    if let Some((by, reason)) = &state.paused_by {
        let who = &options.person.name;
        found = format!("{found}; {by} had paused it ({reason}), and {who} goes on with it");
    }
    if let Some(text) = recovered_target {
        found = format!("{found}; {text}");
    }
    match left::end(&last.folder, &state) {
        Ok(0) => {}
        Ok(ended) => found.push_str(&format!(
            "; processes that the last runner left: {ended} ended"
        )),
        Err(error) => {
            found.push_str(&format!(
                "; processes that the last runner left were not ended: {error}"
            ));
        }
    }
    let journal = Journal::start(writer, state).map_err(|error| no_thread(&error))?;
    let mut runner = assemble(options, inputs, plan, last.folder, journal, lock)?;
    let surroundings = &runner.context.surroundings;
    let asked = match surroundings.sabotaged(Sabotage::ForgetsWishes) {
        true => None,
        false => runner.state().asked.clone(),
    };
    runner.journal_lock().await?;
    runner
        .context
        .journal
        .append("engine", EventBody::Resumed { found })
        .await?;
    if let Some((Steering::Rollback, by, reason)) = asked {
        runner
            .context
            .interruption
            .ask(Steering::Rollback, &by, &reason);
    }
    runner.journal_plan().await?;
    runner.start_live(noted).await?;
    crate::release::traffic::converge_record(&runner.context).await?;
    crate::release::traffic::sample_on(&runner.context).await?;
    Ok(runner)
}

/// Returns the plan with which a run that is not ended would go on.
pub(super) fn plan_of_open_run(options: &OpenOptions, last: &Last) -> Result<(Inputs, Plan)> {
    let Some(started) = last.state.started.clone() else {
        return Err(damaged_name(&last.folder));
    };
    refuse_other_run(options, &started, last)?;
    let inputs = Inputs {
        spec: Arc::clone(&options.spec),
        inventory: Arc::clone(&options.inventory),
        from: started.from,
        to: started.to,
        initial: started.initial,
        reverts: started.reverts,
    };
    let plan = Plan::of(&inputs, options.steps)?;
    let going_back = options.purpose == Purpose::GoBack || last.state.rollback.is_some();
    refuse_changed_plan(&plan, last, going_back)?;
    Ok((inputs, plan))
}

fn refuse_other_run(options: &OpenOptions, started: &RunStarted, last: &Last) -> Result<()> {
    let run = &started.run;
    let stands = last.state.present_phase().map_or_else(
        || "it stands between two phases".to_owned(),
        |phase| format!("it stands in phase {phase} ({})", phase.verb()),
    );
    let next = "Go on with it by `code-deploy resume`, or go back by `code-deploy rollback`.";
    let other = options.to.as_ref().is_some_and(|to| *to != started.to);
    let deploys = matches!(options.purpose, Purpose::Deploy | Purpose::Begin);
    if started.target != options.spec.target || (deploys && other) {
        let (to, target) = (&started.to, &started.target);
        let what = format!(
            "run {run}, which deploys release {to} to target {target}, is not ended: {stands}"
        );
        return Err(Error::refused(crate::code::OTHER_RUN, what, next));
    }
    if options.purpose == Purpose::Begin {
        let what = format!("run {run} of the same release is not ended: {stands}");
        return Err(Error::refused(crate::code::OTHER_RUN, what, next));
    }
    Ok(())
}

/// A run goes on with the plan it began with. Going back needs only that every step that has to
/// be undone is known.
fn refuse_changed_plan(plan: &Plan, last: &Last, going_back: bool) -> Result<()> {
    let Some(planned) = &last.state.plan else {
        return Ok(());
    };
    let unknown = last
        .state
        .to_undo()
        .into_iter()
        .find(|step| plan.step(step).is_none());
    let what = match (going_back, unknown) {
        (true, None) => return Ok(()),
        (true, Some(step)) => format!("step {step}, which has to be undone, is not in it any more"),
        (false, _) if planned.digest == plan.digest => return Ok(()),
        (false, _) => format!(
            "it has the digest {} now and had {} when the run began",
            plan.digest.short(),
            planned.digest.short()
        ),
    };
    Err(Error::refused(
        "CD0416",
        format!(
            "the plan of run {} is not the one it began with: {what}",
            last.run()
        ),
        "Put the deployment file and what it names back as they were, or go back by \
         `code-deploy rollback`.",
    ))
}

fn found_text(state: &RunState, recovered: Recovered) -> String {
    let open = state.steps.iter().find(|(_, step)| {
        matches!(
            step.status,
            StepStatus::Intended | StepStatus::Applied | StepStatus::Undoing
        )
    });
    let mut text = match open {
        None => format!("{} events; no step was under way", state.events),
        Some((name, step)) => {
            let known = match step.status {
                StepStatus::Intended => "was intended; whether it acted is not known",
                StepStatus::Applied => "had acted; its checks were not complete",
                _ => "was being undone; whether that acted is not known",
            };
            format!(
                "{} events; step {name} {known}, so it is carried out again",
                state.events
            )
        }
    };
    if recovered.torn_bytes > 0 {
        text.push_str(&format!(
            "; a torn last line of {} bytes was cut",
            recovered.torn_bytes
        ));
    }
    text
}
