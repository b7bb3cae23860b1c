//! The life of a router process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

use crate::config::RouterConfig;
use crate::control::Drained;
use crate::control_server::{self, ControlSocket};
use crate::error::Error;
use crate::handover::{self, Taken};
use crate::keeping::Keeper;
use crate::restoring::Beginning;
use crate::router::Router;
use crate::shared::Shared;
use crate::state::StateFile;
use crate::sync::lock;

/// How long tasks may take to end once everything is cut.
const HARD_LIMIT: Duration = Duration::from_secs(3);

/// Runs a router until `stop` is cancelled, it is told to shut down, or another has taken over from it.
/// With [`RouterConfig::take_over`] it takes over from the one that runs.
///
/// Stopping has two stages: listeners close and requests under way go on for the grace time; then
/// what is left is cut. Services keep their ports in the state file for the next start. A router
/// from which another takes over leaves listeners and state to that one, and finishes what it had
/// begun within the time that it is given.
///
/// # Errors
/// [`Error::SocketPathTooLong`], [`Error::FolderOpen`], [`Error::AlreadyRunning`],
/// [`Error::StateUnreadable`], [`Error::Listen`] or [`Error::File`] when it cannot start; nothing
/// is left behind then but the lock file. [`Error::HandOver`] when the router that runs does not
/// hand over; with any error that one goes on.
pub async fn run(config: RouterConfig, stop: CancellationToken) -> Result<(), Error> {
    control_server::check_path(&config.control_socket)?;
    for path in [&config.control_socket, &config.state_file] {
        if let Some(folder) = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
        {
            control_server::private_folder(folder)?;
        }
    }
    let shared = Arc::new(Shared::new(&stop));
    let started = match config.take_over {
        Some(limit) => succeed(&config, limit, &shared).await,
        None => start(&config, &shared).await,
    };
    let drained = match &started {
        Ok(router) => serve(router).await,
        Err(_) => None,
    };
    end(&shared, started.as_ref().ok()).await;
    if let (Ok(router), Some(drained)) = (&started, drained) {
        router.recorder.part(drained).await;
    }
    started.map(|_| ())
}

async fn start(config: &RouterConfig, shared: &Arc<Shared>) -> Result<Arc<Router>, Error> {
    let (file, state) = StateFile::open(&config.state_file)?;
    let beginning = Beginning {
        file,
        state,
        sockets: Keeper::new(config.keeper_socket.clone()).take().await,
        before: None,
    };
    let router = Router::restore(config, beginning, Arc::clone(shared)).await?;
    router.put_missing(config).await?;
    let control = ControlSocket::bind(&config.control_socket)?;
    begin(&router, control).await;
    Ok(router)
}

/// Takes over from the router that runs. Whatever fails before that one has said yes leaves it as it is;
/// nothing can fail after it.
async fn succeed(
    config: &RouterConfig,
    limit: Duration,
    shared: &Arc<Shared>,
) -> Result<Arc<Router>, Error> {
    let Taken {
        before,
        lock,
        control,
        listeners,
        status,
    } = handover::ask(&config.control_socket, limit).await?;
    let pid = status.pid;
    let (file, state) = StateFile::adopt(&config.state_file, lock)?;
    let mut control = ControlSocket::adopt(&config.control_socket, control)?;
    let beginning = Beginning {
        file,
        state,
        sockets: listeners,
        before: Some(status),
    };
    let router = Router::restore(config, beginning, Arc::clone(shared)).await?;
    let stream = before.release(&config.control_socket).await?;
    control.take_over();
    // First, so that nobody is told that the one before has ended.
    let heard = stream
        .set_nonblocking(true)
        .and_then(|()| UnixStream::from_std(stream));
    match heard {
        Ok(stream) => router.follow(stream, pid),
        Err(error) => tracing::error!(%error, "the router before cannot be heard out"),
    }
    begin(&router, control).await;
    Ok(router)
}

/// From here on connections are accepted and requests for control answered.
async fn begin(router: &Arc<Router>, control: ControlSocket) {
    let shared = &router.shared;
    let mut changes = router.control.lock().await;
    changes.socket = control.copy();
    router.restore_lease(&changes.state);
    drop(changes);
    shared.begun.cancel();
    let recorder = Arc::clone(&router.recorder);
    shared.background.spawn(recorder.run(Arc::clone(shared)));
    shared.background.spawn(Arc::clone(router).watch_lease());
    shared.work.spawn(control.run(Arc::clone(router)));
}

/// Returns when the router is to stop; when another has taken over, with what became of what was under way.
async fn serve(router: &Arc<Router>) -> Option<Drained> {
    let shared = &router.shared;
    let stopped = async {
        shared.stop.cancelled().await;
        router.close_copies().await;
    };
    // Cancel safe: each arm only waits, but for the closing of copies, which the next router has too.
    tokio::select! {
        () = stopped => None,
        () = shared.handed.cancelled() => Some(see_off(router).await),
    }
}

/// Lets what was begun go on for as long as was given for it.
async fn see_off(router: &Arc<Router>) -> Drained {
    let (shared, began) = (&router.shared, Instant::now());
    let limit = std::mem::take(&mut *lock(&router.grace));
    let in_flight_at_start = shared.table.in_flight();
    shared.work.close();
    // Cancel safe: each arm only waits.
    let ended = tokio::select! {
        ended = tokio::time::timeout(limit, shared.work.wait()) => ended.is_ok(),
        () = shared.stop.cancelled() => false,
    };
    let cut = if ended { 0 } else { shared.table.in_flight() };
    let waited_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    Drained {
        in_flight_at_start,
        cut,
        waited_ms,
    }
}

/// Ends everything: what is under way after the grace, the rest at once.
async fn end(shared: &Arc<Shared>, router: Option<&Arc<Router>>) {
    shared.stop.cancel();
    shared.work.close();
    let grace = router.map_or(Duration::ZERO, |router| *lock(&router.grace));
    if tokio::time::timeout(grace, shared.work.wait())
        .await
        .is_err()
    {
        tracing::warn!(
            ?grace,
            left = shared.work.len(),
            "cutting what is still under way"
        );
    }
    shared.hard.cancel();
    shared.background.close();
    let all = async {
        shared.work.wait().await;
        shared.background.wait().await;
    };
    if tokio::time::timeout(HARD_LIMIT, all).await.is_err() {
        tracing::error!(limit = ?HARD_LIMIT, "tasks of the router did not end in time");
    }
}
