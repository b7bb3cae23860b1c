//! A run that goes back from a release that is ill: a service whose instances are not healthy is
//! replaced as soon as the release before is, because others may need it to get ready.

use code_deploy_record::Release;
use futures::future::join_all;

use super::shift;
use crate::Context;
use crate::gate::probe::{Probed, instances_of, note_health, probe_instance};
use crate::spec::Service;
use crate::step::StepError;
use crate::target::Instance;

/// How often an instance has to fail in a row to count as ill: one lost answer is not an illness.
const ROUNDS: u32 = 2;

/// Gives a service all its traffic to the release that the run goes to, when an instance of the one
/// that it goes back from is not healthy.
///
/// # Errors
/// What the target says; `CD0460`; that the journal cannot be written.
pub(super) async fn serve_if_ill(context: &Context, service: &Service) -> Result<(), StepError> {
    let Some(from) = &context.from else {
        return Ok(());
    };
    let Some(why) = illness(context, service, from).await? else {
        return Ok(());
    };
    let reason = format!("{} {from} is not healthy: {why}", service.name);
    shift::one(context, &service.name, &context.to, &reason).await
}

/// Gives a service's traffic back to the release that the run went back from, if the other has it.
///
/// # Errors
/// As [`serve_if_ill`].
pub(super) async fn take_back(context: &Context, service: &str) -> Result<(), StepError> {
    let served = shift::served(context).await?;
    let has_traffic = served
        .get(service)
        .is_some_and(|shares| shares.contains_key(&context.to));
    match &context.from {
        Some(from) if has_traffic => shift::one(context, service, from, "rollback").await,
        _ => Ok(()),
    }
}

/// Returns the services that this run served before its gates had passed.
pub(super) fn served_early(context: &Context) -> Vec<String> {
    if !context.goes_back() {
        return Vec::new();
    }
    let state = context.state();
    let early = state
        .traffic
        .iter()
        .filter(|(_, (served, _))| served.contains_key(&context.to));
    early.map(|(service, _)| service.clone()).collect()
}

/// Returns what is wrong with a release's instances of a service, if they failed each time they were
/// asked.
async fn illness(
    context: &Context,
    service: &Service,
    release: &Release,
) -> Result<Option<String>, StepError> {
    let mut wrong = None;
    for _ in 0..ROUNDS {
        wrong = ask(context, service, release).await?;
        if wrong.is_none() {
            break;
        }
    }
    Ok(wrong)
}

async fn ask(
    context: &Context,
    service: &Service,
    release: &Release,
) -> Result<Option<String>, StepError> {
    let instances = instances_of(context, service, release).await?;
    if instances.is_empty() {
        return Ok(Some("no instance of it is there".to_owned()));
    }
    let client = context.surroundings.outside.client();
    let timeout = context.spec.strategy.health.timeout.get();
    let asked = instances
        .iter()
        .map(|one| probe_instance(client.as_ref(), service, one, timeout));
    let answers = join_all(asked).await;
    for (instance, probed) in instances.iter().zip(&answers) {
        for one in probed {
            note_health(context, instance, one).await?;
        }
    }
    let mut wrong = instances.iter().zip(&answers).filter_map(what_is_wrong);
    Ok(wrong.next())
}

fn what_is_wrong((instance, probed): (&Instance, &Vec<Probed>)) -> Option<String> {
    if !instance.running {
        return Some(format!("{} does not run", instance.id));
    }
    let failed = probed.iter().find(|one| !one.passed)?;
    Some(format!("{}: {}", instance.id, failed.detail))
}
