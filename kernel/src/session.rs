//! A command that works on a run: opens it, carries out what is asked, shows what happens.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use code_deploy_engine::context::Answer;
use code_deploy_engine::foresight::{Foreseen, Outlook};
use code_deploy_engine::plan::{Found, Inputs, Plan};
use code_deploy_engine::runner::{Ended, Handle, OpenOptions, Person, Purpose, Runner};
use code_deploy_engine::spec::Spec;
use code_deploy_engine::target::Observed;
use code_deploy_engine::{Surroundings, Target, inventory};
use code_deploy_record::{Redactor, Release, RunFolder, RunId, RunState, SystemClock};
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::face::{Face, FaceApprover};
use crate::failure::{Exit, Failure};
use crate::kill_at_write;
use crate::machine::Machine;
use crate::project::{KUBERNETES, Project, To, target_of};
use crate::seal_key::seal_key;
use crate::show::status::standing;

/// What a command needs to work on a run of one environment and target.
#[derive(Clone)]
pub struct Session {
    /// This machine, user and program.
    pub machine: Machine,
    /// The project.
    pub project: Project,
    /// The deployment file, read.
    pub spec: Arc<Spec>,
    /// Where to.
    pub target: Arc<dyn Target>,
    /// Secret values that must not leave.
    pub redactor: Redactor,
    /// What shows it.
    pub face: Arc<dyn Face>,
    /// The runs that were spoken of before.
    pub told: Told,
    /// Whether a command that finds another process at work shows what that does, as a cell does
    /// for which the process that it had begun was lost.
    pub follows: bool,
}

/// The runs that this process has spoken of, so that a notebook says once which run its cells go on
/// with. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Told(Arc<Mutex<BTreeSet<RunId>>>);

impl Told {
    /// Returns all of them.
    pub fn all(&self) -> Vec<RunId> {
        let told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.iter().cloned().collect()
    }

    /// Takes note of runs that another process has spoken of.
    pub fn note(&self, runs: Vec<RunId>) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.extend(runs);
    }

    /// Takes note of a run; returns whether it was not spoken of before.
    fn first_of(&self, run: &RunId) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.insert(run.clone())
    }
}

/// What a run is opened with.
#[derive(Debug, Clone, Default)]
pub struct Wish {
    /// The release to deploy; the deployment file's when none is given.
    pub to: Option<Release>,
    /// Whether the person says go to every approval in advance.
    pub yes: bool,
    /// What is to go wrong on purpose, in a demonstration.
    pub planted_fault: Option<String>,
    /// The finished run from which this one goes back, if it does.
    pub reverts: Option<RunId>,
}

impl Session {
    /// Reads the deployment file and prepares the target. Changes nothing that runs.
    ///
    /// # Errors
    /// When something in the deployment file is wrong, or the target cannot be used.
    pub async fn begin(
        machine: &Machine,
        project: &Project,
        environment: &str,
        target: &str,
        face: Arc<dyn Face>,
        to: To,
    ) -> Result<Self, Failure> {
        let spec = project.spec(machine, environment, target).await?;
        let redactor = Redactor::default();
        let target = target_of(machine, &spec, &redactor, to)?;
        let (machine, project) = (machine.clone(), project.clone());
        Ok(Self {
            machine,
            project,
            spec,
            target,
            redactor,
            face,
            told: Told::default(),
            follows: false,
        })
    }

    /// Asks the target what runs, which changes nothing.
    async fn observe(&self) -> Result<Observed, Failure> {
        let observed = self.target.observe().await;
        observed.map_err(|error| Failure::from(error).of_a_look())
    }

    async fn inventory(&self) -> Result<Arc<Found>, Failure> {
        let observed = self.observe().await?;
        let inventory = inventory::take(&self.spec, Some(&observed))?;
        let document = serde_json::to_value(&inventory).map_err(code_deploy_record::Error::from)?;
        Ok(Arc::new(Found {
            components: inventory.components(),
            document,
        }))
    }

