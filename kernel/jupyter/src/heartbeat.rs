//! The heartbeat: whatever comes goes back.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use zeromq::{RepSocket, Socket, SocketRecv, SocketSend};

use crate::connection::Endpoint;
use crate::error::Error;

/// After a fault, so that a lasting one does not take a whole core.
const FAULT_PAUSE: Duration = Duration::from_millis(20);

pub(crate) async fn bind(endpoint: &Endpoint) -> Result<RepSocket, Error> {
    let mut socket = RepSocket::new();
    socket
        .bind(&endpoint.url)
        .await
        .map_err(|source| endpoint.bind_error(source))?;
    Ok(socket)
}

pub(crate) async fn run(mut socket: RepSocket, stop: CancellationToken) {
    loop {
        // A beat that is lost because the kernel ends is the right answer to it.
        let echoed = tokio::select! {
            () = stop.cancelled() => return,
            echoed = echo(&mut socket) => echoed,
        };
        if let Err(error) = echoed {
            tracing::debug!(%error, "a heartbeat was not echoed");
            tokio::time::sleep(FAULT_PAUSE).await;
        }
    }
}

async fn echo(socket: &mut RepSocket) -> Result<(), zeromq::ZmqError> {
    let beat = socket.recv().await?;
    socket.send(beat).await
}
