//! Figures of the kernel beside those of its peers, measured in the same run with the same client; what
//! notebooks cost beside those of others, how fast records are verified, and what an update costs beside
//! the platform's own tool.

mod busy;
mod cells;
mod engine;
mod figure;
mod measure;
mod pages;
mod peer;
mod platform;
mod report;
mod verify;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use code_deploy_benches::{Error, life};

use crate::figure::Figure;
use crate::peer::Peer;

/// Measures the kernel beside its peers. Builds nothing.
#[derive(Debug, Parser)]
#[command(name = "code-deploy-benches")]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start, cells, displays, interrupts and ends, interleaved with the peers.
    Kernel(KernelArgs),
    /// No-op cells in a subshell while the demonstration is deployed.
    Busy(BusyArgs),
    /// The engine and its record: journal, a million events, a plan for a thousand services, growth.
    Engine(EngineArgs),
    /// A long life: memory after 500 cells of mixed kinds and after all of them.
    Life(LifeArgs),
    /// How fast a record is verified: bytes a second.
    Verify(VerifyArgs),
    /// An update of one service on Docker and on Kubernetes, interleaved with the platform's own tool.
    Platform(platform::PlatformArgs),
    /// The eighteen notebooks of an hour beside papermill and matplotlib, or those of a day.
    Pages(PagesArgs),
}

#[derive(Debug, Args)]
struct PagesArgs {
    /// The program `code-deploy`.
    #[arg(
        long,
        value_name = "PATH",
        default_value = "target/release/code-deploy"
    )]
    kernel: PathBuf,
    /// A Python that has papermill, ipykernel, nbformat and matplotlib.
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// How often every way is taken.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Those of a day of fifty services and 10^8 requests instead (2.5 GB of samples).
    #[arg(long, conflicts_with_all = ["python", "rounds"])]
    day: bool,
}

#[derive(Debug, Args)]
struct VerifyArgs {
    /// The program `code-deploy`.
    #[arg(
        long,
        value_name = "PATH",
        default_value = "target/release/code-deploy"
    )]
    kernel: PathBuf,
    /// How large the synthetic record is, at least.
    #[arg(long, default_value_t = 1024)]
    megabytes: u64,
    /// How often it is verified.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
}

#[derive(Debug, Args)]
struct KernelArgs {
    /// How often the cheap figures are taken; dear ones are taken less often.
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    /// The program `code-deploy`.
    #[arg(
        long,
        value_name = "PATH",
        default_value = "target/release/code-deploy"
    )]
    kernel: PathBuf,
    /// The protocol crate's example kernel, for what no command of the program does (ten thousand displays).
    #[arg(long, value_name = "PATH")]
    echo: Option<PathBuf>,
    /// A Python that has ipykernel.
    #[arg(long, value_name = "PATH", env = "CODE_DEPLOY_STAGE_PYTHON")]
    python: Option<PathBuf>,
    /// Another kernel: a name (`evcxr...` is given Rust cells, every other Python) and its kernel.json.
    #[arg(long = "peer", value_name = "NAME=KERNEL.JSON")]
    peers: Vec<String>,
    /// Only these figures.
    #[arg(long, value_delimiter = ',', value_enum)]
    figures: Vec<Figure>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct BusyArgs {
    /// The program `code-deploy`.
    #[arg(
        long,
        value_name = "PATH",
        default_value = "target/release/code-deploy"
    )]
    kernel: PathBuf,
}

#[derive(Debug, Args)]
struct EngineArgs {
    /// Where the records are written; a folder below it is made and removed.
    #[arg(long, value_name = "FOLDER", default_value = "target")]
    folder: PathBuf,
    /// The most services of a run in simulation.
    #[arg(long, default_value_t = 1024)]
    services: usize,
}

#[derive(Debug, Args)]
struct LifeArgs {
    /// How many cells.
    #[arg(long, default_value_t = 5_000)]
    cells: usize,
    /// The program `code-deploy`.
    #[arg(
        long,
        value_name = "PATH",
        default_value = "target/release/code-deploy"
    )]
    kernel: PathBuf,
    /// Every so many cells one is Rust; 0 is none.
    #[arg(long, default_value_t = 500)]
    rust_every: usize,
}

fn main() -> ExitCode {
    let done = match Line::parse().command {
        Command::Kernel(arguments) => kernel(&arguments),
        Command::Busy(arguments) => busy::busy(&arguments.kernel),
        Command::Engine(arguments) => {
            let folder = std::fs::create_dir_all(&arguments.folder)
                .and_then(|()| tempfile::tempdir_in(&arguments.folder));
            let folder = folder.map_err(Error::io("make a folder in", &arguments.folder));
            folder.and_then(|folder| engine::engine(folder.path(), arguments.services))
        }
        Command::Life(arguments) => {
            let life = life::live(&arguments.kernel, arguments.cells, arguments.rust_every);
            life.map(|life| life.to_string())
        }
        Command::Platform(arguments) => platform::platform(&arguments),
        Command::Pages(arguments) if arguments.day => pages::day(&arguments.kernel),
        Command::Pages(arguments) => {
            let python = arguments.python.as_deref();
            pages::hour(&arguments.kernel, python, arguments.rounds)
        }
        Command::Verify(arguments) => {
            verify::verify(&arguments.kernel, arguments.megabytes, arguments.rounds)
        }
    };
    let (text, code) = match done {
        Ok(text) => (text, ExitCode::SUCCESS),
        Err(error) => (with_sources(&error), ExitCode::FAILURE),
    };
    // Printing to a reader that went away is no failure.
    let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
    code
}

fn kernel(arguments: &KernelArgs) -> Result<String, Error> {
    let peers = Peer::all(
        &arguments.kernel,
        arguments.echo.as_deref(),
        arguments.python.as_deref(),
        &arguments.peers,
    )?;
    let chosen = if arguments.figures.is_empty() {
        Figure::ALL.to_vec()
    } else {
        arguments.figures.clone()
    };
    let measured = measure::all(&peers, &chosen, arguments.rounds);
    Ok(if arguments.json {
        report::json(&measured)
    } else {
        report::table(&measured)
    })
}

fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}
