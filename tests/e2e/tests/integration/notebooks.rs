//! Notebooks, ready and executed, as Python's own tools see them.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use code_deploy_record::{EventBody, RunOutcome};

use crate::kit::{Place, Said};
use crate::stage::Part;
use crate::steering::Deploying;

/// Validates every notebook of the folders given, strictly.
const VALIDATE: &str = "
import sys, pathlib, nbformat
count = 0
for folder in sys.argv[1:]:
    for path in sorted(pathlib.Path(folder).glob('*.ipynb')):
        notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
        nbformat.validate(notebook, version=4, version_minor=5)
        count += 1
print(count)
";

/// Executes the nine notebooks in order with every tool of Jupyter's; prints a line for each.
const EVERY_TOOL: &str = include_str!("notebooks/every_tool.py");

/// The tools, in the order of their names.
const TOOLS: [&str; 6] = [
    "console",
    "execute",
    "nbclient",
    "nbconvert",
    "papermill",
    "run",
];

/// Those of which nothing but what each cell says tells that it was run and has not failed.
const SPEAKING: [&str; 2] = ["console", "run"];

fn python(place: &Place, script: &str, arguments: &[&Path]) -> Said {
    let mut command = Command::new(Part::Python.path());
    command
        .args(["-c", script])
        .args(arguments)
        .current_dir(place.path());
    command.env("JUPYTER_DATA_DIR", place.path().join("jupyter"));
    command.env("JUPYTER_PATH", place.path().join("prefix/share/jupyter"));
    command.env("XDG_RUNTIME_DIR", place.path());
    command.env("XDG_STATE_HOME", place.path().join("state"));
    Said::from(command.output().unwrap())
}

#[test]
fn ready_notebooks_deploy_as_the_command_line_does() {
    let place = Place::new();
    place.lay_out_upgrade();
    let demo = place.demo();
    place.lay_out_notebooks();

    let done = place.path().join("done");
    std::fs::create_dir(&done).unwrap();
    let executed = python(&place, EVERY_TOOL, &[&demo, &done]);
    assert_eq!(executed.code, Some(0), "{}\n{}", executed.out, executed.err);
    let mut by_notebook: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in executed.out.lines() {
        let [notebook, tool, said, cells] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        assert_ne!(said, "0", "{line}");
        if SPEAKING.contains(&tool) {
            assert_eq!(said, cells, "{line}");
        }
        by_notebook.entry(notebook).or_default().push(tool);
    }
    assert_eq!(by_notebook.len(), 9, "{}", executed.out);
    for tools in by_notebook.values_mut() {
        tools.sort_unstable();
        assert_eq!(*tools, TOOLS);
    }

    let runs = place.demo_runs();
    assert_eq!(runs.len(), 2, "all nine notebooks worked on one run");
    let (folder, state) = &runs[1];
    let outcome = state.finished.as_ref().map(|end| end.0);
    assert_eq!(outcome, Some(RunOutcome::Succeeded));
    assert_eq!(state.clients["client"].failed, 0, "{:?}", state.clients);
    assert_eq!(
        code_deploy_record::verify_folder(folder).unwrap().findings,
        []
    );

    // Fifty-four kernels asked the router what had happened; what happened before the run is not of it.
    let listening = folder.events().unwrap().filter(|event| {
        let body = &event.as_ref().unwrap().body;
        matches!(body, EventBody::Noted { text, .. } if text.contains("listening on"))
    });
    assert_eq!(listening.count(), 3, "one note for each service's settings");

    let id = state.started.as_ref().unwrap().run.to_string();
    let deployed = demo.join("deployments").join(id);
    let valid = python(&place, VALIDATE, &[&demo, &deployed, &done]);
    assert_eq!(valid.code, Some(0), "{}", valid.err);
    // Two of the tools write no notebook.
    assert_eq!(valid.out.trim(), (18 + 18 + 4 * 9).to_string());
}

/// Carries out cells one after the other in one kernel, in an empty folder; interrupts the cell
/// that says it is at the build. Prints what each said.
const CELLS: &str = "
import sys
from jupyter_client.manager import start_new_kernel
manager, client = start_new_kernel(kernel_name='code-deploy', cwd=sys.argv[1])
interrupted = False
def cell(code):
    said = []
    def hook(message):
        global interrupted
        content = message['content']
        data = content.get('data', {}).get('text/plain', '')
        said.append(content.get('text', data) + '\\n'.join(content.get('traceback', [])))
        if code == '%build' and '[03] build' in data and not interrupted:
            interrupted = True
            manager.interrupt_kernel()
    reply = client.execute_interactive(code, output_hook=hook, timeout=120, allow_stdin=False)
    content = reply['content']
    print('CELL', code.split(' ')[0], content['status'], content.get('ename', '-'))
    print('\\n'.join(said), flush=True)
for code in sys.argv[2].split(';'):
    cell(code)
manager.shutdown_kernel(now=True)
";

#[test]
fn cells_say_which_run_they_go_on_with_and_a_stopped_one_is_paused() {
    let place = Place::new();
    let demo = ["dev", "local", "--demo", "--to", "1.0.0"];
    let mut first = Deploying::begin_in(&place, place.path(), &demo);
    first.until("[02] preflight");
    first.interrupt();
    assert_eq!(first.end().code, Some(130));
    place.lay_out_notebooks();
    let empty = place.path().join("empty");
    std::fs::create_dir(&empty).unwrap();

    let file = place.demo().join("deploy.yaml");
    let cells = format!(
        "%code-deploy -f {} dev local;%preflight resuorces;%preflight;%build;%record traffic",
        file.display()
    );
    let said = python(&place, CELLS, &[&empty, Path::new(&cells)]);
    assert_eq!(said.code, Some(0), "{}\n{}", said.out, said.err);
    let cells: Vec<&str> = said.out.split("CELL ").skip(1).collect();
    let begins = |cell: usize, with: &str| {
        assert!(cells[cell].starts_with(with), "{}", cells[cell]);
    };
    begins(0, "%code-deploy ok");
    assert!(cells[0].contains("is not ended"), "{}", cells[0]);
    assert!(
        cells[0].contains("This is of that run; its next step is preflight"),
        "{}",
        cells[0]
    );
    begins(1, "%preflight error CD0421");
    assert!(
        cells[1].contains("Did you mean `resources`?"),
        "{}",
        cells[1]
    );
    assert!(
        !cells[1].contains("goes on with"),
        "said once: {}",
        cells[1]
    );
    begins(2, "%preflight ok");
    assert!(
        !cells[2].contains("goes on with"),
        "said once: {}",
        cells[2]
    );
    begins(3, "%build error Paused");
    assert!(cells[3].contains("paused[CD0401]"), "{}", cells[3]);
    begins(4, "%record ok");
    assert!(cells[4].contains("Traffic"), "{}", cells[4]);
    assert_eq!(place.demo_runs().len(), 1);
}
