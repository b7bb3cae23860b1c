//! One router goes on where another is: no connection is refused, and no request is lost.
//!
//! # Flow
//! The next router asks over the control socket. The one that runs changes nothing from then on, and gives
//! the lock on its state, its control socket, each listening socket, and what is in force. The next one makes
//! itself ready from that and says so; the one that runs says yes. From then on the next one alone accepts
//! connections and is asked and told what to do. The one before finishes what it had begun, passes on what it
//! measures meanwhile, says what became of it, and ends.
//!
//! # Guarantees
//! Until it says yes, the router that runs serves as before, and goes on if the next one ends, breaks off or
//! is not ready in time. Sockets are open in one of the two at every instant, so connections wait at most for
//! the next one to accept them. An idle connection ends with the answer to its next request, which says so.
//!
//! # Assumptions
//! Whoever steers routers changes nothing before the one before has ended
//! ([`Status::predecessor`]): requests on connections that it still has go by the shares that it knows.
//!
//! # Caveats
//! What goes on after the limit is cut. A connection that nobody uses for ten seconds is closed meanwhile,
//! as one is that is not used for long at any other time.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use code_deploy_record::Sample;
use futures::{SinkExt as _, StreamExt as _};
use serde::{Deserialize, Serialize};
use tokio_util::codec::{Framed, FramedRead, LinesCodec};

use crate::control::{Answer, Drained, MAX_LINE, Request, Status};
use crate::control_server::{HANDED_OVER, refuse};
use crate::descriptors::{limited, receive, send};
use crate::error::Error;
use crate::keeping::Held;
use crate::router::{Control, Router};
use crate::server::Listener;
use crate::sync::lock;
use crate::tally::Counted;

/// How long either side waits for the other: both are on this machine, and changes wait meanwhile.
const LIMIT: Duration = Duration::from_secs(5);

/// What a message is about, its only byte.
const LOCK: u8 = b'l';
const CONTROL: u8 = b'c';
const LISTENER: u8 = b'k';
const DONE: u8 = b'd';
const READY: u8 = b'r';
const YOURS: u8 = b'y';

/// What the router before says while it finishes what it had begun: one JSON value a line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Parting {
    /// A second of a release.
    Measured(Box<Sample>),
    /// All that was counted of a release.
    Counted(Counted),
    /// What became of what was under way; the last line.
    Ended(Drained),
}

/// The router that goes on, as the one before it sees it.
#[derive(Debug)]
pub(crate) struct Successor(UnixStream);

impl Successor {
    /// Passes on what was measured.
    pub(crate) fn send(&mut self, samples: Vec<Sample>) -> std::io::Result<()> {
        let mut measured = samples.into_iter().map(Box::new).map(Parting::Measured);
        measured.try_for_each(|one| self.say(&one))
    }

    /// Passes on what was counted.
    pub(crate) fn count(&mut self, counted: Vec<Counted>) -> std::io::Result<()> {
        let mut counted = counted.into_iter().map(Parting::Counted);
        counted.try_for_each(|one| self.say(&one))
    }

    /// Says what became of what was under way.
    pub(crate) fn end(&mut self, drained: Drained) -> std::io::Result<()> {
        self.say(&Parting::Ended(drained))
    }

    fn say(&mut self, parting: &Parting) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(parting)?;
        line.push(b'\n');
        self.0.write_all(&line)
    }
}

/// What is handed over of open files.
#[derive(Debug)]
struct Handles {
    lock: OwnedFd,
    control: OwnedFd,
    listeners: Vec<OwnedFd>,
}

/// Hands everything over to the router that asks on that connection, whose lines so far are read. Requests in
/// flight may go on for `limit`.
pub(crate) async fn give(
    router: &Arc<Router>,
    mut lines: Framed<tokio::net::UnixStream, LinesCodec>,
    limit: Duration,
) {
    // Held to the end: what is handed over must stay as it is meanwhile.
    let mut control = router.control.lock().await;
    let handles = match router.handles(&control) {
        Ok(handles) => handles,
        Err(error) => {
            drop(control);
            let answer = refuse(error.code(), error.to_string());
            let text = serde_json::to_string(&answer).unwrap_or_default();
            if let Err(error) = lines.send(text).await {
                tracing::debug!(%error, "a refusal was not heard");
            }
            return;
        }
    };
    let status = router.status_with(&control);
    let stream = lines.into_inner().into_std();
    let given = tokio::task::spawn_blocking(move || offer(stream?, &handles, &status)).await;
    match given.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
        Ok(stream) => router.hand_on(&mut control, Successor(stream), limit),
        Err(error) => {
            let text = format!("another router asked to take over and did not: {error}");
            router.shared.events.push("hand-over-failed", None, text);
        }
    }
}

