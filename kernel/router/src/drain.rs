//! Taking releases and instances out of use without losing a request.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::backend::Backend;
use crate::control::Drained;
use crate::error::Error;
use crate::router::{Router, service_state, unknown_release, unknown_service};

/// How long requests that were cut may take to end.
const CUT_LIMIT: Duration = Duration::from_secs(1);
/// How long requests to an instance may go on that has moved to another address.
const MOVED_LIMIT: Duration = Duration::from_secs(30);

impl Router {
    /// Takes a release out of use and waits for its requests.
    pub(crate) async fn remove_release(
        &self,
        service: &str,
        release: &str,
        limit: Duration,
    ) -> Result<Drained, Error> {
        let mut control = self.control.lock().await;
        let weight = self.shared.table.with(service, |s| s.weight(release));
        let weight = weight.ok_or_else(|| unknown_service(service))?;
        if let Some(weight @ 1..) = weight {
            let text = format!(
                "release {release} of {service} still gets {weight} % of the traffic; set the weights first"
            );
            return Err(Error::refused("has-traffic", text));
        }
        let mut next = control.state.clone();
        service_state(&mut next, service)?
            .releases
            .retain(|other| other.name != release);
        if control
            .state
            .lease
            .as_ref()
            .and_then(|l| l.stable.get(service))
            .is_some_and(|r| r == release)
        {
            let text = format!(
                "release {release} is the stable one that the lease would return {service} to; give up the lease first"
            );
            return Err(Error::refused("held-by-lease", text));
        }
        control.commit(next).await?;
        let gone = self
            .shared
            .table
            .with(service, |s| s.retire_release(release))
            .unwrap_or_default();
        drop(control);
        if weight.is_none() && gone.is_empty() {
            return Err(unknown_release(service, release));
        }
        let drained = self.drain_all(service, &gone, limit).await;
        self.tell(service, &format!("release {release}"), drained);
        Ok(drained)
    }

    /// Takes an instance out of use and waits for its requests.
    pub(crate) async fn drain(
        &self,
        service: &str,
        backend: &str,
        limit: Duration,
    ) -> Result<Drained, Error> {
        let mut control = self.control.lock().await;
        let mut next = control.state.clone();
        for release in &mut service_state(&mut next, service)?.releases {
            let before = release.backends.len();
            release.backends.retain(|other| other.id != backend);
            let last = before > release.backends.len()
                && !self.others_healthy(service, &release.name, backend);
            if last && release.weight > 0 {
                let text = format!(
                    "{backend} is the last healthy instance of {} of {service}, which gets {} % of the traffic",
                    release.name, release.weight
                );
                return Err(Error::refused("last-instance", text));
            }
        }
        control.commit(next).await?;
        let gone = self
            .shared
            .table
            .with(service, |s| s.retire_backend(backend))
            .flatten();
        drop(control);
        let Some(gone) = gone else {
            let text = format!("service {service} has no instance {backend}");
            return Err(Error::refused("no-such-instance", text));
        };
        let drained = self.drain_all(service, &[gone], limit).await;
        self.tell(service, &format!("instance {backend}"), drained);
        Ok(drained)
    }

    /// Stops listening for a service, and waits for its requests.
    pub(crate) async fn remove_service(
        &self,
        service: &str,
        limit: Duration,
    ) -> Result<Drained, Error> {
        let mut control = self.control.lock().await;
        let mut next = control.state.clone();
        if next.services.remove(service).is_none() {
            return Err(unknown_service(service));
        }
        if let Some(lease) = &mut next.lease {
            lease.stable.remove(service);
        }
        control.commit(next).await?;
        if let Some(listener) = control.listeners.remove(service) {
            self.stop_listening(&listener).await;
        }
        let gone = self
            .shared
            .table
            .with(service, |s| s.retire_all())
            .unwrap_or_default();
        drop(control);
        let drained = self.drain_all(service, &gone, limit).await;
        self.tell(service, "the service", drained);
        Ok(drained)
    }

    fn others_healthy(&self, service: &str, release: &str, but: &str) -> bool {
        let backends = self
            .shared
            .table
            .with(service, |s| s.backends(release))
            .flatten();
        backends
            .unwrap_or_default()
            .iter()
            .any(|b| &*b.id != but && b.is_healthy())
    }

    /// Lets the requests of an instance that has moved end, behind the back of the caller.
    pub(crate) fn drain_behind(self: &Arc<Self>, service: &str, backend: Arc<Backend>) {
        let (router, service) = (Arc::clone(self), service.to_owned());
        self.shared.work.spawn(async move {
            let drained = router
                .drain_all(&service, &[Arc::clone(&backend)], MOVED_LIMIT)
                .await;
            router.tell(&service, &format!("instance {}", backend.id), drained);
        });
    }

    /// Waits for the requests of instances that the table no longer offers, and cuts those that go
    /// on after the limit.
    async fn drain_all(&self, service: &str, gone: &[Arc<Backend>], limit: Duration) -> Drained {
        let began = Instant::now();
        let in_flight_at_start = gone.iter().map(|backend| backend.in_flight()).sum();
        gone.iter().for_each(|backend| backend.retire());
        let waits = gone.iter().map(|backend| backend.wait_idle(limit));
        let cut = futures::future::join_all(waits).await.into_iter().sum();
        if cut > 0 {
            gone.iter().for_each(|backend| backend.cut.cancel());
            let ends = gone.iter().map(|backend| backend.wait_idle(CUT_LIMIT));
            futures::future::join_all(ends).await;
        }
        self.shared.table.with(service, |s| {
            gone.iter().for_each(|backend| s.forget(backend))
        });
        let waited_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Drained {
            in_flight_at_start,
            cut,
            waited_ms,
        }
    }

    fn tell(&self, service: &str, what: &str, drained: Drained) {
        let Drained {
            in_flight_at_start,
            cut,
            waited_ms,
        } = drained;
        let text = format!("{what}: {in_flight_at_start} in flight, {cut} cut, {waited_ms} ms");
        self.shared.events.push("drained", Some(service), text);
    }
}
