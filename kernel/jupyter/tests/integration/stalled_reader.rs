use jupyter_zmq_client::JupyterMessage;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::kit::{DEADLINE, Kernel, Ran, content_of};

/// Lines of a large cell; all together stay below what a reader that reads has room for.
const LINES: usize = 32;
const LINE_BYTES: usize = 96 * 1024;
/// Said on standard error where a reader that stalls is left out or disconnected.
const GAP: &str = "output left out here";
const GONE: &str = "stopped reading";

/// Subscribes to everything and then reads nothing more.
async fn stalled_subscriber(port: u16) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let mut greeting = [0; 64];
    greeting[0] = 0xff;
    greeting[9] = 0x7f;
    greeting[10] = 3;
    greeting[12..16].copy_from_slice(b"NULL");
    stream.write_all(&greeting).await.unwrap();
    stream
        .write_all(b"\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x03SUB")
        .await
        .unwrap();
    stream.write_all(b"\x00\x01\x01").await.unwrap();
    let mut first = [0; 65];
    stream.read_exact(&mut first).await.unwrap();
    stream
}

#[tokio::test]
async fn a_reader_that_stalls_delays_neither_the_cell_nor_other_readers() {
    let kernel = Kernel::start().await;
    let stalled = stalled_subscriber(kernel.info.iopub_port).await;
    let mut client = kernel.client().await;
    // More than the sockets and the mailbox of the stalled reader hold.
    let displays = client.run("%flood 60000").await.contents("display_data");
    assert_eq!(displays.len(), 60_000);
    assert_eq!(client.run("%print on").await.text("stdout"), "on\n");
    drop(stalled);
}

/// A cell that prints large lines, shows a result behind each, and fails.
fn prints() -> String {
    let line = "x".repeat(LINE_BYTES);
    let lines: Vec<String> = (0..LINES)
        .map(|number| format!("%print {line}\n%result {number}\n%display\n"))
        .collect();
    lines.concat() + "%error boom"
}

/// A cell that shows large results.
fn results() -> String {
    let line = "x".repeat(LINE_BYTES);
    format!("%result {line}\n").repeat(LINES)
}

/// What no reader may miss.
fn kept(outputs: &[JupyterMessage]) -> Vec<&str> {
    let kept = outputs
        .iter()
        .filter(|output| output.header.msg_type != "stream");
    kept.map(|output| output.header.msg_id.as_str()).collect()
}

/// Fails where anything of [`prints`] is missing.
fn assert_whole(ran: &Ran) {
    assert_eq!(ran.reply["ename"], "EchoError");
    assert_eq!(ran.text("stdout").len(), LINES * (LINE_BYTES + 1));
    assert_eq!(ran.text("stderr"), "");
    assert_eq!(ran.contents("execute_result").len(), LINES);
    assert_eq!(ran.contents("display_data").len(), LINES);
    assert_eq!(ran.contents("error")[0]["evalue"], "boom");
}

#[tokio::test]
async fn a_reader_that_reads_again_misses_text_only_and_is_told_so() {
    let kernel = Kernel::start().await;
    let mut stalled = kernel.client().await;
    let mut client = kernel.client().await;
    let mut seen = Vec::new();
    for _ in 0..10 {
        let id = client.send_cell(&prints()).await;
        let ran = client.ran(&id).await;
        assert_whole(&ran);
        seen.push((id, ran));
    }
    let (mut text, mut told) = (0, 0);
    for (id, ran) in &seen {
        let outputs = stalled.outputs(id).await;
        assert_eq!(kept(&outputs), kept(&ran.outputs));
        assert_eq!(
            content_of(outputs.last().unwrap())["execution_state"],
            "idle"
        );
        let reply = ran.reply.clone();
        let late = Ran { reply, outputs };
        text += late.text("stdout").len();
        told += late.text("stderr").matches(GAP).count();
    }
    assert!(text < seen.len() * LINES * (LINE_BYTES + 1));
    assert!(told > 0);
    let again = client.send_cell("%print on").await;
    client.ran(&again).await;
    let outputs = stalled.outputs(&again).await;
    let on = outputs
        .iter()
        .filter(|output| output.header.msg_type == "stream");
    let on: Vec<_> = on.map(content_of).collect();
    assert_eq!(on, [json!({"name": "stdout", "text": "on\n"})]);
}

#[tokio::test]
async fn a_reader_that_stalls_for_too_long_is_disconnected_and_the_next_cell_says_so_once() {
    let kernel = Kernel::start().await;
    let mut stalled = stalled_subscriber(kernel.info.iopub_port).await;
    let mut client = kernel.client().await;
    let cell = results();
    let mut said = String::new();
    // Each is kept twice, as input and as results: more than the sockets and the mailbox together can hold.
    for _ in 0..30 {
        let ran = client.run(&cell).await;
        let results = ran.contents("execute_result");
        assert_eq!(results.len(), LINES);
        let whole = |result: &serde_json::Value| {
            result["data"]["text/plain"].as_str().unwrap().len() == LINE_BYTES
        };
        assert!(results.iter().all(whole));
        said = ran.text("stderr");
        if !said.is_empty() {
            break;
        }
    }
    assert_eq!(said.matches(GONE).count(), 1, "{said:?}");
    assert_eq!(said.matches("was disconnected").count(), 1, "{said:?}");
    let next = client.run("%print on").await;
    assert_eq!(
        (next.text("stdout"), next.text("stderr")),
        ("on\n".into(), String::new())
    );

    let mut rest = Vec::new();
    let ended = tokio::time::timeout(DEADLINE, stalled.read_to_end(&mut rest)).await;
    assert!(
        ended.is_ok(),
        "the connection of the stalled reader is open"
    );
}

#[tokio::test]
async fn the_stop_button_is_heard_while_a_cell_floods_and_nobody_reads() {
    let kernel = Kernel::start().await;
    let _stalled = stalled_subscriber(kernel.info.iopub_port).await;
    let mut client = kernel.client().await;
    // It never ends by itself: whatever is answered is answered while it floods.
    client.send_cell(&format!("%flood {}", u64::MAX)).await;
    while client.output().await.header.msg_type != "display_data" {}
    for _ in 0..20 {
        let reply = client.control("interrupt_request", json!({})).await;
        assert_eq!(reply["status"], "ok");
    }
}

#[tokio::test]
async fn garbage_on_the_publishing_socket_is_survived() {
    let kernel = Kernel::start().await;
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 200], b""] {
        let mut stream = TcpStream::connect(("127.0.0.1", kernel.info.iopub_port))
            .await
            .unwrap();
        stream.write_all(bytes).await.unwrap();
    }
    let mut client = kernel.client().await;
    assert_eq!(client.run("%print on").await.text("stdout"), "on\n");
}
