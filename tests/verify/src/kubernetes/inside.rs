//! The first process of the node's namespaces: it starts the node's programs, and all of them end with it.
//!
//! It has one line for each program to start on its standard input, and ends when that is closed: so the node goes
//! with the verification that started it, however that ends. It writes one line when it is ready, and one for each
//! program of the node that ended.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

/// The word that makes this program that process.
pub(super) const WORD: &str = "internal-node";
/// The line that is written when programs can be started.
pub(super) const READY: &str = "ready";

/// What a node writes to that belongs to the whole machine, and the folder of ours that is put in its place.
const FOLDERS: [(&str, &str); 2] = [("run", "/run"), ("log", "/var/log")];
/// Settings of the kernel that the kubelet changes for the whole machine: it is shown files instead.
const SETTINGS: [&str; 6] = [
    "kernel/keys/root_maxbytes",
    "kernel/keys/root_maxkeys",
    "kernel/panic",
    "kernel/panic_on_oops",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
];

/// For how many seconds the node knows the addresses of a connection that is over: one, not two minutes.
/// Where Docker takes a container away, it removes the connections that led there, by the client's port: one
/// to another pod that has got the same port meanwhile is cut with them, and its request is lost.
const FORGET: (&str, &str) = (
    "/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_time_wait",
    "1",
);

/// A program of the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Start {
    /// Its name in messages and of its log.
    pub(super) name: String,
    /// The program, by name or path.
    pub(super) program: PathBuf,
    /// Its arguments.
    pub(super) args: Vec<String>,
}

/// The programs that run, by their process.
type Running = Arc<Mutex<BTreeMap<i32, String>>>;

/// Prepares the namespaces, and starts what it is told to until nobody tells it any more.
pub(super) fn main(words: &[OsString]) -> ExitCode {
    let Some(folder) = words.first().map(PathBuf::from) else {
        crate::report::complain(&format!("{WORD} needs a folder"));
        return ExitCode::from(2);
    };
    match prepare(&folder).and_then(|()| serve(&folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            crate::report::complain(&format!("{WORD}: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Puts folders and files of ours in place of the machine's, in this namespace alone.
fn prepare(folder: &Path) -> std::io::Result<()> {
    for (name, place) in FOLDERS {
        bind(&folder.join(name), Path::new(place))?;
    }
    for name in SETTINGS {
        let place = Path::new("/proc/sys").join(name);
        let copy = folder.join("settings").join(name.replace('/', "."));
        std::fs::write(&copy, std::fs::read(&place)?)?;
        bind(&copy, &place)?;
    }
    let (place, seconds) = FORGET;
    std::fs::write(place, seconds)
}

fn bind(ours: &Path, place: &Path) -> std::io::Result<()> {
    let mut mount = Command::new("mount");
    let status = mount.arg("--bind").args([ours, place]).status()?;
    if status.success() {
        return Ok(());
    }
    Err(std::io::Error::other(format!(
        "mounting {} on {} ended with {status}",
        ours.display(),
        place.display()
    )))
}

fn serve(folder: &Path) -> std::io::Result<()> {
    let running = Running::default();
    // One word is enough to look again, however many were started since.
    let (started, starts) = sync_channel(1);
    let seen = Arc::clone(&running);
    std::thread::spawn(move || reap(&seen, &starts));
    say(READY);
    for line in std::io::stdin().lock().lines() {
        let start: Start = serde_json::from_str(&line?)?;
        launch(folder, start, &running, &started)?;
    }
    Ok(())
}

fn launch(
    folder: &Path,
    start: Start,
    running: &Running,
    started: &SyncSender<()>,
) -> std::io::Result<()> {
    let log = File::create(super::log_of(folder, &start.name))?;
    let errors = log.try_clone()?;
    let mut command = Command::new(&start.program);
    let command = command.args(&start.args).current_dir("/");
    let command = command.stdin(Stdio::null()).stdout(log).stderr(errors);
    // Held while it starts, so that its end is not seen before its name is known.
    let mut running = running.lock().unwrap_or_else(PoisonError::into_inner);
    let child = command.spawn().map_err(|error| {
        std::io::Error::other(format!("cannot start {}: {error}", start.program.display()))
    })?;
    running.insert(i32::try_from(child.id()).unwrap_or(i32::MAX), start.name);
    let _ = started.try_send(());
    Ok(())
}

/// Takes note of every process that ended: also of those whose parents are gone, which come to the first process.
fn reap(running: &Running, starts: &Receiver<()>) {
    loop {
        match nix::sys::wait::wait() {
            Ok(status) => {
                let mut running = running.lock().unwrap_or_else(PoisonError::into_inner);
                let name = status.pid().and_then(|pid| running.remove(&pid.as_raw()));
                if let Some(name) = name {
                    say(&format!("{name} ended: {status:?}"));
                }
            }
            Err(nix::errno::Errno::ECHILD) if starts.recv().is_err() => return,
            Err(_) => {}
        }
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // A verification that is gone has closed the input too, which ends this process.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
