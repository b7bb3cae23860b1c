//! Tunnels: what a connection becomes after 101.

use std::time::Duration;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

use crate::backend::InFlight;

/// Both sides have sent their heads when this begins to count.
const UPGRADE_LIMIT: Duration = Duration::from_secs(10);

/// How long the other side may go on once one has ended: its last bytes are on their way, but a
/// peer that never closes must not keep a drain waiting.
const HALF_CLOSED_LIMIT: Duration = Duration::from_secs(5);

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
    let (from_client, to_client) = tokio::io::split(TokioIo::new(client));
    let (from_backend, to_backend) = tokio::io::split(TokioIo::new(backend));
    let cut = in_flight.backend().cut.clone();
    // Cancel safe: whichever arm loses, both connections are closed with this future.
    tokio::select! {
        () = both_ways(pass(from_client, to_backend), pass(from_backend, to_client)) => {}
        () = cut.cancelled() => {}
        () = hard.cancelled() => {}
    }
}

/// Passes bytes one way, then the end; returns whether it came to that.
async fn pass(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> bool {
    tokio::io::copy(&mut from, &mut to).await.is_ok() && to.shutdown().await.is_ok()
}

async fn both_ways(one: impl Future<Output = bool>, other: impl Future<Output = bool>) {
    use futures::future::{Either, select};
    let (one, other) = (std::pin::pin!(one), std::pin::pin!(other));
    let (ended, rest) = match select(one, other).await {
        Either::Left((ended, rest)) => (ended, Either::Left(rest)),
        Either::Right((ended, rest)) => (ended, Either::Right(rest)),
    };
    if ended && tokio::time::timeout(HALF_CLOSED_LIMIT, rest).await.is_err() {
        tracing::debug!(limit = ?HALF_CLOSED_LIMIT, "a half-closed tunnel was closed");
    }
}
