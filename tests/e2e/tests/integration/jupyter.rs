//! The kernel as Jupyter's own clients and suites see it.

mod commands;
mod rust_cells;

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::kit::{Place, Said};
use crate::stage::Part;

/// The suite of Jupyter, and checks of what the messaging specification says beside it; it fails
/// where a check was left out, too.
const CONFORMANCE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../conformance/kernel_conformance.py"
);

/// Installs the kernel under a prefix of this place's own; returns the folder where Jupyter finds it.
#[track_caller]
fn install(place: &Place, more: &[&str]) -> PathBuf {
    let prefix = place.path().join("prefix");
    let command = ["kernel", "install", "--prefix", prefix.to_str().unwrap()];
    let said = place.run(&[&command, more].concat());
    assert_eq!(said.code, Some(0), "{said:?}");
    prefix.join("share/jupyter")
}

/// Starts Jupyter's Python so that it finds the kernel of this place, and nothing of the user's
/// but the Rust toolchain.
fn python(place: &Place, script: &Path) -> Said {
    let data = install(place, &[]);
    let mut command = Command::new(Part::Python.path());
    command.arg("-B").arg(script).current_dir(place.path());
    command.env("JUPYTER_PATH", data);
    for (name, folder) in [
        ("JUPYTER_DATA_DIR", "data"),
        ("JUPYTER_RUNTIME_DIR", "runtime"),
        ("XDG_CACHE_HOME", "cache"),
        ("XDG_RUNTIME_DIR", ""),
        ("XDG_STATE_HOME", "state"),
    ] {
        let path = place.path().join(folder);
        std::fs::create_dir_all(&path).unwrap();
        command.env(name, path);
    }
    Said::from(command.output().unwrap())
}

#[test]
fn every_check_of_conformance_passes_and_none_is_left_out() {
    let place = Place::new();
    let said = python(&place, Path::new(CONFORMANCE));
    assert_eq!(said.code, Some(0), "{}\n{}", said.out, said.err);
    assert!(!said.err.contains("skipped"), "{}", said.err);
}

/// Runs the program where Jupyter looks into that folder and into an empty home.
fn run_with(place: &Place, data: &Path, arguments: &[&str]) -> Said {
    let mut command = Command::new(Part::CodeDeploy.path());
    command.args(arguments).current_dir(place.path());
    command
        .env("HOME", place.path())
        .env("JUPYTER_PATH", data)
        .env_remove("VIRTUAL_ENV");
    Said::from(command.output().unwrap())
}

/// Returns what `doctor` said of kernels.
#[track_caller]
fn about_kernels(said: &Said) -> String {
    assert_eq!(said.code, Some(0), "{said:?}");
    let about = |line: &&str| line.contains("Jupyter kernel");
    let lines: Vec<_> = said.out.lines().filter(about).collect();
    lines.join("\n")
}

#[test]
fn what_keeps_jupyter_from_a_kernel_is_named_with_its_cure() {
    let place = Place::new();
    let nowhere = place.path().join("nowhere");
    let doctor = |data: &Path| about_kernels(&run_with(&place, data, &["doctor", "--json"]));
    assert!(doctor(&nowhere).contains("not installed where Jupyter looks"));

    let data = install(&place, &[]);
    assert!(doctor(&nowhere).contains("set JUPYTER_PATH"));
    assert!(doctor(&data).contains("\"cure\":\"\""));
    // Who asks about the kernel alone is told by the exit code, too.
    let asked = |data: &Path| run_with(&place, data, &["doctor", "kernel"]);
    asked(&nowhere).refused(1, "CD0004", &["not installed where Jupyter looks"]);
    assert_eq!(asked(&data).code, Some(0));

    install(&place, &["--name", "code-deploy-next"]);
    let spec = data.join("kernels/code-deploy-next/kernel.json");
    let text = std::fs::read_to_string(&spec).unwrap();
    let program = Part::CodeDeploy.path();
    let program = program.canonicalize().unwrap();
    let gone = text.replace(program.to_str().unwrap(), "/nonexistent/code-deploy");
    assert_ne!(text, gone);
    std::fs::write(&spec, gone).unwrap();
    assert!(doctor(&data).contains("That program is gone"));
    std::fs::write(&spec, "{").unwrap();
    assert!(doctor(&data).contains("is skipped by Jupyter"));

    let said = run_with(&place, &data, &["kernel", "install", "--user"]);
    assert!(said.out.contains("the one of the same name in"), "{said:?}");
    assert!(doctor(&data).contains("is hidden by"));
}

