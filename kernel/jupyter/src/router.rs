//! The request sockets: shell, control and stdin. Each connection has a task of its own; what it reads is
//! verified there, so that only signed messages wait in the kernel, and what it is to be told waits in its own
//! queue, so that a client that does not read delays nobody else.

mod directory;

use std::io::Result as IoResult;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connection::Endpoint;
use crate::error::Error;
use crate::listener::{Attend, listen};
use crate::wire::{Incoming, Wire};
use crate::zmtp::{self, Said};
use directory::{Directory, Entry, Sent};

/// Replies on their way out: one for each request in work, and some.
pub(crate) const QUEUE: usize = 256;
/// Requests between the connections and their owner, who hands them on at once; when it is full, clients wait.
const INCOMING: usize = 64;
/// The largest message: a cell with a picture in it is far smaller.
const MESSAGE_LIMIT: usize = 32 * 1024 * 1024;
/// What is written at once at most.
const BATCH_BYTES: usize = 64 * 1024;

pub(crate) type Replies = mpsc::Sender<Vec<Bytes>>;

/// The reading half: yields messages; what is none is counted where it came in.
pub(crate) struct Receiver {
    incoming: mpsc::Receiver<Incoming>,
}

/// The writing half. When it is dropped, its connections write what is still there and close.
pub(crate) struct Sender {
    directory: Directory,
    channel: &'static str,
}

#[derive(Clone)]
struct Clerk {
    wire: Wire,
    channel: &'static str,
    directory: Directory,
    incoming: mpsc::Sender<Incoming>,
    refused: Arc<AtomicU64>,
    stop: CancellationToken,
}

/// Listens on the endpoint until `stop`.
pub(crate) async fn bind(
    endpoint: &Endpoint,
    wire: &Wire,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<(Receiver, Sender), Error> {
    let channel = endpoint.channel.name();
    let directory = Directory::default();
    let (sender, incoming) = mpsc::channel(INCOMING);
    let clerk = Clerk {
        wire: wire.clone(),
        channel,
        directory: directory.clone(),
        incoming: sender,
        refused: Arc::default(),
        stop: stop.clone(),
    };
    listen(endpoint, tasks, stop, clerk).await?;
    Ok((Receiver { incoming }, Sender { directory, channel }))
}

impl Receiver {
    /// Waits for the next message.
    ///
    /// # Cancel safety
    /// No message is lost when this is dropped.
    pub(crate) async fn next(&mut self) -> Incoming {
        match self.incoming.recv().await {
            Some(incoming) => incoming,
            // Nobody listens any more: the kernel is about to end.
            None => std::future::pending().await,
        }
    }
}

impl Attend for Clerk {
    async fn attend<S>(&self, stream: S) -> IoResult<()>
    where
        S: AsyncRead + AsyncWrite + Send,
    {
        let (input, mut output) = tokio::io::split(stream);
        let mut input = BufReader::new(input);
        let kinds = ["DEALER", "REQ", "ROUTER"];
        let peer = tokio::select! {
            () = self.stop.cancelled() => return Ok(()),
            peer = zmtp::greet(&mut input, &mut output, "ROUTER", &kinds) => peer?,
        };
        let Some((entry, mut outbox)) = self.directory.enter(peer.identity) else {
            return Ok(());
        };
        let ended = tokio::select! {
            () = entry.cut.cancelled() => Ok(()),
            read = self.read(&entry, &mut input) => read,
            written = write(&mut outbox, &mut output) => written,
        };
        self.directory.leave(&entry);
        ended
    }
}

impl Clerk {
    async fn read(&self, entry: &Entry, input: &mut (impl AsyncRead + Unpin)) -> IoResult<()> {
        loop {
            let mut frames = match zmtp::read_said(input, MESSAGE_LIMIT).await {
                Ok(Said::Message(frames)) => frames,
                Ok(Said::Ping(context)) => {
                    self.directory.send(&entry.identity, zmtp::pong(&context));
                    continue;
                }
                Ok(Said::Other) => continue,
                Err(error) => {
                    if error.kind() == std::io::ErrorKind::InvalidData {
                        self.refuse(&error);
                    }
                    return Err(error);
                }
            };
            frames.insert(0, entry.identity.clone());
            match self.wire.decode(frames) {
                // Where nobody takes it any more, the kernel ends.
                Ok(incoming) => drop(self.incoming.send(incoming).await),
                Err(error) => self.refuse(&error),
            }
        }
    }

    fn refuse(&self, error: &dyn std::error::Error) {
        let refused = self.refused.fetch_add(1, Ordering::Relaxed) + 1;
        tracing::warn!(channel = self.channel, refused, %error, "refused a message");
    }
}

/// Writes what comes until the queue is closed and empty.
async fn write(
    outbox: &mut mpsc::Receiver<Bytes>,
    output: &mut (impl AsyncWrite + Unpin),
) -> IoResult<()> {
    let mut batch = BytesMut::new();
    while let Some(first) = outbox.recv().await {
        batch.extend_from_slice(&first);
        while batch.len() < BATCH_BYTES
            && let Ok(next) = outbox.try_recv()
        {
            batch.extend_from_slice(&next);
        }
        output.write_all(&batch).await?;
        output.flush().await?;
        // What one long reply took is not kept for the next ones.
        batch = BytesMut::new();
    }
    output.shutdown().await
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
            self.send(&frames);
        }
    }

    /// Returns what is told whenever a client leaves.
    pub(crate) fn departures(&self) -> watch::Receiver<()> {
        self.directory.departures()
    }

    /// Returns whether a client is there.
    pub(crate) fn has(&self, identity: &Bytes) -> bool {
        self.directory.has(identity)
    }

    /// Puts a message into the queue of the client that its first frame names. Never waits.
    pub(crate) fn send(&mut self, frames: &[Bytes]) {
        let Some((identity, rest)) = frames.split_first() else {
            return;
        };
        let channel = self.channel;
        match self.directory.send(identity, zmtp::message(rest)) {
            Sent::Queued => {}
            Sent::Gone => tracing::info!(channel, "a reply has no receiver any more"),
            Sent::Full => tracing::warn!(
                channel,
                limit = directory::OUTBOX,
                "a client does not read replies and is disconnected; it can connect again"
            ),
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.directory.close();
    }
}
