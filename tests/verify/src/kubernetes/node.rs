//! A Kubernetes node for the tests alone, in namespaces of its own: processes, mounts and network are not the machine's.

use super::components::{API_PORT, Components};
use super::files::{self, Users};
use super::inside::{READY, Start, WORD};
use super::network::{self, Range};
use super::{NODE, PAUSE, log_of, remains};
use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::program::Program;
use nix::unistd::Pid;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// How long each thing that is waited for may take.
const LIMIT: Duration = Duration::from_secs(180);
/// How long the node may take to end.
const END: Duration = Duration::from_secs(30);
/// The pause between two looks.
const LOOK: Duration = Duration::from_millis(200);

/// A node that runs.
#[derive(Debug)]
pub(super) struct Node {
    folder: PathBuf,
    /// The programs of Kubernetes.
    programs: PathBuf,
    process: Child,
    /// While it is open the node runs.
    orders: Option<ChildStdin>,
    said: Lines<BufReader<ChildStdout>>,
}

impl Node {
    /// Brings a node up in a folder that is not there, and returns it when pods can be started.
    ///
    /// # Errors
    /// What does not come up, with the end of its log. Nothing of the node is left then.
    pub(super) async fn bring_up(
        folder: PathBuf,
        programs: PathBuf,
        interrupt: &Interrupt,
    ) -> Result<Self, Error> {
        let range = Range::free(interrupt).await?;
        let users = files::lay_out(&folder, range, interrupt).await?;
        let mut node = Self::start(folder, programs)?;
        // Cancel safety: a node that is not whole is taken down whatever it was about.
        let came = tokio::select! {
            came = node.come_up(range, &users, interrupt) => came,
            signal = interrupt.wait() => Err(Error::Interrupted { signal }),
        };
        if let Err(error) = came {
            node.tear_down().await?;
            return Err(error);
        }
        Ok(node)
    }

    fn start(folder: PathBuf, programs: PathBuf) -> Result<Self, Error> {
        let mut command = Command::new("unshare");
        command
            .args(["--net", "--mount", "--pid", "--fork"])
            .args(["--kill-child", "--mount-proc", "--"])
            .arg(folder.join(super::runtime::NAME))
            .arg(WORD)
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let failed = |source| Error::Start {
            program: "unshare".into(),
            source,
        };
        let mut process = command.spawn().map_err(failed)?;
        let orders = process.stdin.take();
        let said = process.stdout.take();
        let said = said.ok_or_else(|| failed(std::io::ErrorKind::BrokenPipe.into()))?;
        Ok(Self {
            folder,
            programs,
            process,
            orders,
            said: BufReader::new(said).lines(),
        })
    }

    async fn come_up(
        &mut self,
        range: Range,
        users: &Users,
        interrupt: &Interrupt,
    ) -> Result<(), Error> {
        self.ready().await?;
        let pid = self.process.id().and_then(|pid| i32::try_from(pid).ok());
        let pid = pid.map(Pid::from_raw).ok_or_else(|| self.gone("its end"))?;
        range.join(pid, interrupt).await?;
        let (folder, programs) = (self.folder.clone(), self.programs.clone());
        let components = Components {
            folder: &folder,
            programs: &programs,
            range,
        };
        self.order(components.first()).await?;
        let certificate = folder.join(files::API_CERTIFICATES).join("apiserver.crt");
        self.until("kube-apiserver", async || certificate.is_file())
            .await?;
        let server = format!("https://{}:{API_PORT}", range.node());
        users.write_kubeconfigs(&folder, &server)?;
        let ready = ["get", "--raw", "/readyz"];
        let answers = async || {
            self_kubectl(&programs, &folder, &ready, interrupt)
                .await
                .is_some()
        };
        self.until("kube-apiserver", answers).await?;
        self.order(components.second()).await?;
        let engine = engine(&folder);
        self.until("dockerd", async || {
            crate::docker::answers(&engine, interrupt).await
        })
        .await?;
        self.make_pause(interrupt).await?;
        self.order(vec![components.kubelet()]).await?;
        let condition = r#"jsonpath={.status.conditions[?(@.type=="Ready")].status}"#;
        let words = ["get", "node", NODE, "-o", condition];
        let is_ready = async || {
            let said = self_kubectl(&programs, &folder, &words, interrupt).await;
            said.is_some_and(|said| said.trim() == "True")
        };
        self.until("kubelet", is_ready).await
    }

