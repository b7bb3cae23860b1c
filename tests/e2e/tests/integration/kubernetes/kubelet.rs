//! The kubelet of the stage's node, which can be held for a while.

use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::cluster::promised;

/// A kubelet that does nothing until a time has passed, or until this goes.
pub struct Held {
    kubelet: Pid,
    end: Option<SyncSender<()>>,
    waits: Option<JoinHandle<()>>,
}

impl Held {
    /// Holds the kubelet of the stage's node for that long; nothing where the cluster is somebody else's, whose
    /// kubelet is not touched.
    #[track_caller]
    pub fn for_time(time: Duration) -> Option<Self> {
        let kubelet = of_the_stage()?;
        kill(kubelet, Signal::SIGSTOP).unwrap();
        // Nothing is sent: that it is dropped says all.
        let (end, ended) = sync_channel(0);
        let waits = std::thread::spawn(move || {
            // Whoever drops the other end wants it to go on at once.
            let _ = ended.recv_timeout(time);
            kill(kubelet, Signal::SIGCONT).unwrap();
        });
        Some(Self {
            kubelet,
            end: Some(end),
            waits: Some(waits),
        })
    }

    /// Returns whether it is held still.
    pub fn lasts(&self) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{}/stat", self.kubelet));
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
            "the kubelet does not go on"
        );
    }
}

/// Has the kubelet of the stage's node go on, where a test that was killed left it held.
#[track_caller]
pub fn go_on() {
    if let Some(kubelet) = of_the_stage() {
        kill(kubelet, Signal::SIGCONT).unwrap();
    }
}

/// Returns the kubelet of the stage's node; nothing where the cluster is somebody else's.
#[track_caller]
pub fn of_the_stage() -> Option<Pid> {
    let node = promised("CODE_DEPLOY_STAGE_KUBERNETES_NODE");
    (!node.as_os_str().is_empty()).then(|| find(&node.join("kubelet")))
}

/// Returns the kubelet whose data stand in that folder.
#[track_caller]
fn find(root: &Path) -> Pid {
    let argument = format!("--root-dir={}", root.display());
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
    assert_eq!(found.len(), 1, "kubelets with {argument}: {found:?}");
    found[0]
}
