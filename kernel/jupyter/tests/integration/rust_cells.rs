//! Each test starts a compiler: a few tests with several cells, rather than many.

use std::time::Duration;

use jupyter_zmq_client::{
    CompleteRequest, ExecuteRequest, InputReply, InspectRequest, JupyterMessage,
};
use serde_json::json;

use crate::kit::{Client, Kernel, until, until_within};

/// The compiler starts and compiles, perhaps in a debug build on a busy machine.
const COMPILE_LIMIT: Duration = Duration::from_secs(300);

async fn patient(kernel: &Kernel) -> Client {
    let mut client = kernel.client().await;
    client.limit = COMPILE_LIMIT;
    client
}

#[tokio::test]
async fn rust_cells_share_variables_stream_and_fail_with_their_own_lines() {
    let kernel = Kernel::start().await;
    let mut client = patient(&kernel).await;
    let id = client.send_page_cell("1+2").await;
    let first = client.ran(&id).await;
    assert_eq!(first.result(), "3");
    // A page says what it waits for, and that goes.
    assert!(
        first.text("stdout").starts_with("The Rust compiler starts"),
        "{:?}",
        first.kinds()
    );
    let kinds = first.kinds();
    let place = |kind: &str| kinds.iter().position(|one| one == kind);
    assert!(place("stream") < place("clear_output"), "{kinds:?}");
    assert!(place("clear_output") < place("execute_result"), "{kinds:?}");
    assert_eq!(client.run("let x = 20;").await.reply["status"], "ok");
    assert!(
        client
            .run("for _ in 0..3 {}")
            .await
            .contents("execute_result")
            .is_empty()
    );
    let printed = client
        .run("println!(\"out\"); eprintln!(\"err\"); x + 1")
        .await;
    assert_eq!(
        (printed.text("stdout"), printed.text("stderr")),
        ("out\n".into(), "err\n".into())
    );
    assert_eq!(printed.result(), "21");

    let wanted = [("value", "rust:x * 2"), ("none", "rust:x;")];
    let id = client
        .send(ExecuteRequest {
            code: "%noop".into(),
            user_expressions: Some(wanted.map(|(name, text)| (name.into(), text.into())).into()),
            ..ExecuteRequest::default()
        })
        .await;
    let values = client.ran(&id).await.reply["user_expressions"].clone();
    assert_eq!(values["value"]["data"]["text/plain"], "40", "{values}");
    assert_eq!(values["none"]["ename"], "NotEvaluated", "{values}");

    let failed = client
        .run("let fine = 1;\nlet y: u8 = nowhere;")
        .await
        .reply;
    assert_eq!(failed["ename"], "CompileError");
    assert!(
        failed["traceback"]
            .to_string()
            .contains("cell, line 2, column 13"),
        "{failed}"
    );
    let last = failed["traceback"].as_array().unwrap().last().unwrap();
    assert_eq!(last, "note: nothing of this cell was run; kept: x");

    let panicked = client.run("panic!(\"boom\")").await.reply;
    assert_eq!(panicked["ename"], "Panic", "{panicked}");
    assert!(panicked["evalue"].as_str().unwrap().contains("boom"));
    assert_eq!(client.run("x").await.result(), "20");

    // An answer that takes too long is none; on a loaded machine the first may.
    let mut completed = serde_json::Value::Null;
    for _ in 0..10 {
        let request = CompleteRequest {
            code: "x.checked_a".into(),
            cursor_pos: 11,
        };
        let id = client.send(request).await;
        completed = client.reply_to(&id).await;
        client.outputs(&id).await;
        if completed["matches"] != json!([]) {
            break;
        }
    }
    assert!(
        completed["matches"].to_string().contains("checked_add"),
        "{completed}"
    );
    let request = InspectRequest {
        code: "u32::from_str_radix".into(),
        cursor_pos: 19,
        detail_level: Some(0),
    };
    let id = client.send(request).await;
    let inspected = client.reply_to(&id).await;
    client.outputs(&id).await;
    assert!(
        inspected["data"]["text/plain"]
            .to_string()
            .contains("from_str_radix"),
        "{inspected}"
    );

    let ended = client.run("std::process::exit(3);").await.reply;
    assert_eq!(ended["ename"], "RustEnded");
    assert!(
        ended["evalue"].as_str().unwrap().contains("lost"),
        "{ended}"
    );
    assert_eq!(client.run("%print on").await.text("stdout"), "on\n");
}

