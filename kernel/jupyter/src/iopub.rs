//! The owner of iopub: the one place where the order of outputs is decided.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::cells::MimeBundle;
use crate::publisher::{Notice, Publisher, Weight};
use crate::wire::{Parent, Wire};

/// Outputs on their way to the owner: a burst of small ones; when it is full, cells wait.
pub(crate) const QUEUE: usize = 1024;
/// Text is merged for at most this long, so that a loop of prints is not a flood of messages.
const STREAM_DELAY: Duration = Duration::from_millis(4);
/// Text above this goes out at once.
const STREAM_BYTES: usize = 64 * 1024;
/// At most four updates of a live display a second.
const LIVE_PERIOD: Duration = Duration::from_millis(250);

/// The outputs of one request, open until its `idle`.
#[derive(Debug)]
pub(crate) struct Scope {
    pub(crate) parent: Arc<Parent>,
    pub(crate) silent: bool,
    closed: AtomicBool,
}

impl Scope {
    pub(crate) fn new(parent: Arc<Parent>, silent: bool) -> Arc<Self> {
        Arc::new(Self {
            parent,
            silent,
            closed: AtomicBool::new(false),
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamName {
    Stdout,
    Stderr,
}

impl StreamName {
    fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// The present state of a live display, and how often it changed.
#[derive(Debug, Default)]
pub(crate) struct LiveState {
    pub(crate) version: u64,
    pub(crate) bundle: MimeBundle,
}

pub(crate) type SharedLive = Arc<Mutex<LiveState>>;

pub(crate) enum Output {
    Starting,
    Busy(Arc<Scope>),
    Stream(Arc<Scope>, StreamName, String),
    Message {
        scope: Arc<Scope>,
        kind: &'static str,
        content: Value,
    },
    Live {
        scope: Arc<Scope>,
        display_id: String,
        state: SharedLive,
    },
    /// Answered when everything before it is on its way.
    Flush(oneshot::Sender<()>),
    Idle(Arc<Scope>),
}

/// Sends outputs to the owner.
#[derive(Debug, Clone)]
pub(crate) struct Iopub {
    sender: mpsc::Sender<Output>,
}

impl Iopub {
    pub(crate) fn channel() -> (Self, mpsc::Receiver<Output>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Self { sender }, receiver)
    }

    /// After the end of the kernel outputs go nowhere: there is nobody left to tell.
    pub(crate) async fn send(&self, output: Output) {
        let _ = self.sender.send(output).await;
    }

    /// Sends without waiting; gives the output back where too many wait.
    pub(crate) fn try_send(&self, output: Output) -> Result<(), Output> {
        match self.sender.try_send(output) {
            Ok(()) | Err(TrySendError::Closed(_)) => Ok(()),
            Err(TrySendError::Full(output)) => Err(output),
        }
    }

    /// Waits for room for one output; nothing after the end of the kernel.
    ///
    /// # Cancel safety
    /// Nothing was sent when this is dropped.
    pub(crate) async fn room(&self) -> Option<mpsc::Permit<'_, Output>> {
        self.sender.reserve().await.ok()
    }

    pub(crate) async fn message(&self, scope: &Arc<Scope>, kind: &'static str, content: Value) {
        self.send(Output::Message {
            scope: Arc::clone(scope),
            kind,
            content,
        })
        .await;
    }

    pub(crate) async fn flush(&self) {
        let (sender, receiver) = oneshot::channel();
        self.send(Output::Flush(sender)).await;
        let _ = receiver.await;
    }
}

struct Pending {
    scope: Arc<Scope>,
    name: StreamName,
    text: String,
}

struct Live {
    scope: Arc<Scope>,
    state: SharedLive,
    sent: u64,
}

/// Owns the order: see [`run`].
struct Owner {
    wire: Wire,
    publisher: Publisher,
    pending: Option<Pending>,
    last_stream: Option<Instant>,
    lives: HashMap<String, Live>,
    /// Cells that run, the one that began first in front.
    cells: Vec<Arc<Scope>>,
    late: u64,
}

/// Publishes outputs in the order they come until `stop`, and then what is still there.
pub(crate) async fn run(
    wire: Wire,
    publisher: Publisher,
    mut outputs: mpsc::Receiver<Output>,
    stop: CancellationToken,
) {
    let mut owner = Owner {
        wire,
        publisher,
        pending: None,
        last_stream: None,
        lives: HashMap::new(),
        cells: Vec::new(),
        late: 0,
    };
    let mut period = tokio::time::interval(LIVE_PERIOD);
    period.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let due = owner.stream_due();
        // Every arm only waits; what was received is handled after the select.
        tokio::select! {
            biased;
            output = outputs.recv() => {
                let Some(output) = output else { break };
                owner.handle(output).await;
            }
            () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                owner.flush_stream().await;
            }
            _ = period.tick(), if !owner.lives.is_empty() => owner.update_lives().await,
            () = stop.cancelled() => {
                let Ok(output) = outputs.try_recv() else { break };
                owner.handle(output).await;
            }
        }
        if period_is_due(&mut period, !owner.lives.is_empty()).await {
            owner.update_lives().await;
        }
    }
    owner.flush_stream().await;
    if owner.late > 0 {
        tracing::debug!(
            late = owner.late,
            "outputs after the end of their cell were dropped"
        );
    }
}

/// A cell that floods the queue must not keep its live display from moving.
async fn period_is_due(period: &mut tokio::time::Interval, wanted: bool) -> bool {
    if !wanted {
        return false;
    }
    tokio::select! {
        biased;
        _ = period.tick() => true,
        () = std::future::ready(()) => false,
    }
}

impl Owner {
    async fn handle(&mut self, output: Output) {
        match output {
            Output::Starting => {
                self.send(
                    None,
                    "status",
                    &json!({"execution_state": "starting"}),
                    Weight::Kept,
                )
                .await;
            }
            Output::Busy(scope) => {
                self.flush_stream().await;
                self.status(&scope, "busy").await;
                if scope.parent.header.msg_type == "execute_request" {
                    self.cells.push(scope);
                }
            }
            Output::Stream(scope, name, text) => self.stream(scope, name, &text).await,
            Output::Message {
                scope,
                kind,
                content,
            } => {
                self.flush_stream().await;
                if self.open(&scope) {
                    self.send(Some(&scope.parent), kind, &content, Weight::Kept)
                        .await;
                    // A cell that runs is looked at.
                    if kind == "execute_input" && self.publisher.has_cut() {
                        self.send(Some(&scope.parent), "stream", &cut(), Weight::Kept)
                            .await;
                    }
                }
            }
            Output::Live {
                scope,
                display_id,
                state,
            } => {
                self.flush_stream().await;
                if self.open(&scope) {
                    self.open_live(scope, display_id, state).await;
                }
            }
            Output::Flush(done) => {
                self.flush_stream().await;
                let _ = done.send(());
            }
            Output::Idle(scope) => self.idle(&scope).await,
        }
    }

