//! The publishing socket, iopub: ours, because what others do with a reader that stalls loses outputs
//! (libzmq drops at 1,000 messages a reader, the `zeromq` crate at 100,000, the `idle` included, and neither
//! lets a publisher slow down for a reader that is merely slow).
//!
//! Here each reader has a mailbox and a writer of its own. A reader that keeps reading slows the publisher
//! down when its mailbox is full; one that stalls or trickles is waited for once, briefly, then delays only itself: what
//! can be left out (stream text, intermediate states of a live display) is left out while its mailbox is full, the rest is
//! kept up to a hard limit, at which it is disconnected. The next cell says so: nobody can be told who is not there.

mod mailbox;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connection::Endpoint;
use crate::error::Error;
use crate::listener::{Attend, listen};
use crate::zmtp;
use mailbox::{Mailbox, Offer};

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
    /// Whether a reader was disconnected since that was asked last.
    has_cut: Arc<AtomicBool>,
}

#[derive(Clone)]
struct Acceptor {
    publisher: Publisher,
    welcome: Welcome,
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
            has_cut: Arc::default(),
        };
        let acceptor = Acceptor {
            publisher: publisher.clone(),
            welcome,
            stop: stop.clone(),
        };
        listen(endpoint, tasks, stop, acceptor).await?;
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
                self.has_cut.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Returns whether a reader that had stopped reading was disconnected since this was asked last.
    pub(crate) fn has_cut(&self) -> bool {
        self.has_cut.swap(false, Ordering::Relaxed)
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

    fn add(&self, reader: Arc<Mailbox>) {
        self.lock().push(reader);
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

impl Attend for Acceptor {
    async fn attend<S>(&self, stream: S) -> std::io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Send,
    {
        tokio::select! {
            () = self.stop.cancelled() => Ok(()),
            served = serve_reader(&self.publisher, &self.welcome, stream) => served,
        }
    }
}

async fn serve_reader<S>(publisher: &Publisher, welcome: &Welcome, stream: S) -> std::io::Result<()>
where
    S: AsyncRead + AsyncWrite + Send,
{
    let (mut input, mut output) = tokio::io::split(stream);
    zmtp::greet(&mut input, &mut output, "XPUB", &["SUB", "XSUB"]).await?;
    let mailbox = Arc::new(Mailbox::default());
    publisher.add(Arc::clone(&mailbox));
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
                if !mailbox.subscribe(&topic) {
                    return Err(std::io::Error::other("too many subscriptions"));
                }
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
            let bytes = output.write_buf(&mut batch).await?;
            mailbox.progressed(bytes, Instant::now());
        }
        output.flush().await?;
        mailbox.delivered();
    }
    Ok(())
}
