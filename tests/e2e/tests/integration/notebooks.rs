//! Notebooks, ready and executed, as Python's own tools see them.

use std::path::Path;
use std::process::Command;

use code_deploy_record::{EventBody, RunOutcome};

use crate::kit::{Place, Said};
use crate::stage::Part;

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

/// Runs the nine notebooks in order, each in a kernel of its own: the first four by nbclient, the
/// others by papermill. Prints how many outputs each has.
const EXECUTE: &str = "
import sys, pathlib, nbformat, papermill
from nbclient import NotebookClient
folder, done = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
for number, path in enumerate(sorted(folder.glob('0*.ipynb')), start=1):
    if number <= 4:
        notebook = nbformat.read(path, as_version=4)
        NotebookClient(notebook, timeout=300, kernel_name='code-deploy',
            resources={'metadata': {'path': str(folder)}}).execute()
        nbformat.write(notebook, done / path.name)
    else:
        papermill.execute_notebook(str(path), str(done / path.name), cwd=str(folder),
            kernel_name='code-deploy', progress_bar=False)
        notebook = nbformat.read(done / path.name, as_version=4)
    print(path.name, sum(len(cell.get('outputs', [])) for cell in notebook.cells), flush=True)
";

fn python(place: &Place, script: &str, arguments: &[&Path]) -> Said {
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
    place.lay_out_upgrade();
    let demo = place.demo();
    place.lay_out_notebooks();

    let done = place.path().join("done");
    std::fs::create_dir(&done).unwrap();
    let executed = python(&place, EXECUTE, &[&demo, &done]);
    assert_eq!(executed.code, Some(0), "{}\n{}", executed.out, executed.err);
    let counts = executed.out.lines().map(|line| line.split_once(' '));
    let empty = counts.filter(|line| line.is_none_or(|(_, outputs)| outputs == "0"));
    assert_eq!(empty.count(), 0, "{}", executed.out);
    assert_eq!(executed.out.lines().count(), 9, "{}", executed.out);

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

    // Nine kernels asked the router what had happened; what happened before the run is not of it.
    let listening = folder.events().unwrap().filter(|event| {
        let body = &event.as_ref().unwrap().body;
        matches!(body, EventBody::Noted { text, .. } if text.contains("listening on"))
    });
    assert_eq!(listening.count(), 3, "one note for each service's settings");

    let id = state.started.as_ref().unwrap().run.to_string();
    let deployed = demo.join("deployments").join(id);
    let valid = python(&place, VALIDATE, &[&demo, &deployed, &done]);
    assert_eq!(valid.code, Some(0), "{}", valid.err);
    assert_eq!(valid.out.trim(), (18 + 18 + 9).to_string());
}
