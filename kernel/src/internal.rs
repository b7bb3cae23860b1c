//! Processes that this program starts for itself.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use code_deploy_router::RouterConfig;
use code_deploy_targets::local;
use serde::de::DeserializeOwned;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::commands::InternalProcess;
use crate::terminal::Terminal;

/// Runs one of the processes until it ends.
pub fn run(process: InternalProcess) -> ExitCode {
    match process {
        InternalProcess::Shop { arguments } => code_deploy_shop::main_with_args(arguments),
        InternalProcess::Command => crate::apart::process::main(),
        InternalProcess::RustCells => code_deploy_jupyter::rust_cells::host_main(),
        InternalProcess::RunData {
            run,
            deployment_file,
        } => run_data(run.as_deref(), deployment_file.as_deref()),
        InternalProcess::Router {
            config,
            take_over,
            program,
        } => serve(router(&config, take_over, program)),
        InternalProcess::RouterHost { config } => serve(with_stop(|stop| async move {
            Ok(code_deploy_router::host(config, stop).await?)
        })),
        InternalProcess::RouterKeeper {
            environment_folder,
            runtime_folder,
        } => serve(async { Ok(local::keep_router(environment_folder, runtime_folder).await?) }),
        InternalProcess::Client { config } => serve(client(&config)),
        InternalProcess::Instance { folder } => {
            serve(async { Ok(local::supervise(folder).await?) })
        }
    }
}

fn run_data(run: Option<&str>, deployment_file: Option<&Path>) -> ExitCode {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    match crate::run_data::write(run, deployment_file, &mut out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            Terminal::new(false, String::new()).failure(&failure);
            ExitCode::from(failure.exit.code())
        }
    }
}

type Ended = Result<(), Box<dyn std::error::Error + Send + Sync>>;

fn serve(process: impl Future<Output = Ended>) -> ExitCode {
    let log = tracing_subscriber::fmt()
        .json()
        .with_writer(std::io::stderr);
    log.with_max_level(tracing::Level::INFO).init();
    let ended = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(process));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let error = code_deploy_engine::error::with_sources(error.as_ref());
            tracing::error!(error, "this process ends");
            ExitCode::FAILURE
        }
    }
}

async fn router(path: &Path, take_over: Option<u64>, program: Option<PathBuf>) -> Ended {
    let mut config: RouterConfig = read(path)?;
    config.take_over = take_over.map(Duration::from_millis);
    config.program = program;
    let folder = path.parent().unwrap_or(Path::new("/"));
    let runtime = config.control_socket.parent().unwrap_or(Path::new("/"));
    let runtime = runtime.to_owned();
    // One in a container has none: the engine starts it again.
    let has_keeper = config.keeper_socket.is_some();
    with_stop(|stop| async move {
        // Cancel safe: nobody waits for the keeper's keeper, and the router ends in its own time.
        let keeping = stop.clone().run_until_cancelled_owned(async move {
            if has_keeper {
                local::keep_keeper(folder, &runtime).await;
            }
        });
        let routing = async {
            let ended = code_deploy_router::run(config, stop.clone()).await;
            stop.cancel();
            ended
        };
        let (ended, _) = tokio::join!(routing, keeping);
        Ok(ended?)
    })
    .await
}

async fn client(config: &Path) -> Ended {
    let config = read(config)?;
    with_stop(|stop| async move {
        code_deploy_engine::load::run_client(config, stop).await?;
        Ok(())
    })
    .await
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, Box<dyn std::error::Error + Send + Sync>> {
    let text = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(serde_json::from_slice(&text)?)
}

/// Runs a process in a session of its own, so that the end of a terminal or a kernel does not
/// reach it, until it ends or is asked to.
async fn with_stop<F: Future<Output = Ended>>(run: impl FnOnce(CancellationToken) -> F) -> Ended {
    // This fails only for the leader of a process group, which has what is wanted.
    if let Err(error) = nix::unistd::setsid() {
        tracing::debug!(%error, "no session of its own");
    }
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let asked = stop.clone();
    let tasks = TaskTracker::new();
    let watch = tasks.spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        asked.cancel();
    });
    let ended = run(stop).await;
    watch.abort();
    ended
}
