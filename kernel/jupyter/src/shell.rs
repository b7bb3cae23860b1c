//! What the channels share, and the owner of shell, which hands each request to the shell it is for.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cells::{Cells, KernelInfo};
use crate::executor;
use crate::history::History;
use crate::interrupt::Running;
use crate::iopub::Iopub;
use crate::router::{Receiver, Replies};
use crate::serve::Ended;
use crate::stdin::Asker;
use crate::wire::{Incoming, Wire, WireError};

/// Requests that wait in one shell: *Run All* on a very long notebook.
const QUEUE: usize = 4096;
/// Requests that wait to be answered beside a cell; more wait behind the cell.
const ASIDES: usize = 256;
/// Requests that change nothing and do not depend on what a cell does.
const BESIDE_CELLS: [&str; 6] = [
    "kernel_info_request",
    "complete_request",
    "inspect_request",
    "is_complete_request",
    "history_request",
    "comm_info_request",
];
/// Subshells at once; a page opens a few.
const SUBSHELLS_LIMIT: usize = 64;
/// Name and text of the error where the shell that is asked has gone.
const GONE: (&str, &str) = (
    "NoSuchSubshell",
    "the subshell of this request does not exist (any more); nothing was run",
);
/// The same where its queue is full.
const FULL: (&str, &str) = (
    "TooManyRequests",
    "too many requests wait in this shell; this one was not run: send it again when some are done",
);

/// What the parts of the kernel share.
pub(crate) struct Kernel {
    pub(crate) cells: Arc<dyn Cells>,
    pub(crate) info: Value,
    pub(crate) wire: Wire,
    pub(crate) iopub: Iopub,
    pub(crate) asker: Asker,
    pub(crate) replies: Replies,
    pub(crate) running: Running,
    pub(crate) history: History,
    pub(crate) execution_count: AtomicU64,
    pub(crate) unknown: AtomicU64,
    pub(crate) tasks: TaskTracker,
    /// Where cells run; the sockets have a thread of their own.
    pub(crate) runtime: Handle,
    /// That thread. What goes from one thread to another waits on a busy machine until that one has its turn.
    sockets: Handle,
    /// Ends cells that did not end when asked.
    pub(crate) hard_stop: CancellationToken,
    pub(crate) ended: watch::Sender<Option<Ended>>,
    shells: Mutex<BTreeMap<Option<String>, Shell>>,
    /// Cells that run in the main shell or wait there.
    pub(crate) main_cells: Arc<AtomicUsize>,
}

/// One shell, as the owner of the socket knows it.
#[derive(Clone)]
struct Shell {
    requests: mpsc::Sender<Incoming>,
    /// Requests that are answered beside its cells.
    asides: mpsc::Sender<Incoming>,
    /// Cells that run in it or wait.
    cells: Arc<AtomicUsize>,
    /// A cell found no room: those behind it must not run without it, as long as others wait.
    overrun: Arc<AtomicBool>,
}

pub(crate) struct Parts {
    pub(crate) cells: Arc<dyn Cells>,
    pub(crate) wire: Wire,
    pub(crate) iopub: Iopub,
    pub(crate) asker: Asker,
    pub(crate) replies: Replies,
    pub(crate) ended: watch::Sender<Option<Ended>>,
    pub(crate) history: Option<PathBuf>,
    pub(crate) sockets: Handle,
}

impl Kernel {
    /// Must be called on the runtime where cells are to run.
    pub(crate) fn start(parts: Parts) -> Arc<Self> {
        let info = kernel_info(&parts.cells.info());
        let kernel = Arc::new(Self {
            cells: parts.cells,
            info,
            wire: parts.wire,
            iopub: parts.iopub,
            asker: parts.asker,
            replies: parts.replies,
            running: Running::default(),
            history: History::begin(parts.history),
            execution_count: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
            tasks: TaskTracker::new(),
            runtime: Handle::current(),
            sockets: parts.sockets,
            hard_stop: CancellationToken::new(),
            ended: parts.ended,
            shells: Mutex::default(),
            main_cells: Arc::default(),
        });
        kernel.open_shell(None);
        kernel
    }

    pub(crate) async fn reply(&self, request: &Incoming, metadata: &Value, content: &Value) {
        let frames = self.wire.reply(&request.parent, metadata, content);
        // Nobody is left to tell when the channel has gone: the kernel has ended.
        let _ = self.replies.send(frames).await;
    }

    /// Marks the kernel as ended and returns the reply, which is sent before the process exits.
    pub(crate) fn shutdown(&self, request: &Incoming) -> Result<Value, WireError> {
        let content: Value = request.content()?;
        let restart = content
            .get("restart")
            .and_then(Value::as_bool)
            .unwrap_or(false);
        self.end(if restart {
            Ended::Restart
        } else {
            Ended::Shutdown
        });
        Ok(json!({"status": "ok", "restart": restart}))
    }