    async fn idle(&mut self, scope: &Arc<Scope>) {
        self.flush_stream().await;
        let ended: Vec<String> = self
            .lives
            .iter()
            .filter(|(_, live)| Arc::ptr_eq(&live.scope, scope))
            .map(|(display_id, _)| display_id.clone())
            .collect();
        for display_id in ended {
            self.update_live(&display_id, Weight::Kept).await;
            self.lives.remove(&display_id);
        }
        scope.closed.store(true, Ordering::Relaxed);
        self.cells.retain(|cell| !Arc::ptr_eq(cell, scope));
        self.status(scope, "idle").await;
        // Pages show the last state they heard, whatever it was about.
        if let Some(cell) = self.cells.first().cloned() {
            self.status(&cell, "busy").await;
        }
    }

    async fn status(&mut self, scope: &Scope, state: &str) {
        let content = json!({"execution_state": state});
        self.send(Some(&scope.parent), "status", &content, Weight::Kept)
            .await;
    }

    fn open(&mut self, scope: &Scope) -> bool {
        let closed = scope.closed.load(Ordering::Relaxed);
        self.late += u64::from(closed);
        !closed && !scope.silent
    }

    async fn stream(&mut self, scope: Arc<Scope>, name: StreamName, text: &str) {
        if !self.open(&scope) || text.is_empty() {
            return;
        }
        let same = self
            .pending
            .as_ref()
            .is_some_and(|pending| pending.name == name && Arc::ptr_eq(&pending.scope, &scope));
        if !same {
            self.flush_stream().await;
        }
        let pending = self.pending.get_or_insert(Pending {
            scope,
            name,
            text: String::new(),
        });
        pending.text.push_str(text);
        if pending.text.len() >= STREAM_BYTES {
            self.flush_stream().await;
        }
    }

