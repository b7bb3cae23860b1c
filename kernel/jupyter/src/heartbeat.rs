//! The heartbeat: whatever comes goes back.

use std::io::Result as IoResult;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connection::Endpoint;
use crate::error::Error;
use crate::listener::{Attend, listen};
use crate::zmtp::{self, Said};

/// A beat is a few bytes.
const BEAT_LIMIT: usize = 64 * 1024;

#[derive(Clone)]
struct Echo {
    stop: CancellationToken,
}

/// Listens on the endpoint and answers until `stop`.
pub(crate) async fn bind(
    endpoint: &Endpoint,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<(), Error> {
    let echo = Echo { stop: stop.clone() };
    listen(endpoint, tasks, stop, echo).await
}

impl Attend for Echo {
    async fn attend<S>(&self, stream: S) -> IoResult<()>
    where
        S: AsyncRead + AsyncWrite + Send,
    {
        // A beat that is lost because the kernel ends is the right answer to it.
        tokio::select! {
            () = self.stop.cancelled() => Ok(()),
            echoed = echo(stream) => echoed,
        }
    }
}

async fn echo<S>(stream: S) -> IoResult<()>
where
    S: AsyncRead + AsyncWrite + Send,
{
    let (input, mut output) = tokio::io::split(stream);
    let mut input = BufReader::new(input);
    zmtp::greet(&mut input, &mut output, "REP", &["REQ", "DEALER"]).await?;
    loop {
        let answer = match zmtp::read_said(&mut input, BEAT_LIMIT).await? {
            Said::Message(frames) => zmtp::message(&frames),
            Said::Ping(context) => zmtp::pong(&context),
            Said::Other => continue,
        };
        output.write_all(&answer).await?;
        output.flush().await?;
    }
}