    /// Returns whether the kernel ends: no cell begins any more.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.borrow().is_some()
    }

    pub(crate) fn end(&self, ended: Ended) {
        self.ended.send_modify(|state| {
            state.get_or_insert(ended);
        });
    }

    /// Opens a subshell and returns its id; `None` where there are too many.
    pub(crate) fn create_subshell(self: &Arc<Self>) -> Option<String> {
        if self.lock().len() > SUBSHELLS_LIMIT {
            return None;
        }
        let id = self.wire.next_id();
        self.open_shell(Some(id.clone()));
        Some(id)
    }

    /// Closes a subshell: what runs in it goes on to its end, what waits is still handled.
    pub(crate) fn delete_subshell(&self, id: &str) -> bool {
        self.lock().remove(&Some(id.to_owned())).is_some()
    }

    pub(crate) fn subshells(&self) -> Vec<String> {
        self.lock().keys().flatten().cloned().collect()
    }

    fn open_shell(self: &Arc<Self>, id: Option<String>) {
        let (sender, requests) = mpsc::channel(QUEUE);
        let (asides, aside_requests) = mpsc::channel(ASIDES);
        let cells = match &id {
            None => Arc::clone(&self.main_cells),
            Some(_) => Arc::default(),
        };
        let shell = Shell {
            requests: sender,
            asides,
            cells: Arc::clone(&cells),
            overrun: Arc::default(),
        };
        self.lock().insert(id.clone(), shell);
        let executor = executor::run(Arc::clone(self), id, requests, cells);
        self.tasks.spawn_on(executor, &self.sockets);
        let aside = executor::aside(Arc::clone(self), aside_requests);
        self.tasks.spawn_on(aside, &self.runtime);
    }

    /// Closes every shell, so that no new cell starts.
    pub(crate) fn close_shells(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Option<String>, Shell>> {
        self.shells.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads shell until `stop` and hands each request to its shell.
pub(crate) async fn run(kernel: Arc<Kernel>, mut receiver: Receiver, stop: CancellationToken) {
    loop {
        // Only waits: a request that was received is handled below.
        let request = tokio::select! {
            () = stop.cancelled() => return,
            request = receiver.next() => request,
        };
        let shell = kernel
            .lock()
            .get(&request.parent.header.subshell_id)
            .cloned();
        let refused = match shell {
            Some(shell) => hand_over(&shell, request).map_err(|request| (request, FULL)),
            // All shells are closed by now.
            None if kernel.has_ended() && request.kind() == "execute_request" => {
                executor::abort(&kernel, &request).await;
                continue;
            }
            None => Err((request, GONE)),
        };
        if let Err((request, (ename, evalue))) = refused {
            executor::refuse(&kernel, &request, ename, evalue).await;
        }
    }
}

/// Puts a request into its shell's queue. A question about the kernel is answered beside the cells that run and
/// wait there: a page that is loaded anew while a cell runs needs its answer now, and so does the Tab key.
///
/// # Errors
/// The request, where too many wait: to wait for room would keep the requests of other shells waiting, too.
fn hand_over(shell: &Shell, mut request: Incoming) -> Result<(), Incoming> {
    let is_cell = request.kind() == "execute_request";
    if is_cell {
        let waiting = shell.cells.load(Ordering::Relaxed);
        if shell.overrun.fetch_and(waiting > 0, Ordering::Relaxed) && waiting > 0 {
            return Err(request);
        }
        shell.cells.fetch_add(1, Ordering::Relaxed);
    } else if shell.cells.load(Ordering::Relaxed) > 0 && BESIDE_CELLS.contains(&request.kind()) {
        request = match shell.asides.try_send(request) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Full(request) | TrySendError::Closed(request)) => request,
        };
    }
    match shell.requests.try_send(request) {
        // A shell that ended leaves nobody to answer: the kernel is about to end.
        Ok(()) | Err(TrySendError::Closed(_)) => Ok(()),
        Err(TrySendError::Full(request)) => {
            if is_cell {
                shell.cells.fetch_sub(1, Ordering::Relaxed);
                shell.overrun.store(true, Ordering::Relaxed);
            }
            Err(request)
        }
    }
}

fn kernel_info(info: &KernelInfo) -> Value {
    let language = &info.language;
    let mut language_info = json!({
        "name": language.name,
        "version": language.version,
        "mimetype": language.mimetype,
        "file_extension": language.file_extension,
    });
    if let Some(lexer) = &language.pygments_lexer {
        language_info["pygments_lexer"] = json!(lexer);
    }
    if let Some(mode) = &language.codemirror_mode {
        language_info["codemirror_mode"] = json!(mode);
    }
    let links: Vec<Value> = info
        .help_links
        .iter()
        .map(|link| json!({"text": link.text, "url": link.url}))
        .collect();
    json!({
        "status": "ok",
        "protocol_version": crate::PROTOCOL_VERSION,
        "implementation": info.implementation,
        "implementation_version": info.implementation_version,
        "language_info": language_info,
        "banner": info.banner,
        "debugger": false,
        "help_links": links,
        "supported_features": ["kernel subshells"],
    })
}
