//! Python's own clients against the kernel. `CODE_DEPLOY_STAGE_PYTHON` names a Python that has jupyter_client,
//! nbclient and jupyter_kernel_test; without it these tests fail, and say so.

use std::process::Command;

use serde_json::json;
use tempfile::TempDir;

use crate::kit::echo_kernel;

fn run(script: &str) {
    let folder = TempDir::new().unwrap();
    let spec = folder.path().join("kernels/echo");
    std::fs::create_dir_all(&spec).unwrap();
    let kernel = json!({
        "argv": [echo_kernel(), "{connection_file}"], "display_name": "Echo", "language": "rust",
        "interrupt_mode": "message", "metadata": {"debugger": false},
    });
    std::fs::write(spec.join("kernel.json"), kernel.to_string()).unwrap();
    let python = std::env::var_os("CODE_DEPLOY_STAGE_PYTHON").expect("CODE_DEPLOY_STAGE_PYTHON must name a Python with the Jupyter packages; `cargo verify` sets it up");
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/integration")
        .join(script);
    let output = Command::new(python)
        .arg(script)
        .env("JUPYTER_PATH", folder.path())
        .env("JUPYTER_RUNTIME_DIR", folder.path())
        .output()
        .expect("the promised Python starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

#[test]
fn the_conformance_suite_of_jupyter_passes() {
    run("conformance.py");
}

#[test]
fn nbclient_loses_nothing_and_stops_at_an_error() {
    run("nbclient_runs.py");
}
