//! A kernel process and a client of it. Every receive has a deadline.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use chrono::TimeDelta;
use code_deploy_wire::{Interrupts, Spec};
use jupyter_protocol::connection_info::Transport;
use jupyter_zmq_client::{
    ClientControlConnection, ClientIoPubConnection, ClientShellConnection, ClientStdinConnection,
    ConnectionInfo, ExecuteRequest, InputReply, JupyterMessage, JupyterMessageContent,
    UnknownMessage, create_client_control_connection, create_client_iopub_connection,
    create_client_shell_connection_with_identity, create_client_stdin_connection_with_identity,
    peek_ports_with_listeners, peer_identity_for_session,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream, UnixStream};
use zeromq::{DealerSocket, Socket, SocketRecv, SocketSend, ZmqMessage};

pub const DEADLINE: Duration = Duration::from_secs(30);

/// The program under test: cargo builds examples with the tests.
pub fn echo_kernel() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test
        .parent()
        .unwrap()
        .parent()
        .unwrap()
        .join("examples/echo_kernel");
    assert!(
        program.is_file(),
        "cargo build -p code-deploy-jupyter --example echo_kernel"
    );
    program
}

/// The same program, for clients that say what no library would.
pub fn wire_spec() -> Spec {
    Spec::program("echo", &echo_kernel(), &[], Interrupts::Message)
}

pub struct Kernel {
    pub child: Child,
    pub info: ConnectionInfo,
    /// The connection file.
    pub file: PathBuf,
    _folder: TempDir,
}

impl Kernel {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub async fn start_with(adjust: impl FnOnce(&mut Command)) -> Self {
        Self::start_as("6e5d-key", adjust).await
    }

    pub async fn start_with_key(key: &str) -> Self {
        Self::start_as(key, |_| {}).await
    }

    /// Starts a kernel as the child of a shell, whose process this one is then.
    pub async fn start_from_shell() -> Self {
        Self::start_with(|command| {
            let mut shell = Command::new("sh");
            shell
                .args(["-c", "\"$@\" & wait", "sh"])
                .arg(command.get_program())
                .args(command.get_args())
                .env_remove("JPY_PARENT_PID")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            *command = shell;
        })
        .await
    }

    /// Starts a kernel whose sockets are files.
    pub async fn start_ipc() -> Self {
        let folder = TempDir::new().unwrap();
        let sockets = folder.path().join("kernel");
        let info = json!({
            "ip": sockets, "transport": "ipc", "key": "6e5d-key", "signature_scheme": "hmac-sha256",
            "shell_port": 1, "iopub_port": 2, "stdin_port": 3, "control_port": 4, "hb_port": 5,
            "kernel_name": "echo",
        });
        Self::launch(info, folder, Vec::new(), |_| {}).await
    }

    async fn start_as(key: &str, adjust: impl FnOnce(&mut Command)) -> Self {
        let (ports, listeners) = peek_ports_with_listeners("127.0.0.1".parse().unwrap(), 5)
            .await
            .unwrap();
        let info = json!({
            "ip": "127.0.0.1", "transport": "tcp", "key": key, "signature_scheme": "hmac-sha256",
            "shell_port": ports[0], "iopub_port": ports[1], "stdin_port": ports[2],
            "control_port": ports[3], "hb_port": ports[4], "kernel_name": "echo",
        });
        Self::launch(info, TempDir::new().unwrap(), listeners, adjust).await
    }

    /// Starts a kernel on ports that those listeners have kept free for it.
    async fn launch(
        info: Value,
        folder: TempDir,
        listeners: Vec<TcpListener>,
        adjust: impl FnOnce(&mut Command),
    ) -> Self {
        let file = folder.path().join("connection.json");
        std::fs::write(&file, info.to_string()).unwrap();
        let mut command = command(&file);
        adjust(&mut command);
        drop(listeners);
        let child = command.spawn().unwrap();
        let kernel = Self {
            child,
            info: serde_json::from_value(info).unwrap(),
            file,
            _folder: folder,
        };
        kernel.listens().await;
        kernel
    }

