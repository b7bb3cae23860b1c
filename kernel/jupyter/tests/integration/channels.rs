use jupyter_zmq_client::{JupyterMessageContent, KernelInfoRequest};
use serde_json::json;

use crate::kit::{Kernel, Raw, content_of, kinds};

#[tokio::test]
async fn a_cell_can_ask_and_gets_the_answer() {
    let kernel = Kernel::start().await;
    let mut client = kernel.client().await;
    let id = client.send_asking("%ask secret name? ").await;
    let question = client.question().await;
    let JupyterMessageContent::InputRequest(asked) = &question.content else {
        panic!("{question:?}");
    };
    assert!(asked.password);
    client.answer(&question, "Ada").await;
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
    let id = client.send_asking("%ask name?").await;
    client.question().await;
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

    let mut raw = Raw::connect(&kernel).await;
    let cell = json!({"code": "%noop"});
    raw.send("execute_request", json!({"subshell_id": subshell}), cell)
        .await;
    let reply = raw.reply().await;
    assert_eq!(reply.content["status"], "ok", "{reply:?}");

    client.control("interrupt_request", json!({})).await;
    assert_eq!(client.reply_to(&busy).await["ename"], "Interrupted");
    let deleted = client
        .control("delete_subshell_request", json!({"subshell_id": subshell}))
        .await;
    assert_eq!(deleted["status"], "ok");
}

#[tokio::test]
async fn a_request_to_a_subshell_that_does_not_exist_is_refused_between_busy_and_idle() {
    let kernel = Kernel::start().await;
    let mut watcher = kernel.client().await;
    let mut raw = Raw::connect(&kernel).await;
    for (kind, content) in [
        ("execute_request", json!({"code": "%print never"})),
        ("complete_request", json!({"code": "%pri", "cursor_pos": 4})),
    ] {
        let id = raw
            .send(kind, json!({"subshell_id": "none"}), content)
            .await;
        let reply = raw.reply_to(&id).await;
        assert_eq!(
            (&reply["status"], &reply["ename"]),
            (&json!("error"), &json!("NoSuchSubshell"))
        );
        let counts = reply["execution_count"].is_u64();
        let is_cell = kind == "execute_request";
        assert_eq!(counts, is_cell, "{reply}");
        let said = kinds(&watcher.outputs(&id).await);
        match is_cell {
            true => assert_eq!(said, ["status", "error", "status"]),
            false => assert_eq!(said, ["status", "status"]),
        }
    }
}

#[tokio::test]
async fn what_has_no_reply_gets_none_from_a_subshell_that_does_not_exist_either() {
    let kernel = Kernel::start().await;
    let mut watcher = kernel.client().await;
    let mut raw = Raw::connect(&kernel).await;
    let open = json!({"comm_id": "c", "target_name": "none", "data": {}});
    let id = raw
        .send("comm_open", json!({"subshell_id": "none"}), open)
        .await;
    assert_eq!(kinds(&watcher.outputs(&id).await), ["status", "status"]);
    let next = raw.send("kernel_info_request", json!({}), json!({})).await;
    assert_eq!(raw.reply_to(&next).await["status"], "ok");
}

#[tokio::test]
async fn garbage_wrong_signatures_and_unknown_messages_are_survived() {
    let kernel = Kernel::start().await;
    let mut raw = Raw::connect(&kernel).await;
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
    assert_eq!(reply.content["ename"], "BadRequest", "{reply:?}");

    let mut client = kernel.client().await;
    let id = client.send(KernelInfoRequest {}).await;
    assert_eq!(client.reply_to(&id).await["status"], "ok");
}
