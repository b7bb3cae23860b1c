//! The demonstration: a real system, deployed twice.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use code_deploy_targets::DockerTarget;
use code_deploy_targets::docker::describe_engine;
use tokio_util::sync::CancellationToken;

use crate::commands::{DemoFault, RunArgs};
use crate::face::Face;
use crate::failure::{Exit, Failure};
use crate::machine::Machine;
use crate::project::{DOCKER, KUBERNETES, Project, To, lookup, settings};
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
    let environment = arguments.environment.as_deref().unwrap_or("dev");
    let target = arguments.target.as_deref().unwrap_or("local");
    let registry = arguments.registry.as_deref();
    if registry.is_some() && !has_images(target) {
        let what = format!("`--registry` is for the targets {DOCKER} and {KUBERNETES}");
        return Err(Failure::usage(what, "Leave `--registry` out."));
    }
    if target == DOCKER {
        // Nothing is laid out for an engine that is not there.
        let described = describe_engine(lookup(machine)).await;
        described.map_err(|error| Failure::from(error).of_a_look())?;
    }
    let folder = folder(machine);
    lay_out(&folder).map_err(|error| {
        let what = format!("{} cannot be written: {error}", folder.display());
        Failure::refused(
            crate::codes::CANNOT_WRITE,
            what,
            "Make the present folder writable.",
        )
    })?;
    let project = project(machine)?;
    let place = (environment, target);
    // A run that is not ended needs the files with which it began.
    run::take_back_open_run(&begin(machine, &project, place, &face).await?, interrupt).await?;
    rewrite(&folder.join("compose.yaml"), |text| {
        images_from(text, registry)
    })?;
    let before = begin(machine, &project, place, &face).await?;
    make_images(machine, &before, registry, &*face).await?;
    if before.spec.data_folder().exists() {
        face.text(
            "What an earlier demonstration left running here is stopped, and its data is removed; its \
             records and notebooks stay.",
        );
    }
    start_afresh(&before, interrupt).await?;
    drop(before);
    name_release(&project, FIRST)?;
    let plain = begin(machine, &project, place, &face).await?;

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
    let session = begin(&machine, &project, place, &face).await?;
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
    if arguments.demo_fault.is_none()
        && matches!(&done, Err(failure) if failure.exit == Exit::RolledBack)
    {
        session.face.text(NO_FAULT_PLANTED);
    }
    // A run that is not ended needs the file with which it began.
    if back && session.open_run()?.is_none() {
        name_release(&project, FIRST)?;
    }
    done.map(|(exit, _)| exit)
}

/// What is said where the demonstration goes back without having been asked for a fault.
const NO_FAULT_PLANTED: &str = "Nothing was made to go wrong on purpose. The demonstration's gates hold on a machine that \
     has processors to spare: on a busy one its services answer late, and that is what a gate sees. \
     Give it again when the machine is quieter.";

/// Returns the demonstration's folder: the present one when it is that, otherwise one inside it.
pub fn folder(machine: &Machine) -> PathBuf {
    folder_in(&machine.folder)
}

/// Finds the demonstration's project, where it is laid out.
///
/// # Errors
/// When it is not.
pub fn project(machine: &Machine) -> Result<Project, Failure> {
    let folder = folder(machine);
    Project::find(Some(&folder.join("deploy.yaml")), &folder)
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
    rewrite(&project.file, |text| naming(text, release))
}

/// Writes a file anew where its text is to be another.
fn rewrite(path: &Path, to: impl FnOnce(&str) -> String) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        let what = format!("{} cannot be written: {error}", path.display());
        Failure::refused(crate::codes::CANNOT_WRITE, what, "Make it writable.")
    };
    let text = std::fs::read_to_string(path).map_err(failed)?;
    let wanted = to(&text);
    if wanted == text {
        return Ok(());
    }
    let new = path.with_extension("yaml.new");
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let written = options.open(&new).and_then(|mut file| {
        file.write_all(wanted.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, path)
    });
    written.map_err(failed)
}

/// Returns the Compose file's text with the demonstration's images from that registry, from which they are pulled each
/// time: another version of this program pushes others under the same name. Without one they are where they are made.
fn images_from(text: &str, registry: Option<&str>) -> String {
    let pulled = "    pull_policy: always\n";
    let mut after_ours = false;
    let mut lines = Vec::new();
    for line in text.split_inclusive('\n') {
        let image = line.trim_end().strip_prefix("    image: ");
        let name = image.map(|image| image.rsplit('/').next().unwrap_or(image));
        let ours = name.filter(|name| name.starts_with("shop:${CODE_DEPLOY_RELEASE"));
        match (ours, registry) {
            (Some(name), Some(registry)) => {
                lines.push(format!("    image: {registry}/{name}\n{pulled}"));
            }
            (Some(name), None) => lines.push(format!("    image: {name}\n")),
            (None, _) if after_ours && line == pulled => {}
            (None, _) => lines.push(line.to_owned()),
        }
        after_ours = ours.is_some();
    }
    lines.concat()
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

/// Returns whether services run as containers there.
fn has_images(target: &str) -> bool {
    matches!(target, DOCKER | KUBERNETES)
}

/// Where services run as containers, both releases are images of this program.
async fn make_images(
    machine: &Machine,
    session: &Session,
    registry: Option<&str>,
    face: &dyn Face,
) -> Result<(), Failure> {
    if !has_images(&session.spec.target) {
        return Ok(());
    }
    let settings = settings(machine, &session.spec, &session.redactor);
    let target = DockerTarget::new(settings);
    let under = registry.map(|registry| format!("{registry}/"));
    let under = under.unwrap_or_default();
    let references = [FIRST, SECOND].map(|release| format!("{under}shop:{release}"));
    target.make_demonstration(&references).await?;
    if registry.is_some() {
        face.text(&format!("Pushing the images to {under}"));
        let progress = |line: &str| tracing::debug!(line, "pushing");
        target.push_demonstration(&references, &progress).await?;
        face.text(&format!("Pushed: {}.", references.join(", ")));
    }
    Ok(())
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

/// Begins a session of the demonstration in an environment and a target.
async fn begin(
    machine: &Machine,
    project: &Project,
    (environment, target): (&str, &str),
    face: &Arc<dyn Face>,
) -> Result<Session, Failure> {
    let face = Arc::clone(face);
    Session::begin(machine, project, environment, target, face, To::Change).await
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

    #[test]
    fn images_come_from_the_registry_that_is_named_last() {
        let shipped = code_deploy_shop::FILES.iter();
        let (_, text) = shipped
            .into_iter()
            .find(|(name, _)| *name == "compose.yaml")
            .unwrap();
        assert_eq!(images_from(text, None), *text);
        let one = images_from(text, Some("registry.example:5000/team"));
        let line = "    image: registry.example:5000/team/shop:${CODE_DEPLOY_RELEASE:-1.0.0}\n";
        assert_eq!(one.matches(line).count(), 3, "{one}");
        assert_eq!(one.matches("pull_policy: always").count(), 3, "{one}");
        let other = images_from(&one, Some("localhost:5001"));
        assert_eq!(other, images_from(text, Some("localhost:5001")));
        assert_eq!(images_from(&other, None), *text);
        let of_a_person = "    image: team/catalog:1\n    pull_policy: always\n";
        assert_eq!(images_from(of_a_person, None), of_a_person);
    }
}
