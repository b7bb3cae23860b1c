//! A Docker engine: the user's own where `DOCKER_HOST` names it, otherwise one for the tests alone.

mod network;

use crate::cache::{Cache, Hold};
use crate::debian::{ENGINE, find};
use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::program::Program;
use network::Before;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long it may take until it answers.
const START: Duration = Duration::from_secs(60);
/// How long it may take to end, with every container.
const END: Duration = Duration::from_secs(60);
/// The file that says what the machine's network was before, in the engine's folder.
const BEFORE: &str = "before.json";
/// The system's own list of what is mounted where.
const MOUNTED: &str = "/proc/self/mountinfo";
/// The pause between two looks.
const LOOK: Duration = Duration::from_millis(200);
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
    /// What the machine's network was before.
    before: Before,
    /// Another verification would end this engine as one that a killed run left.
    _hold: Arc<Hold>,
}

/// Returns the engine that `DOCKER_HOST` names, or brings one up.
///
/// # Errors
/// [`Error::Machine`] when neither can be had, with what a person can do.
pub async fn ensure(
    cache: &Cache,
    hold: &Arc<Hold>,
    interrupt: &Interrupt,
) -> Result<Engine, Error> {
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
    bring_up(cache.path("docker"), Arc::clone(hold), interrupt).await
}

async fn bring_up(
    folder: PathBuf,
    hold: Arc<Hold>,
    interrupt: &Interrupt,
) -> Result<Engine, Error> {
    let failed = |action| {
        let path = folder.clone();
        move |source| Error::File {
            action,
            path,
            source,
        }
    };
    take_left_down(&folder).await?;
    std::fs::create_dir_all(&folder).map_err(failed("make"))?;
    let address = address_in(&folder);
    let before = Before::look(interrupt).await?;
    before
        .write(&folder.join(BEFORE))
        .map_err(failed("write what was before in"))?;
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
            before,
            _hold: hold,
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
    engine.tear_down().await?;
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
    /// Ends an engine of ours and removes all that was its own, also after an interruption.
    ///
    /// # Errors
    /// If it does not end, or something of it cannot be removed.
    pub async fn tear_down(&self) -> Result<(), Error> {
        let Some(own) = &self.own else { return Ok(()) };
        take_down(&own.folder, Some(own.pid), &own.before).await
    }
}

/// Takes down what a killed run left in that folder.
async fn take_left_down(folder: &Path) -> Result<(), Error> {
    let left = running(folder);
    if left.is_some() {
        crate::report::note("an engine of an earlier run is ended first");
    }
    match Before::read(&folder.join(BEFORE)) {
        Some(before) => take_down(folder, left, &before).await,
        None => remove(folder).await,
    }
}

async fn take_down(folder: &Path, pid: Option<Pid>, before: &Before) -> Result<(), Error> {
    let uninterrupted = Interrupt::never();
    if let Some(pid) = pid {
        clear(&address_in(folder), &uninterrupted).await;
        end(pid).await?;
    }
    before.restore(&uninterrupted).await;
    remove(folder).await
}

/// Removes containers and networks: bridges and rules of networks would outlive the engine.
async fn clear(address: &str, interrupt: &Interrupt) {
    let docker = |words: &[&str]| {
        Program::new("docker", 2)
            .args(words)
            .env("DOCKER_HOST", address)
    };
    let listed = docker(&["ps", "--all", "--quiet"]).read(interrupt).await;
    let containers = listed.unwrap_or_default();
    let containers: Vec<&str> = containers.lines().collect();
    if !containers.is_empty() {
        let remove = docker(&["rm", "--force", "--volumes"]).args(containers);
        // One that cannot be removed ends with the engine.
        let _ = remove.read(interrupt).await;
    }
    let _ = docker(&["network", "prune", "--force"])
        .read(interrupt)
        .await;
}

fn address_in(folder: &Path) -> String {
    format!("unix://{}", folder.join("docker.sock").display())
}

/// Tells whether an engine answers there.
pub async fn answers(address: &str, interrupt: &Interrupt) -> bool {
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

/// Removes the folder of an engine that has ended.
async fn remove(folder: &Path) -> Result<(), Error> {
    // An engine mounts its data on itself, and one that was killed leaves that so.
    let mounted = std::fs::read_to_string(MOUNTED).unwrap_or_default();
    for place in below(folder, &mounted) {
        let unmount = Program::new("umount", 1).args(["--lazy"]).args([place]);
        unmount.read(&Interrupt::never()).await?;
    }
    match std::fs::remove_dir_all(folder) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(Error::File {
            action: "remove",
            path: folder.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}

/// Returns what is mounted below a folder, the latest first, from the system's own list.
fn below(folder: &Path, mounted: &str) -> Vec<PathBuf> {
    let places = mounted.lines().filter_map(|line| line.split(' ').nth(4));
    // The system writes these four as their octal numbers.
    let written = [
        (r"\040", " "),
        (r"\011", "\t"),
        (r"\012", "\n"),
        (r"\134", r"\"),
    ];
    let read = |place: &str| {
        let all = written
            .iter()
            .fold(place.to_owned(), |place, (octal, sign)| {
                place.replace(octal, sign)
            });
        PathBuf::from(all)
    };
    let inside = places.map(read).filter(|place| place.starts_with(folder));
    let mut inside: Vec<PathBuf> = inside.collect();
    inside.reverse();
    inside
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_engine_left_mounted_is_found_and_nothing_beside_it() {
        let mounted = "27 1 254:0 / / rw shared:1 - ext4 /dev/vda rw\n\
             42 27 254:0 /s/docker/data /s/a\\040b/docker/data rw shared:1 - ext4 /dev/vda rw\n\
             43 42 0:9 / /s/a\\040b/docker/data/overlay/merged rw - overlay overlay rw\n\
             44 27 0:8 / /s/a\\040b/docker-of-another rw - tmpfs tmpfs rw\n";
        let found = below(Path::new("/s/a b/docker"), mounted);
        let expected = ["/s/a b/docker/data/overlay/merged", "/s/a b/docker/data"];
        assert_eq!(found, expected.map(PathBuf::from));
    }

    #[test]
    fn only_an_engine_of_that_folder_is_taken_for_one_that_was_left() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(running(folder.path()), None);
        std::fs::write(folder.path().join("pid"), std::process::id().to_string()).unwrap();
        assert_eq!(running(folder.path()), None);
    }
}
