//! One shell: requests in the order they came, one at a time. It lives on the thread of the sockets; what the
//! program does for a request runs elsewhere, so that nothing it does keeps the sockets from answering.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chrono::{DateTime, FixedOffset, TimeDelta};
use jupyter_protocol::messaging::{CompleteRequest, InspectRequest, IsCompleteRequest};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::cells::{Cell, CellError, IsComplete, MimeBundle};
use crate::history::HistoryRequest;
use crate::iopub::{Output, Scope};
use crate::output::CellOutput;
use crate::shell::Kernel;
use crate::wire::{Incoming, WireError, now};

/// *Run All* sends its cells in one go: what was sent with a failing cell has arrived this long after.
const ABORT_WINDOW: Duration = Duration::from_millis(3);

/// A page sends *Run All* through its server, message by message, and a person who saw a cell fail needs longer than
/// this to start another: what a page sends in so long a time after its failed cell, or after the last one of those,
/// was sent with it.
const PAGE_WINDOW: Duration = Duration::from_millis(250);
/// How long a page can go on sending its *Run All*.
const PAGE_LIMIT: Duration = Duration::from_secs(2);
/// A page makes the messages of one *Run All* in one go, before its server sees the first: those whose dates, both by
/// the page's clock, are further apart are of two decisions.
const PAGE_APART: TimeDelta = TimeDelta::milliseconds(100);

/// A cell of a page failed a moment ago: those that are still on their way from it are not run.
struct Failed {
    session: String,
    until: Instant,
    limit: Instant,
    /// When the page made the last message of those that were sent together.
    sent: Option<DateTime<FixedOffset>>,
}

impl Failed {
    fn new(request: &Incoming) -> Self {
        // From when it came: what comes long after it was not sent with it, however long it took to fail.
        Self {
            session: request.parent.header.session.clone(),
            until: request.received + PAGE_WINDOW,
            limit: request.received + PAGE_LIMIT,
            sent: request.parent.header.sent(),
        }
    }

    /// Returns whether a request was sent with the failed cell, and waits for another one if it was.
    fn takes(&mut self, request: &Incoming) -> bool {
        let header = &request.parent.header;
        let sent = header.sent();
        let is_apart = sent
            .zip(self.sent)
            .is_some_and(|(sent, last)| sent - last > PAGE_APART);
        let takes = request.received < self.until
            && cell_id(request).is_some()
            && header.session == self.session
            && !is_apart;
        if takes {
            self.until = (request.received + PAGE_WINDOW).min(self.limit);
            self.sent = sent;
        }
        takes
    }
}

/// What a cell's request asks for. `jupyter-protocol` wants every field; other kernels take what clients leave out as
/// it is meant here.
#[derive(Debug, Deserialize)]
struct Execute {
    code: String,
    #[serde(default)]
    silent: bool,
    #[serde(default = "yes")]
    store_history: bool,
    #[serde(default)]
    user_expressions: Option<HashMap<String, String>>,
    #[serde(default)]
    allow_stdin: bool,
    #[serde(default = "yes")]
    stop_on_error: bool,
}

fn yes() -> bool {
    true
}

/// What a request came to.
enum Answer {
    Reply(Value),
    /// Nothing is sent back (comm messages, unknown ones).
    Silence,
}