#[test]
fn a_kernel_that_cannot_be_started_or_read_is_named_with_its_cure() {
    let place = Place::new();
    let data = install(&place, &["--name", "code-deploy-next"]);
    let folder = data.join("kernels/code-deploy-next");
    let spec = folder.join("kernel.json");
    let doctor = || {
        let found = about_kernels(&run_with(&place, &data, &["doctor", "--json"]));
        let of_this = |line: &&str| line.contains(folder.to_str().unwrap());
        let line = found.lines().find(of_this).map(str::to_owned);
        line.unwrap_or_else(|| panic!("{} is not in {found}", folder.display()))
    };
    let text = std::fs::read_to_string(&spec).unwrap();
    let program = Part::CodeDeploy.path().canonicalize().unwrap();
    place.write("barred/code-deploy", "");
    let barred = place.path().join("barred/code-deploy");
    let other = text.replace(program.to_str().unwrap(), barred.to_str().unwrap());
    assert_ne!(text, other);
    std::fs::write(&spec, other).unwrap();
    let found = doctor();
    assert!(found.contains(barred.to_str().unwrap()), "{found}");
    let cure = "That program may not be executed; mend its permissions.";
    assert!(found.contains(cure), "{found}");

    // Who may read every file, as root may, cannot read a folder as one either.
    std::fs::remove_file(&spec).unwrap();
    std::fs::create_dir(&spec).unwrap();
    let found = doctor();
    let words = [
        "is skipped by Jupyter: kernel.json: Is a directory",
        "`code-deploy kernel install --name code-deploy-next`",
    ];
    for word in words {
        assert!(found.contains(word), "`{word}` is not in {found}");
    }
}

/// Runs the program where a Python environment is active, with an empty home and no other place for Jupyter.
fn run_in_environment(place: &Place, environment: &Path, arguments: &[&str]) -> Said {
    let mut command = Command::new(Part::CodeDeploy.path());
    command.args(arguments).current_dir(place.path());
    command
        .env("HOME", place.path())
        .env("VIRTUAL_ENV", environment);
    for name in [
        "CONDA_PREFIX",
        "JUPYTER_DATA_DIR",
        "JUPYTER_PATH",
        "XDG_DATA_HOME",
    ] {
        command.env_remove(name);
    }
    Said::from(command.output().unwrap())
}

#[test]
fn the_kernel_is_installed_into_the_python_environment_that_is_active() {
    let place = Place::new();
    place.write("venv/pyvenv.cfg", "include-system-site-packages = false\n");
    let environment = place.path().join("venv");
    let run = |arguments: &[&str]| run_in_environment(&place, &environment, arguments);
    let folder = environment.join("share/jupyter/kernels/code-deploy");
    let name = folder.to_str().unwrap();
    let installed = run(&["kernel", "install", "--sys-prefix"]);
    assert_eq!(installed.code, Some(0), "{installed:?}");
    let told = format!("Installed in {name}. Jupyter offers it as code-deploy.");
    assert!(installed.out.contains(&told), "{installed:?}");
    assert!(folder.join("kernel.json").is_file());

    let listed = run(&["kernel", "list", "--json"]);
    assert_eq!(listed.code, Some(0), "{listed:?}");
    assert!(listed.out.contains(name), "{listed:?}");
    let found = about_kernels(&run(&["doctor", "--json"]));
    let line = found.lines().find(|line| line.contains(name));
    let line = line.unwrap_or_else(|| panic!("{name} is not in {found}"));
    assert!(line.contains("\"cure\":\"\""), "{line}");

    let removed = run(&["kernel", "uninstall", "--sys-prefix"]);
    assert_eq!(removed.code, Some(0), "{removed:?}");
    assert!(!folder.exists());
}

