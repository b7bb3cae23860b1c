//! A command that works on a run: opens it, carries out what is asked, shows what happens.

use std::sync::Arc;

use code_deploy_engine::context::Answer;
use code_deploy_engine::plan::{Found, Inputs, Plan};
use code_deploy_engine::runner::{Ended, Handle, OpenOptions, Person, Purpose, Runner};
use code_deploy_engine::spec::Spec;
use code_deploy_engine::{Target, inventory};
use code_deploy_record::{Redactor, Release, RunFolder, RunId, RunState, SystemClock};
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::face::{Face, FaceApprover};
use crate::failure::{Exit, Failure};
use crate::machine::Machine;
use crate::project::{Project, target_of};

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
    pub fn begin(
        machine: &Machine,
        project: &Project,
        environment: &str,
        target: &str,
        face: Arc<dyn Face>,
    ) -> Result<Self, Failure> {
        let spec = project.spec(machine, environment, target)?;
        let redactor = Redactor::default();
        let target = target_of(machine, &spec, &redactor)?;
        let (machine, project) = (machine.clone(), project.clone());
        Ok(Self {
            machine,
            project,
            spec,
            target,
            redactor,
            face,
        })
    }

    async fn inventory(&self) -> Result<Arc<Found>, Failure> {
        let observed = self.target.observe().await?;
        let inventory = inventory::take(&self.spec, Some(&observed))?;
        let document = serde_json::to_value(&inventory).map_err(code_deploy_record::Error::from)?;
        Ok(Arc::new(Found {
            components: inventory.components(),
            document,
        }))
    }

    async fn options(&self, purpose: Purpose, wish: &Wish) -> Result<OpenOptions, Failure> {
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
            clock: Arc::new(SystemClock),
            redactor: self.redactor.clone(),
            approver: Arc::new(FaceApprover::new(Arc::clone(&self.face), in_advance)),
            planted_fault: wish.planted_fault.clone(),
            inventory: self.inventory().await?,
            steps: code_deploy_engine::plan::all_steps,
            item_facts: code_deploy_engine::phases::item_facts,
            reverts: wish.reverts.clone(),
        })
    }

    /// Makes the plan without starting a run. Changes nothing.
    ///
    /// # Errors
    /// When there is no release to deploy, or the steps do not fit together.
    pub async fn plan(&self, wish: &Wish) -> Result<Plan, Failure> {
        let observed = self.target.observe().await?;
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
        let options = self.options(purpose, wish).await?;
        let mut runner = Runner::open(options).await?;
        let run = runner.run_id().ok_or_else(|| {
            Failure::refused("CD0303", "the run has no beginning in its record", "")
        })?;
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

/// Returns how a command ends whose run ended so.
///
/// # Errors
/// What did not go well, as a person reads it.
pub fn exit_of(ended: Ended) -> Result<Exit, Failure> {
    let (problem, exit) = match ended {
        Ended::Done(_) => return Ok(Exit::Done),
        Ended::Interrupted(text) => {
            let next = "`code-deploy resume` goes on, `code-deploy rollback` goes back.";
            (problem("CD0401", text, next), Exit::Interrupted)
        }
        Ended::Failed(problem) | Ended::Refused(problem) => (problem, Exit::Refused),
        Ended::RolledBack(reason) => {
            let text = format!("the run was rolled back: {reason}");
            let next = "The notebooks of the run say what happened and when.";
            (problem("CD0420", text, next), Exit::RolledBack)
        }
        Ended::NeedsPerson(problem) => (problem, Exit::NeedsPerson),
    };
    Err(Failure {
        problem,
        exit,
        spec: None,
    })
}

fn problem(code: &str, what: String, next: &str) -> code_deploy_record::Problem {
    let (code, next) = (code.to_owned(), next.to_owned());
    code_deploy_record::Problem {
        code,
        what,
        state: String::new(),
        next,
    }
}
