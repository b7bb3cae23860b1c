//! Listening sockets that outlive a router.
//!
//! # Flow
//! A router gives a copy of each listening socket to the process that looks after it. A router that
//! is started again takes them back before it binds anything.
//!
//! # Guarantees
//! While the keeper lives, a port never closes between two routers: connections made meanwhile wait
//! in the system's queue and are served by the next. What a killed router had accepted is cut.
//!
//! # Caveats
//! A router whose keeper does not answer listens all the same; its ports close with it then.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::UnixListener;

use crate::control_server::{bind_private, check_path, is_ours};
use crate::descriptors::{limited, receive, send};
use crate::error::Error;
use crate::sync::lock;

/// How long either side may take for one message: both are on this machine.
const LIMIT: Duration = Duration::from_secs(2);
/// Pause after the operating system refuses a connection, such as for lack of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What a message is about, its only byte.
const KEEP: u8 = b'k';
const FORGET: u8 = b'f';
const TAKE: u8 = b't';
const DONE: u8 = b'd';

/// Listening sockets by their address.
pub(crate) type Held = BTreeMap<SocketAddr, TcpListener>;

/// The listening sockets of a router, held by the process that looks after it.
#[derive(Debug)]
pub struct KeptListeners {
    socket: UnixListener,
    path: PathBuf,
    held: Arc<Mutex<Held>>,
}

impl Drop for KeptListeners {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "the keeper's socket was gone");
        }
    }
}

impl KeptListeners {
    /// Listens for a router on a Unix socket of mode 0600, in place of one that is there. The caller
    /// sees to it that no other keeper lives.
    ///
    /// # Errors
    /// [`Error::SocketPathTooLong`], [`Error::File`].
    pub fn bind(path: &Path) -> Result<Self, Error> {
        check_path(path)?;
        let socket = bind_private(path)?;
        Ok(Self {
            socket,
            path: path.to_owned(),
            held: Arc::default(),
        })
    }

    /// Takes and gives sockets for as long as it is not dropped. Cancel safe.
    pub async fn serve(&self) {
        loop {
            let stream = match self.socket.accept().await {
                Ok((stream, _)) if is_ours(&stream) => stream,
                Ok(_) => {
                    tracing::warn!("a connection of another user was closed");
                    continue;
                }
                Err(error) => {
                    tracing::warn!(%error, "could not accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let held = Arc::clone(&self.held);
            let answered = match stream.into_std() {
                Ok(stream) => tokio::task::spawn_blocking(move || answer(stream, &held)).await,
                Err(error) => Ok(Err(error)),
            };
            match answered {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "sockets were not exchanged"),
                Err(error) => tracing::error!(%error, "an exchange of sockets broke off"),
            }
        }
    }
}

fn answer(stream: UnixStream, held: &Mutex<Held>) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    let stream = limited(stream, LIMIT)?;
    let Some((what, descriptor)) = receive(&stream)? else {
        return Ok(());
    };
    match (what, descriptor.map(TcpListener::from)) {
        (KEEP, Some(listener)) => {
            let address = listener.local_addr()?;
            lock(held).insert(address, listener);
        }
        (FORGET, Some(listener)) => {
            lock(held).remove(&listener.local_addr()?);
        }
        (TAKE, None) => {
            for listener in lock(held).values() {
                send(&stream, KEEP, Some(listener.as_fd()))?;
            }
        }
        _ => return Err(std::io::Error::other("this is no message of a router")),
    }
    send(&stream, DONE, None)
}

/// The router's side.
#[derive(Debug, Clone, Default)]
pub(crate) struct Keeper {
    path: Option<PathBuf>,
}

impl Keeper {
    pub(crate) fn new(path: Option<PathBuf>) -> Self {
        Self { path }
    }

    /// Takes what the keeper holds; nothing where there is none.
    pub(crate) async fn take(&self) -> Held {
        let taken = self.exchange(TAKE, None).await;
        let mut held = Held::new();
        for listener in taken {
            match listener.local_addr() {
                Ok(address) => drop(held.insert(address, listener)),
                Err(error) => tracing::warn!(%error, "a kept socket has no address"),
            }
        }
        held
    }

    /// Gives a copy of a socket to the keeper, if there is one.
    pub(crate) async fn keep(&self, listener: OwnedFd) {
        self.exchange(KEEP, Some(listener)).await;
    }

    /// Has the keeper close its copy of a socket, if there is one.
    pub(crate) async fn forget(&self, listener: OwnedFd) {
        self.exchange(FORGET, Some(listener)).await;
    }

    async fn exchange(&self, what: u8, listener: Option<OwnedFd>) -> Vec<TcpListener> {
        let Some(path) = self.path.clone() else {
            return Vec::new();
        };
        let asked = tokio::task::spawn_blocking(move || ask(&path, what, listener)).await;
        match asked {
            Ok(Ok(listeners)) => listeners,
            // The first router is there before its keeper is, which then asks for the sockets.
            Ok(Err(error)) => {
                tracing::info!(%error, "the keeper was not reached");
                Vec::new()
            }
            Err(error) => {
                tracing::error!(%error, "an exchange of sockets broke off");
                Vec::new()
            }
        }
    }
}

fn ask(path: &Path, what: u8, listener: Option<OwnedFd>) -> std::io::Result<Vec<TcpListener>> {
    let stream = limited(UnixStream::connect(path)?, LIMIT)?;
    send(&stream, what, listener.as_ref().map(AsFd::as_fd))?;
    let mut listeners = Vec::new();
    while let Some((KEEP, Some(listener))) = receive(&stream)? {
        listeners.push(TcpListener::from(listener));
    }
    Ok(listeners)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

    use super::*;

    #[tokio::test]
    async fn a_kept_port_stays_open_is_taken_back_and_closes_when_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keeper.sock");
        let kept = KeptListeners::bind(&path).unwrap();
        let keeper = Keeper::new(Some(path.clone()));
        let asked = async {
            assert!(keeper.take().await.is_empty());
            let first = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = first.local_addr().unwrap();
            keeper.keep(first.into()).await;
            // Nobody else listens any more; a connection waits.
            let waiting = std::net::TcpStream::connect(address).unwrap();
            let mut taken = keeper.take().await;
            let second = taken.remove(&address).unwrap();
            assert_eq!(second.accept().unwrap().1, waiting.local_addr().unwrap());
            keeper.forget(second.into()).await;
            assert!(std::net::TcpStream::connect(address).is_err());
        };
        tokio::select! {
            () = kept.serve() => panic!("it ended"),
            () = asked => {}
        }
        drop(kept);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_router_without_a_keeper_takes_nothing_and_does_not_wait() {
        assert!(Keeper::default().take().await.is_empty());
        let gone = Keeper::new(Some("/nonexistent/keeper.sock".into()));
        assert!(gone.take().await.is_empty());
    }
}
