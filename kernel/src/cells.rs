//! Notebook cells as a face: the Jupyter kernel of this program.

mod face;
mod known;
mod library;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use code_deploy_jupyter::rust_cells::{self, CellCrate, RustCells};
use code_deploy_jupyter::{
    Cell, CellError, CellOutput, Cells, Completion, CompletionMatch, Ended, Interrupt, IsComplete,
    KernelInfo, LanguageInfo, MimeBundle, ServeOptions, serve,
};
use tokio_util::sync::CancellationToken;

use crate::apart::Apart;
use crate::commands::{Command, CommandLine, GlobalArgs, OpenArgs};
use crate::dispatch::{Dispatcher, Opened};
use crate::face::Face;
use crate::failure::{Exit, Failure};
use crate::machine::Machine;
use crate::magic::{self, Asked, CellKind};
use crate::pages;
use crate::project::Project;
use crate::session::Told;
use face::{CellFace, picture_bundle};
use known::ProjectWords;

/// How often the chart of a long command is drawn anew.
const REDRAW: Duration = Duration::from_secs(2);

/// Threads for cells at most: commands wait more than they compute, and each thread has memory of its own.
const WORKERS: usize = 4;

/// Runs the kernel until Jupyter ends it.
pub fn launch(connection_file: &Path) -> ExitCode {
    let machine = match Machine::present() {
        Ok(machine) => machine,
        Err(failure) => return refuse(&failure),
    };
    crate::log_to_stderr(&machine);
    let workers = std::thread::available_parallelism().map_or(WORKERS, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers.min(WORKERS))
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            return refuse(&Failure::cannot_start(format!("cannot start: {error}")));
        }
    };
    let parent_pid = machine
        .variable("JPY_PARENT_PID")
        .and_then(|pid| pid.parse().ok());
    let history = machine.state().map(|folder| folder.join("history.jsonl"));
    let options = ServeOptions {
        parent_pid,
        history,
    };
    let cells = Arc::new(DeployCells::new(machine));
    let served = runtime.block_on(serve(connection_file, cells, options));
    runtime.shutdown_background();
    match served {
        Ok(Ended::Shutdown | Ended::Restart) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            let what = code_deploy_engine::error::with_sources(&error);
            let next = "Jupyter writes this file when it starts a kernel; start one from Jupyter.";
            refuse(&Failure::refused("CD0801", what, next))
        }
    }
}

fn refuse(failure: &Failure) -> ExitCode {
    crate::terminal::Terminal::new(false, String::new()).failure(failure);
    ExitCode::from(Exit::Refused.code())
}

/// What cells mean in this program.
struct DeployCells {
    machine: Machine,
    opened: Arc<Mutex<Opened>>,
    told: Told,
    rust: RustCells,
}

impl DeployCells {
    fn new(machine: Machine) -> Self {
        let opened = Arc::<Mutex<Opened>>::default();
        let rust = rust_cells(&machine, Arc::clone(&opened));
        Self {
            machine,
            opened,
            told: Told::default(),
            rust,
        }
    }

