use chrono::TimeDelta;
use jupyter_zmq_client::ExecuteRequest;
use serde_json::json;

use crate::kit::{Kernel, Raw, content_of, kinds};

#[tokio::test]
async fn a_cell_says_busy_input_output_and_idle_last() {
    let kernel = Kernel::start().await;
    let mut client = kernel.client().await;
    let ran = client.run("%print hello").await;
    assert_eq!(ran.kinds(), ["status", "execute_input", "stream", "status"]);
    assert_eq!(ran.text("stdout"), "hello\n");
    assert_eq!(ran.reply["status"], "ok");
    assert_eq!(ran.reply["execution_count"], 1);
    assert_eq!(ran.contents("execute_input")[0]["execution_count"], 1);
}

#[tokio::test]
async fn streams_come_before_the_display_that_follows_them() {
    let kernel = Kernel::start().await;
    let mut client = kernel.client().await;
    let ran = client.run("%mixed").await;
    let shown: Vec<String> = ran
        .outputs
        .iter()
        .map(content_of)
        .filter_map(|content| {
            let text = content["text"]
                .as_str()
                .or(content["data"]["text/plain"].as_str());
            text.map(|text| text.trim().to_owned())
        })
        .collect();
    // Texts of one stream may come in one message or two, never in another order.
    assert_eq!(shown.join(" "), "one two three four five");
}

#[tokio::test]
async fn an_error_fails_the_cell_and_aborts_what_waits_behind_it() {
    let kernel = Kernel::start().await;
    let mut client = kernel.client().await;
    let failing = client.send_cell("%error boom").await;
    let behind = client.send_cell("%print never").await;
    let ran = client.ran(&failing).await;
    assert_eq!(ran.kinds(), ["status", "execute_input", "error", "status"]);
    assert_eq!(ran.contents("error")[0]["evalue"], "boom");
    assert_eq!(
        (&ran.reply["status"], &ran.reply["ename"]),
        (&json!("error"), &json!("EchoError"))
    );
    let aborted = client.ran(&behind).await;
    assert_eq!(aborted.reply["status"], "aborted");
    // The client's library puts 0 where there is no count; the cell before it had 1.
    assert_eq!(aborted.reply["execution_count"], 0);
    assert_eq!(aborted.kinds(), ["status", "status"]);
    assert_eq!(client.run("%print again").await.reply["status"], "ok");
}

#[tokio::test]
async fn an_error_leaves_the_queue_alone_where_the_request_says_so() {
    let kernel = Kernel::start().await;
    let mut client = kernel.client().await;
    let request = ExecuteRequest {
        code: "%error boom".into(),
        stop_on_error: false,
        ..ExecuteRequest::default()
    };
    let failing = client.send(request).await;
    let behind = client.send_cell("%print on").await;
    assert_eq!(client.ran(&failing).await.reply["status"], "error");
    assert_eq!(client.ran(&behind).await.text("stdout"), "on\n");
}

#[tokio::test]
async fn a_silent_cell_shows_and_counts_nothing() {
    let kernel = Kernel::start().await;
    let mut client = kernel.client().await;
    let request = ExecuteRequest {
        code: "%print quiet".into(),
        silent: true,
        ..ExecuteRequest::default()
    };
    let id = client.send(request).await;
    assert_eq!(client.ran(&id).await.kinds(), ["status", "status"]);
    assert_eq!(client.run("%noop").await.reply["execution_count"], 1);
}

#[tokio::test]
async fn a_silent_cell_that_fails_aborts_nothing_behind_it() {
    let kernel = Kernel::start().await;
    let mut client = kernel.client().await;
    let request = ExecuteRequest {
        code: "%ask fail?\n%error boom".into(),
        silent: true,
        allow_stdin: true,
        ..ExecuteRequest::default()
    };
    let failing = client.send(request).await;
    let question = client.question().await;
    let behind = client.send_cell("%print on").await;
    client.queued().await;
    client.answer(&question, "yes").await;
    assert_eq!(client.reply_to(&failing).await["ename"], "EchoError");
    client.outputs(&failing).await;
    assert_eq!(client.ran(&behind).await.text("stdout"), "on\n");
}

