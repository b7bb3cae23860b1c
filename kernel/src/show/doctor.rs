//! `doctor`: what this machine lacks, and what to do about it.

use std::path::Path;

use code_deploy_record::{Column, Report};

use crate::commands::DoctorPart;
use crate::face::Face;
use crate::failure::{Exit, Failure};
use crate::machine::Machine;
use crate::project::lookup;

/// What needs a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NeededFor {
    /// Every deployment, whatever it deploys to.
    Deployments,
    /// A part that not everybody uses.
    Part(DoctorPart),
    /// What goes on without it, with less to show.
    Other,
}

impl NeededFor {
    /// Returns the word that machines read; that of a part is how it is asked about.
    fn word(self) -> &'static str {
        match self {
            Self::Deployments => "deployments",
            Self::Part(DoctorPart::Kernel) => "kernel",
            Self::Part(DoctorPart::Rust) => "rust",
            Self::Part(DoctorPart::Docker) => "docker",
            Self::Other => "other",
        }
    }
}

#[derive(Debug)]
struct Finding {
    what: &'static str,
    found: String,
    cure: String,
    needed_for: NeededFor,
    /// Whether what needs it does not work.
    is_missing: bool,
}

impl Finding {
    fn there(what: &'static str, found: String, needed_for: NeededFor) -> Self {
        Self {
            what,
            found,
            cure: String::new(),
            needed_for,
            is_missing: false,
        }
    }

    fn missing(self, cure: String) -> Self {
        Self {
            cure,
            is_missing: true,
            ..self
        }
    }

    fn as_value(&self) -> serde_json::Value {
        serde_json::json!({
            "what": self.what, "found": self.found, "cure": self.cure,
            "needed_for": self.needed_for.word(), "missing": self.is_missing,
        })
    }
}

/// Looks at this machine, or at one part of what may be used of it, and says what is missing for what. Changes nothing.
///
/// # Errors
/// `CD0004` where something is missing that the part needs; without a part, that every deployment needs. What only some
/// deployments need is told, and is no error.
pub async fn doctor(
    machine: &Machine,
    part: Option<DoctorPart>,
    face: &dyn Face,
) -> Result<Exit, Failure> {
    let findings = findings(machine, part).await;
    show(&findings, face);
    verdict(&findings, part)
}

async fn findings(machine: &Machine, part: Option<DoctorPart>) -> Vec<Finding> {
    let asked = |one: DoctorPart| part.is_none_or(|part| part == one);
    let mut findings = Vec::new();
    if part.is_none() {
        let git = tool(machine, "git", "source policy", NeededFor::Other);
        let jupyter = tool(machine, "jupyter", "notebooks", NeededFor::Other);
        findings.extend([runtime(machine), process_handles(), git, jupyter]);
    }
    if asked(DoctorPart::Rust) {
        let rust = |name| tool(machine, name, RUST_CELLS, OF_RUST);
        findings.extend([rust("cargo"), rust("rustc"), linker(machine)]);
    }
    if asked(DoctorPart::Docker) {
        findings.push(engine(machine).await);
    }
    if asked(DoctorPart::Kernel) {
        findings.extend(kernels(machine));
    }
    findings
}

fn show(findings: &[Finding], face: &dyn Face) {
    let mut machines_look_on = false;
    for finding in findings {
        machines_look_on = face.value("finding", &finding.as_value());
    }
    if machines_look_on {
        return;
    }
    let cells = |f: &Finding| vec![f.what.to_owned(), f.found.clone(), f.cure.clone()];
    let rows = findings.iter().map(cells).collect();
    let columns = vec![
        Column::text("What"),
        Column::text("Found"),
        Column::text("What to do"),
    ];
    let report = Report::new().with_table("", columns, rows);
    face.report("This machine", &report);
    let cured = findings.iter().filter(|finding| !finding.cure.is_empty());
    face.text(&match cured.count() {
        0 => "Nothing is missing.".to_owned(),
        1 => "One thing is to be done, for what its line says.".to_owned(),
        more => format!("{more} things are to be done, each for what its line says."),
    });
}

/// Judges what was found by what was asked about.
fn verdict(findings: &[Finding], part: Option<DoctorPart>) -> Result<Exit, Failure> {
    let asked = part.map_or(NeededFor::Deployments, NeededFor::Part);
    let missing = findings
        .iter()
        .filter(|finding| finding.is_missing && finding.needed_for == asked)
        .map(|finding| format!("{} ({})", finding.what, finding.found));
    let missing: Vec<_> = missing.collect();
    if missing.is_empty() {
        return Ok(Exit::Done);
    }
    let whom = match part {
        None => "every deployment needs",
        Some(DoctorPart::Kernel) => "Jupyter needs to offer the kernel",
        Some(DoctorPart::Rust) => "Rust cells need",
        Some(DoctorPart::Docker) => "docker-desktop needs",
    };
    let what = format!("something is missing that {whom}: {}", missing.join("; "));
    let next = "Do what is said beside it, then give the command again.";
    Err(Failure::refused("CD0004", what, next))
}

const RUST_CELLS: &str = "Rust cells";
const OF_RUST: NeededFor = NeededFor::Part(DoctorPart::Rust);

fn runtime(machine: &Machine) -> Finding {
    let folder = &machine.runtime;
    let above = folder.parent().unwrap_or(Path::new("/"));
    let writable = nix::unistd::access(
        if folder.is_dir() {
            folder.as_path()
        } else {
            above
        },
        nix::unistd::AccessFlags::W_OK,
    );
    let shown = folder.display();
    let of_folder =
        |found: String| Finding::there("Folder for sockets", found, NeededFor::Deployments);
    match writable {
        Ok(()) => of_folder(shown.to_string()),
        Err(error) => of_folder(format!("{shown}: {error}"))
            .missing("Set XDG_RUNTIME_DIR to a folder of yours.".to_owned()),
    }
}

