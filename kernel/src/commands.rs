//! The table of commands. The command line, the cell magics, help and completion are all made from it.

mod processes;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum, ValueHint};
use serde::{Deserialize, Serialize};

pub use processes::{
    InternalArgs, InternalProcess, KernelAction, KernelArgs, KernelInstall, KernelPlace,
};

/// Runs a deployment as a record that can be trusted: cell by cell in JupyterLab, or headless.
///
/// `code-deploy ENVIRONMENT TARGET` carries out all nine phases and writes the notebooks. Each
/// phase is a command of its own, too. What works on runs is a cell magic of the same name, as well.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "code-deploy",
    version,
    override_usage = "code-deploy [OPTIONS] ENVIRONMENT TARGET\n       code-deploy [OPTIONS] COMMAND",
    arg_required_else_help = true,
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub struct CommandLine {
    #[command(flatten)]
    pub global: GlobalArgs,
    #[command(flatten)]
    pub run: RunArgs,
    #[command(subcommand)]
    pub command: Option<Command>,
}

impl CommandLine {
    /// Reads a command line, its first word being the program's name. Options of every command may
    /// stand before and behind its word.
    ///
    /// # Errors
    /// When it does not fit the table, or asks for help.
    pub fn read(words: impl IntoIterator<Item = impl Into<OsString>>) -> Result<Self, clap::Error> {
        let words = words.into_iter().map(Into::into);
        let line = Self::try_parse_from(words)?;
        if line.command.is_some() && line.run != RunArgs::default() {
            let what = "what belongs to a whole run (ENVIRONMENT TARGET and its options) cannot \
                        stand before a command";
            return Err(Self::command().error(ErrorKind::ArgumentConflict, what));
        }
        Ok(line)
    }
}

/// Options that every command takes.
#[derive(Debug, Clone, Default, Args, Serialize, Deserialize)]
pub struct GlobalArgs {
    /// Deployment file; searched for from this folder upwards when not given
    #[arg(short = 'f', long, global = true, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub file: Option<PathBuf>,
    /// Print JSON lines instead of text
    #[arg(long, global = true)]
    pub json: bool,
    /// Environment, for commands that stand alone [default: that of the last run]
    #[arg(short, long, global = true, value_name = "NAME", id = "in_environment")]
    pub environment: Option<String>,
    /// Target, for commands that stand alone [default: that of the last run]
    #[arg(short, long, global = true, value_name = "NAME", id = "on_target")]
    pub target: Option<String>,
}

/// A whole run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args, Serialize, Deserialize)]
pub struct RunArgs {
    /// Environment of the deployment file: dev, test, staging, prod or another
    #[arg(value_name = "ENVIRONMENT")]
    pub environment: Option<String>,
    /// Where to: local, docker-desktop or k8s
    #[arg(value_name = "TARGET")]
    pub target: Option<String>,
    /// Release to deploy [default: `release` of the deployment file]
    #[arg(long, value_name = "RELEASE")]
    pub to: Option<String>,
    /// Folder for the notebooks [default: deployments/RUN beside the deployment file]
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub out: Option<PathBuf>,
    /// Deploy the built-in demonstration system: release 1.0.0, then 1.1.0
    #[arg(long)]
    pub demo: bool,
    /// Make the demonstration's release 1.1.0 faulty, to see it rolled back
    #[arg(long, value_name = "FAULT", requires = "demo")]
    pub demo_fault: Option<DemoFault>,
    /// Registry to which the demonstration's images are pushed, HOST[:PORT][/PATH]; for a cluster
    /// whose nodes do not take their images from the engine of DOCKER_HOST
    #[arg(long, value_name = "REGISTRY", requires = "demo", value_parser = registry)]
    pub registry: Option<String>,
    /// Stop what was deployed to this environment and target
    #[arg(long)]
    pub stop: bool,
    /// Say go to every approval of this run in your name
    #[arg(long)]
    pub yes: bool,
    /// Run that the notebook shows: once it has ended, cells show what it gave and deploy nothing
    /// (cells only)
    #[arg(long, value_name = "RUN", conflicts_with_all = ["demo", "stop"])]
    pub run: Option<String>,
}

/// Reads the place of a registry. A first word without dot and port would be a user of Docker's own registry.
fn registry(text: &str) -> Result<String, String> {
    let small = |one: char| one.is_ascii_lowercase() || one.is_ascii_digit();
    let is_name = |part: &str, more: &str| {
        let fits = |one: char| small(one) || more.contains(one);
        part.starts_with(small) && part.ends_with(small) && part.chars().all(fits)
    };
    let (place, path) = text.split_once('/').unwrap_or((text, "x"));
    let (host, port) = place.split_once(':').unwrap_or((place, ""));
    let has_port = place.contains(':');
    let is_host = is_name(host, ".-") && (has_port || host.contains('.') || host == "localhost");
    let is_port = !has_port || port.parse::<u16>().is_ok();
    if is_host && is_port && path.split('/').all(|part| is_name(part, "._-")) {
        return Ok(text.to_owned());
    }
    Err("write HOST[:PORT][/PATH] in small letters, such as registry.example:5000/team".to_owned())
}

