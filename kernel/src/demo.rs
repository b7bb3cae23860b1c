//! The demonstration: a real system, deployed twice.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::commands::{DemoFault, RunArgs};
use crate::face::Face;
use crate::failure::{Exit, Failure};
use crate::machine::Machine;
use crate::project::Project;
use crate::run;
use crate::session::{Session, Wish};

/// The demonstration's folder, in the present folder.
pub const FOLDER: &str = "code-deploy-demo";

/// The release that is deployed first.
const FIRST: &str = "1.0.0";

/// The release that is deployed next, under the outside client's eyes.
const SECOND: &str = "1.1.0";

/// Deploys the demonstration system: the first release, then the second by the strategy of the
/// environment; only the first with `--to 1.0.0`. What an earlier demonstration left running is
/// stopped, and its data removed.
///
/// # Errors
/// What kept a run from succeeding.
pub async fn demo(
    machine: &Machine,
    arguments: &RunArgs,
    face: Arc<dyn Face>,
    interrupt: &CancellationToken,
) -> Result<Exit, Failure> {
    let folder = machine.folder.join(FOLDER);
    lay_out(&folder).map_err(|error| {
        let what = format!("{} cannot be written: {error}", folder.display());
        Failure::refused("CD0003", what, "Make the present folder writable.")
    })?;
    let project = Project::find(Some(&folder.join("deploy.yaml")), &folder)?;
    let environment = arguments.environment.as_deref().unwrap_or("dev");
    let target = arguments.target.as_deref().unwrap_or("local");
    let plain = Session::begin(machine, &project, environment, target, Arc::clone(&face))?;
    start_afresh(&plain, interrupt).await?;

    face.text(&format!(
        "The demonstration is in {}: deploying {FIRST}.",
        folder.display()
    ));
    let wish = Wish {
        to: release(FIRST),
        yes: arguments.yes,
        ..Wish::default()
    };
    let (exit, _) = run::whole(&plain, &wish, None, interrupt).await?;
    if arguments.to.as_deref() == Some(FIRST) {
        return Ok(exit);
    }

    face.text(&format!(
        "\nNow {SECOND}, while the outside client keeps sending requests."
    ));
    let machine = match arguments.demo_fault {
        Some(fault) => machine.with_variables(fault_variables(fault)),
        None => machine.clone(),
    };
    let session = Session::begin(&machine, &project, environment, target, face)?;
    let planted_fault = arguments.demo_fault.map(|fault| fault.word().to_owned());
    let wish = Wish {
        to: release(SECOND),
        yes: arguments.yes,
        planted_fault,
        reverts: None,
    };
    let (exit, _) = run::whole(&session, &wish, arguments.out.as_deref(), interrupt).await?;
    Ok(exit)
}

fn release(text: &str) -> Option<code_deploy_record::Release> {
    text.parse().ok()
}

fn fault_variables(fault: DemoFault) -> BTreeMap<String, String> {
    let variables = [("SHOP_FAULT", fault.word()), ("SHOP_FAULT_RELEASE", SECOND)];
    variables
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// Writes the demonstration's files where they are not there yet. What a person changed stays.
fn lay_out(folder: &Path) -> std::io::Result<()> {
    for (name, content) in code_deploy_shop::FILES {
        let path = folder.join(name);
        if let Some(parent) = path.parent() {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(parent)?;
        }
        let mut options = std::fs::OpenOptions::new();
        match options.write(true).create_new(true).mode(0o600).open(&path) {
            Ok(mut file) => file.write_all(content.as_bytes())?,
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Stops what an earlier demonstration left running, and removes its data, so that the first
/// release is a first deployment again. Its records and notebooks stay.
async fn start_afresh(session: &Session, interrupt: &CancellationToken) -> Result<(), Failure> {
    run::take_back_open_run(session, interrupt).await?;
    session.target.remove_all(run::STOP_GRACE).await?;
    let data: PathBuf = session.spec.data_folder();
    match std::fs::remove_dir_all(&data) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            let what = format!("{} cannot be removed: {error}", data.display());
            Err(Failure::refused("CD0003", what, "Remove it and run again."))
        }
        _ => Ok(()),
    }
}
