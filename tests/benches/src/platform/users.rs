//! Users of a service, who go on asking while it is replaced.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Users;
use crate::Error;

/// The pause between two requests: as many a second as the outside client sends.
const PAUSE: Duration = Duration::from_millis(20);
/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(2);
/// How long it may take until a new address is answered.
const REACHED: Duration = Duration::from_secs(60);
/// More than an update takes, so that nobody goes on asking for ever.
const MOST: u64 = 20_000;

/// Requests to one address, until [`Asking::end`] is called.
pub struct Asking {
    ended: SyncSender<()>,
    thread: JoinHandle<Users>,
}

impl Asking {
    /// Begins to ask that address.
    pub fn begin(address: SocketAddr) -> Self {
        // Nothing is sent: that it is dropped says all.
        let (ended, until) = sync_channel(0);
        let thread = std::thread::spawn(move || {
            let mut users = Users::default();
            while until.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) && users.sent < MOST {
                users.sent += 1;
                users.failed += u64::from(!is_answered(address).unwrap_or(false));
            }
            users
        });
        Self { ended, thread }
    }

    /// Ends, and returns what came of it.
    ///
    /// # Errors
    /// When the thread that asked has ended before.
    pub fn end(self) -> Result<Users, Error> {
        drop(self.ended);
        let ended = self.thread.join();
        ended.map_err(|_| Error::Answer("who asked meanwhile is gone".to_owned()))
    }
}

/// Waits until an address is answered at all: a proxy learns of a new one a while after it is made.
///
/// # Errors
/// When it is not in time.
#[expect(
    clippy::disallowed_methods,
    reason = "it waits for a proxy, which says nothing of what it has learned"
)]
pub fn until_answered(address: SocketAddr) -> Result<(), Error> {
    let until = Instant::now() + REACHED;
    while !is_answered(address).unwrap_or(false) {
        if Instant::now() > until {
            return Err(Error::Answer(format!("nobody answers at {address}")));
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

fn is_answered(address: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: server\r\nconnection: close\r\n\r\n")?;
    let mut said = String::new();
    stream.read_to_string(&mut said)?;
    Ok(said.starts_with("HTTP/1.1 200 "))
}
