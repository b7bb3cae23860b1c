//! The notebooks in JupyterLab, in a real browser, as a person uses them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use code_deploy_record::RunOutcome;
use serde_json::Value;

use crate::kit::{Place, Said};
use crate::stage::Part;

/// Scripts that use JupyterLab through its menus, keys and buttons, and tell what is shown.
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/integration/browser");

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

/// The least contrast of text that WCAG 2 allows, at level AA.
const CONTRAST: f64 = 4.5;

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

/// The cells of the notebook that is steered.
const STEERED: [&str; 11] = [
    "%pref",
    "%status --",
    "%status?",
    "%stauts",
    "%code-deploy dev local --yes",
    "%inventory",
    "%plan",
    "%build",
    "%provision",
    "%migrate",
    "%release",
];

#[test]
fn a_person_is_helped_stops_restarts_leaves_and_steers_from_a_second_console() {
    let place = Place::new();
    place.lay_out_upgrade();
    place.edit("latency_floor: 400ms", "latency_floor: 5s");
    // A person needs time to see a chart drawn anew, to leave before the run moves on, and to steer after that.
    place.edit("{ percent: 5, soak: 2s }", "{ percent: 5, soak: 12s }");
    place.edit("{ percent: 50, soak: 1s }", "{ percent: 50, soak: 2m }");
    place.lay_out_notebooks();
    lay_out_steered(&place);
    let shown = seen_in_lab(&place, "steer.py", &["steer.ipynb"]);
    let seen: Value = serde_json::from_str(&shown).unwrap();
    let says = |step: &str, words: &[&str]| {
        let shown = seen[step].to_string();
        for word in words {
            assert!(shown.contains(word), "{step}: `{word}` is not in {shown}");
        }
    };
    says("offered", &["--watch", "--run"]);
    says("tooltip", &["Show where a run stands", "--watch"]);
    says("helped", &["Show where a run stands", "--watch"]);
    says("misspelt", &["State", "Did you mean %status?"]);
    says("stopped", &["paused[CD0401]"]);
    says("joined", &["is not ended", "This is of that run"]);
    says("elsewhere", &["in release (06)", "Process"]);
    says("status", &["in release (06)", LONG_STEP, "Process"]);
    says("asked", &["goes back"]);
    says("after", &["rolled back"]);
    moved_while_it_ran(&seen["moving"]);
    for step in ["error", "pause", "facts"] {
        is_readable_in_the_dark(step, &seen[step]);
    }
    assert_ne!(
        seen["left"], LONG_STEP,
        "the run moved on before it was left"
    );
    kept_while_no_page_was_open(&seen["kept"]);
    assert_eq!(seen["charts"], 1, "{}", seen["charts"]);
    let runs = place.demo_runs();
    let (_, state) = &runs[1];
    let outcome = state.finished.as_ref().map(|end| end.0);
    assert_eq!(outcome, Some(RunOutcome::RolledBack));
    let stable = &state.clients["client"].releases["1.0.0"];
    assert_eq!(stable.failed, 0, "{:?}", state.clients);
}

/// The step at which the run that is steered stays longest, as `steer.py` knows it.
const LONG_STEP: &str = "release.traffic.50";

/// Writes the notebook that is steered, with a cell for each command.
fn lay_out_steered(place: &Place) {
    let cells = STEERED.iter().enumerate().map(|(number, source)| {
        serde_json::json!({
            "cell_type": "code", "id": format!("cell-{number}"), "source": source,
            "execution_count": null, "metadata": {}, "outputs": [],
        })
    });
    let notebook = serde_json::json!({
        "cells": cells.collect::<Vec<_>>(), "nbformat": 4, "nbformat_minor": 5,
        "metadata": {
            "kernelspec": { "name": "code-deploy", "display_name": "code-deploy", "language": "rust" },
        },
    });
    let path = place.demo().join("steer.ipynb");
    std::fs::write(path, notebook.to_string()).unwrap();
}

/// Asserts that the display of a cell told of gates and time while the cell ran, and that its chart was drawn anew.
#[track_caller]
fn moved_while_it_ran(states: &Value) {
    let states = states.as_array().unwrap();
    assert_eq!(states.len(), 2, "{states:#?}");
    for state in states {
        assert_eq!(state["prompt"], "[*]:", "{state:#}");
        let gates = texts(&state["gates"]);
        assert!(gates.iter().any(|gate| gate == "health"), "{state:#}");
        let text = state["text"].as_str().unwrap();
        for words in ["Traffic now", "time spent ", " s, planned for "] {
            assert!(text.contains(words), "`{words}` is not in {text}");
        }
    }
    for part in ["chart", "drawn"] {
        assert_ne!(states[0][part], states[1][part], "{part}");
    }
}

#[track_caller]
fn is_readable_in_the_dark(step: &str, shown: &Value) {
    assert_eq!(shown["light"], "false", "{step}: not in the dark theme");
    let texts = shown["texts"].as_array().unwrap();
    assert!(texts.len() >= 3, "{step}: {texts:?}");
    for text in texts {
        let contrast = text[1].as_f64().unwrap();
        assert!(contrast >= CONTRAST, "{step}: {text}");
    }
}