    async fn options(&self, purpose: Purpose, wish: &Wish) -> Result<OpenOptions, Failure> {
        // What the files tell needs no target that answers.
        Runner::refuse_unfit(self.target.as_ref(), &self.spec)?;
        let in_advance = wish.yes.then(|| Answer {
            by: self.machine.user.clone(),
            go: true,
            reason: "said in advance with --yes".to_owned(),
        });
        Ok(OpenOptions {
            spec: Arc::clone(&self.spec),
            target: Arc::clone(&self.target),
            to: wish.to.clone(),
            purpose,
            person: Person {
                name: self.machine.user.clone(),
                host: self.machine.host.clone(),
            },
            program: self.machine.program.clone(),
            program_version: env!("CARGO_PKG_VERSION").to_owned(),
            make_handover: Some(|run| {
                let page = code_deploy_notebook_gen::handover(run);
                page.map(|page| page.text)
                    .map_err(|error| code_deploy_engine::error::with_sources(&error))
            }),
            surroundings: Surroundings {
                disk: kill_at_write::disk(|name| self.machine.variable(name)),
                ..Surroundings::default()
            },
            clock: Arc::new(SystemClock),
            redactor: self.redactor.clone(),
            approver: Arc::new(FaceApprover::new(Arc::clone(&self.face), in_advance)),
            planted_fault: wish.planted_fault.clone(),
            inventory: self.inventory().await?,
            steps: code_deploy_engine::plan::all_steps,
            item_facts: code_deploy_engine::phases::item_facts,
            reverts: wish.reverts.clone(),
            seal_key: None,
        })
    }

    /// Makes the plan of the run that a command would begin or go on with now, after the checks
    /// that this run would begin with; also tells what the files alone tell of that run. Changes
    /// nothing.
    ///
    /// # Errors
    /// What keeps such a run from beginning; that the files cannot be read.
    pub async fn foresee(&self, wish: &Wish) -> Result<(Plan, Vec<Foreseen>), Failure> {
        let options = self.options(Purpose::Deploy, wish).await?;
        let foreseen = Runner::foresee(&options).await;
        foreseen.map_err(|error| Failure::from(error).of_a_look())
    }

    /// As [`foresee`](Self::foresee), also with what the run would change of the objects that the target holds.
    ///
    /// # Errors
    /// As `foresee`.
    pub async fn foresee_changes(
        &self,
        wish: &Wish,
    ) -> Result<(Plan, Vec<Foreseen>, Outlook), Failure> {
        let options = self.options(Purpose::Deploy, wish).await?;
        let foreseen = Runner::foresee_changes(&options).await;
        foreseen.map_err(|error| Failure::from(error).of_a_look())
    }

    /// Makes the plan without starting a run. Changes nothing.
    ///
    /// # Errors
    /// When there is no release to deploy, or the steps do not fit together.
    pub async fn plan(&self, wish: &Wish) -> Result<Plan, Failure> {
        let observed = self.observe().await?;
        let named = self
            .spec
            .release
            .as_deref()
            .and_then(|release| release.parse().ok());
        let to = wish.to.clone().or(named).ok_or_else(|| {
            Failure::usage(
                "no release is named",
                "Name one: `--to 1.1.0`, or `release:` in the deployment file.",
            )
        })?;
        let inputs = Inputs {
            spec: Arc::clone(&self.spec),
            inventory: self.inventory().await?,
            initial: observed.stable.is_none(),
            from: observed.stable,
            to,
            reverts: wish.reverts.clone(),
        };
        Ok(Plan::make(&inputs)?)
    }

    /// Returns the runs of this environment and target, oldest first, with where each stands.
    ///
    /// # Errors
    /// When the folder of the runs cannot be read.
    pub fn runs_here(&self) -> Result<Vec<(RunFolder, RunState)>, Failure> {
        let (environment, target) = (&self.spec.environment, &self.spec.target);
        let mut runs = self.project.all_runs()?;
        runs.retain(|(_, state)| {
            let started = state.started.as_ref();
            started.is_some_and(|s| s.environment == *environment && s.target == *target)
        });
        Ok(runs)
    }

    /// Returns the last run of this environment and target when it is not ended.
    ///
    /// # Errors
    /// When the folder of the runs cannot be read.
    pub fn open_run(&self) -> Result<Option<(RunFolder, RunState)>, Failure> {
        Ok(self
            .runs_here()?
            .pop()
            .filter(|(_, state)| !state.has_ended()))
    }

    /// Refuses a section that a verb does not have in the run that is open or would be begun.
    ///
    /// # Errors
    /// `CD0421` with the nearest section; when no plan can be made.
    pub async fn refuse_unknown_section(
        &self,
        wish: &Wish,
        verb: &str,
        section: Option<&str>,
    ) -> Result<(), Failure> {
        let known = self.sections(wish, verb).await?;
        match section.filter(|section| !known.iter().any(|known| known == section)) {
            Some(unknown) => Err(no_such_section(verb, unknown, &known)),
            None => Ok(()),
        }
    }

