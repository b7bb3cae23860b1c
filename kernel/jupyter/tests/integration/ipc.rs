//! Sockets that are files.

use serde_json::json;
use tempfile::TempDir;

use crate::connection_file::refusal;
use crate::kit::{Client, Kernel};

/// Fails where a channel does not serve.
async fn assert_serves(client: &mut Client) {
    assert_eq!(client.run("%print on").await.text("stdout"), "on\n");
    let asking = client.send_asking("%ask name? ").await;
    let question = client.question().await;
    let info = client.control("kernel_info_request", json!({})).await;
    assert_eq!(info["implementation"], "echo_kernel");
    client.answer(&question, "Ada").await;
    assert_eq!(client.ran(&asking).await.text("stdout"), "got Ada\n");
}

#[tokio::test]
async fn every_channel_serves_as_a_file() {
    let kernel = Kernel::start_ipc().await;
    assert_serves(&mut kernel.client().await).await;
}

#[tokio::test]
async fn a_kernel_starts_where_one_that_was_killed_has_left_its_sockets() {
    let mut kernel = Kernel::start_ipc().await;
    drop(kernel.client().await);
    kernel.kill_and_start().await;
    assert_serves(&mut kernel.client().await).await;
}

#[tokio::test]
async fn a_second_kernel_is_refused_and_the_first_keeps_its_sockets() {
    let kernel = Kernel::start_ipc().await;
    let mut before = kernel.client().await;
    let said = refusal(&kernel.file);
    assert!(said.contains("cannot listen on ipc://"), "{said}");
    assert_serves(&mut kernel.client().await).await;
    assert_eq!(
        before.control("kernel_info_request", json!({})).await["status"],
        "ok"
    );
}

#[test]
fn a_file_that_is_no_socket_is_left_where_one_is_to_be() {
    let folder = TempDir::new().unwrap();
    let (file, in_the_way) = (
        folder.path().join("connection.json"),
        folder.path().join("kernel-1"),
    );
    let info = json!({
        "ip": folder.path().join("kernel"), "transport": "ipc", "key": "k", "signature_scheme": "hmac-sha256",
        "shell_port": 1, "iopub_port": 2, "stdin_port": 3, "control_port": 4, "hb_port": 5,
    });
    std::fs::write(&file, info.to_string()).unwrap();
    std::fs::write(&in_the_way, "notes").unwrap();
    let said = refusal(&file);
    assert!(said.contains("cannot listen on ipc://"), "{said}");
    assert_eq!(std::fs::read_to_string(&in_the_way).unwrap(), "notes");
}

#[tokio::test]
async fn a_kernel_that_ends_leaves_no_sockets_behind() {
    let mut kernel = Kernel::start_ipc().await;
    let mut client = kernel.client().await;
    client
        .control("shutdown_request", json!({"restart": false}))
        .await;
    assert!(kernel.exit().await.success());
    let folder = kernel.file.parent().unwrap();
    let left = std::fs::read_dir(folder).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["connection.json"]);
}
