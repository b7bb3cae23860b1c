use std::ffi::OsString;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio_util::task::TaskTracker;

use super::NO_ANSWER;
use super::child::{Host, LOST};
use super::crates::CellCrate;
use super::protocol::{Event, Request};
use crate::cells::{Cell, CellError, Completion, CompletionMatch, MimeBundle};
use crate::interrupt::Interrupt;
use crate::output::CellOutput;

/// Completion and help are of no use later.
const HELP_LIMIT: Duration = Duration::from_secs(10);
/// A value that a client asks for beside a cell is there at once, after its compilation.
const VALUE_LIMIT: Duration = Duration::from_secs(10);
/// What of a killed host is left behind when the kernel ends is removed by the next one.
const ENDING_LIMIT: Duration = Duration::from_millis(1500);
/// A first cell that waits longer for the compiler says so in its page.
const SAYS_AFTER: Duration = Duration::from_secs(1);
/// A cell whose question will not be answered ends by itself; one that goes on is stopped after this.
const UNANSWERED_LIMIT: Duration = Duration::from_secs(1);

/// The environment of cells, beside that of the kernel; asked when their process starts.
type Variables = dyn Fn() -> Vec<(OsString, OsString)> + Send + Sync;

/// Runs Rust cells in a host process, which is started when the first one comes, or the first question about one.
pub struct RustCells {
    argv: Vec<OsString>,
    variables: Option<Box<Variables>>,
    crates: Vec<CellCrate>,
    host: Mutex<Option<Host>>,
    /// The cell that runs waits for a line: it can end by itself.
    asking: AtomicBool,
    /// The page of the cell that runs says that the compiler starts.
    says_it_starts: AtomicBool,
    /// Hosts that were killed, until they are gone: nobody waits for that but the end of the kernel.
    ending: TaskTracker,
}

impl RustCells {
    /// `argv` starts the program so that it calls [`super::host_main`]; nothing is started yet.
    #[must_use]
    pub fn new(argv: Vec<OsString>) -> Self {
        Self {
            argv,
            variables: None,
            crates: Vec::new(),
            host: Mutex::new(None),
            asking: AtomicBool::new(false),
            says_it_starts: AtomicBool::new(false),
            ending: TaskTracker::new(),
        }
    }

    /// Adds a crate that cells may use without a `:dep`.
    #[must_use]
    pub fn with_crate(mut self, added: CellCrate) -> Self {
        self.crates.push(added);
        self
    }

    /// Sets environment variables of cells; they are asked for whenever the process for cells starts.
    #[must_use]
    pub fn with_variables(
        mut self,
        variables: impl Fn() -> Vec<(OsString, OsString)> + Send + Sync + 'static,
    ) -> Self {
        self.variables = Some(Box::new(variables));
        self
    }

    /// Runs a cell: where it waits for the compiler it says so in its page, what it prints streams to `out` while it runs, its last expression is the result.
    ///
    /// A cell of another subshell waits for the one that runs.
    ///
    /// # Errors
    /// Compiler errors with the lines of the cell; a program that ended; a question that nobody can answer; an
    /// interrupt, which kills the computation; no Rust toolchain. The error says where variables were lost.
    ///
    /// # Cancel safety
    /// When this is dropped the host may be busy with the abandoned cell; the next one starts a new host.
    pub async fn execute(
        &self,
        cell: &Cell,
        out: &CellOutput,
        interrupt: &Interrupt,
    ) -> Result<(), CellError> {
        // Both arms only wait; the lock goes to the next cell in line when this is dropped.
        let mut slot = tokio::select! {
            slot = self.host.lock() => slot,
            () = interrupt.requested() => return Err(CellError::new(
                "Interrupted", "the cell waited for another Rust cell; nothing of it was run",
            )),
        };
        {
            let mut work = std::pin::pin!(self.run(&mut slot, cell, out));
            // The arms are the work and the request to drop it, which does not hold where it ends by itself.
            tokio::select! {
                result = &mut work => return result.map_err(|error| named(error, interrupt)),
                () = self.must_stop(interrupt) => {}
            }
        }
        self.end(slot.take());
        self.unsay_that_it_starts(out).await;
        Err(CellError::new(
            "Interrupted",
            format!("the Rust computation was stopped; {LOST}"),
        ))
    }