    /// Says that a section, which other runs have, has nothing to do in the run that is open or would
    /// be begun; nothing when it has. The cells of the notebooks that are ready serve a first
    /// deployment and later ones alike.
    ///
    /// # Errors
    /// `CD0421` with the nearest section where no run has such a section; when no plan can be made.
    pub async fn absent_section(
        &self,
        wish: &Wish,
        verb: &str,
        section: Option<&str>,
    ) -> Result<Option<String>, Failure> {
        let Some(section) = section else {
            return Ok(None);
        };
        let known = self.sections(wish, verb).await?;
        if known.iter().any(|known| known == section) {
            return Ok(None);
        }
        if !code_deploy_notebook_gen::has_cell(verb, section) {
            return Err(no_such_section(verb, section, &known));
        }
        let why = if verb == "migrate" && self.spec.file.databases.is_empty() {
            "The deployment file names no database."
        } else {
            "A first deployment, for example, has no release to compare with, to watch and to go \
             back to."
        };
        Ok(Some(format!(
            "`{verb} {section}` has nothing to do in this run: its plan has no such step. {why}"
        )))
    }

    /// Returns the sections of a verb in the run that is open or would be begun, in order.
    async fn sections(&self, wish: &Wish, verb: &str) -> Result<Vec<String>, Failure> {
        let last = self.runs_here()?.pop();
        let planned = last.and_then(|(_, state)| state.plan);
        let steps = match planned {
            Some(planned) => planned.steps,
            None => self.plan(wish).await?.planned(),
        };
        let prefix = format!("{verb}.");
        let names = steps
            .iter()
            .filter_map(|step| step.step.as_str().strip_prefix(&prefix));
        let mut known: Vec<String> = names
            .map(|rest| rest.split('.').next().unwrap_or(rest).to_owned())
            .collect();
        known.dedup();
        Ok(known)
    }

    /// Opens or joins a run, lets `work` act on it while the face shows what happens and an
    /// interrupt stops it at a safe point, and closes it.
    ///
    /// # Errors
    /// When the run cannot be opened, or `work` fails in a way that the record does not tell of.
    pub async fn with_runner<T>(
        &self,
        purpose: Purpose,
        wish: &Wish,
        interrupt: &CancellationToken,
        work: impl AsyncFnOnce(&mut Runner) -> Result<T, code_deploy_engine::Error>,
    ) -> Result<(T, RunId), Failure> {
        let open = self.open_run()?;
        let options = self.options(purpose, wish).await?;
        // No key is made for a run that is refused.
        let seal_key = seal_key(&self.machine, &self.spec, &self.redactor)?;
        let options = OpenOptions {
            seal_key,
            ..options
        };
        let mut runner = Runner::open(options).await?;
        let run = runner.run_id().ok_or_else(no_beginning)?;
        let first = self.told.first_of(&run);
        if let Some((_, state)) =
            open.filter(|_| first && matches!(purpose, Purpose::Deploy | Purpose::Resume))
            && let Some(text) = going_on(&state, &run)
        {
            self.face.text(&text);
        }
        let handle = runner.handle();
        let worked = self.show_while(&handle, interrupt, work(&mut runner)).await;
        runner.close().await;
        Ok((worked?, run))
    }

    async fn show_while<T>(
        &self,
        handle: &Handle,
        interrupt: &CancellationToken,
        work: impl Future<Output = T>,
    ) -> T {
        let mut notices = handle.journal().notices();
        let mut working = std::pin::pin!(work);
        let mut interrupted = false;
        let worked = loop {
            // Cancel safe: the work is pinned outside, receiving loses nothing.
            tokio::select! {
                biased;
                notice = notices.recv() => match notice {
                    Ok(notice) => self.face.notice(&notice),
                    Err(RecvError::Lagged(missed)) => {
                        self.face.text(&format!("({missed} entries were not shown; see `record`)"));
                    }
                    Err(RecvError::Closed) => {}
                },
                () = interrupt.cancelled(), if !interrupted => {
                    interrupted = true;
                    self.face.text("Stopping at the next safe point; once more stops now.");
                    handle.interrupt(&self.machine.user);
                },
                worked = &mut working => break worked,
            }
        };
        while let Ok(notice) = notices.try_recv() {
            self.face.notice(&notice);
        }
        worked
    }
}

/// Returns the failure of a section that a verb does not have, with the nearest one that it has.
pub fn no_such_section(verb: &str, section: &str, known: &[String]) -> Failure {
    let near = crate::commands::did_you_mean(section, known);
    let what = format!("{verb} has no section `{section}`");
    let next = format!("{near}Its sections are: {}.", known.join(", "));
    Failure::refused(code_deploy_engine::code::NO_SUCH_SECTION, what, next)
}