    fn opened(&self) -> MutexGuard<'_, Opened> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn command(
        &self,
        line: CommandLine,
        out: &CellOutput,
        interrupt: &Interrupt,
    ) -> Result<(), CellError> {
        let CommandLine {
            global,
            command,
            run,
        } = line;
        let command = command.unwrap_or(Command::Open(run));
        let opening = match &command {
            Command::Open(arguments) if !arguments.stop && !arguments.demo => {
                Some(arguments.clone())
            }
            _ => None,
        };
        let named = global.clone();
        self.carry_out(command, global, out, interrupt).await?;
        if let Some(arguments) = opening {
            let mut opened = self.opened();
            opened.environment = arguments
                .environment
                .or(named.environment)
                .unwrap_or_default();
            opened.target = arguments.target.or(named.target).unwrap_or_default();
            opened.file = named.file;
            opened.open = OpenArgs {
                to: arguments.to,
                yes: arguments.yes,
            };
        }
        Ok(())
    }

    async fn carry_out(
        &self,
        command: Command,
        global: GlobalArgs,
        out: &CellOutput,
        interrupt: &Interrupt,
    ) -> Result<(), CellError> {
        let face = Arc::new(CellFace::new(self.machine.user.clone(), out.clone()));
        let token = CancellationToken::new();
        let with_chart = magic::is_long(&command);
        let dispatcher = Dispatcher {
            machine: self.machine.clone(),
            global,
            face: Arc::<CellFace>::clone(&face) as Arc<dyn Face>,
            opened: Some(self.opened().clone()),
            told: self.told.clone(),
            interrupt: token.clone(),
            apart: Some(Apart::new(interrupt.clone())),
        };
        let chart = with_chart.then(|| dispatcher.project().ok()).flatten();
        let done = self
            .watch(dispatcher, command, &face, out, interrupt, &token, chart)
            .await;
        face.flush().await;
        match done {
            Ok(_) => Ok(()),
            Err(failure) => Err(cell_error(&failure)),
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "what one cell has at hand while it runs"
    )]
    async fn watch(
        &self,
        dispatcher: Dispatcher,
        command: Command,
        face: &CellFace,
        out: &CellOutput,
        interrupt: &Interrupt,
        token: &CancellationToken,
        chart: Option<Project>,
    ) -> Result<Exit, Failure> {
        let mut live = None;
        let mut moving = None;
        let mut redraw = tokio::time::interval_at(tokio::time::Instant::now() + REDRAW, REDRAW);
        redraw.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut work = std::pin::pin!(dispatcher.carry_out(command));
        let done = loop {
            // Cancel safe: the work is pinned outside, the others only wait.
            tokio::select! {
                biased;
                () = interrupt.insisted() => break Err(interrupted_now()),
                () = interrupt.requested(), if !token.is_cancelled() => token.cancel(),
                done = &mut work => break done,
                () = face.changed() => show_live(face, out, &mut live).await,
                _ = redraw.tick(), if chart.is_some() => {
                    if let Some(project) = &chart {
                        draw(project, out, &mut moving).await;
                    }
                }
            }
        };
        face.settle();
        show_live(face, out, &mut live).await;
        if let Some(project) = chart.as_ref().filter(|_| moving.is_some()) {
            draw(project, out, &mut moving).await;
        }
        done
    }

    fn project(&self) -> Option<Project> {
        let opened = self.opened().file.clone();
        Project::find(opened.as_deref(), &self.machine.folder).ok()
    }
}

/// Returns what runs Rust cells, with the crate `code_deploy` for them. They find the project that was open when
/// their process started.
fn rust_cells(machine: &Machine, opened: Arc<Mutex<Opened>>) -> RustCells {
    let program = machine.program.clone().into_os_string();
    let argv = vec![program.clone(), "internal".into(), "rust-cells".into()];
    let variables = move || {
        let opened = opened.lock().unwrap_or_else(PoisonError::into_inner);
        let file = opened.file.clone().map(PathBuf::into_os_string);
        let mut variables = vec![("CODE_DEPLOY_PROGRAM".into(), program.clone())];
        variables.extend(file.map(|file| ("CODE_DEPLOY_FILE".into(), file)));
        variables
    };
    let machine = machine.clone();
    let library = CellCrate::new(library::NAME, move || library::prepare(&machine));
    RustCells::new(argv)
        .with_variables(variables)
        .with_crate(library)
}

async fn show_live(
    face: &CellFace,
    out: &CellOutput,
    live: &mut Option<code_deploy_jupyter::LiveDisplay>,
) {
    let Some(bundle) = face.live() else {
        return face.flush().await;
    };
    match live {
        Some(live) => live.update(bundle),
        None => *live = Some(out.live_display(bundle).await),
    }
    face.flush().await;
}

/// Draws the latency chart of the project's last run as it stands now.
async fn draw(
    project: &Project,
    out: &CellOutput,
    moving: &mut Option<code_deploy_jupyter::LiveDisplay>,
) {
    let project = project.clone();
    let drawn = tokio::task::spawn_blocking(move || {
        let run = project.run(None).ok()?;
        pages::chart(&run, "latency").ok()
    });
    // A chart that cannot be drawn while files are being written is drawn the next time.
    let Ok(Some(chart)) = drawn.await else { return };
    let Some((bundle, _)) = picture_bundle(&chart) else {
        return;
    };
    match moving {
        Some(moving) => moving.update(bundle),
        None => *moving = Some(out.live_display(bundle).await),
    }
}

fn interrupted_now() -> Failure {
    Failure::new(
        Exit::Interrupted,
        crate::codes::ENDED_AT_ONCE,
        "interrupted twice: the command ended at once",
        "The record holds everything up to its last complete line.",
        "`%resume` goes on, `%rollback` goes back.",
    )
}

