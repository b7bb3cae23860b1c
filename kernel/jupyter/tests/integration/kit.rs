//! A kernel process and a client of it. Every receive has a deadline.

use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use jupyter_zmq_client::{
    ClientControlConnection, ClientIoPubConnection, ClientShellConnection, ClientStdinConnection,
    ConnectionInfo, ExecuteRequest, JupyterMessage, JupyterMessageContent, UnknownMessage,
    create_client_control_connection, create_client_iopub_connection,
    create_client_shell_connection_with_identity, create_client_stdin_connection_with_identity,
    peek_ports_with_listeners, peer_identity_for_session,
};
use serde_json::{Value, json};
use tempfile::TempDir;

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

pub struct Kernel {
    pub child: Child,
    pub info: ConnectionInfo,
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

    async fn start_as(key: &str, adjust: impl FnOnce(&mut Command)) -> Self {
        let (ports, listeners) = peek_ports_with_listeners("127.0.0.1".parse().unwrap(), 5)
            .await
            .unwrap();
        let info: ConnectionInfo = serde_json::from_value(json!({
            "ip": "127.0.0.1", "transport": "tcp", "key": key, "signature_scheme": "hmac-sha256",
            "shell_port": ports[0], "iopub_port": ports[1], "stdin_port": ports[2],
            "control_port": ports[3], "hb_port": ports[4], "kernel_name": "echo",
        }))
        .unwrap();
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("connection.json");
        std::fs::write(&file, serde_json::to_vec(&info).unwrap()).unwrap();
        let mut command = Command::new(echo_kernel());
        command
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        adjust(&mut command);
        drop(listeners);
        let child = command.spawn().unwrap();
        let kernel = Self {
            child,
            info,
            _folder: folder,
        };
        for port in ports {
            kernel.listens(port).await;
        }
        kernel
    }

    async fn listens(&self, port: u16) {
        until("the kernel listens", async || {
            tokio::net::TcpStream::connect(("127.0.0.1", port))
                .await
                .is_ok()
        })
        .await;
    }

    pub async fn client(&self) -> Client {
        Client::connect(&self.info).await
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
    pub async fn connect(info: &ConnectionInfo) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "clients of one kernel must differ"
        )]
        let session = uuid::Uuid::new_v4().to_string();
        let identity = || peer_identity_for_session(&session).unwrap();
        let mut client = Self {
            shell: create_client_shell_connection_with_identity(info, &session, identity())
                .await
                .unwrap(),
            control: create_client_control_connection(info, &session)
                .await
                .unwrap(),
            stdin: create_client_stdin_connection_with_identity(info, &session, identity())
                .await
                .unwrap(),
            iopub: create_client_iopub_connection(info, "", &session)
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
