//! What the engine says of a container while it is waited for.

use std::collections::HashMap;
use std::time::Duration;

use bollard::errors::Error;
use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptionsBuilder;
use code_deploy_record::{Clock as _, SystemClock};
use futures::StreamExt as _;
use futures::stream::BoxStream;

use super::engine::Engine;

/// What may change whether an instance counts as started.
const TELLING: [&str; 4] = ["die", "health_status", "oom", "start"];

/// The engine's events of one container.
pub struct Told {
    events: Option<BoxStream<'static, Result<EventMessage, Error>>>,
}

impl Told {
    /// Listens from now on.
    pub async fn of(engine: &Engine, id: &str) -> Self {
        let since = SystemClock.now().format("%s.%9f").to_string();
        let filters = HashMap::from([("container", vec![id]), ("event", TELLING.to_vec())]);
        let options = EventsOptionsBuilder::default()
            .since(&since)
            .filters(&filters)
            .build();
        let docker = engine.docker().await.ok();
        let events = docker.map(|docker| docker.events(Some(options)).boxed());
        Self { events }
    }

    /// Returns when the engine has said something, at the latest after the pause: an engine that was restarted
    /// says nothing more here.
    ///
    /// # Cancel safety
    /// Nothing is lost where this is dropped.
    pub async fn something(&mut self, pause: Duration) {
        let Some(events) = &mut self.events else {
            return tokio::time::sleep(pause).await;
        };
        let told = tokio::time::timeout(pause, events.next()).await;
        if !matches!(told, Ok(Some(Ok(_))) | Err(_)) {
            self.events = None;
            tokio::time::sleep(pause).await;
        }
    }
}
