//! Rust cells in the real kernel, through a client of Jupyter's. Each test starts a compiler: few tests with many
//! cells.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::kit::{Place, Said};
use crate::stage::Part;

/// Runs cells one after the other in one kernel, and prints what came of each as JSON: status, error, outputs with
/// the time since the cell began, questions, and the most memory that each process of the kernel has held. A cell
/// can be answered, interrupted at a text, and have another cell run beside it in a subshell at its first text.
const CELLS: &str = "
import json, sys, time, psutil
from jupyter_client.manager import start_new_kernel
manager, client = start_new_kernel(kernel_name='code-deploy', cwd=sys.argv[1])
kernel = psutil.Process(manager.provisioner.pid)

def memory():
    held = {}
    for process in [kernel] + kernel.children(recursive=True):
        try:
            words = ' '.join(process.cmdline()[1:3])
            lines = open(f'/proc/{process.pid}/status').read().splitlines()
            peak = [line for line in lines if line.startswith('VmHWM')]
            held[words] = int(peak[0].split()[1]) // 1024 if peak else 0
        except (psutil.Error, OSError):
            pass
    return held

def beside(code):
    message = client.session.msg('create_subshell_request', {})
    client.control_channel.send(message)
    subshell = client.get_control_msg(timeout=60)['content']['subshell_id']
    message = client.session.msg('execute_request', {'code': code, 'silent': False, 'store_history': False,
        'user_expressions': {}, 'allow_stdin': False, 'stop_on_error': False})
    message['header']['subshell_id'] = subshell
    client.shell_channel.send(message)
    while True:
        reply = client.get_shell_msg(timeout=60)
        if reply['parent_header']['msg_id'] == message['header']['msg_id']:
            return reply['content']['status']

def run(cell):
    began, asked, outputs, done = time.monotonic(), [], [], {'beside': None, 'interrupted': None}
    answers = list(cell.get('answers', []))
    def question(message):
        asked.append(message['content'])
        if cell.get('interrupt') == '?':
            done['interrupted'] = time.monotonic()
            manager.interrupt_kernel()
        else:
            client.input(answers.pop(0))
    def output(message):
        kind, content = message['msg_type'], message['content']
        if kind in ('status', 'execute_input'):
            return
        text = content.get('text', '')
        outputs.append([kind, round(time.monotonic() - began, 3), text[:2000] + text[-2000:] if len(text) > 4000
            else text, content.get('data', {})])
        if cell.get('beside') and done['beside'] is None:
            done['beside'] = beside(cell['beside'])
        if cell.get('interrupt', '?') != '?' and cell['interrupt'] in text:
            done['interrupted'] = time.monotonic()
            manager.interrupt_kernel()
    reply = client.execute_interactive(cell['code'], output_hook=output, stdin_hook=question,
        allow_stdin='answers' in cell or cell.get('interrupt') == '?', timeout=300)['content']
    stopped = done['interrupted'] and time.monotonic() - done['interrupted']
    deadline = time.monotonic() + 30
    while stopped and '?' != cell['interrupt'] and kernel.children() and time.monotonic() < deadline:
        time.sleep(0.01)
    return {'code': cell['code'], 'status': reply['status'], 'ename': reply.get('ename'),
        'evalue': reply.get('evalue'), 'traceback': reply.get('traceback'), 'outputs': outputs, 'asked': asked,
        'beside': done['beside'], 'stopped': stopped, 'memory': memory(),
        'processes': sorted(' '.join(p.cmdline()[1:3]) for p in kernel.children(recursive=True))}

for cell in json.load(open(sys.argv[2])):
    print(json.dumps(run(cell)), flush=True)
manager.shutdown_kernel()
";

/// A notebook's folder with a recorded run, and the kernel where Jupyter finds it.
struct Notebook {
    place: Place,
}

impl Notebook {
    fn new() -> Self {
        Self::with_journal(|_| true)
    }

    /// Lays out a run that is not ended: the recorded one without its end.
    fn with_open_run() -> Self {
        Self::with_journal(|line| !line.contains("\"kind\":\"run_finished\""))
    }

