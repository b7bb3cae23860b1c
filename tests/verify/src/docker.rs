//! A Docker engine: the user's own where `DOCKER_HOST` names it, otherwise one for the tests alone.

use crate::cache::Cache;
use crate::debian::find;
use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::program::Program;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The Docker engine's program.
const ENGINE: &str = "dockerd";
/// How long it may take until it answers.
const START: Duration = Duration::from_secs(60);
/// How long it may take to end, with every container.
const END: Duration = Duration::from_secs(60);
/// The pause between two looks.
const LOOK: Duration = Duration::from_millis(200);
/// The chains that the engine makes in the firewall and leaves there.
const CHAINS: [&str; 4] = [
    "DOCKER",
    "DOCKER-ISOLATION-STAGE-1",
    "DOCKER-ISOLATION-STAGE-2",
    "DOCKER-USER",
];

/// An engine that the tests may use.
#[derive(Debug, Clone)]
pub struct Engine {
    /// Where it listens, as `DOCKER_HOST` names it.
    pub address: String,
    own: Option<Own>,
}

/// An engine of ours, which goes with the tests.
#[derive(Debug, Clone)]
struct Own {
    folder: PathBuf,
    pid: Pid,
    /// Whether the firewall had the engine's chains before.
    chains_before: bool,
}

/// Returns the engine that `DOCKER_HOST` names, or brings one up.
///
/// # Errors
/// [`Error::Machine`] when neither can be had, with what a person can do.
pub async fn ensure(cache: &Cache, interrupt: &Interrupt) -> Result<Engine, Error> {
    if let Some(address) = std::env::var("DOCKER_HOST").ok().filter(|a| !a.is_empty()) {
        if !answers(&address, interrupt).await {
            return Err(Error::Machine {
                missing: format!("DOCKER_HOST is {address}, and no engine answers there."),
                remedy: "Start it, or unset DOCKER_HOST: then one is brought up.".into(),
            });
        }
        return Ok(Engine { address, own: None });
    }
    if !nix::unistd::Uid::effective().is_root() {
        return Err(Error::Machine {
            missing: "only root can bring a Docker engine up.".into(),
            remedy: "Set DOCKER_HOST to one that runs, or leave it out: --without docker".into(),
        });
    }
    bring_up(cache.path("docker"), interrupt).await
}

async fn bring_up(folder: PathBuf, interrupt: &Interrupt) -> Result<Engine, Error> {
    let failed = |action| {
        let path = folder.clone();
        move |source| Error::File {
            action,
            path,
            source,
        }
    };
    if let Some(left) = running(&folder) {
        crate::report::note("an engine of an earlier run is ended first");
        end(left).await?;
    }
    remove(&folder)?;
    std::fs::create_dir_all(&folder).map_err(failed("make"))?;
    let address = format!("unix://{}", folder.join("docker.sock").display());
    let chains_before = has_chains(interrupt).await;
    let log = File::create(folder.join("log")).map_err(failed("write a log in"))?;
    let errors = log.try_clone().map_err(failed("write a log in"))?;
    let mut command = Command::new(ENGINE);
    for (flag, name) in [
        ("--data-root", "data"),
        ("--exec-root", "exec"),
        ("--pidfile", "pid"),
    ] {
        command.arg(flag).arg(folder.join(name));
    }
    // Without a bridge of its own it does not meet another engine of this machine.
    let command = command.args(["--bridge", "none", "--host", &address]);
    let command = command.stdin(Stdio::null()).stdout(log).stderr(errors);
    let child = command.process_group(0).spawn();
    let child = child.map_err(|source| Error::Start {
        program: ENGINE.into(),
        source,
    })?;
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
    let engine = Engine {
        address,
        own: Some(Own {
            folder,
            pid,
            chains_before,
        }),
    };
    let until = Instant::now() + START;
    while Instant::now() < until {
        if answers(&engine.address, interrupt).await {
            return Ok(engine);
        }
        tokio::time::sleep(LOOK).await;
    }
    let log = engine.own.as_ref().map(|own| own.folder.join("log"));
    let said = log.and_then(|log| std::fs::read_to_string(log).ok());
    let said = said.unwrap_or_default();
    let last: Vec<&str> = said.lines().rev().take(5).collect();
    let last: Vec<&str> = last.into_iter().rev().collect();
    engine.tear_down(interrupt).await?;
    Err(Error::Machine {
        missing: format!(
            "{ENGINE} does not answer. The end of its log:\n{}",
            last.join("\n")
        ),
        remedy: "Mend what it says, set DOCKER_HOST to an engine that runs, or leave it out: \
                 --without docker"
            .into(),
    })
}

