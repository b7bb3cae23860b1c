//! The life of a router process.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::config::RouterConfig;
use crate::control_server::{self, ControlSocket};
use crate::error::Error;
use crate::router::Router;
use crate::shared::Shared;
use crate::state::StateFile;
use crate::sync::lock;

/// How long tasks may take to end once everything is cut.
const HARD_LIMIT: Duration = Duration::from_secs(3);

/// Runs a router until `stop` is cancelled or it is told to shut down.
///
/// Stopping has two stages: listeners close and requests under way go on for the grace time; then
/// what is left is cut. Services keep their ports in the state file for the next start.
///
/// # Errors
/// [`Error::SocketPathTooLong`], [`Error::FolderOpen`], [`Error::AlreadyRunning`],
/// [`Error::StateUnreadable`], [`Error::Listen`] or [`Error::File`] when it cannot start; nothing
/// is left behind then but the lock file.
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
    let (file, state) = StateFile::open(&config.state_file)?;
    let shared = Arc::new(Shared::new(&stop));
    let started = start(&config, file, state, &shared).await;
    if let Ok(router) = &started {
        router.shared.stop.cancelled().await;
        router.close_copies().await;
    }
    shared.stop.cancel();
    shared.work.close();
    let grace = started
        .as_ref()
        .map_or(Duration::ZERO, |router| *lock(&router.grace));
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
    started.map(|_| ())
}

async fn start(
    config: &RouterConfig,
    file: StateFile,
    state: crate::state::State,
    shared: &Arc<Shared>,
) -> Result<Arc<Router>, Error> {
    let router = Router::restore(config, file, state, Arc::clone(shared)).await?;
    let control = ControlSocket::bind(&config.control_socket)?;
    let recorder = Arc::clone(&router.recorder);
    shared.background.spawn(recorder.run(Arc::clone(shared)));
    shared.background.spawn(Arc::clone(&router).watch_lease());
    shared.work.spawn(control.run(Arc::clone(&router)));
    Ok(router)
}
