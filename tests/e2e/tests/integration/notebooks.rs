//! Notebooks, ready and executed, as Python's own tools see them.

use std::process::Command;

use code_deploy_record::RunOutcome;

use crate::kit::{Place, Said};
use crate::stage::Part;

/// Validates every notebook of the folders given, strictly.
const VALIDATE: &str = "
import sys, pathlib, nbformat
count = 0
for folder in sys.argv[1:]:
    for path in sorted(pathlib.Path(folder).glob('*.ipynb')):
        nbformat.validate(nbformat.read(path, as_version=nbformat.NO_CONVERT), version=4, version_minor=5)
        count += 1
print(count)
";

/// Runs the nine notebooks in order, each in a kernel of its own, and keeps what they gave.
const EXECUTE: &str = "
import sys, pathlib, nbformat
from nbclient import NotebookClient
folder = pathlib.Path(sys.argv[1])
for path in sorted(folder.glob('0*.ipynb')):
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=300, kernel_name='code-deploy', resources={'metadata': {'path': str(folder)}}).execute()
    outputs = sum(len(cell.get('outputs', [])) for cell in notebook.cells)
    assert outputs > 0, path
    print(path.name, outputs, flush=True)
";

fn python(place: &Place, script: &str, arguments: &[&str]) -> Said {
    let mut command = Command::new(Part::Python.path());
    command
        .args(["-c", script])
        .args(arguments)
        .current_dir(place.path());
    command.env("JUPYTER_DATA_DIR", place.path().join("jupyter"));
    command.env("JUPYTER_PATH", place.path().join("prefix/share/jupyter"));
    command.env("XDG_RUNTIME_DIR", place.path());
    Said::from(command.output().unwrap())
}

#[test]
fn ready_notebooks_deploy_as_the_command_line_does() {
    let place = Place::new();
    // The first release, by the command line: it also lays the demonstration out.
    let said = place.run(&["dev", "local", "--demo", "--to", "1.0.0"]);
    assert_eq!(said.code, Some(0), "{}\n{}", said.out, said.err);
    let demo = place.demo();
    let file = std::fs::read_to_string(demo.join("deploy.yaml")).unwrap();
    let next = file.replace("release: \"1.0.0\"", "release: \"1.1.0\"");
    assert_ne!(file, next);
    std::fs::write(demo.join("deploy.yaml"), next).unwrap();
    let ready = place.run_in(
        &demo,
        &[
            "notebooks",
            "--ready",
            "-e",
            "dev",
            "-t",
            "local",
            "--out",
            ".",
        ],
    );
    assert_eq!(ready.code, Some(0), "{ready:?}");
    let prefix = place.path().join("prefix");
    let installed = place.run(&["kernel", "install", "--prefix", prefix.to_str().unwrap()]);
    assert_eq!(installed.code, Some(0), "{installed:?}");

    let demo_text = demo.to_str().unwrap();
    let executed = python(&place, EXECUTE, &[demo_text]);
    assert_eq!(executed.code, Some(0), "{}\n{}", executed.out, executed.err);
    let runs = place.demo_runs();
    assert_eq!(runs.len(), 2, "all nine notebooks worked on one run");
    let (_, state) = &runs[1];
    assert_eq!(
        state.finished.as_ref().map(|end| end.0),
        Some(RunOutcome::Succeeded)
    );
    assert_eq!(state.clients["client"].failed, 0, "{:?}", state.clients);

    let id = state.started.as_ref().unwrap().run.to_string();
    let deployed = demo.join("deployments").join(id);
    let valid = python(&place, VALIDATE, &[demo_text, deployed.to_str().unwrap()]);
    assert_eq!(valid.code, Some(0), "{}", valid.err);
    assert_eq!(valid.out.trim(), "36");
}
