//! Carries out a command of the table, for whichever face asked for it.

mod files;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::CommandFactory as _;
use code_deploy_engine::code::NO_SUCH_RUN;
use code_deploy_engine::spec::DeployFile;
use code_deploy_engine::steer::Asking;
use code_deploy_record::{Release, RunFolder, RunId, Steering, StepName};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::apart::Apart;
use crate::commands::{
    ApproveArgs, Command, CommandLine, GlobalArgs, OpenArgs, PlanArgs, RecordArgs, RunArgs,
    SteerArgs, VerbArgs, WhichRun, magic_words, nearest,
};
use crate::face::Face;
use crate::failure::{Exit, Failure};
use crate::machine::Machine;
use crate::project::{Project, TARGETS, To};
use crate::run::Settling;
use crate::session::{Session, Told, Wish};
use crate::show::live::Live;
use crate::{consent, demo, kernel_spec, pages, plan, run, show};

/// Environment and target that a notebook has opened, and what it wants of the run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Opened {
    /// The environment.
    pub environment: String,
    /// The target.
    pub target: String,
    /// The release to deploy, and whether approvals are said in advance.
    pub open: OpenArgs,
    /// The deployment file, when one was named.
    pub file: Option<PathBuf>,
    /// The run that the notebook shows, when it is an executed one.
    #[serde(default)]
    pub run: Option<String>,
}

/// Carries out commands. Cheap to clone.
#[derive(Clone)]
pub struct Dispatcher {
    /// This machine, user and program.
    pub machine: Machine,
    /// Options that hold for every command.
    pub global: GlobalArgs,
    /// What shows it.
    pub face: Arc<dyn Face>,
    /// What the notebook has opened; nothing in a terminal.
    pub opened: Option<Opened>,
    /// The runs that were spoken of before.
    pub told: Told,
    /// Ends at a safe point when it is cancelled.
    pub interrupt: CancellationToken,
    /// Where commands that carry a run are carried out in processes of their own.
    pub apart: Option<Apart>,
}

impl Dispatcher {
    /// Carries out a command.
    ///
    /// # Errors
    /// What kept it from being done, with how the command ends.
    pub async fn carry_out(&self, command: Command) -> Result<Exit, Failure> {
        if let Some(apart) = self.apart.as_ref().filter(|_| command.carries_a_run()) {
            return apart.carry_out(self, command).await;
        }
        match command {
            Command::Open(arguments) => self.open(&arguments).await,
            Command::Inventory(arguments) => self.verb("inventory", &arguments).await,
            Command::Plan(arguments) => self.plan(&arguments).await,
            Command::Preflight(arguments) => self.verb("preflight", &arguments).await,
            Command::Build(arguments) => self.verb("build", &arguments).await,
            Command::Provision(arguments) => self.verb("provision", &arguments).await,
            Command::Migrate(arguments) => self.verb("migrate", &arguments).await,
            Command::Release(arguments) => self.verb("release", &arguments).await,
            Command::Observe(arguments) => self.verb("observe", &arguments).await,
            Command::Validate(arguments) => self.verb("validate", &arguments).await,
            Command::Handover(arguments) => self.verb("handover", &arguments).await,
            Command::Pause(arguments) => self.steer(Steering::Pause, &arguments).await,
            Command::Resume(arguments) => self.steer(Steering::Resume, &arguments).await,
            Command::Rollback(arguments) => self.steer(Steering::Rollback, &arguments).await,
            Command::Approve(arguments) => self.approve(&arguments).await,
            Command::Retry(arguments) => {
                self.settle(&arguments.which, Settling::Retry, &arguments.reason)
                    .await
            }
            Command::Skip(arguments) => {
                let step = arguments.step.parse::<StepName>().map_err(|error| {
                    let next = "`code-deploy status` names the step that stands in the way.";
                    Failure::refused("CD0473", format!("{error}"), next)
                })?;
                self.settle(&arguments.which, Settling::Skip(step), &arguments.reason)
                    .await
            }
            Command::Abandon(arguments) => {
                self.settle(&arguments.which, Settling::Abandon, &arguments.reason)
                    .await
            }
            Command::Status(arguments) => {
                let run = self.which(arguments.which.run.as_deref())?;
                let live = self.live(&run).await?;
                show::status::status(&run, live.as_ref(), arguments.watch, &*self.face).await
            }
            Command::Record(arguments) => self.record(&arguments).await,
            Command::Chart(arguments) => self.chart(&arguments),
            Command::Notebooks(arguments) => self.notebooks(&arguments).await,
            Command::Kernel(arguments) => {
                kernel_spec::carry_out(&self.machine, arguments.action, &*self.face).await
            }
            Command::Doctor(arguments) => {
                show::doctor::doctor(&self.machine, arguments.part, &*self.face).await
            }
            other => {
                let this = self.clone();
                // They read and make notebooks of megabytes, which is not for the runtime's threads.
                let work = move || this.carry_out_blocking(other);
                match tokio::task::spawn_blocking(work).await {
                    Ok(done) => done,
                    Err(error) => match error.try_into_panic() {
                        Ok(panic) => std::panic::resume_unwind(panic),
                        Err(_) => Err(Failure::stopped_looking()),
                    },
                }
            }
        }
    }

