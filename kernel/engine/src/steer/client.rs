//! Asking a run from another process.

use std::time::Duration;

use code_deploy_record::RunFolder;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use super::message::{Control, LONGEST_LINE, Line};
use super::{Asking, Told};

/// How long the run may take to answer.
const LIMIT: Duration = Duration::from_secs(10);

/// Why a run could not be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SteerError {
    /// No process carries the run out now: take it over by [`Runner::open`](crate::Runner::open).
    #[error("no process carries the run out now")]
    NotRunning,
    /// A process is there but did not answer.
    #[error("process {pid}, which carries the run out, did not answer within {limit:?}")]
    NoAnswer {
        /// The process.
        pid: u32,
        /// The limit.
        limit: Duration,
    },
    /// The connection broke.
    #[error("the connection to process {pid} broke")]
    Broken {
        /// The process.
        pid: u32,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Asks a run for something, in the name of `by`.
///
/// # Errors
/// [`SteerError::NotRunning`] when no process carries the run out; the caller then takes it over.
pub async fn ask(
    run: &RunFolder,
    asking: Asking,
    by: &str,
    reason: &str,
) -> Result<Told, SteerError> {
    let Some(control) = Control::read(&Control::path(run)) else {
        return Err(SteerError::NotRunning);
    };
    let pid = control.pid;
    let exchange = exchange(&control, asking, by, reason);
    let answered = tokio::time::timeout(LIMIT, exchange).await;
    answered.unwrap_or(Err(SteerError::NoAnswer { pid, limit: LIMIT }))
}

async fn exchange(
    control: &Control,
    asking: Asking,
    by: &str,
    reason: &str,
) -> Result<Told, SteerError> {
    let pid = control.pid;
    let broken = |source| SteerError::Broken { pid, source };
    // Nobody listens on what is left of a process that died.
    let stream = UnixStream::connect(&control.socket)
        .await
        .map_err(|_| SteerError::NotRunning)?;
    let token = control.token.clone();
    let line = Line {
        token,
        asking,
        by: by.to_owned(),
        reason: reason.to_owned(),
    };
    let mut text = serde_json::to_vec(&line).map_err(|error| broken(error.into()))?;
    text.push(b'\n');
    let (read, mut write) = stream.into_split();
    write.write_all(&text).await.map_err(broken)?;
    let mut answer = String::new();
    let mut read = BufReader::new(read.take(LONGEST_LINE));
    read.read_line(&mut answer).await.map_err(broken)?;
    if answer.is_empty() {
        return Err(SteerError::NotRunning);
    }
    serde_json::from_str(&answer).map_err(|error| broken(error.into()))
}
