//! Whether the namespace leaves room for the pods of a run, asked before it begins: all its quotas and limit ranges.
//!
//! A cluster judges pods only once it makes them. What can be counted before is counted here as it counts
//! (<https://kubernetes.io/docs/concepts/policy/resource-quotas/>).

mod asked;
mod bounds;
mod room;

use code_deploy_engine::release::instances_at;
use code_deploy_engine::spec::{Strategy, StrategyKind};
use code_deploy_engine::target::{Heading, TargetError};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{LimitRange, ResourceQuota};
use kube::api::ListParams;
use kube::core::NamespaceResourceScope;
use kube::{Resource, ResourceExt as _};

use super::KubernetesTarget;
use super::cluster::Connection;
use super::manifest::Manifest;
use super::names;
use super::objects::Object;
use super::refusal::LARGER_QUOTA;
use super::stop::asked_for;
use super::store::labelled;
use crate::failure::{code, failed};
pub(super) use asked::{AskedPod, is_sidecar};

/// Pods of a service that a run starts beside those that run.
#[derive(Debug)]
struct Starting {
    service: String,
    count: u32,
    pod: AskedPod,
}

impl KubernetesTarget {
    /// Returns why the namespace would not take the pods that a run starts first, beside all that are there: by each of
    /// its limit ranges, and by all of its quotas together.
    ///
    /// What others start meanwhile, and what later waves of a rolling update need, is not foreseen. A quota or a limit
    /// range that the account may not list is not judged; then the cluster refuses when it comes to that. `running` are
    /// the Deployments of all releases that are there.
    pub(super) async fn refused_pods(
        &self,
        connection: &Connection,
        deployments: &[(&str, &Manifest)],
        running: &[Deployment],
        heading: Heading,
    ) -> Result<Vec<TargetError>, TargetError> {
        let quotas = listed::<ResourceQuota>(connection, "list resource quotas").await?;
        let ranges = listed::<LimitRange>(connection, "list limit ranges").await?;
        if quotas.is_empty() && ranges.is_empty() {
            return Ok(Vec::new());
        }
        let starting = self.starting(deployments, running, &ranges, heading);
        let outside = starting
            .iter()
            .filter_map(|one| out_of_bounds(one, &ranges));
        let mut refused: Vec<TargetError> = outside.collect();
        refused.extend(no_room(&quotas, &starting));
        Ok(refused)
    }

    fn starting(
        &self,
        deployments: &[(&str, &Manifest)],
        running: &[Deployment],
        ranges: &[LimitRange],
        heading: Heading,
    ) -> Vec<Starting> {
        let strategy = &self.settings.spec.strategy;
        let starting = deployments.iter().filter_map(|(service, manifest)| {
            let stated: Deployment = serde_json::from_value(manifest.value.clone()).ok()?;
            let pod = stated.spec.as_ref()?.template.spec.as_ref()?;
            let of_service = running
                .iter()
                .filter(|one| labelled(&one.metadata, names::SERVICE).as_deref() == Some(*service));
            let (mut own, mut others) = (0u32, 0u32);
            for one in of_service {
                let count = match one.name_any() == manifest.name {
                    true => &mut own,
                    false => &mut others,
                };
                *count = count.saturating_add(asked_for(one));
            }
            let first = first_wave(strategy, heading, asked_for(&stated), others);
            Some(Starting {
                service: (*service).to_owned(),
                count: first.saturating_sub(own),
                pod: AskedPod::of(pod, ranges),
            })
        });
        starting.filter(|one| one.count > 0).collect()
    }
}

/// Returns how many pods of the new release a run starts before any of another one goes. One that goes back starts all
/// at once.
fn first_wave(strategy: &Strategy, heading: Heading, replicas: u32, others: u32) -> u32 {
    match (strategy.kind, strategy.steps.first()) {
        (StrategyKind::Rolling, Some(step)) if others > 0 && heading == Heading::Forward => {
            instances_at(replicas, step.percent).0.min(replicas)
        }
        _ => replicas,
    }
}

/// Lists all objects of a kind in the namespace; none where the account may not.
pub(super) async fn listed<K>(connection: &Connection, action: &str) -> Result<Vec<K>, TargetError>
where
    K: Object + Resource<Scope = NamespaceResourceScope>,
    K::DynamicType: Default,
{
    let all = connection.all::<K>();
    let params = ListParams::default();
    let list = || all.list(&params);
    match connection.ask(action, None, list).await {
        Ok(listed) => Ok(listed.items),
        Err(error) if error.code == code::ACCESS => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn out_of_bounds(starting: &Starting, ranges: &[LimitRange]) -> Option<TargetError> {
    let outside: Vec<String> = ranges
        .iter()
        .flat_map(|range| bounds::outside(&starting.pod, range))
        .collect();
    if outside.is_empty() {
        return None;
    }
    let what = format!(
        "the namespace would not take its pods: {}; nothing was changed",
        outside.join("; ")
    );
    let next = "Write other limits and reservations into the Compose file (`deploy.resources`), or have the limit \
                range changed.";
    Some(failed(
        code::NOT_ADMITTED,
        Some(&starting.service),
        what,
        next,
    ))
}

/// Returns what all quotas lack, the tightest first.
fn no_room(quotas: &[ResourceQuota], starting: &[Starting]) -> Option<TargetError> {
    let unsaid: Vec<String> = quotas
        .iter()
        .flat_map(|quota| room::unsaid(quota, starting))
        .collect();
    if !unsaid.is_empty() {
        let what = format!(
            "the namespace would not take pods of this run: {}; nothing was changed",
            unsaid.join("; ")
        );
        let next = "Write limits and reservations of each service into the Compose file (`deploy.resources`).";
        return Some(failed(code::QUOTA, None, what, next));
    }
    let mut short: Vec<room::Short> = quotas
        .iter()
        .flat_map(|quota| room::short(quota, starting))
        .collect();
    short.sort_by(|one, other| one.fits.total_cmp(&other.fits));
    let texts: Vec<String> = short.iter().map(ToString::to_string).collect();
    let (tightest, others) = texts.split_first()?;
    let others = match others.is_empty() {
        true => String::new(),
        false => format!("; less tight are: {}", others.join("; ")),
    };
    let what = format!(
        "the namespace has no room for the pods of this run beside what is there: {tightest}{others}; nothing was \
         changed"
    );
    Some(failed(code::QUOTA, None, what, LARGER_QUOTA))
}

#[cfg(test)]
mod tests;
