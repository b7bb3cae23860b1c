//! Whether the namespace leaves room for the pods and the objects of a run, asked before it begins: all its quotas and
//! limit ranges.
//!
//! A cluster judges pods only once it makes them. What can be counted before is counted here as it counts
//! (<https://kubernetes.io/docs/concepts/policy/resource-quotas/>).

mod asked;
mod bounds;
mod objects;
mod room;

use code_deploy_engine::spec::StrategyKind;
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
pub(super) use objects::Counted;

/// Why a rolling update needs as much.
const WAY_BACK: &str =
    " When a rolling update goes back from its last wave, all pods of both releases run at once.";

/// What a run adds to the namespace.
pub(super) struct Adding<'a> {
    /// Its Deployments, each with its service.
    pub deployments: Vec<(&'a str, &'a Manifest)>,
    /// All its objects.
    pub objects: Vec<Counted<'a>>,
}

/// Pods of a service that a run starts beside those that run.
#[derive(Debug)]
struct Starting {
    service: String,
    count: u32,
    pod: AskedPod,
}

impl KubernetesTarget {
    /// Returns why the namespace would not take all that a run adds at its peak: its pods by each of the limit ranges,
    /// and pods and objects by all of the quotas together.
    ///
    /// What others start meanwhile is not foreseen. A quota or a limit range that the account may not list is not
    /// judged; then the cluster refuses when it comes to that. `running` are the Deployments of all releases that are
    /// there.
    pub(super) async fn refused_by_quotas(
        &self,
        connection: &Connection,
        adding: &Adding<'_>,
        running: &[Deployment],
        heading: Heading,
    ) -> Result<Vec<TargetError>, TargetError> {
        let quotas = listed::<ResourceQuota>(connection, "list resource quotas").await?;
        let ranges = listed::<LimitRange>(connection, "list limit ranges").await?;
        if quotas.is_empty() && ranges.is_empty() {
            return Ok(Vec::new());
        }
        let rolls = self.settings.spec.strategy.kind == StrategyKind::Rolling;
        let waves = rolls && heading == Heading::Forward;
        let starting = starting(&adding.deployments, running, &ranges, waves);
        let outside = starting
            .iter()
            .filter_map(|one| out_of_bounds(one, &ranges));
        let mut refused: Vec<TargetError> = outside.collect();
        if let Some(mut error) = no_room(&quotas, &starting) {
            if waves && error.next == LARGER_QUOTA {
                error.next.push_str(WAY_BACK);
            }
            refused.push(error);
        }
        let together = self.refused_together(connection, &quotas, &adding.objects);
        refused.extend(together.await?);
        Ok(refused)
    }
}

/// Returns the pods that a run starts beside those that run, at its peak.
///
/// A rolling update has fewer at a time, but when it goes back from its last wave, the release before is at its full
/// size again beside all of the new one.
fn starting(
    deployments: &[(&str, &Manifest)],
    running: &[Deployment],
    ranges: &[LimitRange],
    waves: bool,
) -> Vec<Starting> {
    let mut starting = Vec::new();
    for (service, manifest) in deployments {
        let of_service = running
            .iter()
            .filter(|one| labelled(&one.metadata, names::SERVICE).as_deref() == Some(*service));
        let (own, others): (Vec<&Deployment>, Vec<&Deployment>) =
            of_service.partition(|one| one.name_any() == manifest.name);
        let count = |all: &[&Deployment]| -> u32 { all.iter().map(|one| asked_for(one)).sum() };
        let wanted = manifest.replicas();
        let mut add = |pod: Option<AskedPod>, count: u32| {
            let some = pod.filter(|_| count > 0);
            starting.extend(some.map(|pod| Starting {
                service: (*service).to_owned(),
                count,
                pod,
            }));
        };
        let stated: Option<Deployment> = serde_json::from_value(manifest.value.clone()).ok();
        let stated = stated.and_then(|stated| asked_pod(&stated, ranges));
        add(stated, wanted.saturating_sub(count(&own)));
        let before = others.iter().max_by_key(|one| asked_for(one));
        if waves && let Some(before) = before {
            let missing = wanted.saturating_sub(count(&others));
            add(asked_pod(before, ranges), missing);
        }
    }
    starting
}

fn asked_pod(deployment: &Deployment, ranges: &[LimitRange]) -> Option<AskedPod> {
    let pod = deployment.spec.as_ref()?.template.spec.as_ref()?;
    Some(AskedPod::of(pod, ranges))
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
    short.sort_by(|one, other| one.fits().total_cmp(&other.fits()));
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
