//! A kernel as a process.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::Client;
use crate::error::Error;
use crate::socket::{Kind, Socket};

/// How often a condition of another process is looked at: short beside what is measured.
const LOOK: Duration = Duration::from_micros(200);
/// The slowest kernel starts well within this.
const START_LIMIT: Duration = Duration::from_secs(60);
/// A kernel that was not quite there when it was asked is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// First requests of this process so far.
static ASKED: AtomicU64 = AtomicU64::new(0);

/// How a kernel is interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interrupts {
    /// By SIGINT.
    Signal,
    /// By a message on control.
    Message,
}

/// How a kernel is started: what its `kernel.json` says.
#[derive(Debug, Clone)]
pub struct Spec {
    /// What it is called here.
    pub name: String,
    /// The program and its words; `{connection_file}` is replaced.
    pub argv: Vec<String>,
    /// Variables besides those of this process.
    pub env: Vec<(String, String)>,
    /// How it is interrupted.
    pub interrupts: Interrupts,
}

impl Spec {
    /// Returns the spec of a program that takes those words and then the connection file.
    #[must_use]
    pub fn program(name: &str, program: &Path, words: &[&str], interrupts: Interrupts) -> Self {
        let mut argv = vec![program.display().to_string()];
        argv.extend(words.iter().map(ToString::to_string));
        argv.push("{connection_file}".to_owned());
        let (name, env) = (name.to_owned(), Vec::new());
        Self {
            name,
            argv,
            env,
            interrupts,
        }
    }

    /// Reads a `kernel.json`.
    ///
    /// # Errors
    /// When it cannot be read or says no program.
    pub fn read(name: &str, path: &Path) -> Result<Self, Error> {
        let refused = |reason: String| Error::Kernelspec {
            path: path.to_owned(),
            reason,
        };
        let bytes = std::fs::read(path).map_err(|error| refused(error.to_string()))?;
        let spec: Value =
            serde_json::from_slice(&bytes).map_err(|error| refused(error.to_string()))?;
        let words = spec["argv"].as_array().into_iter().flatten();
        let argv: Vec<String> = words.filter_map(Value::as_str).map(str::to_owned).collect();
        if argv.is_empty() {
            return Err(refused("it has no argv".to_owned()));
        }
        let variables = spec["env"].as_object().into_iter().flatten();
        let env = variables
            .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
            .collect();
        let interrupts = match spec["interrupt_mode"].as_str() {
            Some("message") => Interrupts::Message,
            _ => Interrupts::Signal,
        };
        Ok(Self {
            name: name.to_owned(),
            argv,
            env,
            interrupts,
        })
    }
}

/// The five ports of a kernel.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    /// Requests.
    pub shell: u16,
    /// Requests that are answered while a cell runs.
    pub control: u16,
    /// Answers of people.
    pub stdin: u16,
    /// Outputs.
    pub iopub: u16,
    /// Whatever comes goes back.
    pub heartbeat: u16,
}

impl Ports {
    /// Returns all five.
    #[must_use]
    pub fn all(self) -> [u16; 5] {
        [
            self.shell,
            self.control,
            self.stdin,
            self.iopub,
            self.heartbeat,
        ]
    }
}

/// A running kernel, in an empty folder of its own. Killed when dropped.
#[derive(Debug)]
pub struct Kernel {
    /// Where it listens.
    pub ports: Ports,
    /// The key of its signatures.
    pub key: String,
    /// When the process was started.
    pub started: Instant,
    spec: Spec,
    child: Child,
    folder: TempDir,
}

impl Kernel {
    /// Starts a kernel and returns at once.
    ///
    /// # Errors
    /// When there is no port, no folder or no such program.
    pub fn start(spec: &Spec) -> Result<Self, Error> {
        let failed = |action| {
            let name = spec.name.clone();
            move |source| Error::Process {
                name,
                action,
                source,
            }
        };
        let free = free_ports().map_err(failed("be given ports"))?;
        let [shell, control, stdin, iopub, heartbeat] = free;
        let ports = Ports {
            shell,
            control,
            stdin,
            iopub,
            heartbeat,
        };
        let folder = TempDir::new().map_err(failed("be given a folder"))?;
        let key = "6a1c0f5e-key-of-a-test".to_owned();
        let connection = json!({
            "ip": "127.0.0.1", "transport": "tcp", "signature_scheme": "hmac-sha256", "key": key,
            "shell_port": shell, "control_port": control, "stdin_port": stdin,
            "iopub_port": iopub, "hb_port": heartbeat, "kernel_name": spec.name,
        });
        std::fs::write(
            folder.path().join("connection.json"),
            connection.to_string(),
        )
        .map_err(failed("be given a connection file"))?;
        let started = Instant::now();
        let child = spawn(spec, &folder)?;
        let spec = spec.clone();
        Ok(Self {
            ports,
            key,
            started,
            spec,
            child,
            folder,
        })
    }

    /// Kills the process and starts another on the same ports, as a server does.
    ///
    /// # Errors
    /// When it cannot be started again.
    pub fn kill_and_start(&mut self) -> Result<(), Error> {
        self.kill();
        self.started = Instant::now();
        self.child = spawn(&self.spec, &self.folder)?;
        Ok(())
    }