    /// Lays out the recorded run with the lines of its journal up to the first that is not kept.
    fn with_journal(is_kept: impl Fn(&str) -> bool) -> Self {
        let place = Place::new();
        place.write("deploy.yaml", "");
        let (recorded, name) = recorded();
        let run = place.path().join(".code-deploy/runs").join(name);
        for part in ["samples", "evidence"] {
            copy(&recorded.join(part), &run.join(part));
        }
        let journal = std::fs::read_to_string(recorded.join("journal.jsonl")).unwrap();
        let kept = journal
            .split_inclusive('\n')
            .take_while(|line| is_kept(line));
        std::fs::write(run.join("journal.jsonl"), kept.collect::<String>()).unwrap();
        let prefix = place.path().join("prefix");
        let said = place.run(&["kernel", "install", "--prefix", prefix.to_str().unwrap()]);
        assert_eq!(said.code, Some(0), "{said:?}");
        Self { place }
    }

    /// Runs cells, and returns what came of each.
    #[track_caller]
    fn run(&self, cells: &Value) -> Vec<Value> {
        self.place.write("cells.json", cells.to_string());
        let said = self.python(CELLS, &self.place.path().join("cells.json"));
        let ran: Vec<Value> = said
            .out
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(ran.len(), cells.as_array().unwrap().len(), "{said:?}");
        ran
    }

    /// Runs a script of Python's in the notebook's folder, with the folder and that file as its arguments.
    #[track_caller]
    fn python(&self, script: &str, file: &Path) -> Said {
        let folder = self.place.path();
        let mut command = Command::new(Part::Python.path());
        command
            .args(["-c", script])
            .args([folder, file])
            .current_dir(folder)
            .env("JUPYTER_DATA_DIR", folder.join("jupyter"))
            .env("JUPYTER_PATH", folder.join("prefix/share/jupyter"))
            .env("XDG_RUNTIME_DIR", folder)
            .env("XDG_CACHE_HOME", folder.join("cache"))
            .env("XDG_STATE_HOME", folder.join("state"))
            .env("TMPDIR", folder)
            .env("CARGO_NET_OFFLINE", "true");
        let said = Said::from(command.output().unwrap());
        assert_eq!(said.code, Some(0), "{}\n{}", said.out, said.err);
        said
    }

    /// Returns the folder of the run that is laid out.
    fn run_folder(&self) -> PathBuf {
        let (_, name) = recorded();
        self.place.path().join(".code-deploy/runs").join(name)
    }
}

/// Returns the record that the repository holds, and the name of its run.
fn recorded() -> (PathBuf, String) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../notebooks/record");
    let journal = std::fs::read_to_string(folder.join("journal.jsonl")).unwrap();
    let first: Value = serde_json::from_str(journal.lines().next().unwrap()).unwrap();
    (folder, first["run"].as_str().unwrap().to_owned())
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Returns the value of a cell that ended well.
#[track_caller]
fn value(ran: &Value, mime: &str) -> String {
    assert_eq!(ran["status"], "ok", "{ran:#}");
    let outputs = ran["outputs"].as_array().unwrap();
    let result = outputs
        .iter()
        .find(|output| output[0] == "execute_result")
        .unwrap_or_else(|| panic!("no value: {ran:#}"));
    result[3][mime].as_str().unwrap().to_owned()
}

/// Returns what a cell wrote, with the time at which each part came.
fn streamed(ran: &Value) -> Vec<(f64, String)> {
    let outputs = ran["outputs"].as_array().unwrap().iter();
    outputs
        .filter(|output| output[0] == "stream")
        .map(|output| {
            (
                output[1].as_f64().unwrap(),
                output[2].as_str().unwrap().to_owned(),
            )
        })
        .collect()
}

#[track_caller]
fn failed(ran: &Value, ename: &str, words: &[&str]) {
    assert_eq!(ran["status"], "error", "{ran:#}");
    assert_eq!(ran["ename"], ename, "{ran:#}");
    for word in words {
        let evalue = ran["evalue"].as_str().unwrap();
        assert!(evalue.contains(word), "`{word}` is not in: {evalue}");
    }
}

