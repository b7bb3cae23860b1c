use std::ffi::OsString;
use std::io::{BufReader, Read};
use std::process::{Command, Stdio};

use crate::error::Error;
use crate::read::read;

/// The kernel tells with these where the program is, and which project the notebook works on.
const PROGRAM: &str = "CODE_DEPLOY_PROGRAM";
const DEPLOYMENT_FILE: &str = "CODE_DEPLOY_FILE";
/// What the program may say of an error, in bytes.
const SAID_LIMIT: u64 = 64 * 1024;

/// A run as its record stood when it was read.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Run {
    /// Its name: `20261123T182916570Z-dev-local-4659`.
    pub id: String,
    /// The application.
    pub application: String,
    /// The environment: `dev`, `prod`.
    pub environment: String,
    /// Where to: `local`.
    pub target: String,
    /// The release before; nothing where none ran.
    pub from: Option<String>,
    /// The release that is deployed.
    pub to: String,
    /// How it ended: `succeeded`, `rolled back`, `refused`, `needs a person`; nothing while it goes on.
    pub outcome: Option<String>,
    /// When it began: Unix time in milliseconds.
    pub started: i64,
    /// What happened, in order.
    pub events: Vec<Event>,
    /// What was measured, one for each second, source, service and release.
    pub samples: Vec<Sample>,
}

/// A line of the journal.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Event {
    /// The position in the journal, from 0.
    pub seq: u64,
    /// Unix time in milliseconds.
    pub at: i64,
    /// What kind it is: `phase_started`, `gate_evaluated`, `traffic_shifted`.
    pub kind: String,
    /// The phase under way: `plan`, `build`, `release`; empty between phases.
    pub phase: String,
    /// What it says, in one line.
    pub text: String,
    /// The whole line of the journal, as JSON.
    pub json: String,
}

/// One second of one service's release, as one source saw it.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Sample {
    /// The beginning of the second: Unix time in milliseconds.
    pub at: i64,
    /// Who measured: `client` (outside), `router`, `probe`, `load`.
    pub source: String,
    /// The service.
    pub service: String,
    /// The release that answered; empty where none did.
    pub release: String,
    /// Requests.
    pub requests: u64,
    /// The failed ones of them.
    pub failed: u64,
    /// Half of the answers took no longer, in microseconds; 0 where there was none, here and below.
    pub p50_us: u64,
    /// 90 % of the answers took no longer, in microseconds.
    pub p90_us: u64,
    /// 99 % of the answers took no longer, in microseconds.
    pub p99_us: u64,
    /// The longest, in microseconds.
    pub max_us: u64,
}

/// Returns the last run of the notebook's project, as it stands now: also while it goes on.
///
/// # Errors
/// Where there is no run yet, its record is damaged, or the cell does not run in a notebook of `code-deploy`.
pub fn run() -> Result<Run, Error> {
    ask_program(None)
}

/// Returns the run of that name, which `%runs` lists.
///
/// # Errors
/// As [`run`], and where there is no such run.
pub fn run_named(id: &str) -> Result<Run, Error> {
    ask_program(Some(id))
}

fn ask_program(id: Option<&str>) -> Result<Run, Error> {
    let program = std::env::var_os(PROGRAM).ok_or(Error::NotInNotebook)?;
    let mut command = Command::new(&program);
    command.args(["internal", "run-data"]);
    if let Some(file) = std::env::var_os(DEPLOYMENT_FILE) {
        command.arg("--deployment-file").arg(file);
    }
    if let Some(id) = id {
        // In one word, so that no name is taken for an option.
        command.arg(format!("--run={id}"));
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let not_started = |error: std::io::Error| Error::NotStarted {
        program: OsString::from(&program).to_string_lossy().into_owned(),
        reason: error.to_string(),
    };
    let mut child = command.spawn().map_err(not_started)?;
    let errors = child.stderr.take();
    let said = std::thread::spawn(move || errors.map(said).unwrap_or_default());
    let out = child.stdout.take();
    let run = out.map_or_else(|| Ok(Run::default()), |out| read(BufReader::new(out)));
    let status = child.wait().map_err(not_started)?;
    let said = said.join().unwrap_or_default();
    match status.success() {
        true => run,
        false if said.trim().is_empty() => Err(Error::Refused {
            said: format!("`code-deploy internal run-data` ended: {status}"),
        }),
        false => Err(Error::Refused { said }),
    }
}

/// Reads all, and keeps what a person would read of it.
fn said(mut errors: impl Read) -> String {
    let mut kept = Vec::new();
    let _ = errors.by_ref().take(SAID_LIMIT).read_to_end(&mut kept);
    let _ = std::io::copy(&mut errors, &mut std::io::sink());
    String::from_utf8_lossy(&kept).into_owned()
}