    /// The first text goes out as soon as nothing else waits; what follows it closely is merged.
    fn stream_due(&self) -> Option<Instant> {
        self.pending.as_ref()?;
        Some(
            self.last_stream
                .map_or_else(Instant::now, |last| last + STREAM_DELAY),
        )
    }

    async fn flush_stream(&mut self) {
        let Some(pending) = self.pending.take() else {
            return;
        };
        self.last_stream = Some(Instant::now());
        let content = json!({"name": pending.name.as_str(), "text": pending.text});
        self.send(
            Some(&pending.scope.parent),
            "stream",
            &content,
            Weight::Passing,
        )
        .await;
    }

    async fn open_live(&mut self, scope: Arc<Scope>, display_id: String, state: SharedLive) {
        let (sent, data) = snapshot(&state);
        let content = display(&data, &display_id);
        self.send(Some(&scope.parent), "display_data", &content, Weight::Kept)
            .await;
        self.lives.insert(display_id, Live { scope, state, sent });
    }

    async fn update_lives(&mut self) {
        let ids: Vec<String> = self.lives.keys().cloned().collect();
        for display_id in ids {
            self.update_live(&display_id, Weight::Passing).await;
        }
    }

    async fn update_live(&mut self, display_id: &str, weight: Weight) {
        let Some(live) = self.lives.get_mut(display_id) else {
            return;
        };
        let (version, data) = snapshot(&live.state);
        // The last state goes out again as a message that is kept: a passing one may have been left out.
        if version == live.sent && (weight == Weight::Passing || version == 0) {
            return;
        }
        live.sent = version;
        let scope = Arc::clone(&live.scope);
        self.flush_stream().await;
        let content = display(&data, display_id);
        self.send(Some(&scope.parent), "update_display_data", &content, weight)
            .await;
    }

    async fn send(
        &mut self,
        parent: Option<&Parent>,
        kind: &'static str,
        content: &Value,
        weight: Weight,
    ) {
        let frames = encode(&self.wire, parent, kind, content);
        // An update of a live display needs no notice: the next one replaces it.
        let notice = || encode(&self.wire, parent, "stream", &gap());
        let notice: Option<Notice<'_>> = (kind == "stream").then_some(&notice);
        self.publisher.publish(&frames, weight, notice).await;
    }
}

fn encode(wire: &Wire, parent: Option<&Parent>, kind: &str, content: &Value) -> Vec<Bytes> {
    let topic = Bytes::from(format!("kernel.{}.{kind}", wire.session()));
    wire.encode(&[topic], kind, parent, &json!({}), content)
}

fn gap() -> Value {
    let text = "\n[output left out here: this client had stopped reading]\n";
    json!({"name": "stderr", "text": text})
}

fn cut() -> Value {
    let text = "[a client of this kernel had stopped reading and was disconnected: where a page shows a cell as running \
                that is done, or no output, load it anew]\n";
    json!({"name": "stderr", "text": text})
}

fn snapshot(state: &SharedLive) -> (u64, Value) {
    let state = state.lock().unwrap_or_else(PoisonError::into_inner);
    (state.version, state.bundle.to_value())
}

fn display(data: &Value, display_id: &str) -> Value {
    json!({"data": data, "metadata": {}, "transient": {"display_id": display_id}})
}
