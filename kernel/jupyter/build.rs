//! Compiles the tests that need Python's Jupyter packages only where the environment promises them:
//! `CODE_DEPLOY_STAGE_PYTHON` names a Python that has jupyter_client, nbclient and jupyter_kernel_test.

use std::io::Write;

fn main() -> std::io::Result<()> {
    let mut cargo = std::io::stdout().lock();
    writeln!(
        cargo,
        "cargo::rerun-if-env-changed=CODE_DEPLOY_STAGE_PYTHON"
    )?;
    writeln!(cargo, "cargo::rustc-check-cfg=cfg(stage_python)")?;
    if std::env::var_os("CODE_DEPLOY_STAGE_PYTHON").is_some() {
        writeln!(cargo, "cargo::rustc-cfg=stage_python")?;
    }
    Ok(())
}