/// Asserts that cells which had ended show the same in the page that was opened later.
#[track_caller]
fn kept_while_no_page_was_open(cells: &Value) {
    let before = cells["before"].as_array().unwrap();
    for source in ["%inventory", "%plan", "%migrate"] {
        let cell = before.iter().find(|cell| cell["source"] == source);
        let outputs = cell.map_or_else(Vec::new, |cell| texts(&cell["outputs"]));
        assert!(!outputs.is_empty(), "{source}: {before:#?}");
    }
    assert_eq!(cells["before"], cells["after"]);
}

#[test]
fn an_executed_notebook_is_opened_unchanged_and_its_cells_deploy_nothing() {
    let place = Place::new();
    place.lay_out_upgrade();
    place.edit("latency_floor: 400ms", "latency_floor: 5s");
    let said = place.run_in(&place.demo(), &["dev", "local"]);
    assert_eq!(said.code, Some(0), "{}\n{}", said.out, said.err);
    place.lay_out_notebooks();
    // Of the run before: to run it anew would go back to the first release.
    let runs = place.demo_runs();
    let old = runs[0].0.path().file_name().unwrap().display();
    let name = format!("deployments/{old}/01_Deployment_Plan.ipynb");
    let shown = seen_in_lab(&place, "sealed.py", &[&name]);
    let seen: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(seen["dirty"], false, "the page wants to save it");
    let cells = seen["ran"].as_array().unwrap();
    assert!(
        cells.iter().all(|cell| cell["failed"] == false),
        "{cells:#?}"
    );
    for (cell, words) in [
        (0, "deploy nothing"),
        (1, "The run has ended"),
        (1, "was so at the time beside each title"),
    ] {
        let outputs = cells[cell]["outputs"].to_string();
        assert!(outputs.contains(words), "`{words}` is not in {outputs}");
    }
    assert_eq!(place.demo_runs().len(), runs.len(), "a run was begun");
}

#[test]
fn every_notebook_is_read_in_both_themes_by_who_runs_nothing() {
    let place = Place::new();
    place.lay_out_upgrade();
    place.lay_out_notebooks();
    let names = lay_out_shipped(&place);
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    assert_eq!(names.len(), 18, "{names:?}");
    let read = seen_in_lab(&place, "read.py", &names);
    let read: Vec<Value> = read
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(read.len(), 2 * names.len());
    for page in &read {
        is_read(page);
    }
}

/// Copies the executed notebooks that this repository holds, without their record; returns their names.
fn lay_out_shipped(place: &Place) -> Vec<String> {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../notebooks");
    let files = std::fs::read_dir(shipped).unwrap();
    let mut names = Vec::new();
    for path in files.map(|file| file.unwrap().path()) {
        if path.extension().is_some_and(|end| end == "ipynb") {
            let name = path.file_name().unwrap().to_str().unwrap();
            std::fs::copy(&path, place.demo().join(name)).unwrap();
            names.push(name.to_owned());
        }
    }
    names.sort_unstable();
    names
}

/// Asserts what every reader needs of a page: pictures that are drawn, contrast, headings in order, header cells.
#[track_caller]
fn is_read(page: &Value) {
    let place = format!("{} in the {} theme", page["notebook"], page["theme"]);
    assert_eq!(page["pictures"], page["drawn"], "{place}");
    assert!(page["texts"].as_u64().unwrap() > 50, "{place}: {page:#}");
    for text in page["faintest"].as_array().unwrap() {
        let contrast = text["contrast"].as_f64().unwrap();
        assert!(contrast >= CONTRAST, "{place}: {text}");
    }
    let levels = page["levels"].as_array().unwrap();
    let levels: Vec<_> = levels.iter().map(|one| one.as_u64().unwrap()).collect();
    assert_eq!(levels.first(), Some(&1), "{place}");
    for (above, below) in levels.iter().zip(levels.iter().skip(1)) {
        assert!(*below <= above + 1, "{place}: {levels:?}");
    }
    assert_eq!(page["headless"], serde_json::json!([]), "{place}");
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
    let shown = seen_in_lab(place, "run_all.py", notebooks);
    shown.lines().map(Seen::from_line).collect()
}

/// Returns what a script of JupyterLab's use tells of what it saw.
fn seen_in_lab(place: &Place, script: &str, notebooks: &[&str]) -> String {
    let pictures =
        std::env::var_os(PICTURES).map_or_else(|| place.path().join("pictures"), PathBuf::from);
    let said = lab(place, script, &pictures, notebooks);
    assert_eq!(
        said.code,
        Some(0),
        "{}\nPictures are kept in the folder that {PICTURES} names.",
        said.err
    );
    said.out
}

/// Starts JupyterLab with nothing but this place's files: no settings of the user, no network.
fn lab(place: &Place, script: &str, pictures: &Path, notebooks: &[&str]) -> Said {
    let mut command = Command::new(Part::Python.path());
    command
        .arg("-B")
        .arg(Path::new(SCRIPTS).join(script))
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