/// A thread that writes more than is on its way between cells: the next cell shows it.
const LATE: &str =
    r#"std::thread::spawn(|| for _ in 0..2000 { println!("{}", "late".repeat(1000)); });"#;

const CHART: &str = r#":dep plotters = { version = "0.3.7", default-features = false, features = ["svg_backend", "line_series"] }
use plotters::prelude::*;
let points = run.latency(None, "1.1.0", 0.99);
let mut picture = String::new();
{
    let area = SVGBackend::with_string(&mut picture, (640, 360)).into_drawing_area();
    area.fill(&WHITE).unwrap();
    let mut chart = ChartBuilder::on(&area).build_cartesian_2d(0.0..60.0, 0.0..100.0).unwrap();
    chart.draw_series(LineSeries::new(points.iter().copied(), &RED)).unwrap();
    area.present().unwrap();
}
code_deploy::svg(&picture)"#;

#[test]
fn rust_cells_read_the_run_ask_and_draw() {
    let notebook = Notebook::new();
    let ran = notebook.run(&json!([
        {"code": format!("let kept = 20;\n{LATE}")},
        {"code": "let run = code_deploy::run()?;\n(run.id.clone(), run.to.clone(), run.outcome.clone(), run.services())"},
        {"code": "let by_client: u64 = run.samples.iter().filter(|s| s.source == \"client\").map(|s| s.requests).sum();\n\
                  (run.events.len(), by_client)"},
        {"code": "code_deploy::run_named(\"nix\")?;"},
        {"code": "print!(\"first \"); let name = code_deploy::ask(\"Name: \"); format!(\"{name}!\")", "answers": ["Ann: x"]},
        {"code": "code_deploy::ask_password(\"Secret: \").len()", "answers": ["hush"]},
        {"code": "let lost = 1; code_deploy::ask(\"Nobody: \");"},
        {"code": "loop { code_deploy::ask(\"Stop me: \"); }", "interrupt": "?"},
        {"code": "let a = kept;\nlet b: u8 = nowhere + code_deploy::ask(\"x\");"},
        {"code": "kept"},
        {"code": CHART},
    ]));
    let (_, name) = recorded();
    assert_eq!(
        value(&ran[1], "text/plain"),
        format!(
            "(\"{name}\", \"1.1.0\", Some(\"succeeded\"), [\"catalog\", \"orders\", \"storefront\"])"
        )
    );
    let run = code_deploy_record::RunFolder::at(&notebook.run_folder()).unwrap();
    let events = run.events().unwrap().count();
    let sent = run.state().unwrap().clients["client"].sent;
    assert_eq!(value(&ran[2], "text/plain"), format!("({events}, {sent})"));
    failed(&ran[3], "Error", &["error[CD0302]: there is no run `nix`"]);

    assert_eq!(value(&ran[4], "text/plain"), "\"Ann: x!\"");
    assert_eq!(
        ran[4]["asked"],
        json!([{"prompt": "Name: ", "password": false}])
    );
    assert_eq!(streamed(&ran[4])[0].1, "first ");
    assert_eq!(value(&ran[5], "text/plain"), "4");
    assert_eq!(ran[5]["asked"][0]["password"], true);
    failed(
        &ran[6],
        "NoAnswer",
        &[
            "Nobody: ",
            "allow_stdin is false",
            "of earlier cells are kept",
        ],
    );
    failed(
        &ran[7],
        "Interrupted",
        &["Stop me: ", "of earlier cells are kept"],
    );
    failed(&ran[8], "CompileError", &["nowhere"]);
    assert!(
        ran[8]["traceback"]
            .to_string()
            .contains("cell, line 2, column 13"),
        "{}",
        ran[8]
    );
    assert_eq!(value(&ran[9], "text/plain"), "20");
    let picture = value(&ran[10], "image/svg+xml");
    assert!(
        picture.starts_with("<svg") && picture.contains("polyline"),
        "{picture}"
    );

    let cells = notebook.place.path().join("cache/code-deploy/cells");
    let mode = std::fs::metadata(&cells).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    assert_eq!(std::fs::read_dir(&cells).unwrap().count(), 1);
    // A kernel does not wait long for its compiler to be gone: what is left is the next one's to
    // remove, which finds it by a lock that nobody holds.
    for entry in std::fs::read_dir(notebook.place.path()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy();
        let lock = std::fs::File::open(path.join("lock"));
        if name.starts_with("rust-cells-")
            && let Ok(lock) = lock
        {
            assert!(lock.try_lock().is_ok(), "{} is in use", path.display());
        }
    }
}