/// Returns help as pagers and tooltips show it: in letters of one width.
fn help_bundle(text: String) -> MimeBundle {
    let text = text.trim_end();
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;");
    MimeBundle::text(text)
        .with("text/markdown", format!("```text\n{text}\n```"))
        .with("text/html", format!("<pre>{escaped}</pre>"))
}

/// Returns a failure as a cell ends with it. A pause ends a cell too, so that the cells below it are
/// not run, but by its own name and without the colour of errors.
fn cell_error(failure: &Failure) -> CellError {
    let mut lines = failure.lines();
    let what = failure.problem.what.clone();
    if failure.is_pause() {
        return CellError::new("Paused".to_owned(), what).with_traceback(lines);
    }
    if let Some(first) = lines.first_mut() {
        *first = format!("\u{1b}[31m{first}\u{1b}[0m");
    }
    CellError::new(failure.problem.code.clone(), what).with_traceback(lines)
}

#[async_trait]
impl Cells for DeployCells {
    async fn execute(
        &self,
        cell: Cell,
        out: CellOutput,
        interrupt: Interrupt,
    ) -> Result<(), CellError> {
        let asked = match magic::read(&cell.code).map_err(|failure| cell_error(&failure))? {
            CellKind::Rust => return self.rust.execute(&cell.code, &out, &interrupt).await,
            CellKind::Commands(asked) => asked,
        };
        for asked in asked {
            match asked {
                Asked::Help(text) => out.page(&help_bundle(text)),
                Asked::Command(line) => self.command(*line, &out, &interrupt).await?,
            }
        }
        Ok(())
    }

    async fn complete(&self, code: &str, cursor: usize) -> Completion {
        let words = ProjectWords::new(self.project());
        let Some(found) = magic::complete(code, cursor, &words) else {
            return self.rust.complete(code, cursor).await;
        };
        let matches = found.found.into_iter();
        let matches = matches
            .map(|(text, kind)| CompletionMatch {
                text,
                kind: kind.to_owned(),
            })
            .collect();
        Completion {
            matches,
            start: found.start,
            end: cursor,
        }
    }

    async fn inspect(&self, code: &str, cursor: usize, _detail: u8) -> Option<MimeBundle> {
        let Some(word) = magic::word_at(code, cursor) else {
            return self.rust.inspect(code, cursor).await;
        };
        magic::help(&word).map(help_bundle)
    }

    async fn is_complete(&self, code: &str) -> IsComplete {
        if magic::waits_for_body(code) {
            let indent = String::new();
            return IsComplete::Incomplete { indent };
        }
        match magic::read(code) {
            Ok(CellKind::Rust) => rust_cells::is_complete(code),
            Ok(CellKind::Commands(_)) => IsComplete::Complete,
            Err(_) => IsComplete::Invalid,
        }
    }

    fn info(&self) -> KernelInfo {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        KernelInfo {
            implementation: "code-deploy".to_owned(),
            implementation_version: version.clone(),
            banner: format!(
                "code-deploy {version}: deployment commands are magics (%code-deploy dev local), \
                 everything else is Rust."
            ),
            language: LanguageInfo {
                name: "rust".to_owned(),
                version,
                mimetype: "text/rust".to_owned(),
                file_extension: ".rs".to_owned(),
                pygments_lexer: Some("rust".to_owned()),
                codemirror_mode: Some("rust".to_owned()),
            },
            help_links: Vec::new(),
        }
    }

    async fn shutdown(&self, _restart: bool) {
        self.rust.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

    use super::*;

    #[test]
    fn a_cell_that_was_paused_ends_by_that_name_and_not_in_the_colour_of_errors() {
        let what = "the run stands at a safe point";
        let code = code_deploy_engine::code::PAUSED;
        let failure = Failure::new(Exit::Interrupted, code, what, "It waits.", "Resume it.");
        let shown = format!("{:?}", cell_error(&failure));
        assert!(shown.contains("Paused"), "{shown}");
        assert!(shown.contains("paused[CD0401]: the run stands"), "{shown}");
        assert!(!shown.contains("[31m"), "{shown}");
    }

    #[test]
    fn a_cell_shows_an_error_in_the_lines_of_the_terminal() {
        let failure = Failure::usage("it is wrong", "Mend it.");
        let shown = format!("{:?}", cell_error(&failure));
        for line in failure.lines() {
            assert!(shown.contains(&line), "`{line}` is not in {shown}");
        }
    }
}