    /// Kills the process, with those of its group that it may have left behind, and waits for its end.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        if let Ok(group) = i32::try_from(self.child.id()) {
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
        let _ = self.child.wait();
    }

    /// Waits until shell is there and has answered who the kernel is, and returns the socket.
    ///
    /// # Errors
    /// When the process ends, or does not answer within a minute.
    pub fn answers(&mut self) -> Result<Socket, Error> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            match Socket::connect(self.ports.shell, Kind::Dealer, b"") {
                Ok(mut socket) => {
                    self.asks(&mut socket, deadline)?;
                    return Ok(socket);
                }
                Err(error) if Instant::now() >= deadline || !self.is_alive() => return Err(error),
                Err(_) => pause(LOOK),
            }
        }
    }

    /// Asks until there is an answer: a kernel that is not quite there may not notice what has come.
    fn asks(&self, socket: &mut Socket, deadline: Instant) -> Result<(), Error> {
        loop {
            // Kernels refuse a signature that they have seen before.
            let id = format!("ask-{}", ASKED.fetch_add(1, Ordering::Relaxed));
            socket.send(&self.frames(&id, "kernel_info_request", &json!({})))?;
            match socket.receive(ASK_AGAIN) {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() >= deadline => return Err(error),
                Err(Error::TimedOut { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Connects a client, and returns when it would miss no output.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn client(&mut self) -> Result<Client, Error> {
        drop(self.answers()?);
        Client::connect(self)
    }

    pub(crate) fn frames(&self, id: &str, kind: &str, content: &Value) -> Vec<Vec<u8>> {
        crate::client::request(&self.key, "wire", id, kind, content)
    }

    /// Returns whether the process is there.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for the end of the process.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn ended(&mut self, limit: Duration) -> Result<(), Error> {
        let deadline = Instant::now() + limit;
        while self.is_alive() {
            if Instant::now() >= deadline {
                let what = format!("the end of {}", self.spec.name);
                return Err(Error::TimedOut { what, limit });
            }
            pause(LOOK);
        }
        Ok(())
    }

    /// Asks the kernel to stop what it computes, in its own way.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub fn interrupt(&self, client: &mut Client) -> Result<(), Error> {
        if self.spec.interrupts == Interrupts::Message {
            let control = crate::client::Channel::Control;
            return client
                .send(control, "interrupt_request", &json!({}))
                .map(drop);
        }
        let pid = Pid::from_raw(self.child.id().cast_signed());
        kill(pid, Signal::SIGINT).map_err(|errno| Error::Process {
            name: self.spec.name.clone(),
            action: "be interrupted",
            source: errno.into(),
        })
    }

    /// Returns the resident memory of the process, in bytes; 0 when it has ended.
    #[must_use]
    pub fn memory(&self) -> u64 {
        resident(self.child.id())
    }

    /// Returns the same with all its descendants.
    #[must_use]
    pub fn memory_of_all(&self) -> u64 {
        let mut all = vec![self.child.id()];
        let mut next = 0;
        while next < all.len() {
            all.extend(children(all[next]));
            next += 1;
        }
        all.into_iter().map(resident).sum()
    }

    /// Returns what the process has written to standard error.
    #[must_use]
    pub fn said(&self) -> String {
        let bytes = std::fs::read(self.folder.path().join("stderr")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Returns the folder in which the kernel runs.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.folder.path().join("empty")
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(spec: &Spec, folder: &TempDir) -> Result<Child, Error> {
    let failed = |source| Error::Process {
        name: spec.name.clone(),
        action: "be started",
        source,
    };
    let file = folder.path().join("connection.json").display().to_string();
    let stderr = std::fs::File::create(folder.path().join("stderr")).map_err(failed)?;
    let empty = folder.path().join("empty");
    match std::fs::create_dir(&empty) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(failed(error)),
        _ => {}
    }
    let mut words = spec.argv.iter();
    let program = words.next().map(String::as_str).unwrap_or_default();
    Command::new(program)
        .args(words.map(|word| word.replace("{connection_file}", &file)))
        .env("JPY_PARENT_PID", std::process::id().to_string())
        .env("IPYTHONDIR", folder.path())
        .env("XDG_STATE_HOME", folder.path())
        .env("XDG_RUNTIME_DIR", folder.path())
        .envs(spec.env.iter().map(|(name, value)| (name, value)))
        .current_dir(empty)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(stderr)
        // As Jupyter starts kernels: away from the group of who starts them.
        .process_group(0)
        .spawn()
        .map_err(failed)
}

/// All are held until the last is known, so that they differ.
fn free_ports() -> std::io::Result<[u16; 5]> {
    let mut ports = [0; 5];
    let mut listeners = Vec::with_capacity(ports.len());
    for port in &mut ports {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        *port = listener.local_addr()?.port();
        listeners.push(listener);
    }
    Ok(ports)
}

fn resident(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok());
    kib.unwrap_or(0_u64) * 1024
}

fn children(pid: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
    let tasks = tasks.into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| {
            let pids = list.split_whitespace().filter_map(|pid| pid.parse().ok());
            pids.collect::<Vec<u32>>()
        })
        .collect()
}

#[expect(
    clippy::disallowed_methods,
    reason = "polls another process, on a thread that does nothing else"
)]
fn pause(duration: Duration) {
    std::thread::sleep(duration);
}
