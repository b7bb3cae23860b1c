//! The publishing socket, iopub: ours, because what others do with a reader that stalls loses outputs
//! (libzmq drops at 1,000 messages a reader, the `zeromq` crate at 100,000, the `idle` included, and neither
//! lets a publisher slow down for a reader that is merely slow).
//!
//! Here each reader has a mailbox and a writer of its own. A reader that keeps reading slows the publisher
//! down when its mailbox is full; one that stalls is waited for once, briefly, then delays only itself: what can be
//! left out (stream text, intermediate states of a live display) is left out while its mailbox is full, the rest is
//! kept up to a hard limit, at which it is disconnected.

mod mailbox;
mod zmtp;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connection::{Address, Endpoint};
use crate::error::Error;
use mailbox::{Mailbox, Offer};

/// A reader that cannot take the greeting in this time is not a client.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// Readers at once: pages, consoles and tools on one kernel; more is a fault of the clients.
const READERS_LIMIT: usize = 256;

/// What becomes of a message whose reader has stalled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weight {
    /// Kept: results, errors, displays, states.
    Kept,
    /// Left out while the mailbox is full: stream text, intermediate states of a live display.
    Passing,
}

/// What a new subscription is answered with (`iopub_welcome`).
pub(crate) type Welcome = Arc<dyn Fn(&[u8]) -> Vec<Bytes> + Send + Sync>;

/// What a reader is told in place of a message that was left out.
pub(crate) type Notice<'a> = &'a (dyn Fn() -> Vec<Bytes> + Sync);

#[derive(Clone)]
pub(crate) struct Publisher {
    readers: Arc<Mutex<Vec<Arc<Mailbox>>>>,
}

struct Acceptor {
    publisher: Publisher,
    welcome: Welcome,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Publisher {
    /// Listens on the endpoint until `stop`.
    pub(crate) async fn bind(
        endpoint: &Endpoint,
        welcome: Welcome,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Result<Self, Error> {
        let publisher = Self {
            readers: Arc::default(),
        };
        let acceptor = Acceptor {
            publisher: publisher.clone(),
            welcome,
            tasks: tasks.clone(),
            stop: stop.clone(),
        };
        match &endpoint.address {
            Address::Tcp { host, port } => {
                let listener = TcpListener::bind((host.as_str(), *port)).await;
                let listener = listener.map_err(|source| endpoint.bind_error(source))?;
                tasks.spawn(acceptor.accept_tcp(listener));
            }
            Address::Ipc { path } => {
                let listener =
                    UnixListener::bind(path).map_err(|source| endpoint.bind_error(source))?;
                tasks.spawn(acceptor.accept_unix(listener));
            }
        }
        Ok(publisher)
    }

    /// Puts a message into the mailbox of every reader that subscribed to its topic.
    ///
    /// # Cancel safety
    /// Some readers may have it and others not when this is dropped.
    pub(crate) async fn publish(
        &self,
        frames: &[Bytes],
        weight: Weight,
        notice: Option<Notice<'_>>,
    ) {
        let topic = frames.first().cloned().unwrap_or_default();
        let readers: Vec<_> = self.lock().clone();
        if readers.is_empty() {
            return;
        }
        let message = zmtp::message(frames);
        for reader in readers.iter().filter(|reader| reader.wants(&topic)) {
            if !deliver(reader, &message, weight, notice).await {
                tracing::warn!(
                    limit_bytes = mailbox::HARD_BYTES,
                    "a reader of iopub stopped reading and is disconnected; it can connect again"
                );
                self.remove(reader);
            }
        }
    }

    /// Waits until every reader has everything, or `limit` has passed.
    pub(crate) async fn drain(&self, limit: Duration) {
        let readers: Vec<_> = self.lock().clone();
        let all = async {
            for reader in &readers {
                reader.empty().await;
            }
        };
        if tokio::time::timeout(limit, all).await.is_err() {
            tracing::warn!(
                ?limit,
                "a reader of iopub did not take the last messages in time"
            );
        }
    }

    fn add(&self, reader: Arc<Mailbox>) -> bool {
        let mut readers = self.lock();
        let room = readers.len() < READERS_LIMIT;
        if room {
            readers.push(reader);
        }
        room
    }

    fn remove(&self, reader: &Arc<Mailbox>) {
        reader.close();
        self.lock().retain(|other| !Arc::ptr_eq(other, reader));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Mailbox>>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns false where the reader is beyond help.
async fn deliver(
    reader: &Mailbox,
    message: &Bytes,
    weight: Weight,
    notice: Option<Notice<'_>>,
) -> bool {
    loop {
        match reader.offer(message, weight, Instant::now()) {
            Offer::Taken => return true,
            Offer::LeftOut => {
                if let Some(notice) = notice {
                    reader.explain(|| zmtp::message(&notice()));
                }
                return true;
            }
            Offer::Refused => return false,
            Offer::Wait(limit) => reader.moved(limit).await,
        }
    }
}

impl Acceptor {
    async fn accept_tcp(self, listener: TcpListener) {
        loop {
            let accepted = tokio::select! {
                () = self.stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "a reader of iopub keeps Nagle's delay");
                    }
                    self.attend(stream);
                }
                Err(error) => self.pause(&error).await,
            }
        }
    }

    async fn accept_unix(self, listener: UnixListener) {
        loop {
            let accepted = tokio::select! {
                () = self.stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => self.attend(stream),
                Err(error) => self.pause(&error).await,
            }
        }
    }

    /// Out of file descriptors and the like: later connections may work again.
    async fn pause(&self, error: &std::io::Error) {
        tracing::warn!(%error, "iopub cannot accept a connection");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    fn attend<S>(&self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (publisher, welcome) = (self.publisher.clone(), Arc::clone(&self.welcome));
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            let served = tokio::select! {
                () = stop.cancelled() => Ok(()),
                served = serve_reader(&publisher, &welcome, stream) => served,
            };
            if let Err(error) = served {
                tracing::debug!(%error, "a reader of iopub left");
            }
        });
    }
}