#[tokio::test]
async fn a_cell_knows_how_many_wait_behind_it() {
    let kernel = Kernel::start().await;
    let mut client = kernel.client().await;
    assert_eq!(client.run("%waiting").await.text("stdout"), "0\n");
    let asking = client.send_asking("%ask on?\n%waiting").await;
    let question = client.question().await;
    let behind = [
        client.send_cell("%noop").await,
        client.send_cell("%noop").await,
    ];
    client.queued().await;
    client.answer(&question, "yes").await;
    let told = client.reply_to(&asking).await;
    assert_eq!(told["status"], "ok");
    for id in &behind {
        assert_eq!(client.reply_to(id).await["status"], "ok");
    }
    let mut said = String::new();
    while !said.contains("got yes\n2\n") {
        said += &client.started().await;
    }
}

#[tokio::test]
async fn a_cell_that_finds_no_room_is_refused_at_once_as_those_behind_it_are() {
    let kernel = Kernel::start().await;
    let mut client = kernel.client().await;
    client.send_asking("%ask on?").await;
    client.question().await;
    // As many as may wait.
    for _ in 0..4096 {
        client.send_cell("%noop").await;
    }
    for _ in 0..2 {
        let id = client.send_cell("%print never").await;
        let refused = client.reply_to(&id).await;
        assert_eq!(refused["ename"], "TooManyRequests", "{refused}");
    }
    let info = client.control("kernel_info_request", json!({})).await;
    assert_eq!(info["status"], "ok");
}

#[tokio::test]
async fn cells_of_a_page_that_were_on_their_way_when_one_failed_are_aborted() {
    let kernel = Kernel::start().await;
    let mut client = kernel.client().await;
    // On a busy machine the moment in which they count as sent together may have passed.
    for _ in 0..20 {
        let failing = client.send_page_cell("%error boom").await;
        assert_eq!(client.reply_to(&failing).await["ename"], "EchoError");
        let behind = client.send_page_cell("%print never").await;
        client.outputs(&failing).await;
        let behind = client.ran(&behind).await;
        if behind.reply["status"] == "aborted" {
            assert_eq!(behind.kinds(), ["status", "status"]);
            return;
        }
        assert_eq!(behind.text("stdout"), "never\n");
    }
    panic!("a page's cell was never aborted");
}

#[tokio::test]
async fn a_cell_that_is_run_once_another_has_failed_runs_however_soon() {
    let kernel = Kernel::start().await;
    let mut client = kernel.client().await;
    // Longer than cells count as sent together.
    let failing = client.send_page_cell("%block 1\n%error boom").await;
    assert_eq!(client.reply_to(&failing).await["ename"], "EchoError");
    let next = client.send_page_cell("%print on").await;
    client.outputs(&failing).await;
    assert_eq!(client.ran(&next).await.text("stdout"), "on\n");
}

#[tokio::test]
async fn a_cell_that_the_page_sent_by_another_decision_runs_though_it_comes_at_once() {
    let kernel = Kernel::start().await;
    let mut client = kernel.client().await;
    let later = TimeDelta::milliseconds(150);
    let failing = client.send_page_cell("%error boom").await;
    assert_eq!(client.reply_to(&failing).await["ename"], "EchoError");
    let next = client.send_page_cell_late("%print on", later).await;
    client.outputs(&failing).await;
    assert_eq!(client.ran(&next).await.text("stdout"), "on\n");
}

#[tokio::test]
async fn what_is_no_cell_of_the_page_that_failed_runs() {
    let kernel = Kernel::start().await;
    let mut client = kernel.client().await;
    let mut other = kernel.client().await;
    // Until the page's own cell was aborted after the others had run: they came in the same moment.
    for _ in 0..20 {
        let failing = client.send_page_cell("%error boom").await;
        client.reply_to(&failing).await;
        let of_other = other.send_page_cell("%print other").await;
        assert_eq!(other.reply_to(&of_other).await["status"], "ok");
        let no_page = client.send_cell("%print on").await;
        assert_eq!(client.reply_to(&no_page).await["status"], "ok");
        let own = client.send_page_cell("%print own").await;
        for before in [&failing, &of_other, &no_page] {
            client.outputs(before).await;
        }
        if client.ran(&own).await.reply["status"] == "aborted" {
            return;
        }
    }
    panic!("a page's cell was never aborted");
}