/// Returns the failure of a record that does not say how its run began.
pub fn no_beginning() -> Failure {
    Failure::refused(
        code_deploy_engine::code::NOT_A_RECORD,
        "the run has no beginning in its record",
        "`code-deploy verify` says what is wrong with the record.",
    )
}

/// Says what is true of a run that was stopped at a safe point.
fn stands_paused(state: &RunState) -> String {
    let stays = "The run is not ended, and nothing of it was taken back.";
    let is_split =
        |shares: &BTreeMap<Release, u16>| shares.values().filter(|share| **share > 0).count() > 1;
    if !state.traffic.values().any(|(served, _)| is_split(served)) {
        return stays.to_owned();
    }
    format!("{stays} Traffic is split: {}.", left_alone(state))
}

/// Says what becomes of traffic that is split where no process goes on with the run.
fn left_alone(state: &RunState) -> String {
    if !is_left_to_its_lease(state) {
        return "it stays so until the run goes on or goes back".to_owned();
    }
    let lease = code_deploy_engine::release::LEASE.as_secs();
    format!(
        "unless a process goes on with the run within {lease} s, all of it goes to the stable release by itself"
    )
}

/// Returns whether split traffic goes to the stable release by itself where no process goes on with the run: a router of
/// ours knows which release that is; nothing in a cluster does.
pub fn is_left_to_its_lease(state: &RunState) -> bool {
    let started = state.started.as_ref();
    started.is_none_or(|started| started.target != KUBERNETES)
}

/// Returns what a person has to know who did not ask for the run that is gone on with.
fn going_on(state: &RunState, joined: &RunId) -> Option<String> {
    let open = open_in_words(state)?;
    state.started.as_ref().filter(|s| s.run == *joined)?;
    let mut steps = state.plan.iter().flat_map(|plan| &plan.steps);
    let next = steps.find(|step| !state.step_done(&step.step));
    let pause = if state.paused {
        " What is asked for now lifts its pause."
    } else {
        ""
    };
    let next_step = match (&state.rollback, next) {
        (None, Some(step)) => format!("; its next step is {}", step.step),
        _ => String::new(),
    };
    Some(format!(
        "{open} This is of that run{next_step}.{pause} To go back instead: `code-deploy rollback`."
    ))
}

/// Says which run is not ended, and where it stands.
pub fn open_in_words(state: &RunState) -> Option<String> {
    let started = state.started.as_ref()?;
    let from = started
        .from
        .as_ref()
        .map_or("nothing".to_owned(), ToString::to_string);
    let since = state
        .since
        .map(|since| since.format("%Y-%m-%d %H:%M:%S UTC").to_string());
    Some(format!(
        "Run {} ({from} -> {}), begun {} by {}, is not ended ({}).",
        started.run,
        started.to,
        since.unwrap_or_default(),
        started.user,
        standing(state)
    ))
}

/// Returns how a command ends whose run ended so, and stands so now.
///
/// # Errors
/// What did not go well, as a person reads it; that the record cannot be read.
pub fn exit_of(ended: Ended, run: &RunFolder) -> Result<Exit, Failure> {
    Err(match ended {
        Ended::Done(_) => return Ok(Exit::Done),
        Ended::Interrupted(text) => Failure::new(
            Exit::Interrupted,
            code_deploy_engine::code::PAUSED,
            text,
            stands_paused(&run.state()?),
            "`code-deploy resume` goes on, `code-deploy rollback` goes back.",
        ),
        Ended::Failed(problem) | Ended::Refused(problem) => Failure::of(problem, Exit::Refused),
        Ended::RolledBack(reason) => Failure::new(
            Exit::RolledBack,
            "CD0408",
            format!("the run was rolled back: {reason}"),
            "The run is ended; traffic, instances and versions of databases are as before it, and that was verified. What \
             users and the outside client have stored meanwhile stays, but for what a migration that was taken back had \
             added.",
            "Deploy again when that is dealt with. What was measured and what was asked for: the \
             summary, `code-deploy status`, and the notebooks of the run.",
        ),
        Ended::NeedsPerson(problem) => Failure::of(problem, Exit::NeedsPerson),
        Ended::Abandoned(summary) => Failure::new(
            Exit::NeedsPerson,
            "CD0472",
            format!("the run was abandoned: {summary}"),
            "The run is ended; nobody verified what runs.",
            "See what runs with `code-deploy status`.",
        ),
    })
}
