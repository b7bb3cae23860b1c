//! The program `code-deploy`: one table of commands behind terminal and notebook cells.

mod apart;
mod cells;
mod codes;
mod commands;
mod consent;
mod demo;
mod dispatch;
mod face;
mod failure;
#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod hints;
mod html;
mod internal;
mod joined;
mod kernel_spec;
mod kill_at_write;
mod lines;
mod machine;
mod magic;
mod pages;
mod plan;
mod project;
mod publish;
mod run;
mod run_data;
mod seal_key;
mod session;
mod show;
mod summary;
mod terminal;
mod way_back;

use std::process::ExitCode;
use std::sync::Arc;

use clap::CommandFactory as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use commands::{Command, CommandLine, KernelAction};
use dispatch::Dispatcher;
use face::Face;
use failure::{Exit, Failure};
use machine::Machine;
use session::Told;
use terminal::Terminal;

/// The analysis of Rust cells allocates and walks over hundreds of megabytes: the C library's allocator took a fifth
/// of the time of a cell, and spread out what is walked over.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    if called_as_shop() {
        return code_deploy_shop::main_with_args(std::env::args().skip(1));
    }
    code_deploy_jupyter::rust_cells::early_hook();
    let line = match CommandLine::read(std::env::args_os()) {
        Ok(line) => line,
        Err(error) => return not_read(&error),
    };
    match line.command {
        Some(Command::Internal(internal)) => return internal::run(internal.process),
        Some(Command::Kernel(ref kernel)) => {
            if let KernelAction::Launch {
                connection_file, ..
            } = &kernel.action
            {
                return cells::launch(connection_file);
            }
        }
        _ => {}
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            let failure = Failure::cannot_start(format!("cannot start: {error}"));
            Terminal::new(line.global.json, String::new()).failure(&failure);
            return ExitCode::from(Exit::Refused.code());
        }
    };
    let exit = runtime.block_on(run(line));
    // A thread that waits for a person's line, or on a file, must not keep the program.
    runtime.shutdown_background();
    ExitCode::from(exit.code())
}

/// Whether the program was called by the name of the demonstration's, which it has in an image of its
/// own: a Compose file says `command: ["shop", "catalog"]`.
fn called_as_shop() -> bool {
    let name = std::env::args_os().next().unwrap_or_default();
    std::path::Path::new(&name)
        .file_name()
        .is_some_and(|name| name == "shop")
}

/// Shows the help that was asked for, or why the command line cannot be read.
fn not_read(error: &clap::Error) -> ExitCode {
    if magic::is_help(error) {
        // Printing help to a reader that went away is no failure.
        drop(error.print());
        return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
    }
    let json = std::env::args_os().any(|word| word == "--json");
    let failure = Failure::of_command_line(error, &helped_by(std::env::args_os().skip(1)));
    Terminal::new(json, String::new()).failure(&failure);
    ExitCode::from(failure.exit.code())
}

/// Returns what helps somebody whose words were not understood.
fn helped_by(mut words: impl Iterator<Item = std::ffi::OsString>) -> String {
    let table = CommandLine::command();
    match words.find_map(|word| table.find_subcommand(word)) {
        Some(command) => format!(
            "`code-deploy {} --help` says what it takes.",
            command.get_name()
        ),
        None => "`code-deploy --help` lists all commands.".to_owned(),
    }
}

async fn run(line: CommandLine) -> Exit {
    let json = line.global.json;
    let machine = match Machine::present() {
        Ok(machine) => machine,
        Err(failure) => {
            Terminal::new(json, String::new()).failure(&failure);
            return failure.exit;
        }
    };
    log_to_stderr(&machine);
    let terminal = Arc::new(Terminal::new(json, machine.user.clone()));
    let face: Arc<dyn Face> = Arc::<Terminal>::clone(&terminal);
    let interrupt = CancellationToken::new();
    let global = line.global.clone();
    let dispatcher = Dispatcher {
        machine,
        global,
        face,
        opened: None,
        told: Told::default(),
        interrupt: interrupt.clone(),
        apart: None,
    };
    let ends = Ends::of(line.command.as_ref());
    let work = async {
        match line.command {
            Some(command) => dispatcher.carry_out(command).await,
            None => dispatcher.whole(&line.run).await,
        }
    };
    let exit = match until_interrupted_twice(work, &interrupt, ends).await {
        Ok(exit) => exit,
        Err(failure) => {
            terminal.failure(&failure);
            failure.exit
        }
    };
    terminal.finish();
    exit
}