#[test]
fn rust_cells_read_a_run_that_is_open_and_see_it_end() {
    let notebook = Notebook::with_open_run();
    let events = |journal: &Path| std::fs::read_to_string(journal).unwrap().lines().count();
    let (recorded, name) = recorded();
    let (whole, open) = (
        recorded.join("journal.jsonl"),
        notebook.run_folder().join("journal.jsonl"),
    );
    let (in_whole, in_open) = (events(&whole), events(&open));
    assert!(in_open < in_whole, "the run is laid out with its end");
    let read = "let run = code_deploy::run()?;\n\
                (run.id.clone(), run.outcome.clone(), run.events.len(), run.events_of(\"run_finished\").count())";
    let ran = notebook.run(&json!([
        {"code": read},
        {"code": "(run.latency(None, \"1.1.0\", 0.99).is_empty(), run.events_of(\"gate_evaluated\").count() > 0)"},
        // What goes on beside the notebook writes the end.
        {"code": format!("std::fs::copy({whole:?}, {open:?}).unwrap();")},
        {"code": read},
    ]));
    assert_eq!(
        value(&ran[0], "text/plain"),
        format!("(\"{name}\", None, {in_open}, 0)")
    );
    assert_eq!(value(&ran[1], "text/plain"), "(false, true)");
    assert_eq!(ran[2]["status"], "ok", "{:#}", ran[2]);
    assert_eq!(
        value(&ran[3], "text/plain"),
        format!("(\"{name}\", Some(\"succeeded\"), {in_whole}, 1)")
    );
}

/// Executes a notebook of one cell, which stands in a file, with tools that wait no longer than they do by themselves
/// for what a cell writes; prints what each of them kept of it as JSON.
const TOOLS: &str = "
import json, pathlib, sys, nbformat, papermill
from nbclient import NotebookClient
folder = pathlib.Path(sys.argv[1])

def notebook():
    cell = nbformat.v4.new_code_cell(pathlib.Path(sys.argv[2]).read_text())
    spec = {'name': 'code-deploy', 'display_name': 'code-deploy', 'language': 'rust'}
    return nbformat.v4.new_notebook(cells=[cell], metadata={'kernelspec': spec})

def text(executed):
    return ''.join(output['text'] for output in executed.cells[0].outputs if output.get('name') == 'stdout')

def by_nbclient():
    return NotebookClient(notebook(), resources={'metadata': {'path': str(folder)}}).execute()

def by_papermill():
    nbformat.write(notebook(), folder / 'ready.ipynb')
    papermill.execute_notebook(str(folder / 'ready.ipynb'), str(folder / 'done.ipynb'), cwd=str(folder),
        progress_bar=False)
    return nbformat.read(folder / 'done.ipynb', as_version=4)

print(json.dumps({'nbclient': text(by_nbclient()), 'papermill': text(by_papermill())}))
";

/// Lines that a cell writes at once.
const LINES: usize = 10_000;