    /// Kills the process and starts another one on the same connection file, as a server does.
    pub async fn kill_and_start(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = command(&self.file).spawn().unwrap();
        self.listens().await;
    }

    async fn listens(&self) {
        let info = &self.info;
        for port in [
            info.shell_port,
            info.iopub_port,
            info.stdin_port,
            info.control_port,
            info.hb_port,
        ] {
            until("the kernel listens", async || match info.transport {
                Transport::TCP => TcpStream::connect(("127.0.0.1", port)).await.is_ok(),
                Transport::IPC => {
                    let path = format!("{}-{port}", info.ip);
                    UnixStream::connect(path).await.is_ok()
                }
            })
            .await;
        }
    }

    pub async fn client(&self) -> Client {
        #[expect(
            clippy::disallowed_methods,
            reason = "clients of one kernel must differ"
        )]
        let session = uuid::Uuid::new_v4().to_string();
        self.client_named(&session).await
    }

    /// Connects a client with that session, which is its identity, too.
    pub async fn client_named(&self, session: &str) -> Client {
        tokio::time::timeout(DEADLINE, Client::connect(&self.info, session))
            .await
            .expect("a kernel that takes clients")
    }

    pub fn pid(&self) -> nix::unistd::Pid {
        nix::unistd::Pid::from_raw(self.child.id().cast_signed())
    }

    pub async fn exit(&mut self) -> ExitStatus {
        let mut status = None;
        until("the kernel has exited", async || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        })
        .await;
        status.unwrap()
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(file: &Path) -> Command {
    let mut command = Command::new(echo_kernel());
    command
        .arg(file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// Polls a condition of another process until it holds.
pub async fn until(what: &str, holds: impl AsyncFnMut() -> bool) {
    until_within(DEADLINE, what, holds).await;
}

/// Polls a condition that takes longer than others.
pub async fn until_within(limit: Duration, what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(limit, wait)
        .await
        .unwrap_or_else(|_| panic!("not in time: {what}"));
}

pub struct Client {
    pub shell: ClientShellConnection,
    pub control: ClientControlConnection,
    pub stdin: ClientStdinConnection,
    pub iopub: ClientIoPubConnection,
    pub limit: Duration,
}

/// What came of a cell.
#[derive(Debug)]
pub struct Ran {
    pub reply: Value,
    pub outputs: Vec<JupyterMessage>,
}

impl Client {
    async fn connect(info: &ConnectionInfo, session: &str) -> Self {
        let identity = || peer_identity_for_session(session).unwrap();
        let mut client = Self {
            shell: create_client_shell_connection_with_identity(info, session, identity())
                .await
                .unwrap(),
            control: create_client_control_connection(info, session)
                .await
                .unwrap(),
            stdin: create_client_stdin_connection_with_identity(info, session, identity())
                .await
                .unwrap(),
            iopub: create_client_iopub_connection(info, "", session)
                .await
                .unwrap(),
            limit: DEADLINE,
        };
        // From the welcome on, nothing is missed.
        while client.output().await.header.msg_type != "iopub_welcome" {}
        client
    }

    /// Sends a request on shell and returns its id.
    pub async fn send(&mut self, content: impl Into<JupyterMessageContent>) -> String {
        let message = JupyterMessage::new(content, None);
        let id = message.header.msg_id.clone();
        self.shell.send(message).await.unwrap();
        id
    }

    pub async fn send_cell(&mut self, code: &str) -> String {
        self.send(ExecuteRequest {
            code: code.into(),
            ..ExecuteRequest::default()
        })
        .await
    }

    /// Sends a cell as a page does, which says which of its cells it is.
    pub async fn send_page_cell(&mut self, code: &str) -> String {
        self.send_page_cell_late(code, TimeDelta::zero()).await
    }

    /// Sends a cell as a page does that decided so this long after now, by its own clock.
    pub async fn send_page_cell_late(&mut self, code: &str, by: TimeDelta) -> String {
        let request = ExecuteRequest {
            code: code.into(),
            ..ExecuteRequest::default()
        };
        let mut message =
            JupyterMessage::new(request, None).with_metadata(json!({"cellId": "5e1f"}));
        message.header.date += by;
        let id = message.header.msg_id.clone();
        self.shell.send(message).await.unwrap();
        id
    }

    /// Sends a cell that may ask.
    pub async fn send_asking(&mut self, code: &str) -> String {
        self.send(ExecuteRequest {
            code: code.into(),
            allow_stdin: true,
            ..ExecuteRequest::default()
        })
        .await
    }

    pub async fn question(&mut self) -> JupyterMessage {
        let question = tokio::time::timeout(self.limit, self.stdin.read()).await;
        question.expect("a question on stdin in time").unwrap()
    }

    pub async fn answer(&mut self, question: &JupyterMessage, value: &str) {
        let answer = InputReply {
            value: value.into(),
            ..InputReply::default()
        };
        self.stdin.send(answer.as_child_of(question)).await.unwrap();
    }

    /// Waits until the kernel has taken what was sent on shell before. Must be called while a cell runs, beside
    /// which this is answered, and before any other reply is due.
    pub async fn queued(&mut self) {
        let id = self.send(jupyter_zmq_client::KernelInfoRequest {}).await;
        self.reply_to(&id).await;
    }

    /// Sends a request of any kind on control and returns the reply's content.
    pub async fn control(&mut self, kind: &str, content: Value) -> Value {
        let message = JupyterMessage::new(
            JupyterMessageContent::UnknownMessage(UnknownMessage {
                msg_type: kind.into(),
                content,
            }),
            None,
        );
        self.control.send(message).await.unwrap();
        let reply = tokio::time::timeout(self.limit, self.control.read()).await;
        content_of(&reply.expect("a reply on control in time").unwrap())
    }

    pub async fn reply(&mut self) -> JupyterMessage {
        let reply = tokio::time::timeout(self.limit, self.shell.read()).await;
        reply.expect("a reply on shell in time").unwrap()
    }

    pub async fn reply_to(&mut self, id: &str) -> Value {
        let reply = self.reply().await;
        assert_eq!(
            reply.parent_header.as_ref().unwrap().msg_id,
            id,
            "{reply:?}"
        );
        content_of(&reply)
    }

    pub async fn output(&mut self) -> JupyterMessage {
        let output = tokio::time::timeout(self.limit, self.iopub.read()).await;
        output.expect("a message on iopub in time").unwrap()
    }

    /// Returns the outputs of a request from `busy` to `idle`; those of others in between are a failure.
    pub async fn outputs(&mut self, id: &str) -> Vec<JupyterMessage> {
        let mut outputs = Vec::new();
        loop {
            let output = self.output().await;
            if output.header.msg_type == "status"
                && output
                    .parent_header
                    .as_ref()
                    .is_none_or(|parent| parent.msg_id != id)
            {
                continue;
            }
            assert_eq!(
                output.parent_header.as_ref().unwrap().msg_id,
                id,
                "{output:?}"
            );
            let idle = content_of(&output)["execution_state"] == "idle";
            outputs.push(output);
            if idle {
                return outputs;
            }
        }
    }

    pub async fn run(&mut self, code: &str) -> Ran {
        let id = self.send_cell(code).await;
        self.ran(&id).await
    }

    pub async fn ran(&mut self, id: &str) -> Ran {
        let outputs = self.outputs(id).await;
        Ran {
            reply: self.reply_to(id).await,
            outputs,
        }
    }

    /// Waits for the first text of a running cell and returns it.
    pub async fn started(&mut self) -> String {
        loop {
            let output = self.output().await;
            if output.header.msg_type == "stream" {
                return content_of(&output)["text"].as_str().unwrap().to_owned();
            }
        }
    }

    /// Fails where anything else came on iopub: a request later, nothing but that request is there.
    pub async fn assert_silent(&mut self) {
        let id = self.send(jupyter_zmq_client::KernelInfoRequest {}).await;
        self.reply_to(&id).await;
        let kinds = kinds(&self.outputs(&id).await);
        assert_eq!(kinds, ["status", "status"]);
    }
}

impl Ran {
    pub fn kinds(&self) -> Vec<String> {
        kinds(&self.outputs)
    }

    pub fn text(&self, name: &str) -> String {
        let streams = self.contents("stream");
        let texts = streams.iter().filter(|content| content["name"] == name);
        texts
            .map(|content| content["text"].as_str().unwrap())
            .collect()
    }

    pub fn contents(&self, kind: &str) -> Vec<Value> {
        let of_kind = self
            .outputs
            .iter()
            .filter(|output| output.header.msg_type == kind);
        of_kind.map(content_of).collect()
    }

    pub fn result(&self) -> String {
        let results = self.contents("execute_result");
        assert_eq!(results.len(), 1, "{self:?}");
        results[0]["data"]["text/plain"]
            .as_str()
            .unwrap()
            .to_owned()
    }
}

pub fn kinds(outputs: &[JupyterMessage]) -> Vec<String> {
    outputs
        .iter()
        .map(|output| output.header.msg_type.clone())
        .collect()
}

pub fn content_of(message: &JupyterMessage) -> Value {
    serde_json::to_value(&message.content).unwrap()
}

/// A client of shell that can send what a well-behaved one cannot.
pub struct Raw {
    socket: DealerSocket,
    pub key: String,
    sent: usize,
}

/// A reply as it came, with what a typed one would hide.
#[derive(Debug)]
pub struct RawReply {
    pub parent: String,
    pub content: Value,
}

impl Raw {
    pub async fn connect(kernel: &Kernel) -> Self {
        let mut socket = DealerSocket::new();
        socket.connect(&kernel.info.shell_url()).await.unwrap();
        Self {
            socket,
            key: kernel.info.key.clone(),
            sent: 0,
        }
    }

    pub async fn send_frames(&mut self, frames: Vec<Vec<u8>>) {
        let frames: Vec<bytes::Bytes> = frames.into_iter().map(Into::into).collect();
        self.socket
            .send(ZmqMessage::try_from(frames).unwrap())
            .await
            .unwrap();
    }

    /// Sends a request with more fields in its header and returns its id.
    pub async fn send(&mut self, kind: &str, more: Value, content: Value) -> String {
        self.sent += 1;
        let id = format!("raw-{}", self.sent);
        let mut header = json!({
            "msg_id": id, "session": "raw", "username": "raw", "msg_type": kind,
            "version": "5.5", "date": "2026-01-01T00:00:00Z",
        });
        header
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let parts =
            [header, json!({}), json!({}), content].map(|part| part.to_string().into_bytes());
        let signature = code_deploy_wire::signature(&self.key, &parts);
        let mut frames = vec![b"<IDS|MSG>".to_vec(), signature];
        frames.extend(parts);
        self.send_frames(frames).await;
        id
    }

    pub async fn reply(&mut self) -> RawReply {
        let message = tokio::time::timeout(DEADLINE, self.socket.recv()).await;
        let frames = message.expect("a reply on shell in time").unwrap();
        let frames = frames.into_vec();
        let [_, _, _, parent, _, content, ..] = frames.as_slice() else {
            panic!("{} frames", frames.len());
        };
        let read = |part: &[u8]| serde_json::from_slice::<Value>(part).unwrap();
        RawReply {
            parent: read(parent)["msg_id"].as_str().unwrap().to_owned(),
            content: read(content),
        }
    }

    /// Returns the content of the next reply, which must be to that request.
    pub async fn reply_to(&mut self, id: &str) -> Value {
        let reply = self.reply().await;
        assert_eq!(reply.parent, id, "{reply:?}");
        reply.content
    }
}
