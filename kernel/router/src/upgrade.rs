//! Tunnels: what a connection becomes after 101.

use std::time::Duration;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio_util::sync::CancellationToken;

use crate::backend::InFlight;

/// Both sides have sent their heads when this begins to count.
const UPGRADE_LIMIT: Duration = Duration::from_secs(10);

/// Passes bytes both ways until one side ends, the drain limit passes or the router stops hard.
/// The tunnel is in flight at its backend all the time.
pub(crate) async fn tunnel(
    client: OnUpgrade,
    backend: OnUpgrade,
    in_flight: InFlight,
    hard: CancellationToken,
) {
    let both = tokio::time::timeout(UPGRADE_LIMIT, futures::future::try_join(client, backend));
    let (client, backend) = match both.await {
        Ok(Ok(upgraded)) => upgraded,
        Ok(Err(error)) => {
            tracing::debug!(%error, "an upgrade did not complete");
            return;
        }
        Err(_) => {
            tracing::debug!(limit = ?UPGRADE_LIMIT, "an upgrade did not complete in time");
            return;
        }
    };
    let (mut client, mut backend) = (TokioIo::new(client), TokioIo::new(backend));
    let cut = in_flight.backend().cut.clone();
    // Cancel safe: whichever arm loses, both connections are closed below.
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut client, &mut backend) => {}
        () = cut.cancelled() => {}
        () = hard.cancelled() => {}
    }
    drop((client, backend));
    drop(in_flight);
}