/// What goes wrong with the demonstration's release 1.1.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum DemoFault {
    /// A share of requests answers 500
    Errors,
    /// Some requests take long
    Slow,
    /// Requests take longer and longer
    Leak,
    /// The process ends after some requests
    Crash,
    /// It never becomes ready
    Unready,
    /// One endpoint is broken
    Partial,
}

impl DemoFault {
    /// Returns the word by which the demonstration system knows it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Errors => "errors",
            Self::Slow => "slow",
            Self::Leak => "leak",
            Self::Crash => "crash",
            Self::Unready => "unready",
            Self::Partial => "partial",
        }
    }
}

/// The commands. Each is a cell magic of the same name.
#[derive(Debug, Clone, Subcommand, Serialize, Deserialize)]
pub enum Command {
    /// Open or join the run of this folder (cells only; in a terminal leave the word out)
    #[command(name = "code-deploy", hide = true)]
    Open(RunArgs),
    /// Begin a run, and map applications, infrastructure and network (phase 1)
    Inventory(VerbArgs),
    /// Show plan, risks and rollback; changes nothing (phase 1)
    Plan(PlanArgs),
    /// Check health, resources, dependencies, source policy and security: go or no-go (phase 2)
    Preflight(VerbArgs),
    /// Source, artifacts, scans, quality (phase 3)
    Build(VerbArgs),
    /// Compute, storage, network, balancing, hardening, connectivity (phase 4)
    Provision(VerbArgs),
    /// Backup, restore test, migrations, validation of data (phase 5)
    Migrate(VerbArgs),
    /// Start the new release, check it and move traffic to it (phase 6)
    Release(VerbArgs),
    /// Metrics, dashboards, alerts, logs, traces and their coverage (phase 7)
    Observe(VerbArgs),
    /// Journeys, contracts, load, objectives, security (phase 8)
    Validate(VerbArgs),
    /// Runbooks, contacts, escalation, known issues; ends the run (phase 9)
    Handover(VerbArgs),
    /// Show where a run stands
    #[serde(skip)]
    Status(StatusArgs),
    /// Show a chart of a run
    #[serde(skip)]
    Chart(ChartArgs),
    /// Show entries of a run's record
    #[serde(skip)]
    Record(RecordArgs),
    /// Let a run stop at its next safe point and wait
    #[serde(skip)]
    Pause(SteerArgs),
    /// Let a run go on to its end, also one whose process has died
    Resume(SteerArgs),
    /// Take a run back, also while another process is busy with it or after that process died
    Rollback(SteerArgs),
    /// Say go or no-go to a run that waits for it
    #[serde(skip)]
    Approve(ApproveArgs),
    /// Go on taking back a run that needs a person, where it stopped
    Retry(SteerArgs),
    /// Go on taking back a run that needs a person, without a step that you dealt with by hand
    Skip(SkipArgs),
    /// End a run that needs a person as it stands; you answer for what runs
    Abandon(AbandonArgs),
    /// Write a commented deployment file from what is found in this folder
    #[serde(skip)]
    Init(InitArgs),
    /// Check this machine and say what is missing
    #[serde(skip)]
    Doctor(DoctorArgs),
    /// List the runs of this project
    #[serde(skip)]
    Runs,
    /// Write a run's notebooks, or notebooks that are ready to run
    #[serde(skip)]
    Notebooks(NotebooksArgs),
    /// Show notebooks as text, without a page
    #[serde(skip)]
    Show(ShowArgs),
    /// Check that a record, and notebooks made from it, are what was written
    #[serde(skip)]
    Verify(VerifyArgs),
    /// Install the Jupyter kernel, or remove it
    #[serde(skip)]
    Kernel(KernelArgs),
    /// Print the JSON Schema of the deployment file
    #[serde(skip)]
    Schema,
    /// Print a script that completes commands in a shell
    #[serde(skip)]
    Completions(CompletionsArgs),
    /// Processes that this program starts for itself
    #[command(hide = true)]
    #[serde(skip)]
    Internal(InternalArgs),
}

