//! Notebook cells as a face: the Jupyter kernel of this program.

mod face;
mod failed;
mod known;
mod library;
mod live;
mod look;
mod watch;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use code_deploy_jupyter::rust_cells::{self, CellCrate, RustCells};
use code_deploy_jupyter::{
    Cell, CellError, CellOutput, Cells, Completion, CompletionMatch, Ended, Interrupt, IsComplete,
    KernelInfo, LanguageInfo, MimeBundle, ServeOptions, serve,
};
use code_deploy_notebook_gen::LANGUAGE;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::apart::Apart;
use crate::commands::{Command, CommandLine, GlobalArgs, OpenArgs, RunArgs};
use crate::demo;
use crate::dispatch::{Dispatcher, Opened};
use crate::face::Face;
use crate::failure::{Exit, Failure};
use crate::machine::Machine;
use crate::magic::{self, Asked, CellKind};
use crate::project::Project;
use crate::session::Told;
use face::CellFace;
use known::ProjectWords;
use look::{Steps, deploys_demonstration};
use watch::{FindProject, Watch};

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
    /// Commands and what is read beside them; each ends with its cell.
    tasks: TaskTracker,
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
            tasks: TaskTracker::new(),
        }
    }

    fn opened(&self) -> MutexGuard<'_, Opened> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn commands(
        &self,
        asked: Vec<Asked>,
        out: &CellOutput,
        interrupt: &Interrupt,
    ) -> Result<(), Failure> {
        for asked in asked {
            match asked {
                Asked::Help(text) => out.page(&help_bundle(text)),
                Asked::Command(line) => self.command(*line, out, interrupt).await?,
            }
        }
        Ok(())
    }

    async fn command(
        &self,
        line: CommandLine,
        out: &CellOutput,
        interrupt: &Interrupt,
    ) -> Result<(), Failure> {
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
        // A notebook that names its run stays bound to it also where the run is not found.
        let is_bound = opening.as_ref().is_some_and(|open| open.run.is_some());
        if is_bound {
            self.note_opened(opening.clone(), &named);
        }
        let demonstration = match &command {
            Command::Open(run) if deploys_demonstration(run) => Some(run.clone()),
            _ => None,
        };
        let asks_how_it_stands = matches!(command, Command::Status(_));
        let done = self.carry_out(command, global, out, interrupt).await;
        if asks_how_it_stands && let Some(text) = waiting(out.waiting_cells()) {
            out.stdout(text).await;
        }
        let has_run = match &done {
            Ok(()) => true,
            Err(failure) => matches!(
                failure.exit,
                Exit::RolledBack | Exit::NeedsPerson | Exit::Interrupted
            ),
        };
        if let Some(run) = demonstration.filter(|_| has_run) {
            self.note_demonstration(run);
        }
        done?;
        if !is_bound {
            self.note_opened(opening, &named);
        }
        Ok(())
    }

    /// Takes note of what a cell opened, for the cells behind it.
    fn note_opened(&self, opening: Option<RunArgs>, named: &GlobalArgs) {
        if let Some(arguments) = opening {
            let mut opened = self.opened();
            opened.environment = arguments
                .environment
                .or_else(|| named.environment.clone())
                .unwrap_or_default();
            let target = arguments.target.or_else(|| named.target.clone());
            opened.target = target.unwrap_or_default();
            // What was opened before without being in this folder stays what is meant.
            opened.file = named.file.clone().or_else(|| opened.file.take());
            opened.run = arguments.run;
            opened.open = OpenArgs {
                to: arguments.to,
                yes: arguments.yes,
            };
        }
    }

    /// The cells behind one that deployed the demonstration look at its project, which has a folder of its own, where
    /// the kernel's folder has none and the notebook shows no run.
    fn note_demonstration(&self, run: RunArgs) {
        let file = demo::folder(&self.machine).join("deploy.yaml");
        let is_bound = self.opened().run.is_some();
        if !is_bound && self.project().is_none() && file.is_file() {
            let named = GlobalArgs {
                file: Some(file),
                ..GlobalArgs::default()
            };
            let place = RunArgs {
                environment: run.environment.or_else(|| Some("dev".to_owned())),
                target: run.target.or_else(|| Some("local".to_owned())),
                ..RunArgs::default()
            };
            self.note_opened(Some(place), &named);
        }
    }

    async fn carry_out(
        &self,
        command: Command,
        global: GlobalArgs,
        out: &CellOutput,
        interrupt: &Interrupt,
    ) -> Result<(), Failure> {
        let face = Arc::new(CellFace::new(self.machine.user.clone(), out.clone()));
        let token = CancellationToken::new();
        let dispatcher = Dispatcher {
            machine: self.machine.clone(),
            global,
            face: Arc::<CellFace>::clone(&face) as Arc<dyn Face>,
            opened: Some(self.opened().clone()),
            told: self.told.clone(),
            interrupt: token.clone(),
            apart: Some(Apart::new(interrupt.clone())),
        };
        let of_demonstration = matches!(&command, Command::Open(run) if deploys_demonstration(run));
        let (asking, machine) = (dispatcher.clone(), self.machine.clone());
        // The demonstration is laid out by the command itself.
        let find = move || {
            if of_demonstration {
                demo::project(&machine).ok()
            } else {
                asking.project().ok()
            }
        };
        let steps = Steps::of(&command).map(|steps| (Arc::new(find) as Arc<FindProject>, steps));
        let watch = Watch {
            face: &face,
            out,
            interrupt,
            token: &token,
            only_looks: command.only_looks(),
            steps,
            tasks: &self.tasks,
        };
        let work = async move { dispatcher.carry_out(command).await };
        watch.follow(work).await.map(drop)
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

/// Says how many cells wait, which a page that was loaded anew does not show; nothing where none does.
fn waiting(cells: usize) -> Option<String> {
    let cells = match cells {
        0 => return None,
        1 => "1 cell of this kernel waits".to_owned(),
        more => format!("{more} cells of this kernel wait"),
    };
    Some(format!("{cells} behind the one that runs.\n"))
}

/// Returns help as pagers and tooltips show it: in letters of one width.
fn help_bundle(text: String) -> MimeBundle {
    let text = text.trim_end();
    let escaped = crate::html::escape(text);
    MimeBundle::text(text)
        .with("text/markdown", format!("```text\n{text}\n```"))
        .with("text/html", format!("<pre>{escaped}</pre>"))
}

#[async_trait]
impl Cells for DeployCells {
    async fn execute(
        &self,
        cell: Cell,
        out: CellOutput,
        interrupt: Interrupt,
    ) -> Result<(), CellError> {
        let done = match magic::read(&cell.code) {
            Ok(CellKind::Rust) => return self.rust.execute(&cell, &out, &interrupt).await,
            Ok(CellKind::Commands(asked)) => self.commands(asked, &out, &interrupt).await,
            Err(failure) => Err(failure),
        };
        match done {
            Ok(()) => Ok(()),
            Err(failure) => Err(failed::show(failure, &cell, &out).await),
        }
    }

    fn is_idle(&self, code: &str) -> bool {
        magic::is_idle(code)
    }

    async fn expression(&self, expression: &str) -> Result<MimeBundle, CellError> {
        self.rust.value(expression).await
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
        let version = env!("CARGO_PKG_VERSION");
        KernelInfo {
            implementation: "code-deploy".to_owned(),
            implementation_version: version.to_owned(),
            banner: format!(
                "code-deploy {version}: deployment commands are magics (%code-deploy dev local), \
                 everything else is Rust."
            ),
            language: LanguageInfo {
                name: LANGUAGE.name.to_owned(),
                version: LANGUAGE.version.to_owned(),
                mimetype: LANGUAGE.mimetype.to_owned(),
                file_extension: LANGUAGE.file_extension.to_owned(),
                pygments_lexer: Some(LANGUAGE.pygments_lexer.to_owned()),
                codemirror_mode: Some(LANGUAGE.codemirror_mode.to_owned()),
            },
            help_links: Vec::new(),
        }
    }

    async fn shutdown(&self, _restart: bool) {
        self.rust.shutdown().await;
    }
}
