//! The processes of the stage's node, which can be held for a while.

use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::cluster::promised;

/// A process of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Process {
    Kubelet,
    ApiServer,
}

impl Process {
    /// Returns its process id; nothing where the cluster is somebody else's, whose processes are not touched.
    #[track_caller]
    pub fn of_the_stage(self) -> Option<Pid> {
        let node = promised("CODE_DEPLOY_STAGE_KUBERNETES_NODE");
        (!node.as_os_str().is_empty()).then(|| find(&self.argument(&node)))
    }

    /// Returns the argument by which that of a node in this folder is told from every other process.
    fn argument(self, node: &Path) -> String {
        let (name, value) = match self {
            Self::Kubelet => ("root-dir", "kubelet"),
            Self::ApiServer => ("token-auth-file", "tokens.csv"),
        };
        format!("--{name}={}", node.join(value).display())
    }
}

/// A process that does nothing until a time has passed, or until this goes.
pub struct Held {
    process: Pid,
    end: Option<SyncSender<()>>,
    waits: Option<JoinHandle<()>>,
}

impl Held {
    /// Holds a process of the stage's node for that long; nothing where the cluster is somebody else's.
    #[track_caller]
    pub fn for_time(process: Process, time: Duration) -> Option<Self> {
        let process = process.of_the_stage()?;
        kill(process, Signal::SIGSTOP).unwrap();
        // Nothing is sent: that it is dropped says all.
        let (end, ended) = sync_channel(0);
        let waits = std::thread::spawn(move || {
            // Whoever drops the other end wants it to go on at once.
            let _ = ended.recv_timeout(time);
            kill(process, Signal::SIGCONT).unwrap();
        });
        Some(Self {
            process,
            end: Some(end),
            waits: Some(waits),
        })
    }

    /// Returns whether it is held still.
    pub fn lasts(&self) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{}/stat", self.process));
        let status = status.unwrap();
        let state = status.rsplit_once(") ").map(|(_, rest)| rest);
        state.is_some_and(|rest| rest.starts_with('T'))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.end.take());
        let waits = self.waits.take().map(JoinHandle::join);
        assert!(
            std::thread::panicking() || waits.is_none_or(|ended| ended.is_ok()),
            "what was held does not go on"
        );
    }
}

/// Has the processes of the stage's node go on, where a test that was killed left one held.
#[track_caller]
pub fn go_on() {
    for process in [Process::ApiServer, Process::Kubelet] {
        if let Some(process) = process.of_the_stage() {
            kill(process, Signal::SIGCONT).unwrap();
        }
    }
}

/// Returns the process that was started with that argument.
#[track_caller]
fn find(argument: &str) -> Pid {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let found = processes.filter_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let words = std::fs::read(entry.path().join("cmdline")).ok()?;
        let mut words = words.split(|byte| *byte == 0);
        words
            .any(|word| word == argument.as_bytes())
            .then(|| Pid::from_raw(pid))
    });
    let found: Vec<Pid> = found.collect();
    assert_eq!(found.len(), 1, "processes with {argument}: {found:?}");
    found[0]
}
