use jupyter_zmq_client::{
    CompleteRequest, HistoryRequest, InspectRequest, IsCompleteRequest, JupyterMessageContent,
    KernelInfoRequest, UnknownMessage,
};
use serde_json::{Value, json};

use crate::kit::{Client, Kernel, Raw};

async fn ask(client: &mut Client, content: impl Into<JupyterMessageContent>) -> Value {
    let id = client.send(content).await;
    let reply = client.reply_to(&id).await;
    client.outputs(&id).await;
    reply
}

#[tokio::test]
async fn kernel_info_says_protocol_language_and_features_on_shell_and_control() {
    let kernel = Kernel::start().await;
    let mut client = kernel.client().await;
    let info = ask(&mut client, KernelInfoRequest {}).await;
    assert_eq!(info["protocol_version"], "5.5");
    assert_eq!(info["language_info"]["name"], "rust");
    let info = client.control("kernel_info_request", json!({})).await;
    assert_eq!(info["implementation"], "echo_kernel");
}

#[tokio::test]
async fn completion_replaces_what_stands_before_the_cursor() {
    let kernel = Kernel::start().await;
    let mut client = kernel.client().await;
    let request = CompleteRequest {
        code: "%pri".into(),
        cursor_pos: 4,
    };
    let reply = ask(&mut client, request).await;
    assert_eq!(reply["matches"], json!(["%print", "%prints"]));
    assert_eq!(
        (&reply["cursor_start"], &reply["cursor_end"]),
        (&json!(0), &json!(4))
    );
    assert_eq!(
        reply["metadata"]["_jupyter_types_experimental"][0]["type"],
        "magic"
    );
}

#[tokio::test]
async fn inspection_finds_what_is_known_and_says_when_it_finds_nothing() {
    let kernel = Kernel::start().await;
    let mut client = kernel.client().await;
    for (code, found) in [("%print", true), ("%nosuch", false)] {
        let request = InspectRequest {
            code: code.into(),
            cursor_pos: 3,
            detail_level: Some(0),
        };
        assert_eq!(ask(&mut client, request).await["found"], found);
    }
}

#[tokio::test]
async fn a_console_is_told_whether_a_line_can_run() {
    let kernel = Kernel::start().await;
    let mut client = kernel.client().await;
    let samples = [
        ("%noop", "complete"),
        ("%print \\", "incomplete"),
        ("%nosuch", "invalid"),
    ];
    for (code, status) in samples {
        let request = IsCompleteRequest { code: code.into() };
        assert_eq!(ask(&mut client, request).await["status"], status);
    }
}

#[tokio::test]
async fn a_console_is_told_how_to_indent_the_line_that_is_missing() {
    let kernel = Kernel::start().await;
    let mut raw = Raw::connect(&kernel).await;
    for (code, indent) in [("%print \\", json!("  ")), ("%noop", Value::Null)] {
        let id = raw
            .send("is_complete_request", json!({}), json!({"code": code}))
            .await;
        assert_eq!(raw.reply_to(&id).await["indent"], indent);
    }
}

#[tokio::test]
async fn what_the_kernel_and_its_machine_use_is_told() {
    let kernel = Kernel::start().await;
    let mut client = kernel.client().await;
    let usage = client.control("usage_request", json!({})).await;
    assert_eq!(usage["pid"], kernel.child.id());
    for number in [
        &usage["kernel_memory"],
        &usage["cpu_count"],
        &usage["host_virtual_memory"]["total"],
    ] {
        assert!(number.as_u64().is_some_and(|number| number > 0), "{usage}");
    }
    for number in [&usage["kernel_cpu"], &usage["host_cpu_percent"]] {
        assert!(
            number.as_f64().is_some_and(|number| number >= 0.0),
            "{usage}"
        );
    }
}

#[tokio::test]
async fn history_remembers_what_was_run() {
    let kernel = Kernel::start().await;
    let mut client = kernel.client().await;
    for code in ["%print 1", "%print 2", "%noop"] {
        client.run(code).await;
    }
    let tail = HistoryRequest::Tail {
        n: 2,
        output: false,
        raw: true,
    };
    let history = ask(&mut client, tail).await["history"].clone();
    assert_eq!(history, json!([[1, 2, "%print 2"], [1, 3, "%noop"]]));
    let search = HistoryRequest::Search {
        pattern: "%print*".into(),
        unique: false,
        output: false,
        raw: true,
        n: 9,
    };
    assert_eq!(
        ask(&mut client, search).await["history"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    let range = HistoryRequest::Range {
        session: Some(0),
        start: 1,
        stop: 2,
        output: false,
        raw: true,
    };
    assert_eq!(
        ask(&mut client, range).await["history"],
        json!([[1, 1, "%print 1"]])
    );
}

#[tokio::test]
async fn a_comm_to_an_unknown_target_is_closed() {
    let kernel = Kernel::start().await;
    let mut client = kernel.client().await;
    let open = UnknownMessage {
        msg_type: "comm_open".into(),
        content: json!({"comm_id": "c", "target_name": "none", "data": {}}),
    };
    let id = client.send(open).await;
    let outputs = client.outputs(&id).await;
    assert_eq!(outputs[1].header.msg_type, "comm_close");
}
