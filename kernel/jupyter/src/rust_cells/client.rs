use std::ffi::OsString;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::Mutex;

use super::protocol::{Event, Request};
use crate::cells::{CellError, Completion, CompletionMatch, MimeBundle};
use crate::interrupt::Interrupt;
use crate::output::CellOutput;

/// The host compiles once before it is ready; on a loaded machine that takes a while.
const START_LIMIT: Duration = Duration::from_secs(180);
/// Completion and help are of no use later.
const HELP_LIMIT: Duration = Duration::from_secs(10);

const LOST: &str =
    "variables and functions of earlier Rust cells are lost: run the cells that define them again";

/// Runs Rust cells in a host process, which is started when the first one comes.
#[derive(Debug)]
pub struct RustCells {
    argv: Vec<OsString>,
    host: Mutex<Option<Host>>,
}

impl RustCells {
    /// `argv` starts the program so that it calls [`super::host_main`]; nothing is started yet.
    #[must_use]
    pub fn new(argv: Vec<OsString>) -> Self {
        Self {
            argv,
            host: Mutex::new(None),
        }
    }

    /// Runs a cell: what it prints streams to `out` while it runs, its last expression is the result.
    ///
    /// # Errors
    /// Compiler errors with the lines of the cell; a program that ended; an interrupt, which kills the computation; no
    /// Rust toolchain. The error says where variables were lost.
    ///
    /// # Cancel safety
    /// When this is dropped the host may be busy with the abandoned cell; the next one starts a new host.
    pub async fn execute(
        &self,
        code: &str,
        out: &CellOutput,
        interrupt: &Interrupt,
    ) -> Result<(), CellError> {
        // The arms are the work and the request to drop it.
        tokio::select! {
            result = self.run(code, out) => result,
            () = interrupt.requested() => Err(self.stop().await),
        }
    }

    /// Returns what could stand at `cursor` (in characters); nothing where no Rust cell has run yet, or
    /// one is running.
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

    /// Returns help on what stands at `cursor` (in characters); nothing where no Rust cell has run yet,
    /// or one is running.
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
        if let Some(host) = self.host.lock().await.take() {
            host.end().await;
        }
    }

    async fn run(&self, code: &str, out: &CellOutput) -> Result<(), CellError> {
        let mut slot = self.host.lock().await;
        let mut host = match slot.take() {
            Some(host) if !host.busy => host,
            Some(host) => {
                host.end().await;
                Host::start(&self.argv).await?
            }
            None => Host::start(&self.argv).await?,
        };
        let request = Request::Execute {
            code: code.to_owned(),
        };
        // The host stays in its slot while it works, so that an interrupt finds it there.
        host.busy = true;
        let host = slot.insert(host);
        let result = host.execute(&request, out).await;
        match result {
            Ok(outcome) => {
                host.busy = false;
                outcome
            }
            Err(error) => {
                if let Some(host) = slot.take() {
                    host.end().await;
                }
                Err(error)
            }
        }
    }

    async fn stop(&self) -> CellError {
        self.shutdown().await;
        CellError::new(
            "Interrupted",
            format!("the Rust computation was stopped; {LOST}"),
        )
    }

    /// An answer that comes too late is skipped when it comes: the Tab key must not cost the variables.
    async fn help(&self, request: &Request) -> Option<Event> {
        let mut slot = self.host.try_lock().ok()?;
        let host = slot.as_mut().filter(|host| !host.busy)?;
        tokio::time::timeout(HELP_LIMIT, host.help(request))
            .await
            .ok()?
            .ok()
    }
}

/// The host process, and the group it leads.
#[derive(Debug)]
struct Host {
    child: Child,
    group: Option<Pid>,
    input: ChildStdin,
    events: Lines<BufReader<ChildStdout>>,
    busy: bool,
    /// Answers about completion and help that nobody waits for any more.
    owed: usize,
}

