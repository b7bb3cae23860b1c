//! Commands in the real kernel, through a client of Jupyter's: how they end, and how they are stopped.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use code_deploy_kills::processes_of;
use code_deploy_record::RunOutcome;
use serde_json::{Value, json};

use super::install;
use crate::kit::{Place, Said};
use crate::stage::Part;
use crate::steering::Deploying;

/// How long a process may take to be gone once it was made to end.
const GONE: Duration = Duration::from_secs(10);

/// Runs cells one after the other in one kernel, and prints what came of each as JSON. A cell is interrupted
/// whenever one of its outputs holds the next of the texts at which it is to be, has a no-op queued behind it then,
/// and is sent as a page does where it has an id.
const CELLS: &str = "
import json, sys
from jupyter_client.manager import start_new_kernel
manager, client = start_new_kernel(kernel_name='code-deploy', cwd=sys.argv[1])

def send(code, cell):
    content = {'code': code, 'silent': False, 'store_history': True, 'user_expressions': {},
        'allow_stdin': False, 'stop_on_error': True}
    message = client.session.msg('execute_request', content, metadata={'cellId': cell} if cell else {})
    client.shell_channel.send(message)
    return message['header']['msg_id']

def reply(request):
    while True:
        message = client.get_shell_msg(timeout=120)
        if message['parent_header']['msg_id'] == request:
            return message['content']

def run(cell):
    request, queued, outputs = send(cell['code'], cell.get('id')), None, []
    texts = list(cell.get('interrupts', []))
    while True:
        message = client.get_iopub_msg(timeout=120)
        if message['parent_header'].get('msg_id') != request:
            continue
        kind, content = message['msg_type'], message['content']
        if content.get('execution_state') == 'idle':
            break
        if kind in ('status', 'execute_input'):
            continue
        outputs.append([kind, content])
        if texts and texts[0] in json.dumps(content):
            texts.pop(0)
            queued = queued or send('// nothing', None)
            manager.interrupt_kernel()
    return {'reply': reply(request), 'outputs': outputs, 'queued': queued and reply(queued)['status']}

for cell in json.load(open(sys.argv[2])):
    print(json.dumps(run(cell)), flush=True)
manager.shutdown_kernel(now=True)
";

/// Runs cells in the place's folder, and returns what came of each.
#[track_caller]
fn run(place: &Place, cells: &Value) -> Vec<Value> {
    // The key that seals is no part of what is deployed.
    run_in(place, place.path(), ".code-deploy/state", cells)
}

/// Runs cells in a folder, with the program's state in another, and returns what came of each.
#[track_caller]
fn run_in(place: &Place, folder: &Path, state: &str, cells: &Value) -> Vec<Value> {
    place.write("cells.json", cells.to_string());
    let mut command = Command::new(Part::Python.path());
    command
        .args(["-c", CELLS])
        .args([folder, &place.path().join("cells.json")])
        .env("JUPYTER_DATA_DIR", place.path().join("jupyter"))
        .env("JUPYTER_PATH", install(place, &[]))
        .env("XDG_RUNTIME_DIR", place.path())
        .env("XDG_STATE_HOME", place.path().join(state));
    let said = Said::from(command.output().unwrap());
    assert_eq!(said.code, Some(0), "{}\n{}", said.out, said.err);
    let ran = said.out.lines();
    ran.map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn outputs<'a>(ran: &'a Value, kind: &str) -> Vec<&'a Value> {
    let all = ran["outputs"].as_array().unwrap().iter();
    all.filter(|output| output[0] == kind)
        .map(|output| &output[1])
        .collect()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (from, name) = entry
            .map(|entry| (entry.path(), entry.file_name()))
            .unwrap();
        match from.is_dir() {
            true => copy(&from, &to.join(name)),
            false => drop(std::fs::copy(&from, to.join(name)).unwrap()),
        }
    }
}

