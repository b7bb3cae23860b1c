//! Bringing up what the other stages need.

use crate::args::Selection;
use crate::cache::{Cache, Hold};
use crate::debian::{self, CHROMIUM, Need};
use crate::docker;
use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::kubernetes::{self, Cluster};
use crate::part::Part;
use crate::program::Program;
use crate::stage::Stage;
use crate::tools::{DENY, NEXTEST};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

/// Where everything is that was brought up.
#[derive(Debug, Default)]
pub struct Setup {
    /// cargo-deny.
    pub deny: Option<PathBuf>,
    /// cargo-nextest.
    pub nextest: Option<PathBuf>,
    /// The parts that the tests are promised.
    pub parts: Vec<(Part, PathBuf)>,
    /// The parts that could not be had, and why.
    pub lacking: Vec<(Part, String)>,
    /// The Docker engine.
    pub docker: Option<docker::Engine>,
    /// The Kubernetes cluster.
    pub kubernetes: Option<kubernetes::Cluster>,
}

impl Setup {
    /// Returns what tests are told about the parts: of each variable its value, and none for a part that is not there.
    pub fn variables(&self) -> Vec<(&'static str, Option<OsString>)> {
        let place = |part: Part| self.parts.iter().find(|(up, _)| *up == part);
        let parts = Part::ALL.into_iter().map(|part| {
            let place = place(part).map(|(_, place)| place.clone().into_os_string());
            (part.variable(), place)
        });
        let told = match self.kubernetes.as_ref().map(Cluster::told) {
            Some(told) => told.map(Some),
            None => [const { None }; 4],
        };
        let more = kubernetes::VARIABLES.into_iter().zip(told);
        parts.chain(more).collect()
    }

    /// Returns the variables as a person sets them in a shell.
    pub fn told_by_hand(&self) -> String {
        let set = self
            .variables()
            .into_iter()
            .filter_map(|(variable, value)| {
                Some(format!("export {variable}='{}'\n", value?.display()))
            });
        format!(
            "\n{}-- up until you interrupt (Ctrl-C)\n",
            set.collect::<String>()
        )
    }

    /// Lends to tests what only runs while one has it, until it is interrupted.
    ///
    /// # Errors
    /// If it cannot be lent, or does not end.
    pub async fn lend(&self, until: &Interrupt) -> Result<(), Error> {
        match &self.kubernetes {
            Some(cluster) => cluster.lend(until).await,
            None => {
                until.wait().await;
                Ok(())
            }
        }
    }

    /// Takes down what was brought up for this verification alone.
    ///
    /// # Errors
    /// What does not go.
    pub async fn tear_down(&self) -> Result<(), Error> {
        let cluster = match &self.kubernetes {
            Some(cluster) => cluster.tear_down().await,
            None => Ok(()),
        };
        let engine = match &self.docker {
            Some(engine) => engine.tear_down().await,
            None => Ok(()),
        };
        cluster.and(engine)
    }
}

/// Brings up what the selected stages need, or everything if only this was asked for. What is up already when
/// something else cannot be had stands in `setup` too: it has to be taken down. A part that cannot be had is no
/// error: it stands among those that are lacking, and what does not need it goes on.
///
/// # Errors
/// What could not be brought up that everything needs, and what a person can do about it.
pub async fn bring_up(
    selection: &Selection,
    setup: &mut Setup,
    interrupt: &Interrupt,
) -> Result<(), Error> {
    let stages = selection.stages();
    let all = selection.only == [Stage::Setup];
    let wanted = |stage| all || stages.contains(&stage);
    let parts = if wanted(Stage::Tests) {
        selection.parts()
    } else {
        Vec::new()
    };

    let cache = Cache::from_variables(|name| std::env::var_os(name))?;
    let hold = Arc::new(cache.hold().await?);
    check_toolchain(&stages, interrupt).await?;
    let basics = basics(
        wanted(Stage::Clippy) || wanted(Stage::Build),
        wanted(Stage::Tests),
    );
    let of_parts = parts.iter().filter_map(|part| need_of(*part, selection));
    let needs: Vec<Need> = basics.iter().copied().chain(of_parts).collect();
    match debian::ensure(&needs, interrupt).await {
        Err(error @ Error::Interrupted { .. }) => return Err(error),
        // What is missing then is told where it is wanted.
        Err(error) => crate::report::note(&error.chain()),
        Ok(()) => {}
    }
    for need in basics {
        debian::check(need, interrupt).await?;
    }

    if wanted(Stage::Deny) {
        setup.deny = Some(DENY.ensure(&cache, interrupt).await?);
    }
    if wanted(Stage::Tests) {
        setup.nextest = Some(NEXTEST.ensure(&cache, interrupt).await?);
    }
    for part in parts {
        match bring_part(part, selection, setup, (&cache, &hold), interrupt).await {
            Ok(place) => {
                crate::report::note(&format!("{}: {}", part.name(), place.display()));
                setup.parts.push((part, place));
            }
            Err(error @ Error::Interrupted { .. }) => return Err(error),
            Err(error) => {
                let why = error.chain();
                crate::report::note(&format!("{} cannot be had: {why}", part.name()));
                setup.lacking.push((part, why));
            }
        }
    }
    Ok(())
}

