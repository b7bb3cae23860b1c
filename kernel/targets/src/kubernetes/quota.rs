//! Whether the namespace leaves room for the pods and the objects of a run, asked before it begins: all its quotas and
//! limit ranges.
//!
//! A cluster judges pods only once it makes them. What can be counted before is counted here as it counts
//! (<https://kubernetes.io/docs/concepts/policy/resource-quotas/>).

mod asked;
mod bounds;
mod moments;
mod objects;
mod room;

use std::sync::PoisonError;

use code_deploy_engine::spec::StrategyKind;
use code_deploy_engine::target::{Heading, TargetError};
use code_deploy_record::{Finding, Severity};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{LimitRange, ResourceQuota};
use kube::Resource;
use kube::api::ListParams;
use kube::core::NamespaceResourceScope;

use super::KubernetesTarget;
use super::cluster::Connection;
use super::manifest::Manifest;
use super::objects::Object;
use super::refusal::LARGER_QUOTA;
use crate::failure::{code, failed};
pub(super) use asked::{AskedPod, is_sidecar};
use moments::Replaced;
pub(super) use objects::Counted;

/// What a run adds to the namespace.
pub(super) struct Adding<'a> {
    /// Its Deployments, each with its service.
    pub deployments: Vec<(&'a str, &'a Manifest)>,
    /// All its objects.
    pub objects: Vec<Counted<'a>>,
}

/// Pods of a service that a run has started by some moment, or ended.
#[derive(Debug)]
struct Starting {
    service: String,
    count: u32,
    pod: AskedPod,
    /// Whether they ran before, and have ended by then.
    ended: bool,
}

impl KubernetesTarget {
    /// Returns why the namespace would not take all that a run adds at its peak: its pods by each of the limit ranges,
    /// and pods and objects by all of the quotas together. What the way back of a rolling update would need beyond that
    /// refuses nothing: it is kept to be told.
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
        self.keep_way_back(None);
        let quotas = listed::<ResourceQuota>(connection, "list resource quotas").await?;
        let ranges = listed::<LimitRange>(connection, "list limit ranges").await?;
        if quotas.is_empty() && ranges.is_empty() {
            return Ok(Vec::new());
        }
        let strategy = &self.settings.spec.strategy;
        let waves = strategy.kind == StrategyKind::Rolling && heading == Heading::Forward;
        let services = Replaced::all(&adding.deployments, running, &ranges);
        let whole = moments::whole(&services);
        let outside = whole.iter().filter_map(|one| out_of_bounds(one, &ranges));
        let mut refused: Vec<TargetError> = outside.collect();
        let moments = match waves {
            true => moments::waves(&services, strategy),
            false => vec![whole],
        };
        let moments: Vec<&[Starting]> = moments.iter().map(Vec::as_slice).collect();
        match no_room(&quotas, &moments) {
            Some(error) => refused.push(error),
            None if waves => {
                let lacks = lacks(&quotas, &[&moments::way_back(&services)]);
                self.keep_way_back(lacks.map(|lacks| self.no_way_back(&lacks)));
            }
            None => {}
        }
        let together = self.refused_together(connection, &quotas, &adding.objects);
        refused.extend(together.await?);
        Ok(refused)
    }

    fn keep_way_back(&self, told: Option<Finding>) {
        let mut kept = self.way_back.lock().unwrap_or_else(PoisonError::into_inner);
        *kept = told;
    }

    /// Returns what is to be known of the way back, once a run was admitted.
    pub(super) fn way_back(&self) -> Option<Finding> {
        let kept = self.way_back.lock().unwrap_or_else(PoisonError::into_inner);
        kept.clone()
    }

    /// Returns what it means that quotas leave no room for the way back of a rolling update.
    fn no_way_back(&self, lacks: &str) -> Finding {
        let file = self.settings.spec.path.file_name().unwrap_or_default();
        Finding {
            rule: "kubernetes/way-back".to_owned(),
            severity: Severity::High,
            place: format!("{} strategy", file.to_string_lossy()),
            message: format!(
                "the namespace has room for each wave of the rolling update, and not for its way back from the last \
                 one, in which all pods of both releases run at once: {lacks}"
            ),
            cure: format!("{LARGER_QUOTA} Else make room before a run goes back."),
        }
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

/// Returns why quotas leave no room for the pods of a run in one of those moments.
fn no_room(quotas: &[ResourceQuota], moments: &[&[Starting]]) -> Option<TargetError> {
    let mut unsaid = Vec::new();
    for quota in quotas {
        let each = moments.iter();
        for text in each.flat_map(|moment| room::unsaid(quota, moment)) {
            if !unsaid.contains(&text) {
                unsaid.push(text);
            }
        }
    }
    if !unsaid.is_empty() {
        let what = format!(
            "the namespace would not take pods of this run: {}; nothing was changed",
            unsaid.join("; ")
        );
        let next = "Write limits and reservations of each service into the Compose file (`deploy.resources`).";
        return Some(failed(code::QUOTA, None, what, next));
    }
    let lacks = lacks(quotas, moments)?;
    let what = format!(
        "the namespace has no room for the pods of this run beside what is there: {lacks}; nothing was changed"
    );
    Some(failed(code::QUOTA, None, what, LARGER_QUOTA))
}

/// Returns in words what quotas lack for the most of those moments, the tightest first.
fn lacks(quotas: &[ResourceQuota], moments: &[&[Starting]]) -> Option<String> {
    let mut short: Vec<room::Short> = quotas
        .iter()
        .flat_map(|quota| room::short(quota, moments))
        .collect();
    short.sort_by(|one, other| one.fits().total_cmp(&other.fits()));
    let texts: Vec<String> = short.iter().map(ToString::to_string).collect();
    let (tightest, others) = texts.split_first()?;
    let others = match others.is_empty() {
        true => String::new(),
        false => format!("; less tight are: {}", others.join("; ")),
    };
    Some(format!("{tightest}{others}"))
}

#[cfg(test)]
mod tests;
