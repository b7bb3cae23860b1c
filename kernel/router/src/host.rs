//! The first process of a router's container: it runs the router, and the next one when the program is
//! upgraded, so that the container goes on when a router ends because another took over from it.
//!
//! # Flow
//! It runs the program that was last taken over to, or else its own. An order names another program: its router is
//! started beside the one that runs and takes over from it. When the router that serves ends, this process
//! ends with it, and whoever runs the container starts it again.
//!
//! # Guarantees
//! A program is run again after a restart only once its router has served. One whose router does not serve then is
//! forgotten, and this process runs its own.
//!
//! # Caveats
//! This process itself stays the build that the container was made from.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use crate::client::ControlClient;
use crate::config::RouterConfig;
use crate::control_server::{bind_private, check_path, is_ours};
use crate::error::Error;

/// The file beside a router's configuration that names the program which its host runs, once it was taken over
/// to another than its own.
pub const CHOSEN_PROGRAM: &str = "program.json";

/// How long a router may take until it serves.
const START_LIMIT: Duration = Duration::from_secs(20);

/// How long an order may take beyond that.
const ORDER_LIMIT: Duration = Duration::from_secs(10);

/// The pause between two looks whether it does.
const KNOCK: Duration = Duration::from_millis(20);

/// How long an order may take to be read or its answer to be taken.
const LINE_LIMIT: Duration = Duration::from_secs(5);

/// Pause after the operating system refuses a connection, such as for lack of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Longest line of an order or its outcome, in bytes.
const MAX_LINE: u64 = 1 << 16;

/// A program as a router's host starts it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// The command that starts it, without the words that make it a router.
    pub command: Vec<PathBuf>,
    /// The file of the program itself, where the command is that of its loader.
    pub file: PathBuf,
}

impl Program {
    fn router(&self, config: &Path) -> std::io::Result<Command> {
        let mut words = self.command.iter();
        let Some(first) = words.next() else {
            return Err(std::io::Error::other("the program has no command"));
        };
        let mut command = Command::new(first);
        command
            .args(words)
            .args(["internal", "router", "--config"])
            .arg(config)
            .arg("--program")
            .arg(&self.file)
            .stdin(Stdio::null());
        Ok(command)
    }
}

/// What a host is asked: to run that program from now on.
#[derive(Debug, Serialize, Deserialize)]
struct Order {
    program: Program,
    #[serde(with = "crate::millis", rename = "limit_ms")]
    limit: Duration,
}

/// What became of an order.
#[derive(Debug, Serialize, Deserialize)]
struct Outcome {
    /// Why the router that runs goes on, if it does.
    problem: Option<String>,
}

/// Asks a running host.
#[derive(Clone, Debug)]
pub struct HostClient {
    socket: PathBuf,
}

impl HostClient {
    /// Returns a client of the host whose router has that control socket; nothing is connected yet.
    #[must_use]
    pub fn of(control_socket: &Path) -> Self {
        let socket = socket_of(control_socket);
        Self { socket }
    }

    /// Returns the path of the host's socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Has another program's router take over from the one that runs, whose requests in flight may go on for
    /// `limit`; returns when it has. The one before may then have requests under way still, see
    /// [`Status::predecessor`](crate::Status::predecessor).
    ///
    /// # Errors
    /// [`Error::HandOver`] when the router that runs goes on, with the reason; [`Error::Control`] and
    /// [`Error::NoAnswer`] when the host does not answer.
    pub async fn go_over(&self, program: Program, limit: Duration) -> Result<(), Error> {
        check_path(&self.socket)?;
        let operation = "go_over";
        let failed = |source| Error::Control {
            socket: self.socket.clone(),
            operation,
            source,
        };
        let whole = START_LIMIT + ORDER_LIMIT;
        let order = Order { program, limit };
        let asked = tokio::time::timeout(whole, self.order(&order)).await;
        let outcome = asked.map_err(|_| Error::NoAnswer {
            socket: self.socket.clone(),
            operation,
            limit: whole,
        })?;
        match outcome.map_err(failed)?.problem {
            None => Ok(()),
            Some(reason) => Err(Error::HandOver {
                socket: self.socket.clone(),
                reason,
            }),
        }
    }