#[test]
fn nbclient_and_papermill_lose_no_line_that_a_rust_cell_writes() {
    let notebook = Notebook::new();
    let cell = notebook.place.path().join("cell.rs");
    let code = format!("for i in 0..{LINES} {{ println!(\"line {{i}}\"); }}");
    std::fs::write(&cell, code).unwrap();
    let said = notebook.python(TOOLS, &cell);
    let kept: Value = serde_json::from_str(&said.out).unwrap();
    for tool in ["nbclient", "papermill"] {
        let text = kept[tool].as_str().unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            assert_eq!(*line, format!("line {number}"), "{tool}");
        }
        assert_eq!(lines.len(), LINES, "{tool}");
        assert!(text.ends_with('\n'), "{tool}: the last line is cut");
    }
}

/// 10 GiB, in pieces without a line end.
const FLOOD: &str = r#"{
    use std::io::Write;
    let piece = "y".repeat(1 << 20);
    let mut out = std::io::stdout().lock();
    for _ in 0..10 * 1024 { out.write_all(piece.as_bytes()).unwrap(); }
    out.write_all(b"the end\n").unwrap();
}"#;

/// Memory in MiB beyond what the processes hold anyway: queues of text on its way.
const FLOOD_MEMORY: i64 = 160;

#[test]
fn whatever_a_rust_cell_does_the_kernel_goes_on() {
    let notebook = Notebook::new();
    let overflow = "fn f(n: u64) -> u64 { let a = [n; 1000]; if n == u64::MAX { 0 } else { f(n + 1) + a[(n % 1000) as usize] } }\nf(0)";
    let child = "std::process::Command::new(\"sleep\").arg(\"600\").spawn().unwrap(); println!(\"on\"); loop {}";
    let ran = notebook.run(&json!([
        {"code": "let kept = 20;"},
        {"code": FLOOD, "beside": "%runs"},
        {"code": "kept"},
        {"code": "for n in 0..3 { print!(\"{n}\"); std::io::Write::flush(&mut std::io::stdout()).unwrap(); \
                  std::thread::sleep(std::time::Duration::from_millis(200)); }\nprint!(\"end\");"},
        {"code": "panic!(\"two\\nlines\")"},
        {"code": "kept"},
        {"code": "std::process::exit(3)"},
        {"code": "std::process::abort()"},
        {"code": overflow},
        {"code": "let kept = 21;"},
        {"code": child, "interrupt": "on"},
        {"code": "%runs"},
        {"code": "kept"},
    ]));
    let (before, flood) = (&ran[0], &ran[1]);
    assert_eq!(flood["status"], "ok", "{flood:#}");
    assert_eq!(flood["beside"], "ok", "another subshell answers meanwhile");
    for process in [
        "kernel launch",
        "internal rust-cells",
        "internal rust-runtime",
    ] {
        let held = |ran: &Value| ran["memory"][process].as_i64().unwrap();
        let grown = held(flood) - held(before);
        assert!(grown < FLOOD_MEMORY, "{process}: {grown} MiB");
    }
    let texts = streamed(flood);
    let last = &texts.last().unwrap().1;
    assert!(last.ends_with("the end\n"), "{last}");
    assert!(
        texts
            .iter()
            .any(|(_, text)| text.contains("bytes left out")),
        "{texts:?}"
    );
    assert_eq!(value(&ran[2], "text/plain"), "20");

    // Each part comes by itself, before the cell is over.
    let texts: Vec<String> = streamed(&ran[3])
        .into_iter()
        .map(|(_, text)| text)
        .collect();
    assert_eq!(texts, ["0", "1", "2", "end"]);

    failed(
        &ran[4],
        "Panic",
        &["two\nlines", "of earlier cells are kept"],
    );
    assert_eq!(value(&ran[5], "text/plain"), "20");
    failed(&ran[6], "RustEnded", &["exit status: 3", "lost"]);
    failed(&ran[7], "RustEnded", &["SIGABRT", "lost"]);
    failed(&ran[8], "RustEnded", &["SIGSEGV", "lost"]);
    failed(&ran[10], "Interrupted", &["lost"]);
    assert_eq!(
        ran[10]["processes"],
        json!([]),
        "what the cell had started is gone"
    );
    assert_eq!(ran[11]["status"], "ok", "{:#}", ran[11]);
    failed(&ran[12], "CompileError", &["kept"]);
}
