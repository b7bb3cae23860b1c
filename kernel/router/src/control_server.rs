//! The control socket.

use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use serde::Serialize;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::codec::{Framed, LinesCodec};

use crate::control::{Answer, MAX_LINE, Request};
use crate::error::Error;
use crate::handover;
use crate::router::Router;

/// Longest path of a Unix socket on Linux, without the closing zero byte.
const MAX_SOCKET_PATH: usize = 107;
/// Most control connections at once: the engine, a few people, a few tools.
const MAX_CONNECTIONS: usize = 64;
/// Pause after the operating system refuses a connection, such as for lack of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long a connection that was made before another router took over may take to ask its question.
const LAST_QUESTION: Duration = Duration::from_millis(500);

/// The word for a request that is none, or is not known here.
pub(crate) const BAD_REQUEST: &str = "bad-request";
/// The word for a request that another router answers by now: it is to be asked again.
pub(crate) const HANDED_OVER: &str = "handed-over";

/// The socket, removed when this is dropped, unless another router listens on it.
#[derive(Debug)]
pub(crate) struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
    is_ours: bool,
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        if !self.is_ours {
            return;
        }
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "control socket was gone");
        }
    }
}

/// Makes a folder of mode 0700, or checks that one that is there lets nobody else in.
///
/// # Errors
/// [`Error::FolderOpen`], [`Error::File`].
pub(crate) fn private_folder(folder: &Path) -> Result<(), Error> {
    let failed = |action| {
        move |source| Error::File {
            action,
            path: folder.to_owned(),
            source,
        }
    };
    if !folder.exists() {
        let mut builder = std::fs::DirBuilder::new();
        builder
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(failed("create"))?;
    }
    let mode = std::fs::metadata(folder)
        .map_err(failed("read"))?
        .permissions()
        .mode()
        & 0o7777;
    if mode & 0o077 != 0 {
        return Err(Error::FolderOpen {
            path: folder.to_owned(),
            mode,
        });
    }
    Ok(())
}

/// Refuses a path that the operating system would cut short.
///
/// # Errors
/// [`Error::SocketPathTooLong`].
pub(crate) fn check_path(path: &Path) -> Result<(), Error> {
    let length = path.as_os_str().len();
    if length > MAX_SOCKET_PATH {
        let limit = MAX_SOCKET_PATH;
        return Err(Error::SocketPathTooLong {
            path: path.to_owned(),
            length,
            limit,
        });
    }
    Ok(())
}

impl ControlSocket {
    /// Binds the socket with mode 0600. Called only while the state file is locked, so that a
    /// socket left there is of a router that is gone.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) fn bind(path: &Path) -> Result<Self, Error> {
        let listener = bind_private(path)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
            is_ours: true,
        })
    }

    /// Goes on with the socket of the router before this one, to which it belongs until this one has
    /// [taken it over](Self::take_over).
    ///
    /// # Errors
    /// [`Error::File`] when the operating system refuses it.
    pub(crate) fn adopt(path: &Path, socket: OwnedFd) -> Result<Self, Error> {
        let socket = std::os::unix::net::UnixListener::from(socket);
        let listener = socket
            .set_nonblocking(true)
            .and_then(|()| UnixListener::from_std(socket));
        let listener = listener.map_err(|source| Error::File {
            action: "listen on",
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            listener,
            path: path.to_owned(),
            is_ours: false,
        })
    }

    /// From now on the socket is this router's.
    pub(crate) fn take_over(&mut self) {
        self.is_ours = true;
    }

    /// Returns another handle on it, for the router that goes on.
    pub(crate) fn copy(&self) -> Option<OwnedFd> {
        let copy = self.listener.as_fd().try_clone_to_owned();
        copy.inspect_err(|error| tracing::warn!(%error, "the control socket cannot be handed on"))
            .ok()
    }

    /// Answers requests until the router stops or another goes on.
    pub(crate) async fn run(mut self, router: Arc<Router>) {
        self.accept(&router).await;
        self.is_ours = !router.shared.handed.is_cancelled();
    }

    async fn accept(&self, router: &Arc<Router>) {
        let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
                return;
            };
            // Cancel safe: an accepted connection is returned by the same poll that accepts it.
            let stream = tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        tracing::warn!(%error, "could not accept a control connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                },
                () = router.shared.stop.cancelled() => return,
                () = router.shared.handed.cancelled() => return,
            };
            if !is_ours(&stream) {
                tracing::warn!("a control connection of another user was closed");
                continue;
            }
            let work = router.shared.work.clone();
            let router = Arc::clone(router);
            work.spawn(async move {
                converse(stream, &router).await;
                drop(permit);
            });
        }
    }
}