    async fn order(&self, order: &Order) -> std::io::Result<Outcome> {
        let mut stream = UnixStream::connect(&self.socket).await?;
        write_line(&mut stream, order).await?;
        read_line(&mut stream).await
    }
}

fn socket_of(control_socket: &Path) -> PathBuf {
    control_socket.with_file_name("host.sock")
}

async fn write_line<T: Serialize>(stream: &mut UnixStream, value: &T) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    stream.write_all(&line).await
}

/// Reads one line, after which the other side says nothing by itself.
async fn read_line<T: for<'a> Deserialize<'a>>(stream: &mut UnixStream) -> std::io::Result<T> {
    let mut line = String::new();
    let mut bounded = BufReader::new(stream.take(MAX_LINE));
    bounded.read_line(&mut line).await?;
    Ok(serde_json::from_str(&line)?)
}

/// Runs the router of that configuration file until it ends or `stop` is cancelled, which ends it. Goes over to
/// other programs when asked.
///
/// # Errors
/// When the configuration cannot be read, the router cannot be started, or it ended with a failure.
pub async fn host(config: PathBuf, stop: CancellationToken) -> std::io::Result<()> {
    let settings: RouterConfig = serde_json::from_slice(&std::fs::read(&config)?)?;
    let orders = Orders::bind(&settings.control_socket)?;
    let host = Host {
        own: own_program()?,
        chosen: config.with_file_name(CHOSEN_PROGRAM),
        control: ControlClient::new(&settings.control_socket),
        config,
    };
    let mut serving = host.first().await?;
    let mut leaving: Option<Child> = None;
    loop {
        // Cancel safe: a child whose end was not waited for is waited for again, and a connection is returned
        // by the same poll that accepts it.
        tokio::select! {
            ended = serving.wait() => return outcome(ended?),
            () = end_of(&mut leaving) => leaving = None,
            () = stop.cancelled() => break,
            stream = orders.next() => {
                if let Some(next) = host.obey(stream).await {
                    leaving = Some(std::mem::replace(&mut serving, next));
                }
            }
        }
    }
    terminate(&serving);
    leaving.iter().for_each(terminate);
    if let Some(mut leaving) = leaving {
        leaving.wait().await?;
    }
    outcome(serving.wait().await?)
}

fn outcome(ended: ExitStatus) -> std::io::Result<()> {
    if ended.success() {
        return Ok(());
    }
    Err(std::io::Error::other(format!(
        "the router ended with {ended}"
    )))
}

/// Waits for the end of a child; for ever where there is none.
async fn end_of(child: &mut Option<Child>) {
    let ended = match child {
        Some(child) => child.wait().await,
        None => std::future::pending().await,
    };
    if let Err(error) = ended {
        tracing::warn!(%error, "the end of a router is not known");
    }
}

fn terminate(child: &Child) {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
    let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) else {
        return;
    };
    // Its number is not given again before it was waited for.
    if let Err(error) = rustix::process::kill_process(pid, rustix::process::Signal::TERM) {
        tracing::warn!(%error, "a router was not asked to end");
    }
}

fn own_program() -> std::io::Result<Program> {
    let file = std::env::current_exe()?;
    Ok(Program {
        command: vec![file.clone()],
        file,
    })
}

/// The socket for orders, removed when this is dropped.
#[derive(Debug)]
struct Orders {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for Orders {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "the host's socket was gone");
        }
    }
}

impl Orders {
    fn bind(control_socket: &Path) -> std::io::Result<Self> {
        let path = socket_of(control_socket);
        check_path(&path).map_err(std::io::Error::other)?;
        let listener = bind_private(&path).map_err(std::io::Error::other)?;
        Ok(Self { listener, path })
    }