async fn serve_reader<S>(publisher: &Publisher, welcome: &Welcome, stream: S) -> std::io::Result<()>
where
    S: AsyncRead + AsyncWrite + Send,
{
    let (mut input, mut output) = tokio::io::split(stream);
    let greeted = tokio::time::timeout(HANDSHAKE_LIMIT, zmtp::greet(&mut input, &mut output)).await;
    greeted.map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))??;
    let mailbox = Arc::new(Mailbox::default());
    if !publisher.add(Arc::clone(&mailbox)) {
        return Err(std::io::Error::other("too many readers"));
    }
    let served = tokio::select! {
        read = read_subscriptions(&mailbox, welcome, &mut input) => read,
        written = write_messages(&mailbox, &mut output) => written,
    };
    publisher.remove(&mailbox);
    served
}

async fn read_subscriptions(
    mailbox: &Mailbox,
    welcome: &Welcome,
    input: &mut (impl AsyncRead + Unpin),
) -> std::io::Result<()> {
    loop {
        match zmtp::read_request(input).await? {
            zmtp::Request::Subscribe(topic) => {
                mailbox.subscribe(&topic);
                let message = zmtp::message(&welcome(&topic));
                mailbox.offer(&message, Weight::Kept, Instant::now());
            }
            zmtp::Request::Cancel(topic) => mailbox.cancel(&topic),
            zmtp::Request::Ping(context) => {
                mailbox.offer(&zmtp::pong(&context), Weight::Kept, Instant::now());
            }
            zmtp::Request::Other => {}
        }
    }
}

async fn write_messages(
    mailbox: &Mailbox,
    output: &mut (impl AsyncWrite + Unpin),
) -> std::io::Result<()> {
    while let Some(mut batch) = mailbox.next_batch().await {
        while !batch.is_empty() {
            output.write_buf(&mut batch).await?;
            mailbox.progressed();
        }
        output.flush().await?;
        mailbox.delivered();
    }
    Ok(())
}