fn offer(stream: UnixStream, handles: &Handles, status: &Status) -> std::io::Result<UnixStream> {
    stream.set_nonblocking(false)?;
    let stream = limited(stream, LIMIT)?;
    send(&stream, LOCK, Some(handles.lock.as_fd()))?;
    send(&stream, CONTROL, Some(handles.control.as_fd()))?;
    for listener in &handles.listeners {
        send(&stream, LISTENER, Some(listener.as_fd()))?;
    }
    send(&stream, DONE, None)?;
    let mut line = serde_json::to_vec(status)?;
    line.push(b'\n');
    (&stream).write_all(&line)?;
    match receive(&stream).map_err(late)? {
        Some((READY, None)) => {}
        _ => return Err(std::io::Error::other("it ended before it was ready")),
    }
    send(&stream, YOURS, None)?;
    Ok(stream)
}

/// Says in words that the other side did not answer in time.
fn late(error: std::io::Error) -> std::io::Error {
    if error.kind() == std::io::ErrorKind::WouldBlock {
        return std::io::Error::other(format!("it said nothing within {LIMIT:?}"));
    }
    error
}

impl Router {
    fn handles(&self, control: &Control) -> Result<Handles, Error> {
        let Some(file) = &control.file else {
            return Err(Error::refused(HANDED_OVER, "another router goes on"));
        };
        if let Some(pid) = self.predecessor() {
            let text = format!("the router before this one, process {pid}, has not ended yet");
            return Err(Error::refused("busy", text));
        }
        let copied = |copy: Option<OwnedFd>| {
            let text = "the operating system gives no more descriptors";
            copy.ok_or_else(|| Error::refused("no-descriptors", text))
        };
        let socket = control.socket.as_ref();
        let listeners = control.listeners.values().map(Listener::copy);
        Ok(Handles {
            lock: file.lock()?,
            control: copied(socket.and_then(|socket| socket.try_clone().ok()))?,
            listeners: listeners.map(copied).collect::<Result<_, _>>()?,
        })
    }

    /// From now on the other router goes on.
    fn hand_on(&self, control: &mut Control, successor: Successor, limit: Duration) {
        // Its lock is the other's alone from here on, also if that one is killed and started again.
        control.file = None;
        control.socket = None;
        control
            .listeners
            .values_mut()
            .for_each(Listener::close_copy);
        *lock(&self.grace) = limit;
        self.recorder.hand_to(successor);
        self.shared.handed.cancel();
        let text = "another router goes on; this one finishes what it had begun".to_owned();
        self.shared.events.push("handed-over", None, text);
    }

    /// Listens to the router before this one until it has ended.
    pub(crate) fn follow(self: &Arc<Self>, stream: tokio::net::UnixStream, pid: u32) {
        *lock(&self.predecessor) = Some(pid);
        let text = format!("this router took over from process {pid}");
        self.shared.events.push("took-over", None, text);
        let router = Arc::clone(self);
        self.shared.background.spawn(async move {
            let stop = router.shared.stop.clone();
            let ended = stop.run_until_cancelled(router.hear_out(stream)).await;
            *lock(&router.predecessor) = None;
            // A router that stops itself knows no more of it.
            if let Some(ended) = ended {
                router.tell_end(pid, ended);
            }
        });
    }

    async fn hear_out(&self, stream: tokio::net::UnixStream) -> Option<Drained> {
        let mut lines = FramedRead::new(stream, LinesCodec::new_with_max_length(MAX_LINE));
        let mut ended = None;
        while let Some(Ok(line)) = lines.next().await {
            match serde_json::from_str(&line) {
                Ok(Parting::Measured(sample)) => self.recorder.write(vec![*sample]).await,
                Ok(Parting::Counted(counted)) => {
                    let tally = self.shared.tallies.of(&counted.service, &counted.release);
                    tally.go_on_from(counted.counts);
                }
                Ok(Parting::Ended(drained)) => ended = Some(drained),
                Err(error) => tracing::warn!(%error, "the router before said what is not known"),
            }
        }
        ended
    }