/// Brings up a part; returns where it is.
async fn bring_part(
    part: Part,
    selection: &Selection,
    setup: &mut Setup,
    (cache, hold): (&Cache, &Arc<Hold>),
    interrupt: &Interrupt,
) -> Result<PathBuf, Error> {
    if let Some(need) = need_of(part, selection) {
        debian::check(need, interrupt).await?;
    }
    match part {
        Part::Python => crate::python::ensure(cache, interrupt).await,
        Part::Chromium => Ok(PathBuf::from(CHROMIUM)),
        Part::Mounts => of_root("mount", Part::Mounts, "some tests mount small disks"),
        Part::Engine => of_root(debian::ENGINE, Part::Engine, "some tests start an engine"),
        Part::Postgres => debian::initdb().ok_or_else(|| Error::Machine {
            missing: "PostgreSQL's `initdb` is not where Debian puts it.".into(),
            remedy: "Install the package `postgresql`, or leave the tests out with \
                     `--without postgres`."
                .into(),
        }),
        Part::Registry => debian::find(debian::REGISTRY).ok_or_else(|| Error::Machine {
            missing: "the registry of images is not on the search path.".into(),
            remedy: "Install the package `docker-registry`, or leave the tests out with \
                     `--without registry`."
                .into(),
        }),
        Part::Docker => {
            let engine = docker::ensure(cache, hold, interrupt).await?;
            let address = PathBuf::from(&engine.address);
            setup.docker = Some(engine);
            Ok(address)
        }
        Part::Kubernetes => {
            let context = selection.kubernetes_context.as_deref();
            let cluster = kubernetes::ensure(cache, context, interrupt).await?;
            let kubeconfig = cluster.kubeconfig();
            setup.kubernetes = Some(cluster);
            Ok(kubeconfig)
        }
    }
}

/// Returns what the system has to bring whatever the parts are.
fn basics(compiles: bool, tests: bool) -> Vec<Need> {
    let compiler = compiles.then_some(Need::CCompiler);
    let signatures = tests.then_some(Need::Signatures);
    compiler.into_iter().chain(signatures).collect()
}

/// Returns what the system has to bring for a part; nothing for a cluster that the user has, which is only asked.
fn need_of(part: Part, selection: &Selection) -> Option<Need> {
    Some(match part {
        Part::Python => Need::Python,
        Part::Chromium => Need::Chromium,
        Part::Mounts => Need::Disks,
        Part::Docker => Need::Docker,
        Part::Kubernetes if selection.kubernetes_context.is_some() => return None,
        Part::Kubernetes => Need::Kubernetes,
        Part::Postgres => Need::Postgres,
        Part::Registry => Need::Registry,
        Part::Engine => Need::Engine,
    })
}

/// Returns a program that only root may use, where this user is; `why` says who uses it.
fn of_root(program: &str, part: Part, why: &str) -> Result<PathBuf, Error> {
    let found = debian::find(program).filter(|_| nix::unistd::Uid::effective().is_root());
    found.ok_or_else(|| Error::Machine {
        missing: format!("{why}, and only root can."),
        remedy: format!(
            "Run `cargo verify` as root, or leave these tests out with `--without {}`.",
            part.name()
        ),
    })
}

async fn check_toolchain(stages: &[Stage], interrupt: &Interrupt) -> Result<(), Error> {
    for (stage, word) in [(Stage::Fmt, "fmt"), (Stage::Clippy, "clippy")] {
        if !stages.contains(&stage) {
            continue;
        }
        match Program::new("cargo", 1)
            .args([word, "--version"])
            .read(interrupt)
            .await
        {
            Err(Error::Command { .. }) => {
                let component = if word == "fmt" { "rustfmt" } else { word };
                return Err(Error::Machine {
                    missing: format!("the Rust toolchain has no `cargo {word}`."),
                    remedy: format!("Install it: rustup component add {component}"),
                });
            }
            other => other.map(drop)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_parts_and_compiling_nothing_is_needed_of_the_system() {
        assert_eq!(basics(false, false), []);
        assert_eq!(basics(true, true), [Need::CCompiler, Need::Signatures]);
        let own = Selection::default();
        assert_eq!(need_of(Part::Kubernetes, &own), Some(Need::Kubernetes));
        let theirs = Selection {
            kubernetes_context: Some("kind-test".into()),
            ..Selection::default()
        };
        assert_eq!(need_of(Part::Kubernetes, &theirs), None);
    }
}
