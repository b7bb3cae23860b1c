//! What stopping instances has in common, wherever they run.

use std::collections::BTreeMap;
use std::future::Future;

use code_deploy_engine::target::{Stopped, TargetError};
use code_deploy_record::Release;
use futures::future::try_join_all;

/// Returns those with the highest numbers, so that as many are left as `replicas` says. The
/// instances come in the order of their numbers.
pub fn surplus<T>(mut instances: Vec<T>, replicas: u32) -> Vec<T> {
    let keep = usize::try_from(replicas).unwrap_or(usize::MAX);
    instances.split_off(keep.min(instances.len()))
}

/// Ends all instances side by side. `end` ends those of one service's release and returns of each
/// whether it had to be made to.
pub async fn end_releases<T, F>(
    instances: impl IntoIterator<Item = ((String, Release), T)>,
    end: impl Fn(Vec<T>) -> F,
) -> Result<Vec<Stopped>, TargetError>
where
    F: Future<Output = Result<Vec<bool>, TargetError>>,
{
    let mut releases: BTreeMap<(String, Release), Vec<T>> = BTreeMap::new();
    for (of, instance) in instances {
        releases.entry(of).or_default().push(instance);
    }
    let stops = releases.into_iter().map(|((service, release), instances)| {
        let ended = end(instances);
        async move { Ok(stopped(&service, &release, &ended.await?, 0)) }
    });
    try_join_all(stops).await
}

/// Returns what stopping gave: of each instance whether it had to be made to end, and how many
/// requests were cut off.
pub fn stopped(service: &str, release: &Release, forced: &[bool], cut: u64) -> Stopped {
    let count = |wanted: bool| {
        let count = forced.iter().filter(|forced| **forced == wanted).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    };
    Stopped {
        service: service.to_owned(),
        release: release.clone(),
        ended: count(false),
        forced: count(true),
        cut,
    }
}