/// Prints what the pager shows after each of the cells, as JSON.
const PAGES: &str = "
import json
from jupyter_client.manager import start_new_kernel
manager, client = start_new_kernel(kernel_name='code-deploy')
def page(code):
    reply = client.execute_interactive(code, timeout=120, allow_stdin=False)
    return reply['content']['payload'][0]['data']['text/plain']
print(json.dumps([page(f'%{word}?') for word in WORDS]))
manager.shutdown_kernel(now=True)
";

#[test]
fn help_in_a_cell_is_that_of_the_command_line_and_names_sections() {
    let place = Place::new();
    let words = ["release", "handover", "status"];
    let script = place.path().join("pages.py");
    std::fs::write(&script, PAGES.replace("WORDS", &format!("{words:?}"))).unwrap();
    let said = python(&place, &script);
    assert_eq!(said.code, Some(0), "{}\n{}", said.out, said.err);
    let pages: Vec<String> = serde_json::from_str(&said.out).unwrap();
    assert_eq!(pages.len(), words.len());
    for (word, page) in words.iter().zip(&pages) {
        let (sections, rest): (Vec<_>, Vec<_>) = page
            .lines()
            .partition(|line| line.starts_with("Sections: "));
        assert_eq!(sections.len(), usize::from(*word != "status"), "{page}");
        let help = place.run(&[*word, "--help"]);
        assert_eq!(help.code, Some(0), "{help:?}");
        // A cell and a terminal are not of one width.
        let in_cell: Vec<_> = rest
            .iter()
            .flat_map(|line| line.split_whitespace())
            .collect();
        let in_terminal: Vec<_> = help.out.split_whitespace().collect();
        assert_eq!(in_cell, in_terminal, "{word}");
    }
}

#[test]
fn versions_stand_side_by_side_and_each_is_removed_by_its_name() {
    let place = Place::new();
    let next = ["--name", "code-deploy-next", "--display-name", "Next"];
    let data = install(&place, &[]);
    install(&place, &next);
    let prefix = place.path().join("prefix");
    let remove = ["kernel", "uninstall", "--prefix", prefix.to_str().unwrap()];
    let remove = [&remove[..], &next[..2]].concat();
    let folder = |name: &str| data.join("kernels").join(name);
    assert!(folder("code-deploy-next").join("logo-svg.svg").is_file());
    assert_eq!(place.run(&remove).code, Some(0));
    assert!(!folder("code-deploy-next").exists());
    assert!(folder("code-deploy").join("kernel.json").is_file());
    place
        .run(&remove)
        .refused(1, "CD0802", &["code-deploy-next"]);
}

#[test]
fn another_installer_can_copy_the_installed_folder() {
    let place = Place::new();
    let data = install(&place, &["--display-name", "Deployments"]);
    let prefix = place.path().join("other");
    let jupyter = Part::Python.path().with_file_name("jupyter-kernelspec");
    let copied = Command::new(&jupyter)
        .args(["install", "--prefix"])
        .arg(&prefix)
        .arg(data.join("kernels/code-deploy"))
        .output();
    let said = Said::from(copied.unwrap());
    assert_eq!(said.code, Some(0), "{said:?}");
    let listed = Command::new(&jupyter)
        .args(["list", "--json"])
        .env("JUPYTER_PATH", prefix.join("share/jupyter"))
        .output();
    let said = Said::from(listed.unwrap());
    let listed: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    let spec = &listed["kernelspecs"]["code-deploy"]["spec"];
    assert_eq!(spec["display_name"], "Deployments");
    assert_eq!(spec["interrupt_mode"], "message");
}
