//! The host process, as the kernel sees it.

use std::ffi::OsString;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::folder::Folder;
use super::frames::Display;
use super::frames::FOLDER;
use super::protocol::{Event, Request};
use super::render::content;
use crate::cells::{CellError, MimeBundle};
use crate::error::AskError;
use crate::output::CellOutput;

/// The host compiles once before it is ready; on a loaded machine that takes a while.
const START_LIMIT: Duration = Duration::from_secs(180);
/// Where evcxr compiles, where whoever starts the kernel sets it.
const EVCXR_FOLDER: &str = "EVCXR_TMPDIR";

pub(super) const LOST: &str =
    "variables and functions of earlier Rust cells are lost: run the cells that define them again";

/// The host process, and the group it leads.
#[derive(Debug)]
pub(super) struct Host {
    child: Child,
    _folder: Folder,
    group: Option<Pid>,
    input: ChildStdin,
    events: Lines<BufReader<ChildStdout>>,
    /// Why it is of no use, where that is known and nobody was told.
    failed: Option<CellError>,
    /// It said that it can work.
    pub(super) ready: bool,
    /// It works on a cell, or did when that was abandoned.
    pub(super) busy: bool,
    /// Answers about completion and help that nobody waits for any more.
    owed: usize,
    /// Values whose answers nobody waits for any more.
    pub(super) owed_values: usize,
}

impl Host {
    /// Starts it; it gets ready meanwhile.
    pub(super) async fn start(
        argv: &[OsString],
        variables: Vec<(OsString, OsString)>,
    ) -> Result<Self, CellError> {
        let parent = std::env::temp_dir();
        let folder = tokio::task::spawn_blocking(move || Folder::create(&parent)).await;
        let folder = folder
            .map_err(std::io::Error::other)
            .and_then(|created| created);
        let folder = folder.map_err(|error| no_host(&error.to_string()))?;
        Self::spawn(argv, variables, folder)
    }

    /// Waits until it can work, or is found to be of no use: the next request has the reason.
    ///
    /// # Cancel safety
    /// May be dropped and asked again.
    pub(super) async fn wait_ready(&mut self) {
        self.failed = self.get_ready().await.err();
    }