#[tokio::test]
async fn of_a_cell_only_the_code_must_be_said() {
    let kernel = Kernel::start().await;
    let mut watcher = kernel.client().await;
    let mut raw = Raw::connect(&kernel).await;
    let shown = ["status", "execute_input", "stream", "status"];
    for count in 1..3_u64 {
        let cell = json!({"code": "%print on"});
        let id = raw.send("execute_request", json!({}), cell).await;
        let reply = raw.reply_to(&id).await;
        assert_eq!(reply["status"], "ok", "{reply}");
        assert_eq!(reply["execution_count"], count);
        assert_eq!(kinds(&watcher.outputs(&id).await), shown);
    }
    let cell = json!({"code": "%ask name?"});
    let id = raw.send("execute_request", json!({}), cell).await;
    assert_eq!(raw.reply_to(&id).await["ename"], "NoAnswer");
}

#[tokio::test]
async fn a_cell_of_which_only_the_code_is_said_stops_those_behind_it_when_it_fails() {
    let kernel = Kernel::start().await;
    let mut watcher = kernel.client().await;
    let mut raw = Raw::connect(&kernel).await;
    let mut ids = Vec::new();
    for code in ["%long", "%print never"] {
        let cell = json!({"code": code});
        ids.push(raw.send("execute_request", json!({}), cell).await);
    }
    watcher.started().await;
    // Answered beside the cell that runs, after what was sent before it was taken.
    let info = raw.send("kernel_info_request", json!({}), json!({})).await;
    raw.reply_to(&info).await;
    watcher.control("interrupt_request", json!({})).await;
    assert_eq!(raw.reply_to(&ids[0]).await["ename"], "Interrupted");
    let aborted = raw.reply_to(&ids[1]).await;
    assert_eq!(aborted["status"], "aborted");
}

#[tokio::test]
async fn a_cell_that_cannot_be_read_is_refused_with_a_count() {
    let kernel = Kernel::start().await;
    let mut raw = Raw::connect(&kernel).await;
    let silent = json!({"code": "%noop", "silent": "no"});
    for content in [json!({}), json!({"code": 7}), silent] {
        let id = raw.send("execute_request", json!({}), content).await;
        let reply = raw.reply_to(&id).await;
        assert_eq!(reply["ename"], "BadRequest", "{reply}");
        assert!(reply["execution_count"].is_u64(), "{reply}");
    }
}

#[tokio::test]
async fn user_expressions_are_evaluated_each_on_its_own() {
    let kernel = Kernel::start().await;
    let mut client = kernel.client().await;
    let wanted = [("good", "text:4"), ("bad", "nothing")];
    let request = ExecuteRequest {
        code: "%noop".into(),
        user_expressions: Some(wanted.map(|(name, text)| (name.into(), text.into())).into()),
        ..ExecuteRequest::default()
    };
    let id = client.send(request).await;
    let values = client.ran(&id).await.reply["user_expressions"].clone();
    assert_eq!(values["good"]["data"]["text/plain"], "4");
    assert_eq!(
        (&values["bad"]["status"], &values["bad"]["ename"]),
        (&json!("error"), &json!("NoValue"))
    );
}

#[tokio::test]
async fn nothing_of_a_cell_comes_after_its_idle() {
    let kernel = Kernel::start().await;
    let mut client = kernel.client().await;
    client.run("%late").await;
    client.assert_silent().await;
}

#[tokio::test]
async fn none_of_ten_thousand_prints_and_displays_is_lost() {
    let kernel = Kernel::start().await;
    let mut client = kernel.client().await;
    let prints = client.run("%prints 10000").await;
    let lines: Vec<String> = (0..10_000).map(|line| format!("{line}\n")).collect();
    assert_eq!(prints.text("stdout"), lines.concat());
    let displays = client.run("%flood 10000").await.contents("display_data");
    let numbers = displays
        .iter()
        .map(|display| display["data"]["text/plain"].clone());
    assert!(numbers.eq((0..10_000).map(|number| json!(number.to_string()))));
}

#[tokio::test]
async fn a_panic_in_a_cell_fails_the_cell_and_not_the_kernel() {
    let kernel = Kernel::start().await;
    let mut client = kernel.client().await;
    assert_eq!(client.run("%panic").await.reply["ename"], "InternalError");
    assert_eq!(client.run("%print on").await.text("stdout"), "on\n");
}

#[tokio::test]
async fn a_page_is_shown_by_the_reply() {
    let kernel = Kernel::start().await;
    let mut client = kernel.client().await;
    let reply = client.run("%page help").await.reply;
    assert_eq!(reply["payload"][0]["source"], "page");
    assert_eq!(reply["payload"][0]["data"]["text/plain"], "help");
}