    /// Returns the value of an expression over the variables of the cells before.
    ///
    /// # Errors
    /// Where Rust is not ready, a Rust cell runs, the expression does not compile or has no value, or it takes longer
    /// than ten seconds: the next cell waits for its end then.
    pub async fn value(&self, expression: &str) -> Result<MimeBundle, CellError> {
        let none = |reason: &str| {
            let text = format!("{expression:?} was not evaluated: {reason}");
            CellError::new("NotEvaluated", text)
        };
        let Ok(mut slot) = self.host.try_lock() else {
            return Err(none("a Rust cell runs"));
        };
        let Some(host) = slot.as_mut().filter(|host| host.ready && !host.busy) else {
            return Err(none(
                "Rust is not ready in this kernel: run a Rust cell first",
            ));
        };
        let request = Request::Execute {
            code: expression.to_owned(),
            dependencies: Vec::new(),
        };
        host.busy = true;
        let outcome = match tokio::time::timeout(VALUE_LIMIT, host.value(&request)).await {
            Ok(Ok(outcome)) => {
                host.busy = false;
                return match outcome {
                    Ok(bundle) if bundle.is_empty() => Err(none("it has no value")),
                    outcome => outcome,
                };
            }
            Ok(Err(error)) => error,
            // What is computed for nobody must not cost the variables: its answer is skipped when it comes.
            Err(_) => {
                host.busy = false;
                host.owed_values += 1;
                return Err(none(&format!("it took longer than {VALUE_LIMIT:?}")));
            }
        };
        self.end(slot.take());
        Err(outcome)
    }

    /// Returns what could stand at `cursor` (in characters); nothing while a Rust cell runs. The first time starts
    /// the host, which the first cell then need not wait for, and finds nothing.
    pub async fn complete(&self, code: &str, cursor: usize) -> Completion {
        let nothing = Completion {
            matches: Vec::new(),
            start: cursor,
            end: cursor,
        };
        let request = Request::Complete {
            code: code.to_owned(),
            position: byte_offset(code, cursor),
        };
        let Some(Event::Completed {
            matches,
            start,
            end,
        }) = self.help(&request).await
        else {
            return nothing;
        };
        let candidate = |(text, kind)| CompletionMatch { text, kind };
        Completion {
            matches: matches.into_iter().map(candidate).collect(),
            start: char_offset(code, start),
            end: char_offset(code, end),
        }
    }

    /// Returns help on what stands at `cursor` (in characters), as [`complete`](Self::complete) does.
    pub async fn inspect(&self, code: &str, cursor: usize) -> Option<MimeBundle> {
        let request = Request::Inspect {
            code: code.to_owned(),
            position: byte_offset(code, cursor),
        };
        match self.help(&request).await {
            Some(Event::Inspected { bundle }) => bundle,
            _ => None,
        }
    }

    /// Ends the host and what it runs; the next cell starts a new one.
    pub async fn shutdown(&self) {
        let host = self.host.lock().await.take();
        self.end(host);
        self.ending.close();
        if tokio::time::timeout(ENDING_LIMIT, self.ending.wait())
            .await
            .is_err()
        {
            tracing::debug!("a Rust host that was killed is not gone yet");
        }
        self.ending.reopen();
    }

    /// Kills a host now, and leaves it to a task to see it gone.
    fn end(&self, host: Option<Host>) {
        if let Some(mut host) = host {
            host.kill_group();
            self.ending.spawn(host.end());
        }
    }

    async fn run(
        &self,
        slot: &mut Option<Host>,
        cell: &Cell,
        out: &CellOutput,
    ) -> Result<(), CellError> {
        let dependencies = self.dependencies(&cell.code).await?;
        let mut host = match slot.take() {
            Some(host) if !host.busy => host,
            Some(host) => {
                self.end(Some(host));
                self.start().await?
            }
            None => self.start().await?,
        };
        let request = Request::Execute {
            code: cell.code.clone(),
            dependencies,
        };
        // The host stays in its slot while it works, so that an interrupt finds it there.
        host.busy = true;
        let host = slot.insert(host);
        self.asking.store(false, Ordering::Relaxed);
        if cell.cell_id.is_some() {
            self.said_while_it_starts(host, out).await;
        }
        let result = host.execute(&request, out, &self.asking).await;
        match result {
            Ok(outcome) => {
                host.busy = false;
                outcome
            }
            Err(error) => {
                self.end(slot.take());
                Err(error)
            }
        }
    }

