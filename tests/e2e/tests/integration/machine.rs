//! A machine of a test's own: namespaces for processes, mounts and network, with a Docker engine that may
//! be restarted, or whose disk may be filled. Nothing of it meets the stage's engine, and it goes as a whole when the
//! test does.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::stage::Part;

/// What an engine writes when it may be asked.
const READY: &str = "API listen on ";

/// The size of a disk of an engine's own. Only what is written of it is taken from this machine's.
const DISK: &str = "4G";

/// Fills a disk to its last block: what is known to be free at once, then whatever is left.
const FILL: &str = "free=$(df --output=avail --block-size=1 \"$1\" | tail --lines=1) && \
                    fallocate --length $((free - 8388608)) \"$1/ballast\" && \
                    ! cat /dev/zero 2>/dev/null >\"$1/ballast.rest\"";

/// A machine of the test's own.
pub struct Machine {
    folder: tempfile::TempDir,
    /// While it is open the first process of the namespaces lives, and all others with it.
    open: Option<ChildStdin>,
    holder: Child,
    /// The first process of the namespaces, as this machine numbers it.
    first: String,
    options: &'static [&'static str],
    engine: Option<Child>,
}

impl Machine {
    /// Makes a machine, and starts its engine with those options.
    #[track_caller]
    pub fn with_engine(options: &'static [&'static str]) -> Self {
        let mut machine = Self::without_engine(options);
        machine.start_engine();
        machine
    }

    /// Makes a machine, and starts an engine that keeps all that it has on a disk of its own.
    #[track_caller]
    pub fn with_engine_on_a_disk() -> Self {
        let mut machine = Self::without_engine(&[]);
        let (image, data) = (machine.word("disk.img"), machine.word("data"));
        machine.run(&["truncate", "--size", DISK, &image]);
        machine.run(&["mkfs.ext4", "-q", "-m", "0", &image]);
        machine.run(&["mkdir", &data]);
        machine.run(&["mount", "-o", "loop", &image, &data]);
        machine.start_engine();
        machine
    }

    /// Fills the disk of the engine.
    #[track_caller]
    pub fn fill_disk(&self) {
        self.run(&["sh", "-c", FILL, "fill", &self.word("data")]);
    }

    /// Takes what filled the disk of the engine away again.
    #[track_caller]
    pub fn make_space(&self) {
        let ballast = ["data/ballast", "data/ballast.rest"].map(|name| self.word(name));
        self.run(&["rm", &ballast[0], &ballast[1]]);
    }

    #[track_caller]
    fn without_engine(options: &'static [&'static str]) -> Self {
        let mut holder = Command::new("unshare")
            .args(["--net", "--mount", "--pid", "--fork"])
            .args(["--kill-child", "--mount-proc", "--", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut open = holder.stdin.take().unwrap();
        let first = first_inside(&mut holder, &mut open);
        let machine = Self {
            folder: tempfile::tempdir().unwrap(),
            open: Some(open),
            holder,
            first,
            options,
            engine: None,
        };
        machine.run(&["ip", "link", "set", "lo", "up"]);
        machine
    }

    /// Returns where the engine listens, as `DOCKER_HOST` names it.
    pub fn docker(&self) -> String {
        format!("unix://{}", self.path("docker.sock").display())
    }

    /// Returns what stands in front of a command that runs on this machine.
    pub fn inside(&self) -> Vec<String> {
        let target = format!("--target={}", self.first);
        ["nsenter", &target, "--net", "--mount", "--pid"]
            .map(str::to_owned)
            .into()
    }

    /// Asks the engine to end, as a service manager does, and starts it again when it has.
    #[track_caller]
    pub fn restart_engine(&mut self) {
        self.stop_engine();
        self.start_engine();
    }

    #[track_caller]
    fn start_engine(&mut self) {
        let mut command = self.command(Part::Engine.path().to_str().unwrap());
        for (flag, name) in [
            ("--data-root", "data"),
            ("--exec-root", "exec"),
            ("--pidfile", "pid"),
        ] {
            command.arg(flag).arg(self.path(name));
        }
        let command = command.args(["--bridge", "none", "--host", &self.docker()]);
        let command = command.args(self.options).stdin(Stdio::null());
        let mut engine = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(engine.stderr.take().unwrap());
        self.engine = Some(engine);
        let mut said = String::new();
        while !said.contains(READY) {
            assert_ne!(
                log.read_line(&mut said).unwrap(),
                0,
                "the engine ended:\n{said}"
            );
        }
        // It must not wait for somebody who reads.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
    }

    #[track_caller]
    fn stop_engine(&mut self) {
        let Some(mut engine) = self.engine.take() else {
            return;
        };
        let pid = std::fs::read_to_string(self.path("pid")).unwrap();
        self.run(&["kill", "-TERM", pid.trim()]);
        engine.wait().unwrap();
    }

    /// Runs a program on this machine, which must end well.
    #[track_caller]
    fn run(&self, words: &[&str]) {
        let (program, words) = words.split_first().unwrap();
        let ended = self.command(program).args(words).status().unwrap();
        assert!(ended.success(), "{program} {words:?}: {ended}");
    }

    fn command(&self, program: &str) -> Command {
        let inside = self.inside();
        let mut command = Command::new(&inside[0]);
        command.args(&inside[1..]).arg("--").arg(program);
        command
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn word(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Every process of the namespaces ends with the first, the engine and its containers too.
        drop(self.open.take());
        self.holder.wait().ok();
        if let Some(mut engine) = self.engine.take() {
            engine.wait().ok();
        }
    }
}

/// Waits until the namespaces are there; returns their first process.
#[track_caller]
fn first_inside(holder: &mut Child, open: &mut ChildStdin) -> String {
    use std::io::Write as _;
    let mut said = BufReader::new(holder.stdout.take().unwrap());
    open.write_all(b"there\n").unwrap();
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert_eq!(line, "there\n", "there are no namespaces: is this root?");
    let id = holder.id();
    let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
    children.trim().to_owned()
}
