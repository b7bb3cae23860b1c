//! Clients that leave, and come back or do not.

use jupyter_zmq_client::KernelInfoRequest;
use serde_json::json;

use crate::kit::{Kernel, kinds};

#[tokio::test]
async fn a_client_that_comes_back_under_its_identity_gets_the_reply_that_is_due() {
    let kernel = Kernel::start().await;
    let mut page = kernel.client_named("page").await;
    let running = page.send_cell("%long").await;
    page.started().await;
    drop(page);

    let mut page = kernel.client_named("page").await;
    // Answered, so the kernel knows the new connection; the cell still runs.
    page.queued().await;
    page.control("interrupt_request", json!({})).await;
    assert_eq!(page.ran(&running).await.reply["ename"], "Interrupted");
    assert_eq!(page.run("%print on").await.text("stdout"), "on\n");
}

#[tokio::test]
async fn a_client_that_takes_the_identity_of_one_that_is_there_gets_what_is_due() {
    let kernel = Kernel::start().await;
    let mut old = kernel.client_named("page").await;
    let running = old.send_cell("%long").await;
    old.started().await;

    let mut page = kernel.client_named("page").await;
    page.queued().await;
    page.control("interrupt_request", json!({})).await;
    assert_eq!(page.ran(&running).await.reply["ename"], "Interrupted");
    assert_eq!(page.run("%print on").await.text("stdout"), "on\n");
    drop(old);
}

#[tokio::test]
async fn a_cell_whose_client_has_gone_goes_on() {
    let kernel = Kernel::start().await;
    let mut watcher = kernel.client().await;
    let mut client = kernel.client().await;
    let running = client.send_cell("%long").await;
    watcher.started().await;
    drop(client);
    watcher.control("interrupt_request", json!({})).await;
    let outputs = kinds(&watcher.outputs(&running).await);
    assert!(outputs.contains(&"error".to_owned()), "{outputs:?}");
    assert_eq!(watcher.run("%print on").await.text("stdout"), "on\n");
}

#[tokio::test]
async fn replies_to_a_client_that_has_gone_keep_nobody_waiting() {
    let kernel = Kernel::start().await;
    let mut watcher = kernel.client().await;
    let mut client = kernel.client().await;
    let mut last = String::new();
    for _ in 0..1_000 {
        last = client.send(KernelInfoRequest {}).await;
    }
    // All of them were taken, and the replies to them are on their way.
    watcher.outputs(&last).await;
    drop(client);
    assert_eq!(watcher.run("%print on").await.text("stdout"), "on\n");
}

#[tokio::test]
async fn a_question_to_a_client_that_has_gone_fails_its_cell() {
    let kernel = Kernel::start().await;
    let mut watcher = kernel.client().await;
    let mut client = kernel.client().await;
    let asking = client.send_asking("%ask name? ").await;
    client.question().await;
    drop(client);
    let outputs = kinds(&watcher.outputs(&asking).await);
    assert!(outputs.contains(&"error".to_owned()), "{outputs:?}");
    assert_eq!(watcher.run("%print on").await.text("stdout"), "on\n");
}
