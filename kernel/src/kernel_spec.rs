//! `kernel`: where Jupyter finds this program.

use std::path::{Path, PathBuf};

use code_deploy_jupyter::kernelspec::{self, InstallTo, Installed, KernelspecConfig, Unused};
use code_deploy_record::{Column, Report};

use crate::commands::{KernelAction, KernelInstall, KernelPlace};
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
        KernelAction::Install(wanted) => {
            let config = config(machine, &wanted);
            let folder = kernelspec::install(&config, &to(&wanted.place), &environment).await;
            let folder = folder.map_err(|error| failed(&error))?;
            face.text(&outcome(machine, &config, &folder));
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

/// Says where the kernel is, and what is still to be done before Jupyter offers it.
fn outcome(machine: &Machine, config: &KernelspecConfig, folder: &Path) -> String {
    let environment = machine.jupyter_environment();
    let found = kernelspec::list(&environment);
    let used = found.iter().find(|spec| spec.name == config.name);
    let installed = format!("Installed in {}.", folder.display());
    match used {
        Some(used) if used.folder == folder => {
            format!("{installed} Jupyter offers it as {}.", config.display_name)
        }
        Some(other) => format!(
            "{installed} Jupyter still uses the one of the same name in {}, which it finds first: \
             remove that one, or choose another --name.",
            other.folder.display()
        ),
        None => {
            let data = folder.ancestors().nth(2).unwrap_or(folder);
            format!(
                "{installed} Jupyter does not look there as it is called now: set JUPYTER_PATH={} \
                 where Jupyter is started.",
                data.display()
            )
        }
    }
}

fn config(machine: &Machine, wanted: &KernelInstall) -> KernelspecConfig {
    let program = machine.program.to_string_lossy().into_owned();
    let mut argv = vec![program];
    argv.extend(LAUNCH.map(str::to_owned));
    argv.push("{connection_file}".to_owned());
    let name = &wanted.place.name;
    let display_name = wanted.display_name.clone();
    let display_name = display_name.unwrap_or_else(|| match name.as_str() {
        "code-deploy" => "code-deploy".to_owned(),
        other => format!("code-deploy ({other})"),
    });
    KernelspecConfig {
        name: name.clone(),
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
    let ours = found.filter(is_ours);
    ours.map(|kernel| {
        (
            kernel.folder,
            kernel.argv.into_iter().next().unwrap_or_default(),
        )
    })
    .collect()
}

/// Returns the kernels of this program that lie where Jupyter looks and are not used: where each
/// is and why, and what to do. One that cannot be read is known by its name alone.
pub fn unused(machine: &Machine) -> Vec<(String, String)> {
    let found = kernelspec::unused(&machine.jupyter_environment()).into_iter();
    let told = found.filter_map(|unused| match unused {
        Unused::Hidden { spec, by } if is_ours(&spec) => {
            let what = format!("{} is hidden by {}", spec.folder.display(), by.display());
            let cure = "Jupyter uses the first of a name; remove one of the two folders.";
            Some((what, cure.to_owned()))
        }
        Unused::Unreadable { folder, reason } if is_named_as_ours(&folder) => {
            let what = format!("{} is skipped by Jupyter: {reason}", folder.display());
            Some((what, anew(&folder)))
        }
        _ => None,
    });
    told.collect()
}

/// Returns what mends a kernel's folder that cannot be read.
fn anew(folder: &Path) -> String {
    let name = folder.file_name().and_then(|name| name.to_str());
    let install = match name {
        Some(name) if name != "kernels" && name != "code-deploy" => {
            format!("code-deploy kernel install --name {name}")
        }
        _ => "code-deploy kernel install".to_owned(),
    };
    format!("Mend its permissions, or remove it and run `{install}`.")
}

fn is_ours(kernel: &Installed) -> bool {
    kernel.argv.iter().skip(1).take(2).eq(LAUNCH.iter())
}

fn is_named_as_ours(folder: &Path) -> bool {
    let name = folder.file_name().and_then(|name| name.to_str());
    // Where no kernel can be listed, ours cannot.
    name.is_some_and(|name| name == "kernels" || name.contains("code-deploy"))
}

fn failed(error: &code_deploy_jupyter::Error) -> Failure {
    let what = code_deploy_engine::error::with_sources(error);
    let next = match error {
        code_deploy_jupyter::Error::KernelspecName { .. } => "Choose another `--name`.",
        code_deploy_jupyter::Error::KernelspecMissing { .. } => {
            "`code-deploy kernel list` shows where it is installed, and under which names."
        }
        _ => {
            "Check who owns that folder, or choose another place: --user, --prefix FOLDER, --sys-prefix."
        }
    };
    Failure::refused("CD0802", what, next)
}