/// How a command ends before it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ends {
    /// It carries a run on: it stops at a safe point, and outlives its terminal.
    AtASafePoint,
    /// It stops where it next looks for the wish to.
    WhenAsked,
    /// It only looks at things: there is nothing to wait for.
    AtOnce,
}

impl Ends {
    /// Returns how a command ends; a whole run is one without a word.
    fn of(command: Option<&Command>) -> Self {
        match command {
            None => Self::AtASafePoint,
            Some(command) if command.carries_a_run() => Self::AtASafePoint,
            Some(command) if command.only_looks() => Self::AtOnce,
            Some(_) => Self::WhenAsked,
        }
    }
}

/// Runs `work`; the first Ctrl-C or SIGTERM asks it to stop at a safe point, the second ends it
/// now. What was done stands in the record either way. Work that only looks at things ends with
/// the first. Work that outlives its terminal goes on when that goes away (SIGHUP); any other ends
/// then.
pub(crate) async fn until_interrupted_twice(
    work: impl Future<Output = Result<Exit, Failure>>,
    interrupt: &CancellationToken,
    ends: Ends,
) -> Result<Exit, Failure> {
    let lost = |error: std::io::Error| {
        Failure::cannot_start(format!("signals cannot be watched: {error}"))
    };
    let mut ctrl_c = signal(SignalKind::interrupt()).map_err(lost)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(lost)?;
    let mut hang_up = signal(SignalKind::hangup()).map_err(lost)?;
    let tasks = TaskTracker::new();
    let first = interrupt.clone();
    let second = CancellationToken::new();
    let now = second.clone();
    let watch = tasks.spawn(async move {
        loop {
            tokio::select! {
                _ = ctrl_c.recv() => {}
                _ = terminate.recv() => {}
                _ = hang_up.recv() => {
                    if ends == Ends::AtASafePoint {
                        continue;
                    }
                    now.cancel();
                }
            }
            if first.is_cancelled() {
                now.cancel();
            }
            first.cancel();
        }
    });
    let done = tokio::select! {
        done = work => done,
        () = interrupt.cancelled(), if ends == Ends::AtOnce => Err(Failure::stopped_looking()),
        () = second.cancelled() => Err(Failure::new(
            Exit::Interrupted,
            codes::ENDED_AT_ONCE,
            "interrupted twice: this process ended at once",
            "The record holds everything up to its last complete line.",
            "`code-deploy resume` goes on, `code-deploy rollback` goes back.",
        )),
    };
    watch.abort();
    done
}

/// Logs to standard error: what `CODE_DEPLOY_LOG` asks for, or warnings. A shape of a chart that has no extent
/// is nothing to warn of.
pub(crate) fn log_to_stderr(machine: &Machine) {
    // A terminal or kernel that has gone takes no lines, and must not end a run that goes on.
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .log_internal_errors(false);
    let asked = machine.variable("CODE_DEPLOY_LOG");
    match asked.and_then(|asked| EnvFilter::try_new(asked).ok()) {
        Some(filter) => tracing_subscriber::registry()
            .with(lines)
            .with(filter)
            .init(),
        // Reading a filter compiles regular expressions, which stay: a twentieth of an idle kernel's memory.
        None => {
            let quiet = [
                // What a cluster refuses is told where it was asked.
                ("kube_client", LevelFilter::OFF),
                ("kube_runtime", LevelFilter::OFF),
                ("usvg", LevelFilter::ERROR),
                ("tiny_skia", LevelFilter::ERROR),
            ];
            let filter = Targets::new()
                .with_default(LevelFilter::WARN)
                .with_targets(quiet);
            tracing_subscriber::registry()
                .with(lines)
                .with(filter)
                .init();
        }
    }
}