/// Binds a Unix socket of mode 0600 in place of one that a dead process left.
///
/// # Errors
/// [`Error::File`].
pub(crate) fn bind_private(path: &Path) -> Result<UnixListener, Error> {
    let failed = |action| {
        move |source| Error::File {
            action,
            path: path.to_owned(),
            source,
        }
    };
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(failed("replace")(error));
        }
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(failed("listen on"))?;
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(path, private).map_err(failed("protect"))?;
    Ok(listener)
}

/// Tells whether whoever connected is this user, or the system's administrator.
pub(crate) fn is_ours(stream: &UnixStream) -> bool {
    stream
        .peer_cred()
        .is_ok_and(|peer| peer.uid() == 0 || peer.uid() == nix::unistd::geteuid().as_raw())
}

async fn converse(stream: UnixStream, router: &Arc<Router>) {
    let mut lines = Framed::new(stream, LinesCodec::new_with_max_length(MAX_LINE));
    loop {
        let given_up = async {
            router.shared.handed.cancelled().await;
            tokio::time::sleep(LAST_QUESTION).await;
        };
        // Cancel safe: a request that was not read whole was not begun.
        let line = tokio::select! {
            line = lines.next() => line,
            () = router.shared.stop.cancelled() => return,
            () = given_up => return,
        };
        let (answer, last) = match line {
            None => return,
            Some(Err(error)) => (refuse(BAD_REQUEST, error.to_string()), true),
            Some(Ok(line)) => match serde_json::from_str::<Request>(&line) {
                Err(error) => (
                    refuse(BAD_REQUEST, format!("not a request: {error}")),
                    false,
                ),
                Ok(Request::HandOver { limit }) => {
                    handover::give(router, lines, limit).await;
                    return;
                }
                Ok(request) => {
                    // Cancel safe: changes are saved whole or not at all; a drain that is cut off
                    // ends with the router. What waited while this router handed over is the next
                    // one's to answer.
                    let answer = tokio::select! {
                        biased;
                        () = router.shared.handed.cancelled() => {
                            refuse(HANDED_OVER, "another router goes on; ask again".to_owned())
                        }
                        answer = answer(router, request) => answer,
                        () = router.shared.hard.cancelled() => return,
                    };
                    (answer, false)
                }
            },
        };
        let text = serde_json::to_string(&answer).unwrap_or_default();
        if lines.send(text).await.is_err() || last {
            return;
        }
    }
}

pub(crate) fn refuse(code: &str, message: String) -> Answer {
    Answer::Error {
        code: code.to_owned(),
        message,
    }
}

async fn answer(router: &Arc<Router>, request: Request) -> Answer {
    match carry_out(router, request).await {
        Ok(value) => Answer::Ok(value),
        Err(Error::Refused { code, message }) => Answer::Error { code, message },
        Err(error) => {
            let mut message = error.to_string();
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                message = format!("{message}: {cause}");
                source = cause.source();
            }
            refuse(error.code(), message)
        }
    }
}

async fn carry_out(router: &Arc<Router>, request: Request) -> Result<serde_json::Value, Error> {
    match request {
        Request::PutService { service } => json(router.put_service(*service).await?),
        Request::RemoveService { service, limit } => {
            json(router.remove_service(&service, limit).await?)
        }
        Request::PutRelease {
            service,
            release,
            backends,
        } => json(router.put_release(&service, &release, backends).await?),
        Request::RemoveRelease {
            service,
            release,
            limit,
        } => json(router.remove_release(&service, &release, limit).await?),
        Request::Drain {
            service,
            backend,
            limit,
        } => json(router.drain(&service, &backend, limit).await?),
        Request::SetWeights { services } => json(router.set_weights(services).await?),
        Request::Lease { lease } => json(router.lease(lease).await?),
        Request::Renew => json(router.renew().await?),
        Request::WaitHealthy {
            service,
            release,
            limit,
        } => json(router.wait_healthy(&service, &release, limit).await?),
        Request::Status => json(router.status().await),
        Request::Events { since } => json(router.shared.events.since(since)),
        Request::Record { dir } => json(router.record(dir).await?),
        Request::OfferListeners => {
            router.offer_listeners().await;
            json(())
        }
        Request::Build => json(router.build().await?),
        Request::HandOver { .. } => Err(Error::refused(
            BAD_REQUEST,
            "a router hands over to one that asks on a connection of its own",
        )),
        Request::Shutdown { grace } => {
            router.shutdown(grace);
            json(())
        }
    }
}

fn json<T: Serialize>(value: T) -> Result<serde_json::Value, Error> {
    serde_json::to_value(value).map_err(|source| Error::Encode {
        what: "an answer",
        source,
    })
}