    /// Waits until it can work. The error means that it is of no use.
    ///
    /// # Cancel safety
    /// May be dropped and asked again.
    async fn get_ready(&mut self) -> Result<(), CellError> {
        if self.ready {
            return Ok(());
        }
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        match tokio::time::timeout(START_LIMIT, self.next()).await {
            Ok(Ok(Event::Ready)) => {
                self.ready = true;
                Ok(())
            }
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

    fn spawn(
        argv: &[OsString],
        variables: Vec<(OsString, OsString)>,
        folder: Folder,
    ) -> Result<Self, CellError> {
        let (program, arguments) = argv
            .split_first()
            .ok_or_else(|| no_host("no command is set"))?;
        let mut command = Command::new(program);
        if std::env::var_os(EVCXR_FOLDER).is_none() {
            command.env(EVCXR_FOLDER, folder.evcxr());
        }
        let mut child = command
            .args(arguments)
            .envs(variables)
            .env(FOLDER, folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| no_host(&error.to_string()))?;
        let group = child
            .id()
            .and_then(|pid| i32::try_from(pid).ok())
            .map(Pid::from_raw);
        match (child.stdin.take(), child.stdout.take()) {
            (Some(input), Some(output)) => {
                let events = BufReader::new(output).lines();
                Ok(Self {
                    child,
                    _folder: folder,
                    group,
                    input,
                    events,
                    failed: None,
                    ready: false,
                    busy: false,
                    owed: 0,
                    owed_values: 0,
                })
            }
            _ => Err(no_host("it has no pipes")),
        }
    }

    /// The outer error means that the host is of no use any more.
    pub(super) async fn execute(
        &mut self,
        request: &Request,
        out: &CellOutput,
        asking: &AtomicBool,
    ) -> Result<Result<(), CellError>, CellError> {
        self.get_ready().await?;
        self.send(request).await?;
        loop {
            match self.next().await? {
                Event::Stdout { text } => out.stdout(text).await,
                Event::Stderr { text } => out.stderr(text).await,
                Event::Display { display } => show(display, out).await,
                Event::Clear { wait } => out.clear(wait).await,
                Event::Ask { prompt, password } => {
                    asking.store(true, Ordering::Relaxed);
                    let given = out.ask(&prompt, password).await;
                    let interrupted = matches!(given, Err(AskError::Interrupted { .. }));
                    asking.store(interrupted, Ordering::Relaxed);
                    self.send(&answer(given)).await?;
                }
                Event::Done { .. } | Event::Failed { .. } if self.owed_values > 0 => {
                    self.owed_values -= 1;
                }
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

    /// Returns the value of an expression; what it says beside that goes nowhere. The outer error means that the host
    /// is of no use any more.
    pub(super) async fn value(
        &mut self,
        request: &Request,
    ) -> Result<Result<MimeBundle, CellError>, CellError> {
        self.send(request).await?;
        loop {
            match self.next().await? {
                Event::Stdout { .. }
                | Event::Stderr { .. }
                | Event::Display { .. }
                | Event::Clear { .. } => {}
                Event::Ask { .. } => {
                    let reason = "an expression asks nobody".to_owned();
                    self.send(&Request::Answer { line: None, reason }).await?;
                }
                Event::Done { .. } | Event::Failed { .. } if self.owed_values > 0 => {
                    self.owed_values -= 1;
                }
                Event::Done { bundle } => return Ok(Ok(bundle)),
                Event::Failed { error, .. } => return Ok(Err(error)),
                Event::Completed { .. } | Event::Inspected { .. } if self.owed > 0 => {
                    self.owed -= 1;
                }
                event => return Err(unexpected(&event)),
            }
        }
    }

    /// Nothing while the host gets ready: what comes behind the question must not wait for that. The error means
    /// that the host is of no use any more.
    pub(super) async fn help(&mut self, request: &Request) -> Result<Option<Event>, CellError> {
        match tokio::time::timeout(Duration::ZERO, self.get_ready()).await {
            Ok(ready) => ready?,
            Err(_) => return Ok(None),
        }
        while self.owed > 0 {
            self.next().await?;
            self.owed -= 1;
        }
        self.send(request).await?;
        self.owed += 1;
        let event = self.next().await?;
        self.owed -= 1;
        Ok(Some(event))
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

    pub(super) async fn end(mut self) {
        if let Err(error) = self.child.wait().await {
            tracing::warn!(%error, "the Rust host could not be waited for");
        }
        let dropped = tokio::task::spawn_blocking(move || drop(self)).await;
        if let Err(error) = dropped {
            tracing::warn!(%error, "the folder of the Rust host could not be removed");
        }
    }

    /// Takes the group with it: the computation and what it started.
    pub(super) fn kill_group(&mut self) {
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

fn answer(given: Result<String, AskError>) -> Request {
    let (line, reason) = match given {
        Ok(line) => (Some(line), String::new()),
        Err(error) => (None, error.to_string()),
    };
    Request::Answer { line, reason }
}

fn no_host(reason: &str) -> CellError {
    let text = format!("the process for Rust cells cannot be started: {reason}");
    CellError::new("RustError", text)
}

fn ended() -> CellError {
    CellError::new(
        "RustEnded",
        format!("the process for Rust cells has ended; {LOST}"),
    )
}

async fn show(display: Display, out: &CellOutput) {
    let Display {
        update,
        id,
        mime,
        data,
    } = display;
    let content = content(&mime, data);
    let bundle = MimeBundle::default().with(mime, content);
    match (update, id.is_empty()) {
        (true, _) => out.update_display(&id, &bundle).await,
        (false, true) => out.display(&bundle, Value::Null).await,
        (false, false) => out.display_as(&id, &bundle).await,
    }
}

fn unexpected(event: &Event) -> CellError {
    tracing::error!(?event, "unexpected event of the Rust host");
    CellError::new(
        "RustError",
        format!("the process for Rust cells spoke out of turn; {LOST}"),
    )
}
