//! Accepts connections to one channel, over TCP or as a socket file.

use std::io::{Error as IoError, ErrorKind, Result as IoResult};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connection::{Address, Endpoint};
use crate::error::Error;

/// Connections at once to one channel: pages, consoles and tools on one kernel; more is a fault of the clients.
const CONNECTIONS_LIMIT: usize = 256;
/// After a fault of the listener, such as no file descriptors: later connections may work again.
const FAULT_PAUSE: Duration = Duration::from_millis(100);

/// What is done with a connection, until it ends.
pub(crate) trait Attend: Clone + Send + Sync + 'static {
    fn attend<S>(&self, stream: S) -> impl Future<Output = IoResult<()>> + Send
    where
        S: AsyncRead + AsyncWrite + Send + 'static;
}

struct Acceptor<A> {
    channel: &'static str,
    attendant: A,
    room: Arc<Semaphore>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// Listens on the endpoint until `stop`.
pub(crate) async fn listen<A: Attend>(
    endpoint: &Endpoint,
    tasks: &TaskTracker,
    stop: &CancellationToken,
    attendant: A,
) -> Result<(), Error> {
    let acceptor = Acceptor {
        channel: endpoint.channel.name(),
        attendant,
        room: Arc::new(Semaphore::new(CONNECTIONS_LIMIT)),
        tasks: tasks.clone(),
        stop: stop.clone(),
    };
    match &endpoint.address {
        Address::Tcp { host, port } => {
            let listener = TcpListener::bind((host.as_str(), *port)).await;
            let listener = listener.map_err(|source| endpoint.bind_error(source))?;
            tasks.spawn(acceptor.accept_tcp(listener));
        }
        Address::Ipc { path } => {
            let listener = bind_file(path)
                .await
                .map_err(|source| endpoint.bind_error(source))?;
            tasks.spawn(acceptor.accept_unix(listener, SocketFile(path.clone())));
        }
    }
    Ok(())
}

/// Binds a socket file. One that a kernel left which was killed is in the way and is removed: nobody listens there.
async fn bind_file(path: &Path) -> IoResult<UnixListener> {
    let in_use = match UnixListener::bind(path) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => error,
        bound => return bound,
    };
    // What is no socket refuses a connection as well.
    let is_socket = std::fs::symlink_metadata(path)?.file_type().is_socket();
    match UnixStream::connect(path).await {
        Err(error) if is_socket && error.kind() == ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)?;
            UnixListener::bind(path)
        }
        _ => Err(in_use),
    }
}

/// A socket file of this kernel, removed with its listener: nobody else does.
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0)
            && error.kind() != ErrorKind::NotFound
        {
            let path = self.0.display();
            tracing::debug!(%path, %error, "a socket file was left behind");
        }
    }
}

impl<A: Attend> Acceptor<A> {
    async fn accept_tcp(self, listener: TcpListener) {
        loop {
            // Both arms only wait.
            let accepted = tokio::select! {
                () = self.stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(channel = self.channel, %error, "a client keeps Nagle's delay");
                    }
                    self.attend(stream);
                }
                Err(error) => self.pause(&error).await,
            }
        }
    }

    async fn accept_unix(self, listener: UnixListener, _file: SocketFile) {
        loop {
            // Both arms only wait.
            let accepted = tokio::select! {
                () = self.stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => self.attend(stream),
                Err(error) => self.pause(&error).await,
            }
        }
    }

    async fn pause(&self, error: &IoError) {
        tracing::warn!(channel = self.channel, %error, "a connection cannot be accepted");
        tokio::time::sleep(FAULT_PAUSE).await;
    }

    fn attend<S>(&self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (channel, attendant) = (self.channel, self.attendant.clone());
        let Ok(place) = Arc::clone(&self.room).try_acquire_owned() else {
            tracing::warn!(
                channel,
                limit = CONNECTIONS_LIMIT,
                "too many connections; one is refused"
            );
            return;
        };
        self.tasks.spawn(async move {
            if let Err(error) = attendant.attend(stream).await {
                tracing::debug!(channel, %error, "a client left");
            }
            drop(place);
        });
    }
}
