//! Events of the cluster about what a run does, so that `kubectl describe service` shows it.

use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use kube::Resource as _;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};

use super::KubernetesTarget;
use super::objects::MANAGER;

/// How long telling may take: nothing depends on it.
const LIMIT: Duration = Duration::from_secs(5);

/// The longest note that a cluster takes, in bytes.
const LONGEST: usize = 1024;

/// What is told.
#[derive(Debug, Clone, Copy)]
pub enum Told {
    Started,
    Stopped,
    Led,
}

impl Told {
    /// Returns the reason, as the cluster's own events have it.
    fn reason(self) -> &'static str {
        match self {
            Self::Started => "ReleaseStarted",
            Self::Stopped => "ReleaseStopped",
            Self::Led => "TrafficMoved",
        }
    }

    fn action(self) -> &'static str {
        match self {
            Self::Started => "Start",
            Self::Stopped => "Stop",
            Self::Led => "MoveTraffic",
        }
    }
}

impl KubernetesTarget {
    /// Leaves an Event at the Service of a service. An account that may not, and a cluster that does not
    /// answer, keep nothing from being done.
    pub(super) async fn tell(&self, service: &str, told: Told, mut note: String) {
        note.truncate(note.floor_char_boundary(LONGEST));
        let published = tokio::time::timeout(LIMIT, self.publish(service, told, note)).await;
        match published {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(service, %error, "the cluster took no event"),
            Err(_) => tracing::debug!(service, "the cluster took no event in time"),
        }
    }

    async fn publish(&self, service: &str, told: Told, note: String) -> kube::Result<()> {
        let Ok(connection) = self.cluster.connect().await else {
            return Ok(());
        };
        let Some(found) = connection.all::<Service>().get_opt(service).await? else {
            return Ok(());
        };
        let host = rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned();
        let reporter = Reporter {
            controller: MANAGER.to_owned(),
            instance: Some(host),
        };
        let event = Event {
            type_: EventType::Normal,
            reason: told.reason().to_owned(),
            note: Some(note),
            action: told.action().to_owned(),
            secondary: None,
        };
        let recorder = Recorder::new(connection.client(), reporter);
        recorder.publish(&event, &found.object_ref(&())).await
    }
}
