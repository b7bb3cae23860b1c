//! `doctor`: what this machine lacks, and what to do about it.

use std::path::Path;

use code_deploy_record::{Column, Report};

use crate::face::Face;
use crate::failure::{Exit, Failure};
use crate::machine::Machine;

struct Finding {
    what: &'static str,
    found: String,
    cure: String,
}

/// Looks at this machine and says what is missing for which command. Changes nothing.
pub async fn doctor(machine: &Machine, face: &dyn Face) -> Result<Exit, Failure> {
    let mut findings = vec![
        runtime(machine),
        tool(machine, "git", "source policy"),
        tool(machine, "cargo", "Rust cells"),
        tool(machine, "rustc", "Rust cells"),
        linker(machine),
        tool(machine, "jupyter", "notebooks"),
        process_handles(),
        engine(machine).await,
    ];
    findings.extend(kernels(machine));
    let missing = findings
        .iter()
        .filter(|finding| !finding.cure.is_empty())
        .count();
    let mut machines_look_on = false;
    for finding in &findings {
        let value = serde_json::json!({
            "what": finding.what, "found": finding.found, "cure": finding.cure,
        });
        machines_look_on = face.value("finding", &value);
    }
    if machines_look_on {
        return Ok(Exit::Done);
    }
    let rows = findings
        .into_iter()
        .map(|f| vec![f.what.to_owned(), f.found, f.cure]);
    let columns = vec![
        Column::text("What"),
        Column::text("Found"),
        Column::text("What to do"),
    ];
    face.report(
        "This machine",
        &Report::new().with_table("", columns, rows.collect()),
    );
    face.text(&match missing {
        0 => "Nothing is missing.".to_owned(),
        1 => "One thing is missing.".to_owned(),
        more => format!("{more} things are missing."),
    });
    Ok(Exit::Done)
}

fn runtime(machine: &Machine) -> Finding {
    let folder = &machine.runtime;
    let what = "Folder for sockets";
    let above = folder.parent().unwrap_or(Path::new("/"));
    let writable = nix::unistd::access(
        if folder.is_dir() {
            folder.as_path()
        } else {
            above
        },
        nix::unistd::AccessFlags::W_OK,
    );
    match writable {
        Ok(()) => Finding {
            what,
            found: folder.display().to_string(),
            cure: String::new(),
        },
        Err(error) => Finding {
            what,
            found: format!("{}: {error}", folder.display()),
            cure: "Set XDG_RUNTIME_DIR to a folder of yours.".to_owned(),
        },
    }
}

fn tool(machine: &Machine, name: &'static str, used_for: &str) -> Finding {
    let path = machine.variable("PATH").unwrap_or_default();
    let found = path
        .split(':')
        .map(|folder| Path::new(folder).join(name))
        .find(|p| p.is_file());
    match found {
        Some(path) => Finding {
            what: name,
            found: path.display().to_string(),
            cure: String::new(),
        },
        None => Finding {
            what: name,
            found: "not on the path".to_owned(),
            cure: format!("Install {name}; it is needed for {used_for} only."),
        },
    }
}

/// What cargo links with.
fn linker(machine: &Machine) -> Finding {
    let found = tool(machine, "cc", "Rust cells");
    if found.cure.is_empty() {
        return found;
    }
    let cure = "Install a C compiler (on Debian: gcc), with which cargo links; it is needed for Rust cells only.";
    Finding {
        cure: cure.to_owned(),
        ..found
    }
}

/// The Docker engine, for deployments to one.
async fn engine(machine: &Machine) -> Finding {
    let what = "Docker engine";
    let host = machine
        .variable("DOCKER_HOST")
        .filter(|host| !host.is_empty());
    match code_deploy_targets::docker::describe_engine(host).await {
        Ok(found) => Finding {
            what,
            found,
            cure: String::new(),
        },
        Err(error) => Finding {
            what,
            found: error.what,
            cure: format!("{} It is needed for docker-desktop only.", error.next),
        },
    }
}

/// Where Jupyter finds kernels of this program, and what keeps it from that.
fn kernels(machine: &Machine) -> Vec<Finding> {
    let what = "Jupyter kernel";
    let installed = crate::kernel_spec::installed(machine);
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
        findings.push(Finding { what, found, cure });
    }
    if findings.is_empty() {
        findings.push(Finding {
            what,
            found: "not installed where Jupyter looks".to_owned(),
            cure: "Run `code-deploy kernel install`; where it was installed under a prefix, \
                   set JUPYTER_PATH to PREFIX/share/jupyter."
                .to_owned(),
        });
    }
    let unused = crate::kernel_spec::unused(machine).into_iter();
    findings.extend(unused.map(|(found, cure)| Finding { what, found, cure }));
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
    let what = "Kernel of the system";
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim().to_owned();
    let mut numbers = release.split('.').map(|n| n.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= (5, 3) {
        return Finding {
            what,
            found: release,
            cure: String::new(),
        };
    }
    let cure = "The local target needs Linux 5.3 or later (process handles).".to_owned();
    Finding {
        what,
        found: release,
        cure,
    }
}