    /// Commands that need no run. Blocks.
    fn carry_out_blocking(&self, command: Command) -> Result<Exit, Failure> {
        match command {
            Command::Show(arguments) => self.show_notebooks(&arguments),
            Command::Runs => show::runs::runs(&self.project()?, &*self.face),
            Command::Verify(arguments) => {
                let project = self.project().ok();
                show::verify::verify(project.as_ref(), &arguments, &*self.face)
            }
            Command::Init(arguments) => self.init(&arguments),
            Command::Schema => {
                let schema = code_deploy_engine::spec::schema();
                let text = serde_json::to_string_pretty(&schema).unwrap_or_default();
                self.face.text(&text);
                Ok(Exit::Done)
            }
            Command::Completions(arguments) => {
                let mut script = Vec::new();
                let mut table = CommandLine::command();
                clap_complete::generate(arguments.shell, &mut table, "code-deploy", &mut script);
                self.face.text(String::from_utf8_lossy(&script).trim_end());
                Ok(Exit::Done)
            }
            _ => Err(Failure::usage(
                "this command cannot be used here",
                "Use it in a terminal.",
            )),
        }
    }

    /// A whole run, the demonstration, or stopping: what stands without a command word.
    ///
    /// # Errors
    /// What kept it from being done.
    pub async fn whole(&self, arguments: &RunArgs) -> Result<Exit, Failure> {
        if let Some(run) = &arguments.run {
            let what = "`--run` is for the cells of a notebook";
            let next = format!("`code-deploy status --run {run}` shows the run.");
            return Err(Failure::usage(what, next));
        }
        if arguments.demo && !arguments.stop {
            let face = Arc::clone(&self.face);
            return demo::demo(&self.machine, arguments, face, &self.interrupt).await;
        }
        let session = self.session_for(arguments).await?;
        if arguments.stop {
            return run::stop(&session, &self.interrupt).await;
        }
        let wish = wish(arguments.to.as_deref(), arguments.yes)?;
        let out = arguments.out.as_deref();
        run::whole(&session, &wish, out, &self.interrupt)
            .await
            .map(|(exit, _)| exit)
    }

    async fn session_for(&self, arguments: &RunArgs) -> Result<Session, Failure> {
        let named = &self.global;
        let environment = arguments.environment.as_deref();
        let environment = environment.or(named.environment.as_deref());
        let target = arguments.target.as_deref().or(named.target.as_deref());
        let (Some(environment), Some(target)) = (environment, target) else {
            return Err(missing_place(environment));
        };
        let project = if arguments.demo {
            demo::project(&self.machine)?
        } else {
            self.project()?
        };
        if is_misspelt(&project, environment, target) {
            return Err(missing_place(Some(environment)));
        }
        self.begin(&project, environment, target, To::Change).await
    }

    async fn begin(
        &self,
        project: &Project,
        environment: &str,
        target: &str,
        to: To,
    ) -> Result<Session, Failure> {
        let face = Arc::clone(&self.face);
        let session = Session::begin(&self.machine, project, environment, target, face, to);
        let session = session.await?;
        Ok(Session {
            told: self.told.clone(),
            follows: self.opened.is_some(),
            ..session
        })
    }