#[tokio::test]
async fn an_interrupt_kills_an_endless_loop_and_says_that_the_state_is_lost() {
    let kernel = Kernel::start().await;
    let mut client = patient(&kernel).await;
    let id = client
        .send_cell("println!(\"{}\", std::process::id()); loop { std::hint::spin_loop(); }")
        .await;
    let looping = client.started().await.trim().to_owned();
    client.control("interrupt_request", json!({})).await;
    let reply = client.ran(&id).await.reply;
    assert_eq!(reply["ename"], "Interrupted");
    assert!(
        reply["evalue"].as_str().unwrap().contains("lost"),
        "{reply}"
    );
    until("the computation is gone", async || !runs(&looping)).await;
    assert_eq!(client.run("%print on").await.text("stdout"), "on\n");
}

#[tokio::test]
async fn a_start_that_is_interrupted_leaves_no_word_of_itself_in_the_page() {
    let kernel = Kernel::start().await;
    let mut client = patient(&kernel).await;
    let endless = "loop { std::hint::spin_loop(); }";
    let id = client.send_page_cell(endless).await;
    let said = client.started().await;
    assert!(said.starts_with("The Rust compiler starts"), "{said}");
    client.control("interrupt_request", json!({})).await;
    let ran = client.ran(&id).await;
    assert_eq!(ran.reply["ename"], "Interrupted");
    // The kernel is said to be still busy with the cell once the request to stop it is answered.
    let kinds = ran.kinds().into_iter().filter(|kind| kind != "status");
    assert_eq!(kinds.collect::<Vec<_>>(), ["clear_output", "error"]);
}

/// A process that nobody has waited for yet runs no more.
fn runs(pid: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    !status.is_empty() && !status.contains("State:\tZ")
}

#[tokio::test]
async fn a_killed_kernel_leaves_no_computation_behind() {
    let mut kernel = Kernel::start().await;
    let mut client = patient(&kernel).await;
    client
        .send_cell("println!(\"{}\", std::process::id()); loop { std::hint::spin_loop(); }")
        .await;
    let looping = client.started().await.trim().to_owned();
    assert!(runs(&looping));
    kernel.child.kill().unwrap();
    until("the computation is gone", async || !runs(&looping)).await;
}

#[tokio::test]
async fn without_a_toolchain_only_the_rust_cell_fails_and_says_what_to_do() {
    let empty = tempfile::TempDir::new().unwrap();
    let path = empty.path().to_path_buf();
    let kernel = Kernel::start_with(|command| {
        command
            .env("PATH", &path)
            .env("HOME", &path)
            .env("CARGO_HOME", &path);
    })
    .await;
    let mut client = kernel.client().await;
    let reply = client.run("1+2").await.reply;
    assert_eq!(reply["ename"], "NoRust");
    assert!(
        reply["evalue"]
            .as_str()
            .unwrap()
            .contains("https://rustup.rs"),
        "{reply}"
    );
    assert_eq!(client.run("%print on").await.text("stdout"), "on\n");
}

/// Asks as any crate for evcxr does.
const ASK: &str = r#"
fn ask(kind: &str, prompt: &str) -> String {
    println!("EVCXR_INPUT_REQUEST{kind}:{prompt}");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    line.trim().to_owned()
}
"#;

async fn asking(client: &mut Client, code: &str) -> (String, JupyterMessage) {
    let request = ExecuteRequest {
        code: code.into(),
        allow_stdin: true,
        ..ExecuteRequest::default()
    };
    let id = client.send(request).await;
    let question = tokio::time::timeout(COMPILE_LIMIT, client.stdin.read()).await;
    (id, question.unwrap().unwrap())
}

