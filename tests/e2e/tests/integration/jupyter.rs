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

#[test]
fn what_keeps_jupyter_from_a_kernel_is_named_with_its_cure() {
    let place = Place::new();
    let nowhere = place.path().join("nowhere");
    let doctor = |data: &Path| {
        let said = run_with(&place, data, &["doctor", "--json"]);
        assert_eq!(said.code, Some(0), "{said:?}");
        let about_kernels = |line: &&str| line.contains("Jupyter kernel");
        let lines: Vec<_> = said.out.lines().filter(about_kernels).collect();
        lines.join("\n")
    };
    assert!(doctor(&nowhere).contains("not installed where Jupyter looks"));

    let data = install(&place, &[]);
    assert!(doctor(&nowhere).contains("set JUPYTER_PATH"));
    assert!(doctor(&data).contains("\"cure\":\"\""));

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
