//! The moments of a run that count for quotas: which pods it has started by then, and which it has ended.

use code_deploy_engine::release::{instances_at, moves};
use code_deploy_engine::spec::Strategy;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::LimitRange;
use kube::ResourceExt as _;

use super::Starting;
use super::asked::AskedPod;
use crate::kubernetes::manifest::Manifest;
use crate::kubernetes::names;
use crate::kubernetes::stop::asked_for;
use crate::kubernetes::store::labelled;

/// A service before a run: the pods that it is to have, and those that it has.
pub(super) struct Replaced {
    service: String,
    /// How many pods of the release are wanted, how many there are already, and what each asks for.
    wanted: u32,
    own: u32,
    pod: Option<AskedPod>,
    /// The same of the release before: the largest of those that are there.
    before: Option<(u32, AskedPod)>,
}

impl Replaced {
    /// Returns the services of a run. `running` are the Deployments of all releases that are there.
    pub fn all(
        deployments: &[(&str, &Manifest)],
        running: &[Deployment],
        ranges: &[LimitRange],
    ) -> Vec<Self> {
        let all = deployments.iter().map(|(service, manifest)| {
            let of_service = running
                .iter()
                .filter(|one| labelled(&one.metadata, names::SERVICE).as_deref() == Some(*service));
            let (own, others): (Vec<&Deployment>, Vec<&Deployment>) =
                of_service.partition(|one| one.name_any() == manifest.name);
            let stated: Option<Deployment> = serde_json::from_value(manifest.value.clone()).ok();
            let before = others.into_iter().max_by_key(|one| asked_for(one));
            Self {
                service: (*service).to_owned(),
                wanted: manifest.replicas(),
                own: own.iter().map(|one| asked_for(one)).sum(),
                pod: stated.and_then(|stated| asked_pod(&stated, ranges)),
                before: before.and_then(|one| Some((asked_for(one), asked_pod(one, ranges)?))),
            }
        });
        all.collect()
    }

    /// Returns what is different once there are so many pods of the release, and of the release before those that
    /// `left` makes of those that there were.
    fn at(&self, new: u32, left: impl Fn(u32) -> u32) -> Vec<Starting> {
        let mut all = Vec::new();
        let mut add = |pod: &AskedPod, count: u32, ended: bool| {
            if count > 0 {
                all.push(Starting {
                    service: self.service.clone(),
                    count,
                    pod: pod.clone(),
                    ended,
                });
            }
        };
        if let Some(pod) = &self.pod {
            add(pod, new.saturating_sub(self.own), false);
        }
        if let Some((there, pod)) = &self.before {
            let left = left(*there);
            add(pod, left.saturating_sub(*there), false);
            add(pod, there.saturating_sub(left), true);
        }
        all
    }
}

/// Returns what is different once all of a release runs beside what is there.
pub(super) fn whole(services: &[Replaced]) -> Vec<Starting> {
    let all = services.iter();
    all.flat_map(|one| one.at(one.wanted, |there| there))
        .collect()
}

/// Returns what is different in each wave of a rolling update when it has started its pods, and those of the waves
/// before it have taken the place of others.
pub(super) fn waves(services: &[Replaced], strategy: &Strategy) -> Vec<Vec<Starting>> {
    let mut moments = Vec::new();
    let mut done: Option<u16> = None;
    for wave in moves(strategy) {
        let moment = services.iter().flat_map(|one| {
            let (new, _) = instances_at(one.wanted, wave.percent);
            let left = done.map(|percent| instances_at(one.wanted, percent).1);
            one.at(new, |there| left.map_or(there, |left| there.min(left)))
        });
        moments.push(moment.collect());
        done = Some(wave.percent);
    }
    moments
}

/// Returns what is different when a rolling update goes back from its last wave: the release before is at its full size
/// again beside all of the new one.
pub(super) fn way_back(services: &[Replaced]) -> Vec<Starting> {
    let all = services.iter();
    all.flat_map(|one| one.at(one.wanted, |there| there.max(one.wanted)))
        .collect()
}

fn asked_pod(deployment: &Deployment, ranges: &[LimitRange]) -> Option<AskedPod> {
    let pod = deployment.spec.as_ref()?.template.spec.as_ref()?;
    Some(AskedPod::of(pod, ranges))
}