    /// Tells the person at a page what the first cell waits for, where that is more than a moment; what was said goes
    /// when it is there. Whether it is of use is seen by who uses it then.
    async fn said_while_it_starts(&self, host: &mut Host, out: &CellOutput) {
        self.says_it_starts.store(false, Ordering::Relaxed);
        let started = tokio::time::timeout(SAYS_AFTER, host.wait_ready());
        if started.await.is_ok() {
            return;
        }
        self.says_it_starts.store(true, Ordering::Relaxed);
        out.stdout("The Rust compiler starts, once for this kernel ...\n")
            .await;
        host.wait_ready().await;
        self.unsay_that_it_starts(out).await;
    }

    /// Takes back that the compiler starts, also where a stop has cut off the wait for it.
    async fn unsay_that_it_starts(&self, out: &CellOutput) {
        if self.says_it_starts.swap(false, Ordering::Relaxed) {
            out.clear(false).await;
        }
    }

    async fn start(&self) -> Result<Host, CellError> {
        let variables = self.variables.as_ref().map(|of_now| of_now());
        Host::start(&self.argv, variables.unwrap_or_default()).await
    }

    /// Returns evcxr's lines for the crates that the code names.
    async fn dependencies(&self, code: &str) -> Result<Vec<String>, CellError> {
        let named = self.crates.iter().filter(|known| known.is_named(code));
        let named: Vec<CellCrate> = named.cloned().collect();
        if named.is_empty() {
            return Ok(Vec::new());
        }
        let prepared = tokio::task::spawn_blocking(move || {
            let lines = named.iter().map(CellCrate::dependency);
            lines.collect::<Result<Vec<_>, _>>()
        });
        let lines = prepared.await.map_err(|failure| failure.to_string());
        lines
            .and_then(|lines| lines)
            .map_err(|reason| CellError::new("NoCrate", reason))
    }

    /// Waits until the cell has to be stopped from outside.
    async fn must_stop(&self, interrupt: &Interrupt) {
        interrupt.requested().await;
        if self.asking.load(Ordering::Relaxed) {
            // Either arm only waits: the cell is told that there is no answer, and ends.
            tokio::select! {
                () = tokio::time::sleep(UNANSWERED_LIMIT) => {}
                () = interrupt.insisted() => {}
            }
        }
    }

    /// An answer that comes too late is skipped when it comes: the Tab key must not cost the variables.
    async fn help(&self, request: &Request) -> Option<Event> {
        let mut slot = self.host.try_lock().ok()?;
        if slot.is_none() {
            *slot = self.start().await.ok();
        }
        let host = slot.as_mut().filter(|host| !host.busy)?;
        let answer = tokio::time::timeout(HELP_LIMIT, host.help(request));
        match answer.await.ok()? {
            Ok(answer) => answer,
            Err(error) => {
                tracing::debug!(%error, "no help on Rust");
                self.end(slot.take());
                None
            }
        }
    }
}

impl fmt::Debug for RustCells {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("RustCells");
        shown
            .field("argv", &self.argv)
            .field("crates", &self.crates);
        shown.field("host", &self.host).finish_non_exhaustive()
    }
}

/// A cell that ended because the stop button took its question away was interrupted.
fn named(mut error: CellError, interrupt: &Interrupt) -> CellError {
    if error.ename == NO_ANSWER && interrupt.count() > 0 {
        return CellError::new("Interrupted", std::mem::take(&mut error.evalue));
    }
    error
}

fn byte_offset(code: &str, cursor: usize) -> usize {
    code.char_indices()
        .nth(cursor)
        .map_or(code.len(), |(offset, _)| offset)
}

fn char_offset(code: &str, position: usize) -> usize {
    code.char_indices()
        .take_while(|(offset, _)| *offset < position)
        .count()
}
