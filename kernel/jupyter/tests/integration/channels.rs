use jupyter_zmq_client::{ExecuteRequest, InputReply, JupyterMessageContent, KernelInfoRequest};
use serde_json::json;
use zeromq::{DealerSocket, Socket, SocketRecv, SocketSend, ZmqMessage};

use crate::kit::{DEADLINE, Kernel, content_of};

async fn asking(client: &mut crate::kit::Client, code: &str) -> String {
    let request = ExecuteRequest {
        code: code.into(),
        allow_stdin: true,
        ..ExecuteRequest::default()
    };
    client.send(request).await
}

#[tokio::test]
async fn a_cell_can_ask_and_gets_the_answer() {
    let kernel = Kernel::start().await;
    let mut client = kernel.client().await;
    let id = asking(&mut client, "%ask secret name? ").await;
    let question = tokio::time::timeout(DEADLINE, client.stdin.read())
        .await
        .unwrap()
        .unwrap();
    let JupyterMessageContent::InputRequest(asked) = &question.content else {
        panic!("{question:?}");
    };
    assert!(asked.password);
    let answer = InputReply {
        value: "Ada".into(),
        ..InputReply::default()
    };
    client
        .stdin
        .send(answer.as_child_of(&question))
        .await
        .unwrap();
    assert_eq!(client.ran(&id).await.text("stdout"), "got Ada\n");
}

#[tokio::test]
async fn a_question_is_refused_with_the_reason_where_nobody_can_answer() {
    let kernel = Kernel::start().await;
    let mut client = kernel.client().await;
    let reply = client.run("%ask name?").await.reply;
    assert_eq!(reply["ename"], "NoAnswer");
    assert!(
        reply["evalue"]
            .as_str()
            .unwrap()
            .contains("allow_stdin is false"),
        "{reply}"
    );
}

#[tokio::test]
async fn an_interrupt_ends_a_question() {
    let kernel = Kernel::start().await;
    let mut client = kernel.client().await;
    let id = asking(&mut client, "%ask name?").await;
    tokio::time::timeout(DEADLINE, client.stdin.read())
        .await
        .unwrap()
        .unwrap();
    client.control("interrupt_request", json!({})).await;
    let reply = client.ran(&id).await.reply;
    assert!(
        reply["evalue"].as_str().unwrap().starts_with("interrupted"),
        "{reply}"
    );
}

#[tokio::test]
async fn control_answers_while_a_cell_blocks_its_thread() {
    let kernel = Kernel::start_with(|command| {
        command.env("TOKIO_WORKER_THREADS", "1");
    })
    .await;
    let mut client = kernel.client().await;
    let id = client.send_cell("%print on\n%block 3").await;
    client.started().await;
    assert_eq!(
        client.control("kernel_info_request", json!({})).await["status"],
        "ok"
    );
    let running = tokio::time::timeout(std::time::Duration::ZERO, client.shell.read()).await;
    assert!(
        running.is_err(),
        "the cell was over before control answered"
    );
    assert_eq!(client.reply_to(&id).await["status"], "ok");
}

#[tokio::test]
async fn questions_are_answered_beside_a_cell_and_the_last_state_is_its_own() {
    let kernel = Kernel::start().await;
    let mut client = kernel.client().await;
    let busy = client.send_cell("%long").await;
    client.started().await;
    let question = client.send(KernelInfoRequest {}).await;
    assert_eq!(client.reply_to(&question).await["status"], "ok");
    client.outputs(&question).await;
    let last = client.output().await;
    assert_eq!(last.parent_header.as_ref().unwrap().msg_id, busy);
    assert_eq!(content_of(&last)["execution_state"], "busy");
    client.control("interrupt_request", json!({})).await;
    assert_eq!(client.reply_to(&busy).await["ename"], "Interrupted");
}