/// Lays out a run that is not ended: the recorded one without its end.
fn lay_out_open_run(place: &Place) {
    let recorded =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../notebooks/record/journal.jsonl");
    let journal = std::fs::read_to_string(recorded).unwrap();
    let started: Value = serde_json::from_str(journal.lines().next().unwrap()).unwrap();
    let open = journal.split_inclusive('\n');
    let open = open.take_while(|line| !line.contains("\"kind\":\"run_finished\""));
    let run = started["run"].as_str().unwrap();
    place.write("deploy.yaml", "");
    place.write(
        &format!(".code-deploy/runs/{run}/journal.jsonl"),
        open.collect::<String>(),
    );
}

#[test]
fn an_error_is_told_whole_to_readers_of_text_and_as_html_to_pages() {
    let place = Place::new();
    let ran = run(
        &place,
        &json!([{"code": "%stauts"}, {"code": "%stauts", "id": "of-a-page"}]),
    );
    for (cell, lines) in ran.iter().zip([3, 1]) {
        assert_eq!(cell["reply"]["ename"], "CD0001", "{cell:#}");
        let traceback = cell["reply"]["traceback"].as_array().unwrap();
        assert_eq!(traceback.len(), lines, "{cell:#}");
    }
    assert!(outputs(&ran[0], "display_data").is_empty(), "{:#}", ran[0]);
    let shown = outputs(&ran[1], "display_data");
    assert_eq!(shown.len(), 1, "{:#}", ran[1]);
    let html = shown[0]["data"]["text/html"].as_str().unwrap();
    for part in [
        "error[CD0001]",
        "there is no command <code>%stauts</code>",
        "Nothing was changed.",
        "<code>%status</code>",
    ] {
        assert!(html.contains(part), "`{part}` is not in {html}");
    }
    let text = shown[0]["data"]["text/plain"].as_str().unwrap();
    assert!(text.contains("next: Did you mean `%status`?"), "{text}");
}

#[test]
fn a_command_that_only_looks_ends_when_it_is_interrupted() {
    let place = Place::new();
    lay_out_open_run(&place);
    let ran = run(
        &place,
        &json!([
            {"code": "%status --watch", "interrupts": ["Status"]},
            {"code": "%record --watch --last 1", "interrupts": ["engine"]},
        ]),
    );
    for cell in &ran {
        assert_eq!(cell["reply"]["ename"], "CD0409", "{cell:#}");
        assert_eq!(cell["queued"], "aborted", "{cell:#}");
    }
}

