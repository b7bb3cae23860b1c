//! One JSON line an event, for whoever collects standard output.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::release::Release;
use crate::service::Service;

/// A slow reader of standard output may fall this many lines behind before lines are dropped
/// (and counted): about a megabyte, some seconds of full load.
const BACKLOG: usize = 4096;

/// How long a line waits for others that are written with it.
const TOGETHER: Duration = Duration::from_millis(20);

/// How long the last lines may take to be written.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// Where log lines go.
#[derive(Clone)]
pub enum LogTarget {
    /// Standard output.
    Stdout,
    /// A function that is called with each line, without the line end.
    Function(Arc<dyn Fn(&str) + Send + Sync>),
}

impl fmt::Debug for LogTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LogTarget::Stdout => "Stdout",
            LogTarget::Function(_) => "Function",
        })
    }
}

enum Message {
    Line(String),
    Close,
}

/// The sending side: never waits for the writer.
#[derive(Clone)]
pub(crate) struct Log {
    service: Service,
    release: String,
    lines: mpsc::Sender<Message>,
    dropped: Arc<AtomicU64>,
}

/// The writing side.
pub(crate) struct LogWriter {
    lines: mpsc::Sender<Message>,
    /// Holds the one writer; dropping it ends the writer.
    task: JoinSet<()>,
}

impl Log {
    /// Starts the writer; must be called on the runtime.
    pub(crate) fn start(
        target: LogTarget,
        service: Service,
        release: &Release,
    ) -> (Log, LogWriter) {
        let (lines, queue) = mpsc::channel(BACKLOG);
        let mut task = JoinSet::new();
        task.spawn(write_lines(target, queue));
        let dropped = Arc::new(AtomicU64::new(0));
        let log = Log {
            service,
            release: release.to_string(),
            lines: lines.clone(),
            dropped,
        };
        (log, LogWriter { lines, task })
    }

    /// Writes one line; `fields` is a JSON object.
    pub(crate) fn write(&self, level: &str, message: &str, fields: Value) {
        let mut line = Map::new();
        line.insert("time".into(), json!(now()));
        line.insert("level".into(), json!(level));
        line.insert("service".into(), json!(self.service.name()));
        line.insert("release".into(), json!(self.release));
        line.insert("message".into(), json!(message));
        if let Value::Object(fields) = fields {
            line.extend(fields);
        }
        if self
            .lines
            .try_send(Message::Line(Value::Object(line).to_string()))
            .is_err()
        {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns how many lines were dropped because their reader was too slow.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl LogWriter {
    /// Writes what is queued and ends; gives up on a reader that does not read.
    pub(crate) async fn close(self) {
        let LogWriter { lines, mut task } = self;
        let ended = tokio::time::timeout(CLOSE_LIMIT, async {
            let _closed = lines.send(Message::Close).await;
            task.join_next().await
        });
        // A writer that is stuck ends with `task`.
        let _late = ended.await;
    }
}

async fn write_lines(target: LogTarget, queue: mpsc::Receiver<Message>) {
    match target {
        LogTarget::Function(function) => {
            let mut queue = queue;
            while let Some(Message::Line(line)) = queue.recv().await {
                function(&line);
            }
        }
        LogTarget::Stdout => write_to_stdout(queue).await,
    }
}

/// Writes lines together that come within [`TOGETHER`]: each write wakes whoever reads and keeps them.
async fn write_to_stdout(mut queue: mpsc::Receiver<Message>) {
    let mut stdout = tokio::io::stdout();
    let (mut waiting, mut text) = (Vec::new(), String::new());
    while let Some(first) = queue.recv().await {
        waiting.push(first);
        if !matches!(waiting.last(), Some(Message::Close)) {
            tokio::time::sleep(TOGETHER).await;
        }
        waiting.extend(std::iter::from_fn(|| queue.try_recv().ok()).take(BACKLOG));
        let mut is_closed = false;
        for message in waiting.drain(..) {
            match message {
                Message::Line(line) => text.extend([line.as_str(), "\n"]),
                Message::Close => is_closed = true,
            }
        }
        // Nobody can be told that standard output is gone.
        let _gone = stdout.write_all(text.as_bytes()).await;
        let _gone = stdout.flush().await;
        text.clear();
        if is_closed {
            return;
        }
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "the one place that reads the wall clock"
)]
pub(crate) fn now() -> String {
    chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
}
