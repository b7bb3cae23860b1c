//! The request sockets: shell, control and stdin. Each is bound once, read by its owner and written by one task.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use zeromq::{
    RouterRecvHalf, RouterSendHalf, RouterSocket, Socket, SocketRecv, SocketSend, ZmqMessage,
};

use crate::connection::Endpoint;
use crate::error::Error;
use crate::wire::{Incoming, Wire};

/// Replies on their way out: one for each request in work, and some.
pub(crate) const QUEUE: usize = 256;
/// How long a client with a full queue may hold up the replies to others.
const SEND_LIMIT: Duration = Duration::from_secs(5);
/// After a fault of the socket itself, so that a lasting one does not take a whole core.
const FAULT_PAUSE: Duration = Duration::from_millis(20);

pub(crate) type Replies = mpsc::Sender<Vec<Bytes>>;

/// The reading half: yields messages, counts what is none.
pub(crate) struct Receiver {
    half: RouterRecvHalf,
    wire: Wire,
    channel: &'static str,
    refused: u64,
}

/// The writing half.
pub(crate) struct Sender {
    half: RouterSendHalf,
    channel: &'static str,
}

pub(crate) async fn bind(endpoint: &Endpoint, wire: &Wire) -> Result<(Receiver, Sender), Error> {
    let mut socket = RouterSocket::new();
    socket
        .bind(&endpoint.url)
        .await
        .map_err(|source| endpoint.bind_error(source))?;
    let (send, receive) = socket.split();
    let channel = endpoint.channel.name();
    let receiver = Receiver {
        half: receive,
        wire: wire.clone(),
        channel,
        refused: 0,
    };
    Ok((
        receiver,
        Sender {
            half: send,
            channel,
        },
    ))
}

impl Receiver {
    /// Waits for the next message. Frames that are no message, or are badly signed, are logged, counted and
    /// survived.
    ///
    /// # Cancel safety
    /// No message is lost when this is dropped.
    pub(crate) async fn next(&mut self) -> Incoming {
        loop {
            match self.half.recv().await {
                Ok(message) => match self.wire.decode(message.into_vec()) {
                    Ok(incoming) => return incoming,
                    Err(error) => {
                        self.refused += 1;
                        let (channel, refused) = (self.channel, self.refused);
                        tracing::warn!(channel, refused, %error, "refused a message");
                    }
                },
                Err(error) => {
                    tracing::warn!(channel = self.channel, %error, "the socket met an error");
                    tokio::time::sleep(FAULT_PAUSE).await;
                }
            }
        }
    }
}

impl Sender {
    /// Sends what comes until `stop`, and then what is still there.
    pub(crate) async fn run(
        mut self,
        mut queue: mpsc::Receiver<Vec<Bytes>>,
        stop: CancellationToken,
    ) {
        loop {
            // Both arms only wait: a message that was received is sent below.
            let frames = tokio::select! {
                biased;
                frames = queue.recv() => frames,
                () = stop.cancelled() => queue.try_recv().ok(),
            };
            let Some(frames) = frames else { return };
            self.send(frames).await;
        }
    }

    pub(crate) async fn send(&mut self, frames: Vec<Bytes>) {
        let Ok(message) = ZmqMessage::try_from(frames) else {
            return;
        };
        let channel = self.channel;
        match tokio::time::timeout(SEND_LIMIT, self.half.send(message)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::info!(channel, %error, "a reply has no receiver any more"),
            Err(_) => {
                tracing::warn!(channel, limit = ?SEND_LIMIT, "a client does not read replies")
            }
        }
    }
}