#[test]
fn a_command_that_cannot_stop_says_what_it_waits_for_and_the_second_interrupt_ends_it() {
    let place = Place::new();
    let shop = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shop");
    for part in ["journeys", "migrations"] {
        copy(&shop.join(part), &place.path().join(part));
    }
    place.write(
        "compose.yaml",
        std::fs::read(shop.join("compose.yaml")).unwrap(),
    );
    // A service that never listens: the build starts it once, and waits half a minute for it.
    let deploy = std::fs::read_to_string(shop.join("deploy.yaml")).unwrap();
    let program = r#"["{program}", "internal", "shop", "catalog"]"#;
    assert!(deploy.contains(program), "{deploy}");
    place.write(
        "deploy.yaml",
        deploy.replace(program, r#"["sleep", "600"]"#),
    );
    let ran = run(
        &place,
        &json!([
            {"code": "%code-deploy dev local --yes"},
            {"code": "%inventory"},
            {"code": "%plan"},
            {"code": "%preflight"},
            {"code": "%build", "interrupts": ["starts catalog once", "cannot stop yet"]},
        ]),
    );
    let build = &ran[4];
    let said = outputs(build, "stream");
    let said: String = said
        .iter()
        .filter_map(|part| part["text"].as_str())
        .collect();
    let waits = "It cannot stop yet and waits for: starts catalog once (";
    assert!(
        said.contains(waits) && said.contains("of at most 30 s"),
        "{said}"
    );
    // What was true then is not left to be read as if it were so now.
    assert!(
        said.contains("The command that could not stop at once ended "),
        "{said}"
    );
    assert_eq!(build["reply"]["ename"], "CD0407", "{build:#}");
    assert_eq!(build["queued"], "aborted", "{build:#}");
    let left = || {
        let mut left = processes_of(place.path()).unwrap();
        left.retain(|one| one.line.contains("sleep"));
        left
    };
    // One that was made to end may still be on its way out.
    let until = Instant::now() + GONE;
    while !left().is_empty() {
        assert!(
            Instant::now() < until,
            "what the build started is left: {:?}",
            left()
        );
        std::thread::yield_now();
    }
}

/// Returns the text of a cell's first display as it was last updated.
#[track_caller]
fn display(ran: &Value) -> &str {
    let updates = outputs(ran, "update_display_data");
    let last = updates.last().unwrap_or_else(|| panic!("{ran:#}"));
    last["data"]["text/plain"].as_str().unwrap()
}

/// The way back of the migration that 1.1.0 brings.
const WAY_BACK: &str = "migrations/0002_gift_notes_and_reviews.down.sql";

#[test]
fn a_run_that_cannot_go_back_is_settled_in_cells_with_a_display() {
    let place = Place::new();
    place.lay_out_upgrade();
    let mut first = Deploying::begin(&place);
    first.until("traffic of storefront: 1.0.0 95 %");
    first.interrupt();
    assert_eq!(first.end().code, Some(130));
    let (there, away) = (place.demo().join(WAY_BACK), place.path().join("away.sql"));
    std::fs::rename(&there, &away).unwrap();
    let cells = json!([
        {"code": "%rollback --reason trouble"},
        {"code": "%skip release.traffic.5 --reason done"},
        {"code": "%retry --reason again"},
    ]);
    let ran = run_in(&place, &place.demo(), "state", &cells);
    for cell in [&ran[0], &ran[2]] {
        assert_eq!(cell["reply"]["ename"], "CD0433", "{cell:#}");
        let shown = display(cell);
        for words in [
            "migration 2 (gift notes and reviews) has no way down",
            "run needs a person",
        ] {
            assert!(shown.contains(words), "`{words}` is not in {shown}");
        }
        assert!(!shown.contains("taken back, "), "{shown}");
    }
    assert_eq!(ran[1]["reply"]["ename"], "CD0471", "{:#}", ran[1]);

    std::fs::rename(&away, &there).unwrap();
    let cells = json!([
        {"code": "%retry --reason restored"},
        {"code": "%abandon --reason over"},
    ]);
    let ran = run_in(&place, &place.demo(), "state", &cells);
    let shown = display(&ran[0]);
    assert!(shown.contains("run rolled back"), "{shown}");
    assert_eq!(ran[1]["reply"]["ename"], "CD0429", "{:#}", ran[1]);
    let (_, state) = place.demo_runs().pop().unwrap();
    let outcome = state.finished.as_ref().map(|end| end.0);
    assert_eq!(outcome, Some(RunOutcome::RolledBack));
    assert_eq!(state.clients["client"].failed, 0, "{:?}", state.clients);
}

#[test]
fn cells_beside_a_demonstration_look_at_it_and_show_help() {
    let place = Place::new();
    place.lay_out_with_little_load();
    let cells = json!([
        {"code": "%help"},
        {"code": "%code-deploy dev local --demo --to 1.0.0 --yes"},
        {"code": "%status"},
        {"code": "%record gates"},
        {"code": "%rollback --reason none"},
    ]);
    let ran = run_in(&place, place.path(), "state", &cells);
    let pages = ran[0]["reply"]["payload"].to_string();
    assert!(pages.contains("Commands:"), "{pages}");
    let shown = display(&ran[1]);
    for words in ["gate smoke passed (shop 1.0.0)", "succeeded", "time took"] {
        assert!(shown.contains(words), "`{words}` is not in {shown}");
    }
    let (folder, _) = place.demo_runs().pop().unwrap();
    let run = folder.path().file_name().unwrap().to_str().unwrap();
    let status = ran[2]["outputs"].to_string();
    assert!(
        status.contains(run) && status.contains("Answers"),
        "{status}"
    );
    let gates = ran[3]["outputs"].to_string();
    assert!(gates.contains("smoke"), "{gates}");
    assert_eq!(ran[4]["reply"]["status"], "error", "{:#}", ran[4]);
    let why = ran[4]["reply"]["evalue"].as_str().unwrap();
    assert!(!why.contains("deployment file"), "{why}");
}
