//! The demonstration: a real system, deployed twice.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use code_deploy_targets::DockerTarget;
use tokio_util::sync::CancellationToken;

use crate::commands::{DemoFault, RunArgs};
use crate::face::Face;
use crate::failure::{Exit, Failure};
use crate::machine::Machine;
use crate::project::{self, DOCKER, KUBERNETES, Project, To};
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
    let folder = folder(machine);
    lay_out(&folder).map_err(|error| {
        let what = format!("{} cannot be written: {error}", folder.display());
        Failure::refused(
            crate::codes::CANNOT_WRITE,
            what,
            "Make the present folder writable.",
        )
    })?;
    let project = Project::find(Some(&folder.join("deploy.yaml")), &folder)?;
    let environment = arguments.environment.as_deref().unwrap_or("dev");
    let target = arguments.target.as_deref().unwrap_or("local");
    let begin = |machine: &Machine| {
        let face = Arc::clone(&face);
        Session::begin(machine, &project, environment, target, face, To::Change)
    };
    let before = begin(machine)?;
    make_images(machine, &before).await?;
    if before.spec.data_folder().exists() {
        face.text(
            "What an earlier demonstration left running here is stopped, and its data is removed; its \
             records and notebooks stay.",
        );
    }
    start_afresh(&before, interrupt).await?;
    drop(before);
    name_release(&project, FIRST)?;
    let plain = begin(machine)?;

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
    // The file names what is deployed from now on, so that a later run does not go back unawares.
    name_release(&project, SECOND)?;
    let session = begin(&machine)?;
    let planted_fault = arguments.demo_fault.map(|fault| fault.word().to_owned());
    let wish = Wish {
        to: release(SECOND),
        yes: arguments.yes,
        planted_fault,
        reverts: None,
    };
    let done = run::whole(&session, &wish, arguments.out.as_deref(), interrupt).await;
    let back =
        matches!(&done, Err(failure) if matches!(failure.exit, Exit::RolledBack | Exit::Refused));
    // A run that is not ended needs the file with which it began.
    if back && session.open_run()?.is_none() {
        name_release(&project, FIRST)?;
    }
    done.map(|(exit, _)| exit)
}

/// Returns the demonstration's folder: the present one when it is that, otherwise one inside it.
pub fn folder(machine: &Machine) -> PathBuf {
    folder_in(&machine.folder)
}

fn folder_in(present: &Path) -> PathBuf {
    let is_it = present.file_name().is_some_and(|name| name == FOLDER)
        && present.join("deploy.yaml").is_file();
    if is_it {
        present.to_owned()
    } else {
        present.join(FOLDER)
    }
}

/// Writes the release into the demonstration's deployment file, where one of its two stands.
fn name_release(project: &Project, release: &str) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        let what = format!("{} cannot be written: {error}", project.file.display());
        Failure::refused(crate::codes::CANNOT_WRITE, what, "Make it writable.")
    };
    let text = std::fs::read_to_string(&project.file).map_err(failed)?;
    let named = naming(&text, release);
    if named == text {
        return Ok(());
    }
    let new = project.file.with_extension("yaml.new");
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let written = options.open(&new).and_then(|mut file| {
        file.write_all(named.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, &project.file)
    });
    written.map_err(failed)
}

/// Returns the text with that release in the line that names one of the demonstration's.
fn naming(text: &str, release: &str) -> String {
    let ours = [FIRST, SECOND].map(|release| format!("release: \"{release}\"\n"));
    let lines = text.split_inclusive('\n').map(|line| {
        if ours.iter().any(|ours| ours == line) {
            format!("release: \"{release}\"\n")
        } else {
            line.to_owned()
        }
    });
    lines.collect()
}

/// Where services run as containers, both releases are images of this program.
async fn make_images(machine: &Machine, session: &Session) -> Result<(), Failure> {
    if !matches!(session.spec.target.as_str(), DOCKER | KUBERNETES) {
        return Ok(());
    }
    let settings = project::settings(machine, &session.spec, &session.redactor);
    let target = DockerTarget::to_look_at(settings);
    let references = [FIRST, SECOND].map(|release| format!("shop:{release}"));
    Ok(target.make_demonstration(&references).await?)
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
            Err(Failure::refused(
                crate::codes::CANNOT_WRITE,
                what,
                "Remove it and run again.",
            ))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

    use super::*;

    #[test]
    fn inside_the_folder_of_the_demonstration_none_is_laid_out_inside_it() {
        let outside = std::env::temp_dir().join(format!("demo-{}", std::process::id()));
        let inside = outside.join(FOLDER);
        std::fs::create_dir_all(&inside).unwrap();
        assert_eq!(folder_in(&outside), inside);
        assert_eq!(folder_in(&inside), inside.join(FOLDER));
        std::fs::write(inside.join("deploy.yaml"), "application: shop\n").unwrap();
        assert_eq!(folder_in(&inside), inside);
        std::fs::remove_dir_all(&outside).unwrap();
    }

    #[test]
    fn the_deployment_file_names_the_release_that_is_deployed() {
        let shipped = code_deploy_shop::FILES.iter();
        let (_, text) = shipped
            .into_iter()
            .find(|(name, _)| *name == "deploy.yaml")
            .unwrap();
        let second = naming(text, SECOND);
        assert!(second.contains("\nrelease: \"1.1.0\"\n"), "{second}");
        assert_eq!(naming(&second, FIRST), *text);
        assert_eq!(naming("release: \"7\"\n", SECOND), "release: \"7\"\n");
    }
}
