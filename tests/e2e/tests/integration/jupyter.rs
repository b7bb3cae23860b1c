//! The kernel as Jupyter's own clients and suites see it.

use std::path::Path;
use std::process::Command;

use crate::kit::{Place, Said};
use crate::stage::Part;

/// The suite of Jupyter, and checks of what the messaging specification says beside it; it fails
/// where a check was left out, too.
const CONFORMANCE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../conformance/kernel_conformance.py"
);

/// Starts Jupyter's Python so that it finds the kernel of this place, and nothing of the user's
/// but the Rust toolchain.
fn python(place: &Place, script: &Path) -> Said {
    let prefix = place.path().join("prefix");
    let said = place.run(&["kernel", "install", "--prefix", prefix.to_str().unwrap()]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let mut command = Command::new(Part::Python.path());
    command.arg("-B").arg(script).current_dir(place.path());
    command.env("JUPYTER_PATH", prefix.join("share/jupyter"));
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