    /// Asks the target what runs, when the run is the last of its environment and target; for an
    /// earlier one that would say nothing.
    async fn live(&self, run: &RunFolder) -> Result<Option<Live>, Failure> {
        let started = run.started()?;
        let Ok(project) = self.project() else {
            return Ok(None);
        };
        let (environment, target) = (&started.environment, &started.target);
        // A deployment file that was changed or moved keeps nobody from reading the record.
        let session = match self.begin(&project, environment, target, To::LookAt).await {
            Ok(session) => session,
            Err(failure) => {
                let is_last = project.last_of(environment, target)?.as_deref() == Some(run.path());
                let unasked = || Live::unasked(&project, &started, &failure);
                return Ok(is_last.then(unasked));
            }
        };
        let last = session.runs_here()?.pop();
        let last = last.filter(|(folder, _)| folder.path() == run.path());
        match last {
            Some((_, state)) => Ok(Some(show::live::look(&session, &state).await)),
            None => Ok(None),
        }
    }

    /// Opens or joins a run from a notebook.
    async fn open(&self, arguments: &RunArgs) -> Result<Exit, Failure> {
        if arguments.demo || arguments.stop || self.opened.is_none() {
            return self.whole(arguments).await;
        }
        if let Some(shown) = self.ended(arguments.run.as_deref())? {
            let live = self.live(&shown).await?;
            let (state, standstills) = shown.course()?;
            show::status::show(&state, &standstills, live.as_ref(), &*self.face);
            let text = "This notebook shows a run that has ended: its cells show what the run gave, \
                        and deploy nothing.";
            self.face.text(text);
            return Ok(Exit::Done);
        }
        let session = self.session_for(arguments).await?;
        if let Some(run) = &arguments.run {
            let open = session.open_run()?;
            let open = open.and_then(|(_, state)| state.started).map(|own| own.run);
            if open.as_ref().map(RunId::as_str) != Some(run) {
                let what =
                    format!("the notebook is of run {run}, which is not the one that is open");
                let next = "`%runs` lists the runs, `%status` shows where one stands.";
                return Err(Failure::refused(NO_SUCH_RUN, what, next));
            }
        }
        let wish = wish(arguments.to.as_deref(), arguments.yes)?;
        run::open(&session, &wish, &self.interrupt).await
    }

    /// Finds the project: of the file that is named, or was named when the notebook opened it.
    ///
    /// # Errors
    /// When there is none.
    pub fn project(&self) -> Result<Project, Failure> {
        let opened = self
            .opened
            .as_ref()
            .and_then(|opened| opened.file.as_deref());
        let file = self.global.file.as_deref().or(opened);
        Project::find(file, &self.machine.folder)
    }

    /// Returns the run that the notebook shows, when it is an executed one.
    fn shown_run(&self) -> Option<&str> {
        self.opened.as_ref()?.run.as_deref()
    }

    /// Returns the run that a notebook shows, where it has ended.
    fn ended(&self, run: Option<&str>) -> Result<Option<RunFolder>, Failure> {
        let Some(run) = run else {
            return Ok(None);
        };
        let folder = self.which(Some(run))?;
        let ended = folder.state()?.has_ended();
        Ok(ended.then_some(folder))
    }

    fn which(&self, run: Option<&str>) -> Result<RunFolder, Failure> {
        let run = run.or(self.shown_run());
        if let Some(path) = run.map(Path::new).filter(|path| path.is_dir()) {
            return Ok(RunFolder::at(path)?);
        }
        self.project()?.run(run)
    }

    /// Returns what the notebook has opened, where it has.
    fn opened_place(&self) -> Option<&Opened> {
        let opened = self.opened.as_ref();
        opened.filter(|opened| !opened.environment.is_empty())
    }

    /// The session of the environment and target that are named, opened, or used last.
    async fn session(&self, to: To) -> Result<Session, Failure> {
        let project = self.project()?;
        let opened = self.opened_place();
        let opened = opened.map(|opened| (opened.environment.clone(), opened.target.clone()));
        let last = opened.or_else(|| project.last_place());
        let (environment, target) = match (&self.global.environment, &self.global.target, last) {
            (Some(environment), Some(target), _) => (environment.clone(), target.clone()),
            (environment, target, Some(last)) => (
                environment.clone().unwrap_or(last.0),
                target.clone().unwrap_or(last.1),
            ),
            _ => {
                let what = "environment and target are not named, and there is no run yet";
                let next = "Name them: `--environment dev --target local`; in a notebook, begin \
                            with `%code-deploy dev local`.";
                return Err(Failure::usage(what, next));
            }
        };
        self.begin(&project, &environment, &target, to).await
    }

