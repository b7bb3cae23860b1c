//! The notebooks in JupyterLab, in a real browser, as a person uses them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use code_deploy_record::RunOutcome;
use serde_json::Value;

use crate::kit::{Place, Said};
use crate::stage::Part;

/// Opens notebooks in JupyterLab, runs their cells through its menus, and tells what is shown.
const LAB: &str = include_str!("browser/lab.py");

/// Where pictures of the pages are to be kept; in the test's own folder when this is not set.
const PICTURES: &str = "CODE_DEPLOY_PICTURES";

/// The notebooks up to the one whose progress is watched, in the order of the phases.
const NOTEBOOKS: [&str; 6] = [
    "01_Deployment_Plan.ipynb",
    "02_Pre_Deployment_Validation.ipynb",
    "03_Build_Process.ipynb",
    "04_Infrastructure_Setup.ipynb",
    "05_Database_Migration.ipynb",
    "06_Application_Deployment.ipynb",
];

/// A cell as the page shows it.
#[derive(Debug, PartialEq)]
struct Shown {
    source: String,
    prompt: String,
    outputs: Vec<String>,
    failed: bool,
    pictures: u64,
    drawn: u64,
}

/// What was seen of one notebook.
#[derive(Debug)]
struct Seen {
    notebook: String,
    ran: Vec<Shown>,
    /// What the first output of each cell showed, one after the other, while the cell ran.
    movements: BTreeMap<String, Vec<String>>,
    loaded: Vec<Shown>,
}

#[test]
fn a_deployment_moves_in_jupyterlab_and_its_outputs_stay_after_a_reload() {
    let place = Place::new();
    place.lay_out_upgrade();
    // The browser takes processor time from what is deployed: latency proves nothing here.
    place.edit("latency_floor: 400ms", "latency_floor: 5s");
    place.lay_out_notebooks();
    let seen = use_lab(&place, &NOTEBOOKS);
    let names: Vec<_> = seen.iter().map(|one| one.notebook.as_str()).collect();
    assert_eq!(names, NOTEBOOKS);
    for notebook in &seen {
        ran_to_its_end(notebook);
        stayed(notebook);
    }

    let release = seen.last().unwrap();
    let moves = release
        .movements
        .get("%release traffic")
        .map_or(0, |contents| contents.len().saturating_sub(1));
    assert!(
        moves >= 2,
        "progress changed {moves} times: {:#?}",
        release.movements
    );
    let drawn: u64 = release.loaded.iter().map(|cell| cell.drawn).sum();
    assert!(drawn > 0, "no chart is drawn: {:#?}", release.loaded);

    let runs = place.demo_runs();
    assert_eq!(runs.len(), 2, "all notebooks worked on one run");
    let (_, first) = &runs[0];
    assert_eq!(
        first.finished.as_ref().map(|end| end.0),
        Some(RunOutcome::Succeeded)
    );
    let (_, state) = &runs[1];
    assert!(
        state.finished.is_none(),
        "phases 7 to 9 are still to be done"
    );
}

fn ran_to_its_end(seen: &Seen) {
    let name = &seen.notebook;
    assert!(!seen.ran.is_empty(), "{name} has no cells");
    for (index, cell) in seen.ran.iter().enumerate() {
        assert!(!cell.failed, "{name}: {cell:#?}");
        assert_eq!(cell.prompt, format!("[{}]:", index + 1), "{name}: {cell:?}");
        let said = cell.outputs.iter().any(|output| !output.is_empty());
        assert!(said || cell.pictures > 0, "{name}: {cell:?} shows nothing");
    }
}

fn stayed(seen: &Seen) {
    let name = &seen.notebook;
    assert_eq!(seen.ran.len(), seen.loaded.len(), "{name}");
    for (ran, loaded) in seen.ran.iter().zip(&seen.loaded) {
        assert_eq!(
            ran, loaded,
            "{name}: before and after the page was reloaded"
        );
        assert_eq!(
            loaded.pictures, loaded.drawn,
            "{name}: a picture is not drawn: {loaded:?}"
        );
    }
}

fn use_lab(place: &Place, notebooks: &[&str]) -> Vec<Seen> {
    let pictures =
        std::env::var_os(PICTURES).map_or_else(|| place.path().join("pictures"), PathBuf::from);
    let said = lab(place, &pictures, notebooks);
    assert_eq!(
        said.code,
        Some(0),
        "{}\nPictures are kept in the folder that {PICTURES} names.",
        said.err
    );
    said.out.lines().map(Seen::from_line).collect()
}

/// Starts JupyterLab with nothing but this place's files: no settings of the user, no network.
fn lab(place: &Place, pictures: &Path, notebooks: &[&str]) -> Said {
    let mut command = Command::new(Part::Python.path());
    command
        .args(["-c", LAB])
        .arg(Part::Chromium.path())
        .arg(place.demo())
        .arg(pictures)
        .args(notebooks)
        .current_dir(place.path())
        .env("JUPYTER_PATH", place.path().join("prefix/share/jupyter"));
    for (name, folder) in [
        ("HOME", "home"),
        ("XDG_RUNTIME_DIR", ""),
        ("IPYTHONDIR", "home/ipython"),
        ("JUPYTER_CONFIG_DIR", "home/config"),
        ("JUPYTER_DATA_DIR", "home/data"),
        ("JUPYTER_RUNTIME_DIR", "home/runtime"),
        ("JUPYTERLAB_SETTINGS_DIR", "home/settings"),
        ("JUPYTERLAB_WORKSPACES_DIR", "home/workspaces"),
    ] {
        let path = place.path().join(folder);
        std::fs::create_dir_all(&path).unwrap();
        command.env(name, path);
    }
    Said::from(command.output().unwrap())
}

impl Seen {
    fn from_line(line: &str) -> Self {
        let value: Value = serde_json::from_str(line).unwrap();
        let cells = |name: &str| -> Vec<Shown> {
            let cells = value[name].as_array().unwrap();
            cells.iter().map(Shown::from_value).collect()
        };
        let movements = value["movements"].as_object().unwrap().iter();
        Self {
            notebook: value["notebook"].as_str().unwrap().to_owned(),
            ran: cells("ran"),
            movements: movements
                .map(|(source, contents)| (source.clone(), texts(contents)))
                .collect(),
            loaded: cells("loaded"),
        }
    }
}

impl Shown {
    fn from_value(cell: &Value) -> Self {
        let text = |name: &str| cell[name].as_str().unwrap().to_owned();
        Self {
            source: text("source"),
            prompt: text("prompt"),
            outputs: texts(&cell["outputs"]),
            failed: cell["failed"].as_bool().unwrap(),
            pictures: cell["pictures"].as_u64().unwrap(),
            drawn: cell["drawn"].as_u64().unwrap(),
        }
    }
}

fn texts(list: &Value) -> Vec<String> {
    let list = list.as_array().unwrap().iter();
    list.map(|text| text.as_str().unwrap().to_owned()).collect()
}