#[tokio::test]
async fn a_subshell_runs_cells_while_the_main_shell_is_busy() {
    let kernel = Kernel::start().await;
    let mut client = kernel.client().await;
    let created = client.control("create_subshell_request", json!({})).await;
    let subshell = created["subshell_id"].as_str().unwrap().to_owned();
    let listed = client.control("list_subshell_request", json!({})).await;
    assert_eq!(listed["subshell_id"], json!([subshell]));
    let busy = client.send_cell("%long").await;
    client.started().await;

    let mut raw = RawClient::connect(&kernel).await;
    raw.send(
        "execute_request",
        json!({"subshell_id": subshell}),
        json!({
            "code": "%noop", "silent": false, "store_history": true, "user_expressions": {},
            "allow_stdin": false, "stop_on_error": true,
        }),
    )
    .await;
    let reply = raw.reply().await;
    assert!(reply.contains("\"status\":\"ok\""), "{reply}");

    client.control("interrupt_request", json!({})).await;
    assert_eq!(client.reply_to(&busy).await["ename"], "Interrupted");
    let deleted = client
        .control("delete_subshell_request", json!({"subshell_id": subshell}))
        .await;
    assert_eq!(deleted["status"], "ok");
}

#[tokio::test]
async fn garbage_wrong_signatures_and_unknown_messages_are_survived() {
    let kernel = Kernel::start().await;
    let mut raw = RawClient::connect(&kernel).await;
    for frames in [
        vec![&b""[..]],
        vec![b"<IDS|MSG>"],
        vec![b"x"; 3],
        vec![b"<IDS|MSG>"; 7],
    ] {
        raw.send_frames(frames.into_iter().map(<[u8]>::to_vec).collect())
            .await;
    }
    raw.key = "another key".into();
    raw.send("kernel_info_request", json!({}), json!({})).await;
    raw.key.clone_from(&kernel.info.key);
    raw.send("nonsense_request", json!({}), json!({})).await;
    raw.send("execute_request", json!({}), json!({"code": 7}))
        .await;
    let reply = raw.reply().await;
    assert!(reply.contains("BadRequest"), "{reply}");

    let mut client = kernel.client().await;
    let id = client.send(KernelInfoRequest {}).await;
    assert_eq!(client.reply_to(&id).await["status"], "ok");
}

/// A client that can send what a well-behaved one cannot.
struct RawClient {
    socket: DealerSocket,
    key: String,
}

impl RawClient {
    async fn connect(kernel: &Kernel) -> Self {
        let mut socket = DealerSocket::new();
        socket.connect(&kernel.info.shell_url()).await.unwrap();
        Self {
            socket,
            key: kernel.info.key.clone(),
        }
    }

    async fn send_frames(&mut self, frames: Vec<Vec<u8>>) {
        let frames: Vec<bytes::Bytes> = frames.into_iter().map(Into::into).collect();
        self.socket
            .send(ZmqMessage::try_from(frames).unwrap())
            .await
            .unwrap();
    }

    async fn send(&mut self, kind: &str, more: serde_json::Value, content: serde_json::Value) {
        use hmac::{KeyInit as _, Mac as _};
        let mut header = json!({
            "msg_id": "raw", "session": "raw", "username": "raw", "msg_type": kind,
            "version": "5.5", "date": "2026-01-01T00:00:00Z",
        });
        header
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let parts =
            [header, json!({}), json!({}), content].map(|part| part.to_string().into_bytes());
        let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(self.key.as_bytes()).unwrap();
        parts.iter().for_each(|part| mac.update(part));
        let signature = hex::encode(mac.finalize().into_bytes()).into_bytes();
        let mut frames = vec![b"<IDS|MSG>".to_vec(), signature];
        frames.extend(parts);
        self.send_frames(frames).await;
    }

    async fn reply(&mut self) -> String {
        let message = tokio::time::timeout(DEADLINE, self.socket.recv())
            .await
            .unwrap()
            .unwrap();
        String::from_utf8_lossy(&message.into_vec().pop().unwrap()).into_owned()
    }
}
