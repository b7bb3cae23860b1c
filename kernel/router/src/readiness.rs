//! Waiting for a release to become healthy.

use std::sync::Arc;
use std::time::Duration;

use crate::backend::Backend;
use crate::error::Error;
use crate::health::HealthStatus;
use crate::router::{Router, unknown_release, unknown_service};

impl Router {
    /// Waits until every instance of a release is healthy.
    pub(crate) async fn wait_healthy(
        &self,
        service: &str,
        release: &str,
        limit: Duration,
    ) -> Result<(), Error> {
        let healthy = async {
            loop {
                let mut changed = std::pin::pin!(self.shared.health_changed.notified());
                changed.as_mut().enable();
                let backends = self.backends(service, release)?;
                if !backends.is_empty() && backends.iter().all(|backend| backend.is_healthy()) {
                    return Ok(());
                }
                changed.await;
            }
        };
        match tokio::time::timeout(limit, healthy).await {
            Ok(result) => result,
            Err(_) => Err(self.not_healthy(service, release, limit)),
        }
    }

    fn backends(&self, service: &str, release: &str) -> Result<Vec<Arc<Backend>>, Error> {
        match self.shared.table.with(service, |s| s.backends(release)) {
            None => Err(unknown_service(service)),
            Some(None) => Err(unknown_release(service, release)),
            Some(Some(backends)) => Ok(backends),
        }
    }

    fn not_healthy(&self, service: &str, release: &str, limit: Duration) -> Error {
        let mut text = format!("release {release} of {service} is not healthy after {limit:?}");
        for backend in self.backends(service, release).unwrap_or_default() {
            let status = backend.status();
            let why = status
                .last_check_error
                .unwrap_or_else(|| "not yet checked enough".to_owned());
            if status.health != HealthStatus::Healthy {
                text = format!("{text}; instance {}: {why}", status.id);
            }
        }
        Error::refused("not-healthy", text)
    }
}