fn tool(machine: &Machine, name: &'static str, used_for: &str, needed_for: NeededFor) -> Finding {
    let path = machine.variable("PATH").unwrap_or_default();
    let found = path
        .split(':')
        .map(|folder| Path::new(folder).join(name))
        .find(|p| p.is_file());
    match found {
        Some(path) => Finding::there(name, path.display().to_string(), needed_for),
        None => Finding::there(name, "not on the path".to_owned(), needed_for)
            .missing(format!("Install {name}; it is needed for {used_for} only.")),
    }
}

/// What cargo links with.
fn linker(machine: &Machine) -> Finding {
    let found = tool(machine, "cc", RUST_CELLS, OF_RUST);
    if !found.is_missing {
        return found;
    }
    let cure = "Install a C compiler (on Debian: gcc), with which cargo links; it is needed for Rust cells only.";
    found.missing(cure.to_owned())
}

/// The Docker engine, for deployments to one.
async fn engine(machine: &Machine) -> Finding {
    let of_engine =
        |found: String| Finding::there("Docker engine", found, NeededFor::Part(DoctorPart::Docker));
    match code_deploy_targets::docker::describe_engine(lookup(machine)).await {
        Ok(found) => of_engine(found),
        Err(error) => of_engine(error.what).missing(format!(
            "{} It is needed for docker-desktop only.",
            error.next
        )),
    }
}

/// Where Jupyter finds kernels of this program, and what keeps it from that. Nothing is missing as long as one of them
/// can be started.
fn kernels(machine: &Machine) -> Vec<Finding> {
    let installed = crate::kernel_spec::installed(machine);
    let is_offered = installed
        .iter()
        .any(|(_, program)| broken(Path::new(program)).is_none());
    let finding = |found: String, cure: String| Finding {
        what: "Jupyter kernel",
        found,
        is_missing: !cure.is_empty() && !is_offered,
        cure,
        needed_for: NeededFor::Part(DoctorPart::Kernel),
    };
    let runs_this = |program: &String| Path::new(program) == machine.program;
    let side_by_side = installed.iter().any(|(_, program)| runs_this(program));
    let mut findings = Vec::new();
    for (folder, program) in &installed {
        let found = format!("{} runs {program}", folder.display());
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let install = match &*name {
            "code-deploy" => "`code-deploy kernel install`".to_owned(),
            name => format!("`code-deploy kernel install --name {name}`"),
        };
        let cure = match broken(Path::new(program)) {
            Some(Broken::Gone) => format!("That program is gone; run {install}."),
            Some(Broken::NotExecutable) => {
                "That program may not be executed; mend its permissions.".to_owned()
            }
            None if side_by_side => String::new(),
            None => format!("It runs another program than this one; {install} changes that."),
        };
        findings.push(finding(found, cure));
    }
    if findings.is_empty() {
        let cure = "Run `code-deploy kernel install`; where it was installed under a prefix, \
                    set JUPYTER_PATH to PREFIX/share/jupyter.";
        let found = "not installed where Jupyter looks";
        findings.push(finding(found.to_owned(), cure.to_owned()));
    }
    let unused = crate::kernel_spec::unused(machine).into_iter();
    findings.extend(unused.map(|(found, cure)| finding(found, cure)));
    findings
}

/// Why a program cannot be started.
enum Broken {
    Gone,
    NotExecutable,
}

fn broken(program: &Path) -> Option<Broken> {
    if !program.is_file() {
        return Some(Broken::Gone);
    }
    let may = nix::unistd::access(program, nix::unistd::AccessFlags::X_OK);
    may.is_err().then_some(Broken::NotExecutable)
}

fn process_handles() -> Finding {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim().to_owned();
    let mut numbers = release.split('.').map(|n| n.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let found = Finding::there("Kernel of the system", release, NeededFor::Deployments);
    if version >= (5, 3) {
        return found;
    }
    found.missing("Linux 5.3 or later is needed (process handles).".to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn machines_read_the_names_by_which_a_part_is_asked_about() {
        for part in DoctorPart::value_variants() {
            let name = part.to_possible_value().unwrap();
            assert_eq!(NeededFor::Part(*part).word(), name.get_name());
        }
    }

    #[test]
    fn only_what_was_asked_about_decides_how_it_ends() {
        let engine = NeededFor::Part(DoctorPart::Docker);
        let engine = Finding::there("Docker engine", "no answer".to_owned(), engine);
        let folder = Finding::there(
            "Folder for sockets",
            "/run".to_owned(),
            NeededFor::Deployments,
        );
        let found = [folder, engine.missing("Start it.".to_owned())];
        assert_eq!(verdict(&found, None).unwrap(), Exit::Done);
        assert_eq!(verdict(&found, Some(DoctorPart::Rust)).unwrap(), Exit::Done);
        let failure = verdict(&found, Some(DoctorPart::Docker)).unwrap_err();
        assert_eq!(failure.exit, Exit::Refused);
        let what = "something is missing that docker-desktop needs: Docker engine (no answer)";
        assert_eq!(failure.problem.what, what);

        let value = found[1].as_value();
        assert_eq!(value["needed_for"], "docker");
        assert_eq!(value["missing"], true);
        assert_eq!(found[0].as_value()["missing"], false);

        let [folder, _] = found;
        let found = [folder.missing("Set it.".to_owned())];
        assert_eq!(verdict(&found, None).unwrap_err().exit, Exit::Refused);
    }
}
