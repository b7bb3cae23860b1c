//! A run goes on when the kernel whose cell began it is restarted or killed, and a new kernel joins it.

use std::path::Path;
use std::time::Duration;

use code_deploy_kills::{Place, Process, processes_of};
use code_deploy_record::RunOutcome;
use code_deploy_wire::{Client, Kernel};
use serde_json::{Value, json};

use crate::stage::Part;

/// How long a cell may say nothing.
const SILENT: Duration = Duration::from_secs(120);

/// Reads what a cell shows until it shows that.
#[track_caller]
fn until(client: &mut Client, words: &str) {
    loop {
        let shown = client.output(SILENT).unwrap();
        if text_of(&shown.content).contains(words) {
            return;
        }
    }
}

fn text_of(content: &Value) -> String {
    let data = content["data"]["text/plain"].as_str();
    let said = data.or_else(|| content["text"].as_str());
    let said = said.unwrap_or_default().to_owned();
    let traceback = content["traceback"].as_array().into_iter().flatten();
    let lines: Vec<_> = traceback.filter_map(Value::as_str).collect();
    said + &lines.join("\n")
}

/// Runs a cell, which must end well; returns what it shows.
#[track_caller]
fn cell(client: &mut Client, code: &str) -> String {
    let id = client.send_cell(code).unwrap();
    let mut shown = String::new();
    loop {
        let message = client.output(SILENT).unwrap();
        shown.push_str(&text_of(&message.content));
        shown.push('\n');
        if message.parent == id && message.content["execution_state"] == "idle" {
            break;
        }
    }
    let reply = client.reply(&id).unwrap();
    assert_eq!(reply["status"], "ok", "{code}: {reply}\n{shown}");
    shown
}

fn open(client: &mut Client, file: &Path) {
    cell(
        client,
        &format!("%code-deploy -f {} dev local", file.display()),
    );
}

/// Ends a kernel as `jupyter_client` does for a restart: it is interrupted first.
#[track_caller]
fn restart(kernel: &mut Kernel, client: &mut Client) {
    kernel.interrupt(client).unwrap();
    let reply = client.control("shutdown_request", &json!({ "restart": true }));
    assert_eq!(reply.unwrap()["status"], "ok");
    kernel.ended(SILENT).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_goes_on_without_its_kernel_and_a_new_kernel_joins_it() {
    let place = Place::new(&Part::CodeDeploy.path()).unwrap();
    let file = place.project().join("deploy.yaml");
    let mut first = Kernel::start(&place.kernel()).unwrap();
    let mut client = first.client().unwrap();
    open(&mut client, &file);
    client.send_cell("%resume").unwrap();
    until(&mut client, "[03] build");
    restart(&mut first, &mut client);

    let mut second = Kernel::start(&place.kernel()).unwrap();
    let mut client = second.client().unwrap();
    let resume = format!("%resume -f {}", file.display());
    client.send_cell(&resume).unwrap();
    until(&mut client, "the run goes on");
    second.kill();

    let mut third = Kernel::start(&place.kernel()).unwrap();
    let mut client = third.client().unwrap();
    let status = cell(&mut client, &format!("%status -f {}", file.display()));
    assert!(status.contains("(process "), "{status}");
    // What it asks of the run is journaled with who asked, and why.
    let joined = cell(
        &mut client,
        &format!("%resume -f {} --reason again", file.display()),
    );
    assert!(joined.contains("the run goes on"), "{joined}");
    assert!(joined.contains("[09] handover"), "{joined}");
    assert!(joined.contains("succeeded"), "{joined}");

    let runs = place.runs().unwrap();
    assert_eq!(runs.len(), 1);
    let (folder, state) = &runs[0];
    let outcome = state.finished.as_ref().map(|end| end.0);
    assert_eq!(outcome, Some(RunOutcome::Succeeded));
    let journal = std::fs::read_to_string(folder.journal_path()).unwrap();
    assert!(journal.contains("\"reason\":\"again\""));
    let resumed = journal.matches("\"kind\":\"resumed\"").count();
    // Once because the second cell opened the run that the first had begun, and not for the kill.
    assert_eq!(resumed, 1, "{journal}");
    let findings = code_deploy_record::verify_folder(folder).unwrap().findings;
    assert_eq!(findings, []);

    place.stop().await.unwrap();
    assert_eq!(processes_of(&place.project()).unwrap(), []);
}

/// Returns the processes of a service that is tried out and never listens.
fn tried_out(place: &Place) -> Vec<Process> {
    let all = processes_of(&place.project()).unwrap().into_iter();
    all.filter(|process| process.line.starts_with("sleep 600"))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_runner_was_trying_out_ends_when_the_run_is_taken_back() {
    let place = Place::new(&Part::CodeDeploy.path()).unwrap();
    let file = place.project().join("deploy.yaml");
    let deploy = std::fs::read_to_string(&file).unwrap();
    let program = r#"["{program}", "internal", "shop", "catalog"]"#;
    assert!(deploy.contains(program), "{deploy}");
    std::fs::write(&file, deploy.replace(program, r#"["sleep", "600"]"#)).unwrap();
    let output = place.path().join("said");
    let mut runner = place
        .start(&["dev", "local", "--yes"], &[], &output)
        .unwrap();
    while tried_out(&place).is_empty() {
        let ended = runner.try_wait().unwrap();
        assert_eq!(ended, None, "{}", std::fs::read_to_string(&output).unwrap());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    runner.kill().await.unwrap();
    assert_eq!(tried_out(&place).len(), 1);

    let back = place.run(&["rollback"]).await.unwrap();
    assert_eq!(tried_out(&place), [], "{}", back.text);
    let (folder, state) = &place.runs().unwrap()[0];
    let outcome = state.finished.as_ref().map(|end| end.0);
    // Nothing ran before it.
    assert_eq!(outcome, Some(RunOutcome::Refused), "{}", back.text);
    let journal = std::fs::read_to_string(folder.journal_path()).unwrap();
    assert!(
        journal.contains("that the last runner left: 1 ended"),
        "{journal}"
    );
    place.stop().await.unwrap();
    assert_eq!(processes_of(&place.project()).unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outside_client_that_a_killed_runner_had_only_just_started_ends_with_the_run() {
    let place = Place::new(&Part::CodeDeploy.path()).unwrap();
    let clients = || -> Vec<Process> {
        let all = processes_of(&place.project()).unwrap().into_iter();
        all.filter(|process| process.role() == Some("client"))
            .collect()
    };
    let output = place.path().join("said");
    let at = "before:client_started".to_owned();
    let at = [("CODE_DEPLOY_TEST_KILL_AT_WRITE", at)];
    let mut runner = place
        .start(&["dev", "local", "--yes"], &at, &output)
        .unwrap();
    runner.wait().await.unwrap();
    assert_eq!(
        clients().len(),
        1,
        "{}",
        std::fs::read_to_string(&output).unwrap()
    );

    let back = place.run(&["rollback"]).await.unwrap();
    assert_eq!(clients(), [], "{}", back.text);
    let (folder, state) = &place.runs().unwrap()[0];
    assert!(state.has_ended(), "{}", back.text);
    let findings = code_deploy_record::verify_folder(folder).unwrap().findings;
    assert_eq!(findings, []);
    place.stop().await.unwrap();
    assert_eq!(processes_of(&place.project()).unwrap(), []);
}