    /// Returns the next connection. Cancel safe.
    async fn next(&self) -> UnixStream {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) if is_ours(&stream) => return stream,
                Ok(_) => tracing::warn!("a connection of another user was closed"),
                Err(error) => {
                    tracing::warn!(%error, "could not accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// What a host knows.
#[derive(Debug)]
struct Host {
    own: Program,
    /// The file that names the program that was last taken over to.
    chosen: PathBuf,
    control: ControlClient,
    config: PathBuf,
}

impl Host {
    /// Starts the router with which the container begins.
    async fn first(&self) -> std::io::Result<Child> {
        let Ok(text) = std::fs::read(&self.chosen) else {
            return self.own.router(&self.config)?.spawn();
        };
        match self.start_chosen(&text).await {
            Ok(child) => Ok(child),
            Err(error) => {
                let chosen = self.chosen.display();
                tracing::error!(%error, %chosen, "the program is forgotten; this one runs instead");
                std::fs::remove_file(&self.chosen)?;
                self.own.router(&self.config)?.spawn()
            }
        }
    }

    async fn start_chosen(&self, text: &[u8]) -> std::io::Result<Child> {
        let program: Program = serde_json::from_slice(text)?;
        let child = program.router(&self.config)?.spawn()?;
        self.serving(child).await
    }

    /// Reads an order, obeys it and answers; returns the router that has taken over.
    async fn obey(&self, mut stream: UnixStream) -> Option<Child> {
        let order = tokio::time::timeout(LINE_LIMIT, read_line::<Order>(&mut stream));
        let order = match order.await {
            Ok(Ok(order)) => order,
            Ok(Err(error)) => {
                tracing::warn!(%error, "this is no order");
                return None;
            }
            Err(_) => {
                tracing::warn!(limit = ?LINE_LIMIT, "an order was not given in time");
                return None;
            }
        };
        let next = self.go_over(&order).await;
        let problem = next.as_ref().err().map(ToString::to_string);
        let outcome = Outcome { problem };
        let answer = write_line(&mut stream, &outcome);
        if !matches!(tokio::time::timeout(LINE_LIMIT, answer).await, Ok(Ok(()))) {
            tracing::warn!(?outcome, "nobody heard what became of an order");
        }
        next.ok()
    }

    async fn go_over(&self, order: &Order) -> std::io::Result<Child> {
        let limit = u64::try_from(order.limit.as_millis()).unwrap_or(u64::MAX);
        let mut command = order.program.router(&self.config)?;
        command.arg("--take-over").arg(limit.to_string());
        let child = self.serving(command.spawn()?).await?;
        // Only now: one that does not serve is not to be started again.
        if let Err(error) = self.choose(&order.program) {
            tracing::error!(%error, "after a restart the program before runs");
        }
        Ok(child)
    }

    /// Waits until a router serves, and ends one that does not.
    async fn serving(&self, mut child: Child) -> std::io::Result<Child> {
        let wanted = child.id();
        let served = async {
            loop {
                if let Some(ended) = child.try_wait()? {
                    let text = format!("the new router ended with {ended}; its log says why");
                    return Err(std::io::Error::other(text));
                }
                let status = self.control.status().await;
                if status.is_ok_and(|status| Some(status.pid) == wanted) {
                    return Ok(());
                }
                tokio::time::sleep(KNOCK).await;
            }
        };
        let late = || std::io::Error::other(format!("it does not serve within {START_LIMIT:?}"));
        let served = tokio::time::timeout(START_LIMIT, served).await;
        match served.unwrap_or_else(|_| Err(late())) {
            Ok(()) => Ok(child),
            Err(error) => {
                if let Err(error) = child.kill().await {
                    tracing::warn!(%error, "a router that does not serve was not ended");
                }
                Err(error)
            }
        }
    }

    fn choose(&self, program: &Program) -> std::io::Result<()> {
        let beside = self.chosen.with_added_extension("new");
        std::fs::write(&beside, serde_json::to_vec_pretty(program)?)?;
        std::fs::File::open(&beside)?.sync_all()?;
        std::fs::rename(&beside, &self.chosen)
    }
}
