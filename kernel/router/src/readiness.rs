//! Waiting for a release to become healthy.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::backend::Backend;
use crate::error::Error;
use crate::health::HealthStatus;
use crate::router::{Router, unknown_release, unknown_service};

impl Router {
    /// Waits until every instance of a release is healthy, and the breaker of one at least lets requests
    /// through: after all have failed, health alone would lead users to nobody.
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
                match opens_in(&self.backends(service, release)?) {
                    None => changed.await,
                    Some(Duration::ZERO) => return Ok(()),
                    // Health that changes meanwhile is looked at again at once.
                    Some(opens_in) => drop(tokio::time::timeout(opens_in, changed).await),
                }
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

/// Returns how long it takes until a breaker lets requests through, when all are healthy.
fn opens_in(backends: &[Arc<Backend>]) -> Option<Duration> {
    let now = Instant::now();
    let healthy = backends.iter().all(|backend| backend.is_healthy());
    let opens_in = backends.iter().map(|backend| backend.opens_in(now));
    opens_in.min().filter(|_| healthy)
}
