use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cells::Cells;
use crate::connection::{Channel, ConnectionFile};
use crate::error::Error;
use crate::iopub::{self, Iopub, Output};
use crate::parent_watch::{parent_gone, starter};
use crate::publisher::{Publisher, Welcome};
use crate::router::{self, Replies};
use crate::shell::{self, Kernel, Parts};
use crate::stdin::{self, Asked, Asker};
use crate::wire::Wire;
use crate::{control, heartbeat};

/// How long running cells have to end when the kernel ends, and the program to clean up.
const GRACE: Duration = Duration::from_secs(2);
/// How long clients have to take the last messages.
const LAST_MESSAGES: Duration = Duration::from_secs(1);

/// Why a kernel ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// A client, SIGTERM, SIGINT while nothing ran, or the end of the parent process asked for it.
    Shutdown,
    /// A client asked for it and starts another one.
    Restart,
}

/// What a kernel needs to know about its surroundings.
#[derive(Debug, Clone, Default)]
pub struct ServeOptions {
    /// The process to end with: what Jupyter passes as `JPY_PARENT_PID`. The process that started this one is
    /// watched anyway.
    pub parent_pid: Option<u32>,
    /// The file that keeps inputs across restarts; several kernels can share it. Without one, inputs are
    /// remembered as long as the kernel runs.
    pub history: Option<PathBuf>,
}

/// Runs a kernel until it is told to end.
///
/// Cells run on the calling runtime; the sockets have a thread of their own, so that nothing a cell does
/// keeps control or the heartbeat from answering.
///
/// # Errors
/// Where the connection file cannot be used, a port is taken, or the system refuses a thread or signal handler.
/// Nothing was started then.
pub async fn serve(
    connection_file: &Path,
    cells: Arc<dyn Cells>,
    options: ServeOptions,
) -> Result<Ended, Error> {
    // Known before anybody is answered, who may take that for the moment to go.
    let starter = starter();
    let connection = ConnectionFile::load(connection_file)?;
    let (ended, mut end) = watch::channel(None);
    let stop = CancellationToken::new();
    let (wire_thread, kernel) = start(connection, cells, ended, &stop, options.history).await?;
    let signals = signals(&kernel)?;
    kernel.iopub.send(Output::Starting).await;
    // Every arm only waits for the end.
    let ended = tokio::select! {
        state = end.wait_for(Option::is_some) => state.ok().and_then(|state| *state),
        () = signals => Some(Ended::Shutdown),
        () = parent_gone(starter, options.parent_pid) => {
            tracing::info!("the process that started this kernel has gone");
            Some(Ended::Shutdown)
        }
        _ = wire_thread.failed() => None,
    };
    finish(&kernel, ended).await;
    stop.cancel();
    wire_thread.join().await?;
    ended.ok_or_else(|| Error::Runtime {
        action: "go on without the thread of its sockets",
        source: std::io::Error::other("the thread ended by itself"),
    })
}

/// Interrupts what runs, lets the program clean up, and ends what is left.
async fn finish(kernel: &Arc<Kernel>, ended: Option<Ended>) {
    // A cell that waits behind one that ends now must not begin.
    kernel.end(ended.unwrap_or(Ended::Shutdown));
    kernel.close_shells();
    kernel.running.interrupt_all_now();
    kernel.tasks.close();
    if tokio::time::timeout(GRACE, kernel.tasks.wait())
        .await
        .is_err()
    {
        tracing::warn!(limit = ?GRACE, "a cell did not end with the kernel and is cut off");
        kernel.hard_stop.cancel();
    }
    let clean = kernel.cells.shutdown(ended == Some(Ended::Restart));
    if tokio::time::timeout(GRACE, clean).await.is_err() {
        tracing::warn!(limit = ?GRACE, "the program did not finish cleaning up");
    }
    kernel.hard_stop.cancel();
    if tokio::time::timeout(GRACE, kernel.history.end())
        .await
        .is_err()
    {
        tracing::warn!(limit = ?GRACE, "the last inputs were not kept in the history in time");
    }
}

/// Returns a future that ends at SIGTERM, and at SIGINT where no cell runs; otherwise that is the stop button.
fn signals(kernel: &Arc<Kernel>) -> Result<impl Future<Output = ()> + use<>, Error> {
    let failed = |source| Error::Runtime {
        action: "handle signals",
        source,
    };
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let running = kernel.running.clone();
    Ok(async move {
        loop {
            // Both arms only wait for a signal.
            tokio::select! {
                _ = interrupt.recv() => if running.interrupt() == 0 { return },
                _ = terminate.recv() => return,
            }
        }
    })
}

/// The thread that owns the sockets.
struct WireThread {
    handle: std::thread::JoinHandle<()>,
    alive: watch::Receiver<()>,
}

impl WireThread {
    async fn failed(&self) {
        let mut alive = self.alive.clone();
        while alive.changed().await.is_ok() {}
    }

    async fn join(self) -> Result<(), Error> {
        self.failed().await;
        let failed = |text: &str| Error::Runtime {
            action: "end the thread of its sockets",
            source: std::io::Error::other(text.to_owned()),
        };
        let joined = tokio::task::spawn_blocking(move || self.handle.join()).await;
        match joined {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(failed("it panicked")),
        }
    }
}

/// The receiving ends of what the kernel says to its sockets.
struct Queues {
    outputs: mpsc::Receiver<Output>,
    questions: mpsc::Receiver<Asked>,
    shell_replies: mpsc::Receiver<Vec<Bytes>>,
    control_replies: mpsc::Receiver<Vec<Bytes>>,
    control_sender: Replies,
}