impl Command {
    /// Returns whether the command carries a run on, and so may take as long as the run does. Such a
    /// command outlives what it was given in: a terminal, or the kernel of a cell. Only such a
    /// command can be handed to another process.
    pub fn carries_a_run(&self) -> bool {
        match self {
            Self::Open(_)
            | Self::Inventory(_)
            | Self::Plan(_)
            | Self::Preflight(_)
            | Self::Build(_)
            | Self::Provision(_)
            | Self::Migrate(_)
            | Self::Release(_)
            | Self::Observe(_)
            | Self::Validate(_)
            | Self::Handover(_)
            | Self::Resume(_)
            | Self::Rollback(_)
            | Self::Retry(_)
            | Self::Skip(_)
            | Self::Abandon(_) => true,
            Self::Status(_)
            | Self::Chart(_)
            | Self::Record(_)
            | Self::Pause(_)
            | Self::Approve(_)
            | Self::Init(_)
            | Self::Doctor(_)
            | Self::Runs
            | Self::Notebooks(_)
            | Self::Show(_)
            | Self::Verify(_)
            | Self::Kernel(_)
            | Self::Schema
            | Self::Completions(_)
            | Self::Internal(_) => false,
        }
    }

    /// Returns whether the command changes nothing, so that it can be ended at any moment.
    pub fn only_looks(&self) -> bool {
        match self {
            Self::Status(_)
            | Self::Record(_)
            | Self::Runs
            | Self::Doctor(_)
            | Self::Show(_)
            | Self::Verify(_) => true,
            Self::Chart(arguments) => arguments.out.is_none(),
            _ => false,
        }
    }
}

/// A phase, whole or one section of it.
#[derive(Debug, Clone, Default, Args, Serialize, Deserialize)]
pub struct VerbArgs {
    /// Section; all of them when not given
    pub section: Option<String>,
    #[command(flatten)]
    pub open: OpenArgs,
}

/// How a command opens a run when there is none.
#[derive(Debug, Clone, Default, Args, Serialize, Deserialize)]
pub struct OpenArgs {
    /// Release to deploy [default: `release` of the deployment file]
    #[arg(long, value_name = "RELEASE")]
    pub to: Option<String>,
    /// Say go to every approval of this run in your name
    #[arg(long)]
    pub yes: bool,
}

/// The plan.
#[derive(Debug, Clone, Default, Args, Serialize, Deserialize)]
pub struct PlanArgs {
    #[command(flatten)]
    pub verb: VerbArgs,
    /// Show what is different from that run's plan
    #[arg(long, value_name = "RUN")]
    pub diff: Option<String>,
}

/// Which run.
#[derive(Debug, Clone, Default, Args, Serialize, Deserialize)]
pub struct WhichRun {
    /// Run [default: the last]
    #[arg(long, value_name = "RUN")]
    pub run: Option<String>,
}

