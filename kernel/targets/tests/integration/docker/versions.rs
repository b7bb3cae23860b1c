//! Engines of other versions: the stage's own, behind a relay that says another version of its interface.

use std::sync::Arc;

use code_deploy_targets::Lookup;
use code_deploy_targets::docker::describe_engine;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio_util::task::TaskTracker;

use super::engine::host;
use crate::stage::text;

/// Returns where an engine listens that says it speaks that version of its interface. It goes with the test.
async fn speaking(version: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tasks = TaskTracker::new();
    let answers = tasks.clone();
    tasks.spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            answers.spawn(answer(client, version));
        }
    });
    format!("tcp://{address}")
}

/// Returns the variables of an environment that name that engine.
fn named(address: String) -> Lookup {
    Arc::new(move |name: &str| (name == "DOCKER_HOST").then(|| address.clone()))
}

/// Answers one request: what it speaks itself, all else by the engine.
async fn answer(mut client: TcpStream, version: &str) {
    let mut head = Vec::new();
    while !head.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
        if client.read_buf(&mut head).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap();
    if path.ends_with("/version") {
        let body = format!("{{\"Version\":\"99.0.0\",\"ApiVersion\":\"{version}\"}}");
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 200 OK\r\napi-version: {version}\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\nconnection: close\r\n\r\n{body}"
        );
        client.write_all(answer.as_bytes()).await.ok();
        return;
    }
    // Without a version in its path a request is taken by an engine of any version.
    let parts = path[1..].split_once('/');
    let rest = parts.filter(|(version, _)| version.starts_with('v'));
    let rest = rest.map_or(&path[1..], |(_, rest)| rest);
    let head = head.replacen(path, &format!("/{rest}"), 1).replacen(
        "\r\n",
        "\r\nconnection: close\r\n",
        1,
    );
    let engine = host();
    match engine.split_once("://").unwrap() {
        ("unix", path) => pass(client, UnixStream::connect(path).await.unwrap(), &head).await,
        (_, address) => pass(client, TcpStream::connect(address).await.unwrap(), &head).await,
    }
}

async fn pass(mut client: TcpStream, mut engine: impl AsyncRead + AsyncWrite + Unpin, head: &str) {
    engine.write_all(head.as_bytes()).await.unwrap();
    tokio::io::copy_bidirectional(&mut client, &mut engine)
        .await
        .ok();
}

#[tokio::test]
async fn an_engine_that_is_too_old_is_refused_with_what_is_needed() {
    let error = describe_engine(named(speaking("1.40").await)).await;
    let error = error.unwrap_err();
    assert_eq!(error.code, "CD0524", "{}", text(&error));
    for part in ["1.40", "1.41 is needed", "nothing was changed"] {
        assert!(error.what.contains(part), "{part}: {}", text(&error));
    }
    assert!(error.next.contains("Docker 20.10"), "{}", text(&error));
}

#[tokio::test]
async fn an_engine_that_is_newer_than_this_program_is_asked_in_what_both_speak() {
    let address = speaking("1.99").await;
    let described = describe_engine(named(address.clone())).await.unwrap();
    assert_eq!(
        described,
        format!("Docker 99.0.0 at {address} (DOCKER_HOST)")
    );
}