async fn start(
    connection: ConnectionFile,
    cells: Arc<dyn Cells>,
    ended: watch::Sender<Option<Ended>>,
    stop: &CancellationToken,
    history: Option<PathBuf>,
) -> Result<(WireThread, Arc<Kernel>), Error> {
    let wire = Wire::new(connection.key());
    let (iopub, outputs) = Iopub::channel();
    let (asker, questions) = Asker::channel();
    let (replies, shell_replies) = mpsc::channel(router::QUEUE);
    let (control_sender, control_replies) = mpsc::channel(router::QUEUE);
    let queues = Queues {
        outputs,
        questions,
        shell_replies,
        control_replies,
        control_sender,
    };
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::Runtime {
            action: "start the thread of its sockets",
            source,
        })?;
    let kernel = Kernel::start(Parts {
        cells,
        wire,
        iopub,
        asker,
        replies,
        ended,
        history,
        sockets: runtime.handle().clone(),
    });
    let (bound, is_bound) = oneshot::channel();
    let (alive_sender, alive) = watch::channel(());
    let (thread_kernel, thread_stop) = (Arc::clone(&kernel), stop.clone());
    let handle = std::thread::Builder::new()
        .name("sockets".into())
        .spawn(move || {
            runtime.block_on(sockets(
                connection,
                thread_kernel,
                queues,
                bound,
                thread_stop,
            ));
            drop(alive_sender);
        })
        .map_err(|source| Error::Runtime {
            action: "start the thread of its sockets",
            source,
        })?;
    let thread = WireThread { handle, alive };
    match is_bound.await {
        Ok(Ok(())) => Ok((thread, kernel)),
        Ok(Err(error)) => {
            finish(&kernel, None).await;
            thread.join().await?;
            Err(error)
        }
        Err(_) => Err(Error::Runtime {
            action: "start the thread of its sockets",
            source: std::io::Error::other("it ended before the sockets were bound"),
        }),
    }
}

async fn sockets(
    connection: ConnectionFile,
    kernel: Arc<Kernel>,
    queues: Queues,
    bound: oneshot::Sender<Result<(), Error>>,
    stop: CancellationToken,
) {
    let (tasks, readers_stop) = (TaskTracker::new(), CancellationToken::new());
    match bind(&connection, &kernel, queues, &tasks, &stop, &readers_stop).await {
        Ok((publisher, owner)) => {
            let _ = bound.send(Ok(()));
            stop.cancelled().await;
            // The owner of iopub ends first: it has the last word, `idle`.
            if tokio::time::timeout(LAST_MESSAGES, owner).await.is_err() {
                tracing::warn!("the last outputs were not published in time");
            }
            publisher.drain(LAST_MESSAGES).await;
            readers_stop.cancel();
        }
        Err(error) => {
            stop.cancel();
            readers_stop.cancel();
            let _ = bound.send(Err(error));
        }
    }
    tasks.close();
    if tokio::time::timeout(LAST_MESSAGES, tasks.wait())
        .await
        .is_err()
    {
        tracing::warn!(limit = ?LAST_MESSAGES, "a client did not take its last reply in time");
    }
}

async fn bind(
    connection: &ConnectionFile,
    kernel: &Arc<Kernel>,
    queues: Queues,
    tasks: &TaskTracker,
    stop: &CancellationToken,
    readers_stop: &CancellationToken,
) -> Result<(Publisher, tokio::task::JoinHandle<()>), Error> {
    let wire = kernel.wire.clone();
    let iopub_endpoint = connection.endpoint(Channel::Iopub);
    let publisher = Publisher::bind(&iopub_endpoint, welcome(&wire), tasks, readers_stop).await?;
    let requests =
        async |channel| router::bind(&connection.endpoint(channel), &wire, tasks, stop).await;
    let (shell, shell_out) = requests(Channel::Shell).await?;
    let (control, control_out) = requests(Channel::Control).await?;
    let (stdin, stdin_out) = requests(Channel::Stdin).await?;
    heartbeat::bind(&connection.endpoint(Channel::Heartbeat), tasks, stop).await?;

    tasks.spawn(shell_out.run(queues.shell_replies, stop.clone()));
    tasks.spawn(control_out.run(queues.control_replies, stop.clone()));
    tasks.spawn(shell::run(Arc::clone(kernel), shell, stop.clone()));
    let replies = queues.control_sender;
    tasks.spawn(control::run(
        Arc::clone(kernel),
        control,
        replies,
        stop.clone(),
    ));
    tasks.spawn(stdin::run(
        wire.clone(),
        stdin,
        stdin_out,
        queues.questions,
        stop.clone(),
    ));
    let owner = iopub::run(wire, publisher.clone(), queues.outputs, stop.clone());
    let owner = tasks.spawn(owner);
    Ok((publisher, owner))
}

/// What a new subscriber hears first (JEP 65), so that it knows it misses nothing from here on.
fn welcome(wire: &Wire) -> Welcome {
    let wire = wire.clone();
    Arc::new(move |topic| {
        let subscription = String::from_utf8_lossy(topic).into_owned();
        let content = json!({"subscription": subscription});
        let prefix = [Bytes::copy_from_slice(topic)];
        wire.encode(&prefix, "iopub_welcome", None, &json!({}), &content)
    })
}