    fn wish(&self, open: &OpenArgs) -> Result<Wish, Failure> {
        let opened = self
            .opened
            .as_ref()
            .map(|opened| opened.open.clone())
            .unwrap_or_default();
        let to = open.to.clone().or(opened.to);
        wish(to.as_deref(), open.yes || opened.yes)
    }

    async fn verb(&self, verb: &str, arguments: &VerbArgs) -> Result<Exit, Failure> {
        let section = arguments.section.as_deref();
        if let Some(shown) = self.ended(self.shown_run())? {
            return run::show_ended(&shown, verb, section, &*self.face);
        }
        let session = self.session(To::Change).await?;
        let wish = self.wish(&arguments.open)?;
        run::verb(&session, &wish, verb, section, &self.interrupt).await
    }

    async fn plan(&self, arguments: &PlanArgs) -> Result<Exit, Failure> {
        if let Some(other) = &arguments.diff {
            let session = self.session(To::LookAt).await?;
            let before = session.project.run(Some(other))?;
            let wish = self.wish(&arguments.verb.open)?;
            let shown = plan::diff(&session, &wish, &before).await;
            return shown.map_err(Failure::of_a_look);
        }
        if self.shown_run().is_some() {
            return self.verb("plan", &arguments.verb).await;
        }
        let session = self.session(To::LookAt).await?;
        let wish = self.wish(&arguments.verb.open)?;
        // A cell shows the plan of the run that is open, or that has done what is wanted; where there is none it
        // begins none, as everywhere.
        let has_run = self.opened.is_some() && run::is_there(&session, &wish)?;
        if has_run || plan::is_under_way(&session)? {
            return self.verb("plan", &arguments.verb).await;
        }
        let section = arguments.verb.section.as_deref();
        let shown = plan::show(&session, &wish, section).await;
        shown.map_err(Failure::of_a_look)
    }

    async fn steer(&self, verb: Steering, arguments: &SteerArgs) -> Result<Exit, Failure> {
        let project = self.project()?;
        let folder = match arguments.which.run.as_deref() {
            Some(named) => self.which(Some(named))?,
            None => {
                let opened = self.opened_place();
                let (environment, target) = (&self.global.environment, &self.global.target);
                let environment = environment.as_ref().or(opened.map(|one| &one.environment));
                let target = target.as_ref().or(opened.map(|one| &one.target));
                let last = project
                    .run_to_steer(environment.map(String::as_str), target.map(String::as_str))?;
                self.refuse_other(&last)?;
                last
            }
        };
        let started = folder.started()?;
        let (environment, target) = (&started.environment, &started.target);
        let session = self
            .begin(&project, environment, target, To::Change)
            .await?;
        run::steer(&session, &folder, verb, &arguments.reason, &self.interrupt).await
    }

    /// Refuses to steer another run than the one that the notebook shows, unless it is named.
    fn refuse_other(&self, meant: &RunFolder) -> Result<(), Failure> {
        let meant = meant.started()?.run;
        match self.shown_run() {
            Some(shown) if shown != meant.as_str() => {
                let what = format!("this notebook shows run {shown}, and the last run is {meant}");
                let next = format!("Name the run that is meant: `--run {meant}`.");
                Err(Failure::refused(NO_SUCH_RUN, what, next))
            }
            _ => Ok(()),
        }
    }

    async fn settle(
        &self,
        which: &WhichRun,
        settling: Settling,
        reason: &str,
    ) -> Result<Exit, Failure> {
        let folder = self.which(which.run.as_deref())?;
        let started = folder.started()?;
        let (environment, target) = (&started.environment, &started.target);
        let session = self
            .begin(&self.project()?, environment, target, To::Change)
            .await?;
        run::settle(&session, &folder, settling, reason, &self.interrupt).await
    }

