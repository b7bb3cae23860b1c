//! Until every node has followed a move of traffic.
//!
//! A move is done for the cluster when the endpoints of a Service are the pods that it is to lead to. Each node follows
//! them on its own, and the API says of none when it has. Nothing is lost meanwhile, as long as the pods that a node
//! still leads to answer. So a move does not wait for nodes; what would hurt does:
//!
//! - Pods are asked to end only when nodes had time to follow, counted from when the endpoints were seen to have
//!   changed, or when each of their processes goes on for as long by itself (`preStop`) and no route of a Gateway leads
//!   to them: a proxy may keep to an old route for longer than to old endpoints. Either way a process is asked
//!   to end no earlier than [`NODES`] after nobody was to be led to it any more, however the time between was spent.
//! - Marks of a split that is over are taken off no earlier than that either: what holds a Service's selector from
//!   before would find no pod. Whether it is over the Service itself says then: a runner of another machine may have
//!   begun the next one.
//! - Another process may have moved traffic until this one got hold of the place, so that counts as a move.
//! - Who judges requests, or measures a move, asks for how long to wait (`Target::unsettled`).

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use code_deploy_engine::target::TargetError;
use k8s_openapi::api::core::v1::Service;
use tokio::time::Instant;

use super::KubernetesTarget;
use super::manifest::Leads;
use super::store::Known;
use super::traffic::mark;
use crate::lock::ChangeLock;

/// How long every node may take to follow the endpoints. Nodes gather changes for up to a second, unless they are set
/// to another time (`minSyncPeriod` of kube-proxy).
const NODES: Duration = Duration::from_secs(3);

/// When this process moved traffic last, and what that left to do.
#[derive(Debug, Default)]
pub(super) struct Moves(Mutex<Last>);

#[derive(Debug, Default)]
struct Last {
    at: Option<Instant>,
    /// The services whose pods have marks of a split that is over.
    marked: BTreeSet<String>,
}

impl Moves {
    /// Notes that a Service leads elsewhere from now on, and whether its pods have marks that lead nobody any more.
    pub(super) fn now(&self, service: &str, is_over: bool) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.at = Some(Instant::now());
        if is_over {
            last.marked.insert(service.to_owned());
        } else {
            last.marked.remove(service);
        }
    }

    /// Notes that traffic may have been moved until now: by a route, or by another process.
    pub(super) fn noted(&self) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.at = Some(Instant::now());
    }

    /// Returns for how long yet nodes may lead as before the last move. What another process moved it moved before
    /// `made`, where the place was never held.
    fn left(&self, made: Instant) -> Duration {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = last.at.map_or(made, |at| at.max(made));
        (since + NODES).saturating_duration_since(Instant::now())
    }

    fn marked(&self) -> BTreeSet<String> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.marked.clone()
    }

    /// Notes that nothing is left to do about the marks of a service's pods.
    fn are_settled(&self, service: &str) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.marked.remove(service);
    }
}

impl KubernetesTarget {
    /// Returns for how long yet a node may lead somebody as before the last move of traffic.
    pub(super) fn still_following(&self) -> Duration {
        self.moves.left(self.made)
    }

    /// Waits until pods of a service can be asked to end that no Service leads to any more.
    pub(super) async fn until_followed(&self, service: &str, going: &[Known]) {
        if self.route_is_wanted(service) || !go_on_long_enough(going) {
            tokio::time::sleep(self.still_following()).await;
        }
    }

    /// Takes the marks of splits that are over from pods, where every node has followed. Marks that stay, because that
    /// cannot be done or this process ends before, lead nobody: the Service selects a release by then, and the next
    /// split says of each pod whether it is marked.
    pub(super) async fn clear_marks(&self) {
        if !self.still_following().is_zero() {
            return;
        }
        if let Err(error) = self.take_marks_off().await {
            tracing::warn!(%error, "marks of a split that is over are left");
        }
    }

    async fn take_marks_off(&self) -> Result<(), TargetError> {
        if self.moves.marked().is_empty() {
            return Ok(());
        }
        let _change = ChangeLock::of(&self.root, "traffic", "traffic.lock").await?;
        let mut failed = None;
        for service in self.moves.marked() {
            match self.unmark(&service).await {
                Ok(()) => self.moves.are_settled(&service),
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Takes the marks from the pods of a service, unless its Service leads to what is marked now.
    async fn unmark(&self, service: &str) -> Result<(), TargetError> {
        let connection = self.cluster.connect().await?;
        let pods = self.pods().await?;
        let found = connection.ours::<Service>(&self.names, service, service);
        let found = found.await?;
        if found.is_some_and(|found| Leads::of(&found) == Leads::Split) {
            return Ok(());
        }
        mark(connection, service, &BTreeSet::new(), &pods).await
    }
}

/// Returns whether each process goes on, after its pod was asked to end, for as long as nodes may lead to it.
fn go_on_long_enough(going: &[Known]) -> bool {
    going.iter().all(|pod| pod.pause >= NODES)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;

    use super::*;
    use crate::kubernetes::names;

    /// Returns pods that pause for so many seconds each before they end.
    fn pausing(seconds: &[u64]) -> Vec<Known> {
        let known = seconds.iter().map(|seconds| {
            let pod = json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {
                    "name": "api-1-0-0-abc", "labels": { names::SERVICE: "api" },
                    "annotations": { names::RELEASE: "1.0.0" },
                },
                "spec": {
                    "terminationGracePeriodSeconds": 30,
                    "containers": [{ "name": "api", "lifecycle": { "preStop": { "sleep": { "seconds": seconds } } } }],
                },
            });
            Known::of(&serde_json::from_value::<Pod>(pod).unwrap()).unwrap()
        });
        known.collect()
    }

    #[test]
    fn nodes_have_their_time_after_the_last_move_of_any_process() {
        let moves = Moves::default();
        let now = Instant::now();
        assert!(!moves.left(now).is_zero());
        let before = now.checked_sub(NODES).unwrap();
        assert_eq!(moves.left(before), Duration::ZERO);
        moves.now("api", false);
        assert!(!moves.left(before).is_zero());
        let held = Moves::default();
        held.noted();
        assert!(!held.left(before).is_zero());
    }

    #[test]
    fn marks_that_are_used_again_are_not_over() {
        let moves = Moves::default();
        moves.now("api", true);
        moves.now("web", true);
        moves.now("web", false);
        assert_eq!(moves.marked(), BTreeSet::from(["api".to_owned()]));
        moves.are_settled("api");
        assert!(moves.marked().is_empty());
    }

    #[test]
    fn nobody_waits_for_pods_that_go_on_for_as_long_by_themselves() {
        assert!(go_on_long_enough(&pausing(&[5, 3])));
        assert!(!go_on_long_enough(&pausing(&[5, 2])));
        assert!(!go_on_long_enough(&pausing(&[0])));
        assert!(go_on_long_enough(&[]));
    }
}
