//! Switching traffic between releases.

use std::collections::BTreeMap;

use crate::control::Weights;
use crate::error::Error;
use crate::router::{Control, Router, service_state, unknown_release, unknown_service};

impl Router {
    /// Switches weights of several services at once.
    pub(crate) async fn set_weights(&self, wanted: BTreeMap<String, Weights>) -> Result<(), Error> {
        let mut control = self.control.lock().await;
        let mut next = control.state.clone();
        for (service, weights) in &wanted {
            self.check_weights(&control, service, weights)?;
            for release in &mut service_state(&mut next, service)?.releases {
                release.weight = weights.get(&release.name).copied().unwrap_or_default();
            }
        }
        control.commit(next).await?;
        self.shared.table.switch(&wanted);
        for (service, weights) in &wanted {
            self.shared
                .events
                .push("weights-set", Some(service), describe(weights));
        }
        Ok(())
    }

    fn check_weights(
        &self,
        control: &Control,
        service: &str,
        weights: &Weights,
    ) -> Result<(), Error> {
        if !control.state.services.contains_key(service) {
            return Err(unknown_service(service));
        }
        let sum: u32 = weights.values().map(|weight| u32::from(*weight)).sum();
        // No release at all is a state as well: that of a service before its first deployment.
        if sum != 100 && !weights.is_empty() {
            let text = format!("the weights of {service} sum to {sum}, not 100");
            return Err(Error::refused("bad-weights", text));
        }
        for (release, weight) in weights {
            let (known, healthy) = self
                .shared
                .table
                .with(service, |s| {
                    (s.weight(release).is_some(), s.has_healthy(release))
                })
                .unwrap_or_default();
            if !known {
                return Err(unknown_release(service, release));
            }
            if *weight > 0 && !healthy {
                let text = format!(
                    "release {release} of {service} has no healthy instance, so it cannot get {weight} % of the traffic"
                );
                return Err(Error::refused("no-healthy-backend", text));
            }
        }
        let split = weights.values().filter(|weight| **weight > 0).count() > 1;
        let leased = control
            .state
            .lease
            .as_ref()
            .is_some_and(|l| l.stable.contains_key(service));
        if split && !(leased && self.lease_runs()) {
            let text = format!(
                "traffic of {service} can be split only under a lease that names its stable release; take one first"
            );
            return Err(Error::refused("lease-required", text));
        }
        Ok(())
    }
}

fn describe(weights: &Weights) -> String {
    let parts: Vec<_> = weights
        .iter()
        .map(|(release, w)| format!("{release} {w} %"))
        .collect();
    parts.join(", ")
}