    /// Makes the image of the process that holds a pod's namespaces.
    async fn make_pause(&self, interrupt: &Interrupt) -> Result<(), Error> {
        let archive = self.folder.join("pause.tar");
        let pack = Program::new("tar", 1)
            .args(["--create", "--file"])
            .args([&archive])
            .args(["pause"])
            .folder(&self.programs);
        pack.read(interrupt).await?;
        let import = Program::new("docker", 2)
            .args(["import", "--change", "ENTRYPOINT [\"/pause\"]"])
            .args([archive.display().to_string().as_str(), PAUSE])
            .env("DOCKER_HOST", engine(&self.folder));
        import.read(interrupt).await.map(drop)
    }

    /// Waits until programs can be started.
    async fn ready(&mut self) -> Result<(), Error> {
        let line = tokio::time::timeout(LIMIT, self.said.next_line()).await;
        match line {
            Ok(Ok(Some(line))) if line == READY => Ok(()),
            _ => Err(self.gone("namespaces of its own")),
        }
    }

    async fn order(&mut self, starts: Vec<Start>) -> Result<(), Error> {
        for start in starts {
            let line = serde_json::to_string(&start).unwrap_or_default() + "\n";
            let written = match &mut self.orders {
                Some(orders) => orders.write_all(line.as_bytes()).await,
                None => Err(std::io::ErrorKind::BrokenPipe.into()),
            };
            written.map_err(|source| Error::Start {
                program: start.name,
                source,
            })?;
        }
        Ok(())
    }

    /// Waits until something of a program is so; the end of any program of the node is an error.
    async fn until(&mut self, name: &str, is_so: impl AsyncFn() -> bool) -> Result<(), Error> {
        let end = tokio::time::Instant::now() + LIMIT;
        while !is_so().await {
            // Cancel safety: no line is lost when `next_line` is dropped.
            tokio::select! {
                line = self.said.next_line() => return Err(self.ended(line.ok().flatten())),
                () = tokio::time::sleep(LOOK) => {}
            }
            if tokio::time::Instant::now() >= end {
                let missing = format!("{name} is not ready after {LIMIT:?}.");
                return Err(broken(missing, &self.folder, name));
            }
        }
        Ok(())
    }

    fn ended(&self, line: Option<String>) -> Error {
        let Some(line) = line else {
            return self.gone("its end");
        };
        let name = line.split(' ').next().unwrap_or_default();
        broken(
            format!("a program of the node ended: {line}"),
            &self.folder,
            name,
        )
    }

    fn gone(&self, wanted: &str) -> Error {
        Error::Machine {
            missing: format!(
                "the Kubernetes node in {} did not get as far as {wanted}.",
                self.folder.display()
            ),
            remedy: "Look above for what it said; it needs root and a kernel with namespaces. Or \
                     leave it out: --without kubernetes"
                .into(),
        }
    }

    /// Ends the node and removes all that was its own, also after an interruption.
    ///
    /// # Errors
    /// If it does not end, or something of it cannot be removed.
    pub(super) async fn tear_down(&mut self) -> Result<(), Error> {
        drop(self.orders.take());
        if tokio::time::timeout(END, self.process.wait())
            .await
            .is_err()
        {
            // Its first process goes with it, and everything with that.
            let killed = self.process.kill().await;
            killed.map_err(|source| Error::File {
                action: "end the Kubernetes node in",
                path: self.folder.clone(),
                source,
            })?;
        }
        network::unlink().await;
        remains::remove(&self.folder).await
    }
}

/// Returns where the Docker engine of a node in that folder listens, as `DOCKER_HOST` names it.
pub(super) fn engine(folder: &Path) -> String {
    format!("unix://{}", folder.join("run/docker.sock").display())
}

/// Runs `kubectl` as the node's administrator and returns what it says, unless it fails.
async fn self_kubectl(
    programs: &Path,
    folder: &Path,
    words: &[&str],
    interrupt: &Interrupt,
) -> Option<String> {
    let kubectl = Program::new(programs.join("kubectl"), 1)
        .args(["--kubeconfig"])
        .args([folder.join(files::KUBECONFIG)])
        .args(["--request-timeout", "5s"])
        .args(words)
        .env("NO_PROXY", "*");
    kubectl.read(interrupt).await.ok()
}

/// Returns the error for a program of the node, with the end of its log.
fn broken(missing: String, folder: &Path, name: &str) -> Error {
    let said = std::fs::read_to_string(log_of(folder, name)).unwrap_or_default();
    let last: Vec<&str> = said.lines().rev().take(8).collect();
    let last: Vec<&str> = last.into_iter().rev().collect();
    Error::Machine {
        missing: format!("{missing} The end of its log:\n{}", last.join("\n")),
        remedy: "Mend what it says, or leave it out: --without kubernetes".into(),
    }
}