impl Engine {
    /// Ends an engine of ours and removes all that was its own.
    ///
    /// # Errors
    /// If it does not end, or something of it cannot be removed.
    pub async fn tear_down(&self, interrupt: &Interrupt) -> Result<(), Error> {
        let Some(own) = &self.own else { return Ok(()) };
        end(own.pid).await?;
        remove(&own.folder)?;
        if own.chains_before {
            return Ok(());
        }
        for words in firewall() {
            // What is not there need not go.
            let _ = Program::new("iptables", 1)
                .args(words)
                .read(interrupt)
                .await;
        }
        Ok(())
    }
}

/// Returns what takes the engine's chains out of the firewall.
fn firewall() -> Vec<Vec<&'static str>> {
    let mut all = vec![
        vec!["-D", "FORWARD", "-j", "DOCKER-USER"],
        vec!["-D", "FORWARD", "-j", "DOCKER-ISOLATION-STAGE-1"],
        vec![
            "-t",
            "nat",
            "-D",
            "PREROUTING",
            "-m",
            "addrtype",
            "--dst-type",
            "LOCAL",
            "-j",
            "DOCKER",
        ],
        vec![
            "-t",
            "nat",
            "-D",
            "OUTPUT",
            "!",
            "-d",
            "127.0.0.0/8",
            "-m",
            "addrtype",
            "--dst-type",
            "LOCAL",
            "-j",
            "DOCKER",
        ],
        vec!["-t", "nat", "-F", "DOCKER"],
        vec!["-t", "nat", "-X", "DOCKER"],
    ];
    all.extend(CHAINS.map(|chain| vec!["-F", chain]));
    all.extend(CHAINS.map(|chain| vec!["-X", chain]));
    all
}

async fn has_chains(interrupt: &Interrupt) -> bool {
    let listed = Program::new("iptables", 1).args(["-n", "-L", "DOCKER"]);
    listed.read(interrupt).await.is_ok()
}

async fn answers(address: &str, interrupt: &Interrupt) -> bool {
    let asked = Program::new("docker", 1)
        .args(["version"])
        .env("DOCKER_HOST", address);
    find("docker").is_some() && asked.read(interrupt).await.is_ok()
}

/// Returns the engine that an earlier run left in that folder.
fn running(folder: &Path) -> Option<Pid> {
    let pid = std::fs::read_to_string(folder.join("pid")).ok()?;
    let pid: i32 = pid.trim().parse().ok()?;
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let line = String::from_utf8_lossy(&line).into_owned();
    let own = line.contains(ENGINE) && line.contains(&*folder.to_string_lossy());
    own.then(|| Pid::from_raw(pid))
}

/// Asks an engine to end; it ends its containers with it.
async fn end(pid: Pid) -> Result<(), Error> {
    let until = Instant::now() + END;
    // One that is gone has ended.
    while kill(pid, Signal::SIGTERM).is_ok() {
        // A child of ours stays in the table until it is asked for.
        let _ = nix::sys::wait::waitpid(pid, Some(nix::sys::wait::WaitPidFlag::WNOHANG));
        if Instant::now() >= until {
            return Err(Error::Machine {
                missing: format!("the Docker engine {pid} did not end within {END:?}."),
                remedy: format!("Look why, and end it: kill {pid}"),
            });
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

fn remove(folder: &Path) -> Result<(), Error> {
    match std::fs::remove_dir_all(folder) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(Error::File {
            action: "remove",
            path: folder.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_engine_of_that_folder_is_taken_for_one_that_was_left() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(running(folder.path()), None);
        std::fs::write(folder.path().join("pid"), std::process::id().to_string()).unwrap();
        assert_eq!(running(folder.path()), None);
    }
}