    async fn approve(&self, arguments: &ApproveArgs) -> Result<Exit, Failure> {
        let folder = self.which(arguments.which.run.as_deref())?;
        let (by, signed) = match &arguments.sign {
            Some(key) => {
                let project = self.project()?;
                let (by, signed) =
                    consent::sign(&self.machine, &project, &folder, key, arguments).await?;
                (by, Some(Box::new(signed)))
            }
            None => (self.machine.user.clone(), None),
        };
        let go = !arguments.no_go;
        let asking = Asking::Approve { go, signed };
        if let Some(told) = run::ask(&folder, asking, &by, &arguments.reason).await? {
            self.face.text(&told);
            return Ok(Exit::Done);
        }
        if let Some((outcome, ..)) = folder.state()?.finished {
            let run = folder.started()?.run;
            let what = format!(
                "run {run} is ended ({}), so nothing waits for an approval",
                outcome.words()
            );
            let next = "`code-deploy runs` shows which run is not ended; name it with `--run`.";
            let code = code_deploy_engine::code::NOTHING_TO_STEER;
            return Err(Failure::refused(code, what, next));
        }
        let what = "no process is working on that run, so nobody waits for an approval";
        Err(Failure::refused(
            crate::codes::NOBODY_WORKS,
            what,
            "`code-deploy resume` goes on with it.",
        ))
    }

    async fn record(&self, arguments: &RecordArgs) -> Result<Exit, Failure> {
        let run = self.which(arguments.which.run.as_deref())?;
        if arguments.view == ["export"] {
            return self.export(&run, arguments).await;
        }
        if arguments.unsigned {
            let next =
                "`code-deploy record export --unsigned` writes an archive without a signature.";
            return Err(Failure::usage(
                "`--unsigned` goes with `export` alone",
                next,
            ));
        }
        let is_told =
            arguments.view == ["checkpoints"] && show::checkpoints::to_machines(&run, &*self.face)?;
        if is_told {
            return Ok(Exit::Done);
        }
        if !arguments.view.is_empty() {
            let words = arguments.view.join(" ");
            let report = pages::view(self.project().ok().as_ref(), &run, &words)?;
            self.face.report(&heading(&words), &report);
            return Ok(Exit::Done);
        }
        let (kinds, last, watch) = (&arguments.kind, arguments.last, arguments.watch);
        show::record::record(&run, kinds, last, watch, &*self.face).await
    }
}

/// Returns words as a heading has them.
fn heading(words: &str) -> String {
    let mut chars = words.chars();
    let first = chars.next().map(|first| first.to_uppercase().to_string());
    first.unwrap_or_default() + chars.as_str()
}

/// Reads what is wanted of a run.
fn wish(to: Option<&str>, yes: bool) -> Result<Wish, Failure> {
    let to: Option<Release> =
        to.map(str::parse)
            .transpose()
            .map_err(|error: code_deploy_record::InvalidId| {
                Failure::usage(error.to_string(), "Name a release, such as 1.1.0.")
            })?;
    Ok(Wish {
        to,
        yes,
        ..Wish::default()
    })
}

/// Returns whether two words that are neither an environment nor a target begin with one that is near a command.
fn is_misspelt(project: &Project, environment: &str, target: &str) -> bool {
    if TARGETS.contains(&target) {
        return false;
    }
    let file = DeployFile::read(&project.file).ok();
    let is_there = file.is_some_and(|file| file.environments.contains_key(environment));
    !is_there && nearest(environment, &magic_words()).is_some()
}

fn missing_place(word: Option<&str>) -> Failure {
    let known = magic_words();
    let near = word.and_then(|word| nearest(word, &known));
    match (word, near) {
        (Some(word), Some(near)) => {
            let what = format!("there is no command `{word}`");
            Failure::usage(
                what,
                format!("Did you mean `{near}`? `code-deploy --help` lists all."),
            )
        }
        (Some(word), None) => {
            let what = format!("`{word}` is no command, and as an environment it needs a target");
            Failure::usage(
                what,
                "For a run, name environment and target: `code-deploy dev local`. `code-deploy --help` lists all commands.",
            )
        }
        (None, _) => Failure::usage(
            "environment and target are not named",
            "For a run: `code-deploy dev local`. `code-deploy --help` lists all commands.",
        ),
    }
}