impl Host {
    async fn start(argv: &[OsString]) -> Result<Self, CellError> {
        let mut host = Self::spawn(argv)?;
        let ready = tokio::time::timeout(START_LIMIT, host.next()).await;
        match ready {
            Ok(Ok(Event::Ready)) => Ok(host),
            Ok(Ok(Event::Unavailable { reason })) => Err(CellError::new("NoRust", reason)),
            Ok(Ok(event)) => Err(unexpected(&event)),
            Ok(Err(error)) => Err(error),
            Err(_) => {
                let limit = START_LIMIT.as_secs();
                let text = format!("the Rust compiler was not ready within {limit} s; try again");
                Err(CellError::new("RustError", text))
            }
        }
    }

    fn spawn(argv: &[OsString]) -> Result<Self, CellError> {
        let no_host = |reason: String| {
            let text = format!("the process for Rust cells cannot be started: {reason}");
            CellError::new("RustError", text)
        };
        let (program, arguments) = argv
            .split_first()
            .ok_or_else(|| no_host("no command is set".into()))?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| no_host(error.to_string()))?;
        let group = child
            .id()
            .and_then(|pid| i32::try_from(pid).ok())
            .map(Pid::from_raw);
        match (child.stdin.take(), child.stdout.take()) {
            (Some(input), Some(output)) => {
                let events = BufReader::new(output).lines();
                Ok(Self {
                    child,
                    group,
                    input,
                    events,
                    busy: false,
                    owed: 0,
                })
            }
            _ => Err(no_host("it has no pipes".into())),
        }
    }

    /// The outer error means that the host is of no use any more.
    async fn execute(
        &mut self,
        request: &Request,
        out: &CellOutput,
    ) -> Result<Result<(), CellError>, CellError> {
        self.send(request).await?;
        loop {
            match self.next().await? {
                Event::Stdout { text } => out.stdout(text).await,
                Event::Stderr { text } => out.stderr(text).await,
                Event::Done { bundle } => {
                    if !bundle.is_empty() {
                        out.result(&bundle).await;
                    }
                    return Ok(Ok(()));
                }
                Event::Failed { error, lost } => {
                    tracing::debug!(lost, ename = error.ename, "a Rust cell failed");
                    return Ok(Err(error));
                }
                Event::Completed { .. } | Event::Inspected { .. } if self.owed > 0 => {
                    self.owed -= 1;
                }
                event => return Err(unexpected(&event)),
            }
        }
    }

    async fn help(&mut self, request: &Request) -> Result<Event, CellError> {
        while self.owed > 0 {
            self.next().await?;
            self.owed -= 1;
        }
        self.send(request).await?;
        self.owed += 1;
        let event = self.next().await?;
        self.owed -= 1;
        Ok(event)
    }

    async fn send(&mut self, request: &Request) -> Result<(), CellError> {
        let mut line = serde_json::to_vec(request)
            .map_err(|error| CellError::new("RustError", error.to_string()))?;
        line.push(b'\n');
        let written = async {
            self.input.write_all(&line).await?;
            self.input.flush().await
        };
        written.await.map_err(|_| ended())
    }

    /// Waits for the next event; lines that are none are notes of the compiler and are skipped.
    async fn next(&mut self) -> Result<Event, CellError> {
        loop {
            let Ok(Some(line)) = self.events.next_line().await else {
                return Err(ended());
            };
            match serde_json::from_str(&line) {
                Ok(event) => return Ok(event),
                Err(_) => tracing::debug!(line, "the Rust host said"),
            }
        }
    }

    async fn end(mut self) {
        self.kill_group();
        if let Err(error) = self.child.wait().await {
            tracing::warn!(%error, "the Rust host could not be waited for");
        }
    }

    /// Takes the group with it: the computation and what it started.
    fn kill_group(&mut self) {
        if let Some(group) = self.group.take() {
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.kill_group();
    }
}

fn ended() -> CellError {
    CellError::new(
        "RustEnded",
        format!("the process for Rust cells has ended; {LOST}"),
    )
}

fn unexpected(event: &Event) -> CellError {
    tracing::error!(?event, "unexpected event of the Rust host");
    CellError::new(
        "RustError",
        format!("the process for Rust cells spoke out of turn; {LOST}"),
    )
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