/// A step that a person dealt with.
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
pub struct SkipArgs {
    /// Step, as the run names it
    pub step: String,
    #[command(flatten)]
    pub which: WhichRun,
    /// What you did instead; stands in the record
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

/// A run that a person ends.
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
pub struct AbandonArgs {
    #[command(flatten)]
    pub which: WhichRun,
    /// Why; stands in the record
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

/// Where a run stands.
#[derive(Debug, Clone, Default, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    pub which: WhichRun,
    /// Show changes as they happen until the run has ended
    #[arg(long)]
    pub watch: bool,
}

/// A chart.
#[derive(Debug, Clone, Args)]
pub struct ChartArgs {
    /// Which chart; a list when not given
    pub name: Option<String>,
    #[command(flatten)]
    pub which: WhichRun,
    /// Write the chart as SVG and PNG into this folder
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub out: Option<PathBuf>,
}

/// Entries of a record.
#[derive(Debug, Clone, Default, Args)]
pub struct RecordArgs {
    /// View: gates, traffic, items, findings, client, events, checkpoints and more; `export` writes
    /// the whole record with its notebooks into one file; entries when not given
    pub view: Vec<String>,
    /// File that `export` writes [default: RUN.tar]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub out: Option<PathBuf>,
    /// With `export`, sign nothing, also where the key is at hand
    #[arg(long)]
    pub unsigned: bool,
    /// Entries of this kind only: gate_evaluated, step_finished and so on
    #[arg(long, value_name = "KIND")]
    pub kind: Vec<String>,
    #[command(flatten)]
    pub which: WhichRun,
    /// Only the last entries
    #[arg(long, value_name = "COUNT")]
    pub last: Option<usize>,
    /// Show entries as they are written until the run has ended
    #[arg(long)]
    pub watch: bool,
}

/// Steering a run.
#[derive(Debug, Clone, Default, Args, Serialize, Deserialize)]
pub struct SteerArgs {
    #[command(flatten)]
    pub which: WhichRun,
    /// Why; stands in the record
    #[arg(long, value_name = "TEXT", default_value = "no reason was given")]
    pub reason: String,
}

/// An approval.
#[derive(Debug, Clone, Args)]
pub struct ApproveArgs {
    #[command(flatten)]
    pub which: WhichRun,
    /// Say no-go
    #[arg(long)]
    pub no_go: bool,
    /// Sign it with this OpenSSH key, as `ssh-keygen -Y sign -f` takes it: also one of the agent
    #[arg(long, value_name = "KEY", value_hint = ValueHint::FilePath)]
    pub sign: Option<PathBuf>,
    /// Hours for which a signed answer counts
    #[arg(long, value_name = "HOURS", default_value_t = 24, value_parser = clap::value_parser!(u16).range(1..=8760))]
    pub hours: u16,
    /// Why; stands in the record
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

/// A new deployment file.
#[derive(Debug, Clone, Default, Args)]
pub struct InitArgs {
    /// Folder that has a Compose file
    #[arg(default_value = ".", value_hint = ValueHint::DirPath)]
    pub folder: PathBuf,
    /// Print it instead of writing it
    #[arg(long)]
    pub print: bool,
}

/// Notebooks.
#[derive(Debug, Clone, Default, Args)]
pub struct NotebooksArgs {
    #[command(flatten)]
    pub which: WhichRun,
    /// Write notebooks that are ready to run, not those of a run
    #[arg(long, conflicts_with = "run")]
    pub ready: bool,
    /// Release that they deploy, with --ready [default: `release` of the deployment file]
    #[arg(long, value_name = "RELEASE", requires = "ready")]
    pub to: Option<String>,
    /// Folder to write to [default: deployments/RUN, or the present folder with --ready]
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub out: Option<PathBuf>,
    /// Sign nothing, also where the key is at hand: for a record that is damaged
    #[arg(long, conflicts_with = "ready")]
    pub unsigned: bool,
}

/// Notebooks to read.
#[derive(Debug, Clone, Default, Args)]
pub struct ShowArgs {
    /// Notebooks: files, or those of a run by the beginning of their names (09, Lessons); a list
    /// when not given
    #[arg(value_name = "NOTEBOOK", value_hint = ValueHint::FilePath)]
    pub notebooks: Vec<PathBuf>,
    #[command(flatten)]
    pub which: WhichRun,
}

/// Checking a record.
#[derive(Debug, Clone, Default, Args)]
pub struct VerifyArgs {
    /// Records, notebooks, folders of both, or runs by name [default: the last run]
    #[arg(value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub paths: Vec<PathBuf>,
    /// Folder of notebooks to compare with what the first record gives
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub notebooks: Option<PathBuf>,
    /// File with a public key that may seal: PEM, OpenSSH or of a signed note. A witness's key goes
    /// to `--witness`
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub key: Vec<PathBuf>,
    /// File with the public key of a witness, in the same forms: a second person whose signature over the
    /// last checkpoint stands for the record. It may seal nothing
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub witness: Vec<PathBuf>,
    /// File with a checkpoint of the record that was kept elsewhere: the record has to go on from it
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub checkpoint: Vec<PathBuf>,
}

/// What of this machine is looked at.
#[derive(Debug, Clone, Default, Args)]
pub struct DoctorArgs {
    /// Look at this part only, and fail where something of it is missing; all parts when not given, failing
    /// only where every deployment needs what is missing
    #[arg(value_enum)]
    pub part: Option<DoctorPart>,
}

/// A part of this machine that not everybody uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DoctorPart {
    /// The kernel where Jupyter looks for it
    Kernel,
    /// The toolchain of Rust cells
    Rust,
    /// The Docker engine
    Docker,
}

/// Shell completion.
#[derive(Debug, Clone, Args)]
pub struct CompletionsArgs {
    /// Shell
    pub shell: clap_complete::Shell,
}

/// Commands that are not given in cells.
pub const FOR_TERMINALS: [&str; 4] = ["internal", "completions", "kernel", "schema"];

/// The words of the commands that are cell magics.
pub fn magic_words() -> Vec<String> {
    let table = CommandLine::command();
    let words = table
        .get_subcommands()
        .filter(|command| !FOR_TERMINALS.contains(&command.get_name()));
    words.map(|command| command.get_name().to_owned()).collect()
}

/// Returns the question whether the nearest known word was meant, with a space behind it; nothing
/// when none is near.
pub fn did_you_mean(word: &str, known: &[String]) -> String {
    nearest(word, known).map_or_else(String::new, |near| format!("Did you mean `{near}`? "))
}

/// Returns the known word nearest to `word`, if one is near.
pub fn nearest(word: &str, known: &[String]) -> Option<String> {
    let begun = known.iter().find(|known| known.starts_with(word));
    if let Some(begun) = begun.filter(|_| word.len() >= 3) {
        return Some(begun.clone());
    }
    let scored = known
        .iter()
        .map(|known| (strsim::damerau_levenshtein(word, known), known));
    let (distance, nearest) = scored.min_by_key(|(distance, _)| *distance)?;
    (distance <= 1 + word.len() / 3).then(|| nearest.clone())
}
