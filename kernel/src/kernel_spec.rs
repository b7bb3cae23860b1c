//! `kernel`: where Jupyter finds this program.

use std::path::PathBuf;

use code_deploy_jupyter::kernelspec::{self, InstallTo, KernelspecConfig};
use code_deploy_record::{Column, Report};

use crate::commands::{KernelAction, KernelPlace};
use crate::face::Face;
use crate::failure::{Exit, Failure};
use crate::machine::Machine;

/// The word that begins the command line of a kernel of this program.
const LAUNCH: [&str; 2] = ["kernel", "launch"];

/// Installs the kernel, removes it, or shows where it is.
///
/// # Errors
/// When the place cannot be told or written; what was there is unchanged then.
pub async fn carry_out(
    machine: &Machine,
    action: KernelAction,
    face: &dyn Face,
) -> Result<Exit, Failure> {
    let environment = machine.jupyter_environment();
    match action {
        KernelAction::Install(place) => {
            let config = config(machine, &place);
            let folder = kernelspec::install(&config, &to(&place), &environment).await;
            let folder = folder.map_err(|error| failed(&error))?;
            face.text(&format!(
                "Installed in {}. Jupyter offers it as {}.",
                folder.display(),
                config.display_name
            ));
        }
        KernelAction::Uninstall(place) => {
            let folder = kernelspec::uninstall(&place.name, &to(&place), &environment).await;
            face.text(&format!(
                "Removed {}.",
                folder.map_err(|error| failed(&error))?.display()
            ));
        }
        KernelAction::List => {
            let found = installed(machine).into_iter();
            let rows: Vec<_> = found
                .map(|(folder, program)| vec![folder.display().to_string(), program])
                .collect();
            let columns = vec![Column::text("Folder"), Column::text("Program")];
            face.report(
                "Kernels of this program",
                &Report::new().with_table("", columns, rows),
            );
        }
        KernelAction::Launch { .. } => {}
    }
    Ok(Exit::Done)
}

fn config(machine: &Machine, place: &KernelPlace) -> KernelspecConfig {
    let program = machine.program.to_string_lossy().into_owned();
    let mut argv = vec![program];
    argv.extend(LAUNCH.map(str::to_owned));
    argv.push("{connection_file}".to_owned());
    let display_name = match place.name.as_str() {
        "code-deploy" => "code-deploy".to_owned(),
        other => format!("code-deploy ({other})"),
    };
    KernelspecConfig {
        name: place.name.clone(),
        display_name,
        argv,
        language: "rust".to_owned(),
    }
}

fn to(place: &KernelPlace) -> InstallTo {
    match (&place.prefix, place.sys_prefix) {
        (Some(prefix), _) => InstallTo::Prefix(prefix.clone()),
        (None, true) => InstallTo::SysPrefix,
        (None, false) => InstallTo::User,
    }
}

/// Returns the folders where kernels of this program are installed, with the programs they run.
pub fn installed(machine: &Machine) -> Vec<(PathBuf, String)> {
    let found = kernelspec::list(&machine.jupyter_environment()).into_iter();
    let ours = found.filter(|kernel| kernel.argv.iter().skip(1).take(2).eq(LAUNCH.iter()));
    ours.map(|kernel| {
        (
            kernel.folder,
            kernel.argv.into_iter().next().unwrap_or_default(),
        )
    })
    .collect()
}

fn failed(error: &code_deploy_jupyter::Error) -> Failure {
    let what = code_deploy_engine::error::with_sources(error);
    Failure::refused(
        "CD0802",
        what,
        "Choose another place: --user, --prefix FOLDER, --sys-prefix.",
    )
}