#[tokio::test]
async fn a_rust_cell_asks_for_a_line_and_goes_on_without_where_there_is_none() {
    let kernel = Kernel::start().await;
    let mut client = patient(&kernel).await;
    client.run(ASK).await;
    for (kind, password) in [("", false), ("_PASSWORD", true)] {
        let code = format!("print!(\"first \"); ask({kind:?}, \"a: b?\")");
        let (id, question) = asking(&mut client, &code).await;
        let content = crate::kit::content_of(&question);
        assert_eq!(content, json!({"prompt": "a: b?", "password": password}));
        let answer = InputReply {
            value: " Ada: x\n".into(),
            ..InputReply::default()
        };
        let answer = answer.as_child_of(&question);
        client.stdin.send(answer).await.unwrap();
        let ran = client.ran(&id).await;
        assert_eq!(ran.text("stdout"), "first ");
        assert_eq!(ran.result(), "\"Ada: x\"");
    }

    let refused = client
        .run("let kept = ask(\"\", \"nobody\").len();")
        .await
        .reply;
    assert_eq!(refused["ename"], "NoAnswer", "{refused}");
    let (id, _) = asking(&mut client, "ask(\"\", \"stop me\");").await;
    client.control("interrupt_request", json!({})).await;
    let stopped = client.ran(&id).await.reply;
    assert_eq!(stopped["ename"], "Interrupted", "{stopped}");
    assert_eq!(client.run("kept").await.result(), "0");

    let insists = client
        .run("while ask(\"\", \"again\").is_empty() {}")
        .await
        .reply;
    assert_eq!(insists["ename"], "NoAnswer", "{insists}");
    let evalue = insists["evalue"].as_str().unwrap();
    assert!(evalue.contains("lost"), "{insists}");
    assert_eq!(client.run("1 + 2").await.result(), "3");
}

#[tokio::test]
async fn a_rust_cell_shows_what_it_says_it_is() {
    let kernel = Kernel::start().await;
    let mut client = patient(&kernel).await;
    let shown = client
        .run(
            r#"struct Picture(usize);
impl Picture {
    fn evcxr_display(&self) {
        print!("before ");
        println!("EVCXR_BEGIN_CONTENT image/svg+xml\n<svg>{}</svg>\nEVCXR_END_CONTENT", "x".repeat(self.0));
    }
}
Picture(3)"#,
        )
        .await;
    assert_eq!(shown.text("stdout"), "before ");
    let results = shown.contents("execute_result");
    assert_eq!(
        results[0]["data"],
        json!({"image/svg+xml": "<svg>xxx</svg>"})
    );
    let cleared = client.run("println!(\"EVCXR_CLEAR_OUTPUT_LATER\");").await;
    assert_eq!(cleared.contents("clear_output"), [json!({"wait": true})]);
    let large = client.run("Picture(40 << 20)").await.reply;
    let evalue = large["evalue"].as_str().unwrap();
    assert!(evalue.contains("41943052 bytes"), "{evalue}");
    let failed = client.run("let n: u8 = \"300\".parse()?;").await.reply;
    assert_eq!(failed["ename"], "Error", "{failed}");
    assert_eq!(client.run("1 + 2").await.result(), "3");
}

#[tokio::test]
async fn a_question_before_the_first_cell_starts_what_answers_it() {
    let kernel = Kernel::start().await;
    let mut client = patient(&kernel).await;
    // The first finds nothing, at once: cells behind it do not wait for the compiler.
    assert_eq!(completed(&mut client).await["matches"], json!([]));
    until_within(COMPILE_LIMIT, "the question is answered", async || {
        let completed = completed(&mut client).await;
        completed["matches"].to_string().contains("checked_add")
    })
    .await;
    assert_eq!(client.run("6 * 7").await.result(), "42");
}

async fn completed(client: &mut Client) -> serde_json::Value {
    let request = CompleteRequest {
        code: "1_u32.checked_a".into(),
        cursor_pos: 15,
    };
    let id = client.send(request).await;
    let completed = client.reply_to(&id).await;
    client.outputs(&id).await;
    completed
}
