use code_deploy_wire::{Channel, Message};
use nix::sys::signal::{Signal, kill};
use serde_json::json;

use crate::kit::{DEADLINE, Kernel, until, wire_spec};

#[tokio::test]
async fn shutdown_is_answered_before_the_process_ends() {
    for restart in [false, true] {
        let mut kernel = Kernel::start().await;
        let mut client = kernel.client().await;
        let reply = client
            .control("shutdown_request", json!({"restart": restart}))
            .await;
        assert_eq!(reply, json!({"status": "ok", "restart": restart}));
        assert!(kernel.exit().await.success());
    }
}

#[tokio::test]
async fn shutdown_interrupts_the_running_cell() {
    let mut kernel = Kernel::start().await;
    let mut client = kernel.client().await;
    let id = client.send_cell("%long").await;
    client.started().await;
    client
        .control("shutdown_request", json!({"restart": false}))
        .await;
    assert_eq!(client.reply_to(&id).await["ename"], "Interrupted");
    assert!(kernel.exit().await.success());
}

/// What is published until the kernel has gone.
fn last_words(client: &mut code_deploy_wire::Client) -> Vec<Message> {
    std::iter::from_fn(|| client.output(DEADLINE).ok()).collect()
}

#[test]
fn a_shutdown_is_told_to_every_client() {
    for restart in [false, true] {
        let mut kernel = code_deploy_wire::Kernel::start(&wire_spec()).unwrap();
        let mut watcher = kernel.client().unwrap();
        let mut client = kernel.client().unwrap();
        let content = json!({"restart": restart});
        let reply = client.control("shutdown_request", &content).unwrap();
        kernel.ended(DEADLINE).unwrap();
        let words = last_words(&mut watcher);
        let told: Vec<_> = words
            .iter()
            .filter(|message| message.kind == "shutdown_reply")
            .map(|message| &message.content)
            .collect();
        assert_eq!(told, [&reply]);
    }
}

#[test]
fn a_cell_behind_the_one_that_a_shutdown_ends_does_not_run() {
    let mut kernel = code_deploy_wire::Kernel::start(&wire_spec()).unwrap();
    let mut client = kernel.client().unwrap();
    let send = |code: &str, client: &mut code_deploy_wire::Client| {
        let cell = json!({"code": code, "silent": false, "store_history": true,
            "user_expressions": {}, "allow_stdin": false, "stop_on_error": false});
        client
            .send(Channel::Shell, "execute_request", &cell)
            .unwrap()
    };
    let running = send("%long", &mut client);
    client.printed(&running).unwrap();
    let behind = send("%print never", &mut client);
    // Answered beside the cell that runs, after what was sent before it was taken.
    let info = client.send(Channel::Shell, "kernel_info_request", &json!({}));
    client.reply(&info.unwrap()).unwrap();

    let content = json!({"restart": false});
    client.control("shutdown_request", &content).unwrap();
    assert_eq!(client.reply(&running).unwrap()["ename"], "Interrupted");
    // No reply is right, too: then the connection ends.
    if let Ok(reply) = client.reply(&behind) {
        assert_eq!(reply["status"], "aborted");
    }
    kernel.ended(DEADLINE).unwrap();
    let words = last_words(&mut client);
    let ran = words
        .iter()
        .any(|message| message.parent == behind && message.kind != "status");
    assert!(!ran, "{words:?}");
}

#[tokio::test]
async fn an_interrupt_stops_the_running_cell_at_a_safe_point() {
    let kernel = Kernel::start().await;
    let mut client = kernel.client().await;
    let id = client.send_cell("%long").await;
    let behind = client.send_cell("%print never").await;
    client.started().await;
    assert_eq!(
        client.control("interrupt_request", json!({})).await["status"],
        "ok"
    );
    let ran = client.ran(&id).await;
    assert_eq!(ran.text("stdout"), "stopping at a safe point\n");
    assert_eq!(ran.reply["ename"], "Interrupted");
    assert_eq!(client.ran(&behind).await.reply["status"], "aborted");
}

#[tokio::test]
async fn sigint_stops_a_cell_and_ends_an_idle_kernel_and_sigterm_ends_it() {
    for last in [Signal::SIGINT, Signal::SIGTERM] {
        let mut kernel = Kernel::start().await;
        let mut client = kernel.client().await;
        let id = client.send_cell("%long").await;
        client.started().await;
        kill(kernel.pid(), Signal::SIGINT).unwrap();
        assert_eq!(client.ran(&id).await.reply["ename"], "Interrupted");
        kill(kernel.pid(), last).unwrap();
        assert!(kernel.exit().await.success(), "{last}");
    }
}

#[tokio::test]
async fn the_kernel_ends_with_the_process_it_was_told_to_watch() {
    let mut watched = std::process::Command::new("sleep")
        .arg("600")
        .spawn()
        .unwrap();
    let pid = watched.id().to_string();
    let mut kernel = Kernel::start_with(|command| {
        command.env("JPY_PARENT_PID", pid);
    })
    .await;
    watched.kill().unwrap();
    watched.wait().unwrap();
    assert!(kernel.exit().await.success());
}

#[tokio::test]
async fn the_kernel_ends_with_the_process_that_started_it_where_none_is_named() {
    let mut shell = Kernel::start_from_shell().await;
    let children = format!("/proc/{0}/task/{0}/children", shell.pid());
    let kernel = std::fs::read_to_string(children).unwrap();
    let stat = format!("/proc/{}/stat", kernel.trim());
    assert!(std::fs::exists(&stat).unwrap());
    shell.child.kill().unwrap();
    shell.child.wait().unwrap();
    // Where whoever takes the orphan in does not reap it at once, it has ended all the same.
    until("the kernel has ended", async || {
        std::fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "))
    })
    .await;
}

#[tokio::test]
async fn an_empty_key_means_that_nothing_is_signed() {
    let kernel = Kernel::start_with_key("").await;
    let mut client = kernel.client().await;
    assert_eq!(client.run("%print plain").await.text("stdout"), "plain\n");
}

#[tokio::test]
async fn a_client_that_comes_back_under_its_name_is_served() {
    let kernel = Kernel::start().await;
    let mut client = kernel.client().await;
    client.run("%noop").await;
    drop(client);
    let mut client = kernel.client().await;
    until("the second client is served", async || {
        client.run("%noop").await.reply["status"] == "ok"
    })
    .await;
}

#[tokio::test]
async fn a_cell_that_blocks_its_thread_does_not_keep_the_kernel_from_ending() {
    let mut kernel = Kernel::start().await;
    let mut client = kernel.client().await;
    client.send_cell("%print on\n%block 600").await;
    client.started().await;
    client
        .control("shutdown_request", json!({"restart": false}))
        .await;
    assert!(kernel.exit().await.success());
}