/// Handles the requests of a shell until it is closed or the kernel ends.
pub(crate) async fn run(
    kernel: Arc<Kernel>,
    subshell: Option<String>,
    mut requests: mpsc::Receiver<Incoming>,
    cells: Arc<AtomicUsize>,
) {
    let mut failed: Option<Failed> = None;
    while let Some(request) = next(&kernel, &mut requests).await {
        if request.kind() != "execute_request" {
            elsewhere(&kernel, request).await;
            continue;
        }
        let was_sent_with = failed.as_mut().is_some_and(|failed| failed.takes(&request));
        if was_sent_with || kernel.has_ended() {
            abort(&kernel, &request).await;
            cells.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let subshell = subshell.as_deref();
        let waiting = execute(&kernel, subshell, &request, &mut requests).await;
        if waiting.is_some() && cell_id(&request).is_some() {
            failed = Some(Failed::new(&request));
        }
        let aborted = abort_all(&kernel, waiting.unwrap_or_default()).await;
        cells.fetch_sub(1 + aborted, Ordering::Relaxed);
    }
}

/// Answers the requests that waited behind a failed cell, and returns how many cells that were.
async fn abort_all(kernel: &Arc<Kernel>, waiting: Vec<Incoming>) -> usize {
    let mut aborted = 0;
    for request in waiting {
        if request.kind() == "execute_request" {
            abort(kernel, &request).await;
            aborted += 1;
        } else {
            elsewhere(kernel, request).await;
        }
    }
    aborted
}

/// Answers requests beside the cells that run, in the order they came.
pub(crate) async fn aside(kernel: Arc<Kernel>, mut requests: mpsc::Receiver<Incoming>) {
    while let Some(request) = next(&kernel, &mut requests).await {
        elsewhere(&kernel, request).await;
    }
}

/// Waits for a request; nothing comes any more when the kernel ends.
async fn next(kernel: &Kernel, requests: &mut mpsc::Receiver<Incoming>) -> Option<Incoming> {
    tokio::select! {
        () = kernel.hard_stop.cancelled() => None,
        request = requests.recv() => request,
    }
}

/// Runs a cell. Where it failed and its request says so, returns the requests that waited behind it.
async fn execute(
    kernel: &Arc<Kernel>,
    subshell: Option<&str>,
    request: &Incoming,
    requests: &mut mpsc::Receiver<Incoming>,
) -> Option<Vec<Incoming>> {
    let started = now();
    let parsed: Result<Execute, WireError> = request.content();
    let silent = parsed.as_ref().is_ok_and(|execute| execute.silent);
    let scope = Scope::new(Arc::clone(&request.parent), silent);
    kernel.iopub.send(Output::Busy(Arc::clone(&scope))).await;
    let mut waiting = None;
    let reply = match parsed {
        Ok(execute) => {
            // What a page asks in silence is none of a person's cells, which go on.
            let stop_on_error = execute.stop_on_error && !silent;
            let reply = run_cell(kernel, subshell, request, execute, &scope).await;
            if stop_on_error && reply["status"] == "error" {
                waiting = Some(take_waiting(requests).await);
            }
            reply
        }
        Err(error) => with_count(kernel, bad_request(request, &error)),
    };
    let metadata = json!({
        "started": started, "status": reply["status"], "dependencies_met": true,
        "engine": kernel.wire.session(),
    });
    kernel.reply(request, &metadata, &reply).await;
    kernel.iopub.send(Output::Idle(scope)).await;
    waiting
}

async fn take_waiting(requests: &mut mpsc::Receiver<Incoming>) -> Vec<Incoming> {
    tokio::time::sleep(ABORT_WINDOW).await;
    // On a busy machine the window may be over before what arrived in it was handed over: the first turn of the
    // thread reads and hands over what it had, the second what came in by then.
    tokio::task::yield_now().await;
    tokio::task::yield_now().await;
    std::iter::from_fn(|| requests.try_recv().ok()).collect()
}

async fn run_cell(
    kernel: &Arc<Kernel>,
    subshell: Option<&str>,
    request: &Incoming,
    execute: Execute,
    scope: &Arc<Scope>,
) -> Value {
    let cell = cell(kernel, subshell, request, &execute);
    if !cell.silent {
        let content = json!({"code": cell.code, "execution_count": cell.execution_count});
        kernel.iopub.message(scope, "execute_input", content).await;
    }
    let execution_count = cell.execution_count;
    let (running, interrupt) = kernel.running.start(subshell.is_none());
    let asker = execute.allow_stdin.then(|| kernel.asker.clone());
    let out = CellOutput::new(
        kernel.iopub.clone(),
        Arc::clone(scope),
        execution_count,
        asker,
        interrupt.clone(),
        Arc::clone(&kernel.main_cells),
    );
    let result = if kernel.cells.is_idle(&cell.code) {
        drop(running);
        Ok(())
    } else {
        let cells = Arc::clone(&kernel.cells);
        let out = out.clone();
        guarded(kernel, async move {
            let _running = running;
            cells.execute(cell, out, interrupt).await
        })
        .await
    };
    match result {
        Ok(()) => json!({
            "status": "ok",
            "execution_count": execution_count,
            "payload": out.take_pages(),
            "user_expressions": expressions(kernel, execute.user_expressions.unwrap_or_default()).await,
        }),
        Err(error) => {
            let mut content = error_fields(&error);
            kernel
                .iopub
                .message(scope, "error", Value::Object(content.clone()))
                .await;
            content.insert("status".into(), "error".into());
            content.insert("execution_count".into(), execution_count.into());
            content.insert("payload".into(), json!([]));
            content.insert("user_expressions".into(), json!({}));
            Value::Object(content)
        }
    }
}

fn cell(kernel: &Kernel, subshell: Option<&str>, request: &Incoming, execute: &Execute) -> Cell {
    let store_history = execute.store_history && !execute.silent && !execute.code.trim().is_empty();
    let execution_count = if store_history {
        kernel.execution_count.fetch_add(1, Ordering::Relaxed) + 1
    } else {
        kernel.execution_count.load(Ordering::Relaxed) + 1
    };
    if store_history {
        kernel.history.add(execution_count, &execute.code);
    }
    Cell {
        code: execute.code.clone(),
        execution_count,
        silent: execute.silent,
        store_history,
        cell_id: cell_id(request).map(str::to_owned),
        msg_id: request.parent.header.msg_id.clone(),
        session: request.parent.header.session.clone(),
        subshell: subshell.map(str::to_owned),
    }
}

/// Returns which cell of its page a request is for; a client without pages names none.
fn cell_id(request: &Incoming) -> Option<&str> {
    let text = |key: &str| request.metadata.get(key).and_then(Value::as_str);
    text("cellId").or_else(|| text("cell_id"))
}

/// Adds the count, which clients expect beside an error.
fn with_count(kernel: &Kernel, mut content: Value) -> Value {
    content["execution_count"] = kernel.execution_count.load(Ordering::Relaxed).into();
    content
}

/// Answers a request that no shell takes.
pub(crate) async fn refuse(kernel: &Kernel, request: &Incoming, ename: &str, evalue: &str) {
    let scope = Scope::new(Arc::clone(&request.parent), false);
    kernel.iopub.send(Output::Busy(Arc::clone(&scope))).await;
    if request.kind() == "execute_request" {
        // A page shows why nothing came of its cell.
        let error = json!({"ename": ename, "evalue": evalue, "traceback": [evalue]});
        kernel.iopub.message(&scope, "error", error).await;
    }
    fail(kernel, request, ename, evalue).await;
    kernel.iopub.send(Output::Idle(scope)).await;
}

/// Replies to a request, where its kind has a reply, that it failed.
async fn fail(kernel: &Kernel, request: &Incoming, ename: &str, evalue: &str) {
    if !request.kind().ends_with("_request") {
        return;
    }
    let mut content = json!({"status": "error", "ename": ename, "evalue": evalue, "traceback": []});
    if request.kind() == "execute_request" {
        content = with_count(kernel, content);
    }
    kernel.reply(request, &json!({}), &content).await;
}

/// Runs the program's part in a task of its own, so that a panic there fails the cell and not the kernel.
async fn guarded<F>(kernel: &Kernel, work: F) -> Result<(), CellError>
where
    F: Future<Output = Result<(), CellError>> + Send + 'static,
{
    let mut task = kernel.tasks.spawn_on(work, &kernel.runtime);
    // Dropping the wait for the task does not end it: the second arm does.
    let joined = tokio::select! {
        joined = &mut task => joined,
        () = kernel.hard_stop.cancelled() => {
            task.abort();
            return Err(CellError::new("KernelEnded", "the kernel ended while this cell ran"));
        }
    };
    joined.unwrap_or_else(|failure| {
        tracing::error!(%failure, "a cell panicked");
        Err(CellError::new(
            "InternalError",
            "this cell met a fault of the kernel itself (a panic); what it did before may stand; the \
             kernel goes on and its log has the details",
        ))
    })
}

async fn expressions(kernel: &Kernel, wanted: HashMap<String, String>) -> Map<String, Value> {
    if wanted.is_empty() {
        return Map::new();
    }
    let cells = Arc::clone(&kernel.cells);
    let evaluate = async move {
        let mut values = Map::new();
        let ordered: BTreeMap<_, _> = wanted.into_iter().collect();
        for (name, expression) in ordered {
            values.insert(name, value_of(cells.expression(&expression).await));
        }
        values
    };
    let evaluated = kernel.tasks.spawn_on(evaluate, &kernel.runtime).await;
    evaluated.unwrap_or_else(|failure| {
        tracing::error!(%failure, "an expression panicked");
        Map::new()
    })
}

fn value_of(evaluated: Result<MimeBundle, CellError>) -> Value {
    match evaluated {
        Ok(bundle) => json!({"status": "ok", "data": bundle.to_value(), "metadata": {}}),
        Err(error) => {
            let mut fields = error_fields(&error);
            fields.insert("status".into(), "error".into());
            Value::Object(fields)
        }
    }
}

fn error_fields(error: &CellError) -> Map<String, Value> {
    let fields = [
        ("ename", json!(error.ename)),
        ("evalue", json!(error.evalue)),
        ("traceback", json!(error.traceback)),
    ];
    fields
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

pub(crate) async fn abort(kernel: &Kernel, request: &Incoming) {
    let scope = Scope::new(Arc::clone(&request.parent), false);
    kernel.iopub.send(Output::Busy(Arc::clone(&scope))).await;
    // Without a count: a page would show one beside a cell that never ran.
    let reply = json!({"status": "aborted"});
    let metadata = json!({"status": "aborted", "engine": kernel.wire.session()});
    kernel.reply(request, &metadata, &reply).await;
    kernel.iopub.send(Output::Idle(scope)).await;
}

/// Handles a request that is no cell where cells run: completion and help may read files.
async fn elsewhere(kernel: &Arc<Kernel>, request: Incoming) {
    let scope = Scope::new(Arc::clone(&request.parent), false);
    let (handling, handled) = (Arc::clone(kernel), request.clone());
    let handle = async move { handle_other(&handling, &handled).await };
    if let Err(failure) = kernel.tasks.spawn_on(handle, &kernel.runtime).await {
        tracing::error!(%failure, "a request met a fault of the kernel");
        let evalue = "the kernel failed at this request, which was not carried out to its end; the kernel goes on and \
                      its log has the details";
        fail(kernel, &request, "InternalError", evalue).await;
        kernel.iopub.send(Output::Idle(scope)).await;
    }
}

async fn handle_other(kernel: &Arc<Kernel>, request: &Incoming) {
    let scope = Scope::new(Arc::clone(&request.parent), false);
    kernel.iopub.send(Output::Busy(Arc::clone(&scope))).await;
    match answer(kernel, request, &scope).await {
        Ok(Answer::Reply(content)) => kernel.reply(request, &json!({}), &content).await,
        Ok(Answer::Silence) => {}
        Err(error) => {
            let content = bad_request(request, &error);
            if request.kind().ends_with("_request") {
                kernel.reply(request, &json!({}), &content).await;
            }
        }
    }
    kernel.iopub.send(Output::Idle(scope)).await;
}

async fn answer(
    kernel: &Arc<Kernel>,
    request: &Incoming,
    scope: &Arc<Scope>,
) -> Result<Answer, WireError> {
    let reply = match request.kind() {
        "kernel_info_request" => kernel.info.clone(),
        "complete_request" => complete(kernel, request.content()?).await,
        "inspect_request" => inspect(kernel, request.content()?).await,
        "is_complete_request" => is_complete(kernel, request.content()?).await,
        "history_request" => {
            let wanted: HistoryRequest = request.content()?;
            json!({"status": "ok", "history": kernel.history.find(&wanted).await})
        }
        // This kernel opens no comms of its own.
        "comm_info_request" => json!({"status": "ok", "comms": {}}),
        "comm_open" => {
            let open: Value = request.content()?;
            let content = json!({"comm_id": open["comm_id"], "data": {}});
            kernel.iopub.message(scope, "comm_close", content).await;
            return Ok(Answer::Silence);
        }
        "comm_msg" | "comm_close" => return Ok(Answer::Silence),
        "shutdown_request" => kernel.shutdown(request)?,
        kind => {
            let unknown = kernel.unknown.fetch_add(1, Ordering::Relaxed) + 1;
            tracing::warn!(kind, unknown, "unknown message on shell");
            return Ok(Answer::Silence);
        }
    };
    Ok(Answer::Reply(reply))
}

async fn complete(kernel: &Kernel, request: CompleteRequest) -> Value {
    let cursor = request.cursor_pos.min(request.code.chars().count());
    let completion = kernel.cells.complete(&request.code, cursor).await;
    let (start, end) = (
        completion.start.min(cursor),
        completion.end.max(completion.start),
    );
    let matches: Vec<&str> = completion
        .matches
        .iter()
        .map(|found| found.text.as_str())
        .collect();
    let types: Vec<Value> = completion
        .matches
        .iter()
        .map(|found| json!({"start": start, "end": end, "text": found.text, "type": found.kind}))
        .collect();
    json!({
        "status": "ok", "matches": matches, "cursor_start": start, "cursor_end": end,
        "metadata": {"_jupyter_types_experimental": types},
    })
}

async fn inspect(kernel: &Kernel, request: InspectRequest) -> Value {
    let detail = request
        .detail_level
        .map_or(0, |level| u8::try_from(level).unwrap_or(1));
    let cursor = request.cursor_pos.min(request.code.chars().count());
    let found = kernel.cells.inspect(&request.code, cursor, detail).await;
    json!({
        "status": "ok",
        "found": found.is_some(),
        "data": found.map_or_else(|| json!({}), |bundle| bundle.to_value()),
        "metadata": {},
    })
}

async fn is_complete(kernel: &Kernel, request: IsCompleteRequest) -> Value {
    match kernel.cells.is_complete(&request.code).await {
        IsComplete::Complete => json!({"status": "complete"}),
        IsComplete::Incomplete { indent } => json!({"status": "incomplete", "indent": indent}),
        IsComplete::Invalid => json!({"status": "invalid"}),
        IsComplete::Unknown => json!({"status": "unknown"}),
    }
}

pub(crate) fn bad_request(request: &Incoming, error: &WireError) -> Value {
    tracing::warn!(kind = request.kind(), %error, "a request could not be read");
    let source = std::error::Error::source(error)
        .map(ToString::to_string)
        .unwrap_or_default();
    let evalue = format!("{error}: {source}; the request was not carried out");
    json!({"status": "error", "ename": "BadRequest", "evalue": evalue, "traceback": []})
}
