//! The process that looks after one instance: starts it, keeps its log, starts it again as its
//! restart policy says, and passes on the wish to end. It outlives the run that started it.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use code_deploy_engine::spec::Restart;
use code_deploy_record::{Clock, SystemClock};
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::instance::{InstanceConfig, InstanceFolder, InstanceState};
use super::process::ProcessId;

/// The first pause before a process is started again; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause before a process is started again.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A process that ran this long is taken to be well: the next pause is the first again.
const WELL_AFTER: Duration = Duration::from_secs(10);

/// Looks after the instance whose folder that is, until it ends for good.
///
/// # Errors
/// When the folder cannot be read or written, or the program cannot be started at all.
pub async fn supervise(folder: PathBuf) -> std::io::Result<()> {
    // A session of its own: the end of a terminal or a kernel does not reach it. This fails only
    // for the leader of a process group, which already has what is wanted.
    if let Err(error) = nix::unistd::setsid() {
        tracing::debug!(%error, "no session of its own");
    }
    let folder = InstanceFolder::at(folder);
    let config = folder.config()?;
    let mut supervisor = Supervisor::new(folder, config)?;
    let ended = supervisor.run().await;
    supervisor.end_rest()?;
    if let Err(error) = &ended {
        supervisor.state.last_end = Some(error.to_string());
    }
    supervisor.state.ended = true;
    supervisor.state.process = None;
    supervisor.folder.write_state(&supervisor.state)?;
    ended
}

struct Supervisor {
    folder: InstanceFolder,
    config: InstanceConfig,
    state: InstanceState,
    end: Signal,
    interrupt: Signal,
}

enum Course {
    Ended(ExitStatus),
    AskedToEnd,
}

impl Supervisor {
    fn new(folder: InstanceFolder, config: InstanceConfig) -> std::io::Result<Self> {
        let gone = || std::io::Error::other("this process has no entry in /proc");
        let supervisor = ProcessId::of(std::process::id()).ok_or_else(gone)?;
        let started = SystemClock.now();
        let state = InstanceState {
            supervisor,
            process: None,
            started,
            restarts: 0,
            last_end: None,
            ended: false,
            asked: false,
            forced: false,
        };
        let end = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        // Whoever wants this process to end can find it before it has started anything.
        folder.write_state(&state)?;
        Ok(Self {
            folder,
            config,
            state,
            end,
            interrupt,
        })
    }

    async fn run(&mut self) -> std::io::Result<()> {
        let mut pause = FIRST_PAUSE;
        loop {
            let mut child = self.start()?;
            let began = tokio::time::Instant::now();
            match self.watch(&mut child).await? {
                Course::AskedToEnd => return self.stop(child).await,
                Course::Ended(status) => {
                    self.end_rest()?;
                    self.state.process = None;
                    self.state.last_end = Some(status.to_string());
                    self.folder.write_state(&self.state)?;
                    if !self.starts_again(status) {
                        return Ok(());
                    }
                }
            }
            if began.elapsed() >= WELL_AFTER {
                pause = FIRST_PAUSE;
            }
            if self.asked_during(pause).await {
                self.state.asked = true;
                return Ok(());
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
            self.state.restarts += 1;
        }
    }

    fn start(&mut self) -> std::io::Result<Child> {
        let [program, arguments @ ..] = self.config.command.as_slice() else {
            return Err(std::io::Error::other("the instance has no command"));
        };
        let mut options = std::fs::OpenOptions::new();
        std::os::unix::fs::OpenOptionsExt::mode(options.append(true).create(true), 0o600);
        let log = options.open(self.folder.log())?;
        // A supervisor that fails takes the process along.
        let started = Command::new(program)
            .args(arguments)
            .env_clear()
            .envs(&self.config.environment)
            .current_dir(&self.config.folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .kill_on_drop(true)
            .spawn();
        let child = started.map_err(|error| {
            std::io::Error::new(error.kind(), format!("cannot start {program}: {error}"))
        })?;
        self.state.process = child.id().and_then(ProcessId::of);
        self.state.started = SystemClock.now();
        self.folder.write_state(&self.state)?;
        Ok(child)
    }

    async fn watch(&mut self, child: &mut Child) -> std::io::Result<Course> {
        // Cancel safe: waiting for a child and receiving signals may both be dropped and repeated.
        tokio::select! {
            status = child.wait() => Ok(Course::Ended(status?)),
            _ = self.end.recv() => Ok(Course::AskedToEnd),
            _ = self.interrupt.recv() => Ok(Course::AskedToEnd),
        }
    }

    /// Ends what the process started and left: it would hold the port of the next.
    fn end_rest(&self) -> std::io::Result<()> {
        let left = self.state.supervisor.session();
        left.iter().try_for_each(ProcessId::kill)
    }

    async fn stop(&mut self, mut child: Child) -> std::io::Result<()> {
        self.state.asked = true;
        if let Some(process) = self.state.process {
            process.terminate()?;
        }
        let grace = Duration::from_millis(self.config.stop_grace_ms);
        let status = match tokio::time::timeout(grace, child.wait()).await {
            Ok(status) => status?,
            Err(_) => {
                self.state.forced = true;
                child.kill().await?;
                child.wait().await?
            }
        };
        self.state.last_end = Some(status.to_string());
        Ok(())
    }

    fn starts_again(&self, status: ExitStatus) -> bool {
        match self.config.restart {
            Restart::No => false,
            Restart::Always | Restart::UnlessStopped => true,
            Restart::OnFailure(most) => {
                !status.success() && most.is_none_or(|most| self.state.restarts < most)
            }
        }
    }

    async fn asked_during(&mut self, pause: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(pause) => false,
            _ = self.end.recv() => true,
            _ = self.interrupt.recv() => true,
        }
    }
}