    fn tell_end(&self, pid: u32, ended: Option<Drained>) {
        let before = format!("the router before this one, process {pid}");
        let (kind, text) = match ended {
            Some(Drained {
                in_flight_at_start,
                cut: 0,
                waited_ms,
            }) => (
                "predecessor-ended",
                format!(
                    "{before}, has ended: {in_flight_at_start} requests in flight were finished \
                     within {waited_ms} ms, none was cut"
                ),
            ),
            Some(Drained {
                in_flight_at_start,
                cut,
                ..
            }) => (
                "predecessor-cut",
                format!(
                    "{before}, has ended: of {in_flight_at_start} requests and tunnels in flight \
                     {cut} went on after the drain limit and were cut"
                ),
            ),
            None => (
                "predecessor-lost",
                format!("{before}, ended without a word; what it had under way was cut"),
            ),
        };
        self.shared.events.push(kind, None, text);
    }
}

/// What a router is given that takes over from another.
#[derive(Debug)]
pub(crate) struct Taken {
    /// The connection to the router before.
    pub(crate) before: Before,
    pub(crate) lock: OwnedFd,
    pub(crate) control: OwnedFd,
    pub(crate) listeners: Held,
    /// What was in force.
    pub(crate) status: Status,
}

/// The router before, which serves until it is told that this one is ready.
#[derive(Debug)]
pub(crate) struct Before(UnixStream);

/// Asks the router behind that control socket to hand everything over.
///
/// # Errors
/// [`Error::HandOver`] when it does not; it goes on as before then.
pub(crate) async fn ask(socket: &Path, limit: Duration) -> Result<Taken, Error> {
    let path = socket.to_owned();
    let asked = tokio::task::spawn_blocking(move || take(&path, limit)).await;
    let asked = asked.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    asked.map_err(|error| refused(socket, &error))
}

fn refused(socket: &Path, error: &std::io::Error) -> Error {
    Error::HandOver {
        socket: socket.to_owned(),
        reason: error.to_string(),
    }
}

fn take(path: &Path, limit: Duration) -> std::io::Result<Taken> {
    let stream = limited(UnixStream::connect(path)?, LIMIT)?;
    let mut question = serde_json::to_vec(&Request::HandOver { limit })?;
    question.push(b'\n');
    (&stream).write_all(&question)?;
    let (mut state, mut control, mut listeners) = (None, None, Held::new());
    loop {
        match receive(&stream).map_err(late)? {
            Some((LOCK, Some(descriptor))) => state = Some(descriptor),
            Some((CONTROL, Some(descriptor))) => control = Some(descriptor),
            Some((LISTENER, Some(descriptor))) => {
                let listener = TcpListener::from(descriptor);
                listeners.insert(listener.local_addr()?, listener);
            }
            Some((DONE, None)) => break,
            Some((first, None)) => return Err(in_words(first, &stream)),
            _ => return Err(std::io::Error::other("it broke off")),
        }
    }
    let status = serde_json::from_str(&line_of(&stream)?)?;
    let (Some(state), Some(control)) = (state, control) else {
        return Err(std::io::Error::other("it did not give what belongs to it"));
    };
    Ok(Taken {
        before: Before(stream),
        lock: state,
        control,
        listeners,
        status,
    })
}

/// Reads a line, after which the other side says nothing by itself.
fn line_of(stream: &UnixStream) -> std::io::Result<String> {
    let mut line = String::new();
    let bounded = stream.take(MAX_LINE as u64);
    BufReader::new(bounded).read_line(&mut line).map_err(late)?;
    Ok(line)
}

/// Returns the refusal of a router that answers in words: it does not hand over now, or does not know how.
fn in_words(first: u8, stream: &UnixStream) -> std::io::Error {
    let rest = line_of(stream).unwrap_or_default();
    let text = format!("{}{rest}", char::from(first));
    match serde_json::from_str(&text) {
        Ok(Answer::Error { message, .. }) => std::io::Error::other(message),
        _ => std::io::Error::other(format!("it answered {}", text.trim_end())),
    }
}

impl Before {
    /// Says that this router is ready, and waits for the yes; returns the connection, which lasts as long as the
    /// router before does.
    ///
    /// # Errors
    /// [`Error::HandOver`] when there is no yes: the router before goes on.
    pub(crate) async fn release(self, socket: &Path) -> Result<UnixStream, Error> {
        let released = tokio::task::spawn_blocking(move || {
            send(&self.0, READY, None)?;
            match receive(&self.0).map_err(late)? {
                Some((YOURS, None)) => Ok(self.0),
                _ => Err(std::io::Error::other("it broke off")),
            }
        });
        let released = released.await;
        let released = released.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        released.map_err(|error| refused(socket, &error))
    }
}
