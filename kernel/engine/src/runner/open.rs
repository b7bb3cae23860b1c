//! Opening a runner: begins a run, or joins one that is not ended.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use code_deploy_record::{
    Catalog, Digest, EventBody, InventoryTaken, JournalWriter, Planned, Release, RunFolder, RunId,
    RunLock, RunStarted, RunState, RunsFolder,
};
use tokio_util::sync::CancellationToken;

use super::hold::{hold, let_go};
use super::join::join;
use super::last::{Closed, Last, last_run, runs_of, seal_if_cut_off};
use super::live::Live;
use super::lock;
use super::preview::inputs_from;
use super::{OpenOptions, Purpose, Runner};
use crate::lease::{LeasedTarget, MayAct, answer};
use crate::plan::{Inputs, Plan};
use crate::surroundings::Sabotage;
use crate::target::{Heading, Observed};
use crate::{Context, Error, Interruption, Journal, Result, Target, foresight};

impl Runner {
    /// Begins a run, or joins the one that is not ended.
    ///
    /// # Errors
    /// [`Error::Refused`], with nothing changed: `CD0402` the target cannot honour the deployment
    /// file; `CD0410` another process holds the lock; `CD0440` another machine holds the target; `CD0411` the release is deployed already;
    /// `CD0412` another run is not ended; `CD0413` a record is damaged or foreign; `CD0414` what
    /// runs has no stable release; `CD0415` a required run in another environment is missing;
    /// `CD0416` the plan is not the one that the run began with; `CD0417` there is nothing to
    /// resume; `CD0418` there is nothing to go back from; `CD0424` no release is named; `CD0437` the policy refuses
    /// what is deployed.
    pub async fn open(options: OpenOptions) -> Result<Self> {
        Self::refuse_unfit(options.target.as_ref(), &options.spec)?;
        let runs = runs_of(&options);
        let seen = last_run(&runs, &options)?;
        let id = match &seen {
            Some(last) if !last.is_ended() => last.state.started.as_ref().map(|s| s.run.clone()),
            _ => None,
        };
        let newest = runs.list()?.pop();
        let id = id.map_or_else(|| new_id(&options, newest.as_ref()), Ok)?;
        let lock = Arc::new(lock::take(&runs, &options, id).await?);
        let (target, holder) = (Arc::clone(&options.target), lock.holder().clone());
        hold(&options, &holder).await?;
        let opened = open_under_lock(options, &runs, lock).await;
        match &opened {
            Ok(runner) => runner.live.keep_place(&runner.context, holder),
            Err(_) => let_go(target.as_ref(), &holder).await,
        }
        opened
    }
}

async fn open_under_lock(
    options: OpenOptions,
    runs: &RunsFolder,
    lock: Arc<RunLock>,
) -> Result<Runner> {
    // Looked at again under the lock: another process may have ended its run meanwhile.
    match last_run(runs, &options)? {
        Some(last) if !last.is_ended() => join(options, last, lock).await,
        last => {
            let closed = seal_if_cut_off(last.as_ref(), &options, &lock)?;
            match options.purpose {
                Purpose::Deploy | Purpose::Begin => {}
                Purpose::Resume => {
                    return Err(nothing(crate::code::NOTHING_TO_STEER, "resume", &options));
                }
                Purpose::GoBack => {
                    return Err(nothing(
                        crate::code::NOTHING_TO_GO_BACK,
                        "go back from",
                        &options,
                    ));
                }
            }
            begin(options, runs, last, closed, lock).await
        }
    }
}

fn nothing(code: &str, what: &str, options: &OpenOptions) -> Error {
    let (application, environment) = (&options.spec.application, &options.spec.environment);
    Error::refused(
        code,
        format!("there is no unfinished run of {application} in {environment} to {what}"),
        "`code-deploy runs` lists the runs; `code-deploy rollback --run RUN` goes back from a \
         finished one.",
    )
}

/// How the name of a run begins.
const TIME: &str = "%Y%m%dT%H%M%S%3fZ";

/// Returns when a run began, by its name.
fn began(run: &RunId) -> Option<DateTime<Utc>> {
    let time = run.as_str().split('-').next()?;
    let time = chrono::NaiveDateTime::parse_from_str(time, TIME).ok()?;
    Some(time.and_utc())
}

/// Returns a name that sorts after that of every run so far, also when the clock was set back: the
/// last run is the one whose name is last.
fn new_id(options: &OpenOptions, newest: Option<&RunId>) -> Result<RunId> {
    let mut now = options.clock.now();
    if let Some(newest) = newest.and_then(began) {
        now = now.max(newest + chrono::TimeDelta::milliseconds(1));
    }
    let salt = options.surroundings.chance.bits().to_be_bytes();
    let salt: String = Digest::of(&salt).short().chars().take(4).collect();
    let spec = &options.spec;
    let time = now.format(TIME);
    let id = format!("{time}-{}-{}-{salt}", spec.environment, spec.target);
    id.parse().map_err(|error| {
        let help = "Use letters, digits and `-` in the names of environments.";
        Error::refused("CD0404", format!("a run cannot be named: {error}"), help)
    })
}

async fn begin(
    options: OpenOptions,
    runs: &RunsFolder,
    last: Option<Last>,
    closed: Option<Closed>,
    lock: Arc<RunLock>,
) -> Result<Runner> {
    let recovered = answer("looking after the place", options.target.recover()).await?;
    let observed = answer("finding out what runs", options.target.observe()).await?;
    let from = stable(&observed, &options, last.as_ref())?;
    let inputs = inputs_from(&options, runs, &observed, from).and_then(|inputs| {
        let ruled: Vec<_> = foresight::ruled(&inputs).into_iter().collect();
        foresight::refuse(&ruled, &inputs.spec.environment).map(|()| inputs)
    });
    let inputs = inputs.map_err(|error| also(error, recovered))?;
    admit(&options, &inputs.to).await?;
    let plan = Plan::of(&inputs, options.steps)?;
    let folder = runs.create_run(&lock.holder().run)?;
    let (clock, redactor) = (Arc::clone(&options.clock), options.redactor.clone());
    let mut writer = folder.create_journal(clock, redactor)?;
    fence(&mut writer, &lock, &options);
    let mut state = RunState::default();
    let started = run_started(&options, &inputs, &lock, last.as_ref())?;
    let event = writer.append("engine", EventBody::RunStarted(Box::new(started)))?;
    state.apply(&event).map_err(|what| unfit(&folder, what))?;
    name_key(&options, &folder, &mut writer, &mut state)?;
    let journal = Journal::start(writer, state).map_err(|error| no_thread(&error))?;
    let mut runner = assemble(options, inputs, plan, folder, journal, lock)?;
    runner.journal_lock().await?;
    runner.journal_plan().await?;
    if let Some((severity, text)) = closed {
        let body = EventBody::Noted { severity, text };
        runner.context.journal.append("engine", body).await?;
    }
    runner.start_live(None).await?;
    Ok(runner)
}

/// Returns a refusal with what was done all the same.
fn also(error: Error, recovered: Option<String>) -> Error {
    match (error, recovered) {
        (Error::Refused(mut problem), Some(text)) => {
            problem.what.push_str(&format!("; {text}"));
            Error::Refused(problem)
        }
        (error, _) => error,
    }
}

/// Refuses a run in whose way something stands at the target.
pub(super) async fn admit(options: &OpenOptions, to: &Release) -> Result<()> {
    let services = options.spec.services.iter();
    let replicas = services.map(|service| (service.name.clone(), service.replicas));
    let replicas = replicas.collect();
    let heading = match options.reverts {
        Some(_) => Heading::Back,
        None => Heading::Forward,
    };
    let asked = options.target.admit(to, &replicas, heading);
    let admitted = answer("looking for what stands in the way", asked).await;
    admitted.map_err(|error| Error::refused(error.code, error.to_string(), error.next.clone()))
}

/// Lets a journal be written only while the lock is held.
pub(super) fn fence(writer: &mut JournalWriter, lock: &RunLock, options: &OpenOptions) {
    if !options.surroundings.sabotaged(Sabotage::IgnoresFence) {
        writer.fence_with(lock.fence());
    }
}

/// Seals the record with the key that was given, and says so in it where it does not yet.
pub(super) fn name_key(
    options: &OpenOptions,
    folder: &RunFolder,
    writer: &mut JournalWriter,
    state: &mut RunState,
) -> Result<()> {
    let Some(key) = &options.seal_key else {
        return Ok(());
    };
    match writer.seal_with(Arc::clone(key))? {
        Some(event) => state.apply(&event).map_err(|what| unfit(folder, what)),
        None => Ok(()),
    }
}

fn unfit(folder: &RunFolder, what: String) -> Error {
    Error::Record(code_deploy_record::Error::Broken {
        path: folder.journal_path(),
        event: 0,
        what,
    })
}

pub(super) fn no_thread(error: &std::io::Error) -> Error {
    Error::refused(
        "CD0405",
        format!("the thread that writes the journal could not be started: {error}"),
        "Look at the limits of processes and memory of this user.",
    )
}

/// Returns the release that is live. Where a service is so ill that nobody serves it, that is the release
/// which the last run left everything on, if no other runs.
pub(super) fn stable(
    observed: &Observed,
    options: &OpenOptions,
    last: Option<&Last>,
) -> Result<Option<Release>> {
    let mut running = observed.instances.iter().filter(|one| one.running);
    let runs = running.clone().next().is_some();
    if observed.stable.is_none() && runs {
        let left = last.filter(|last| last.is_at(&options.spec.target));
        let left = left.and_then(Last::release_left);
        if let Some(left) = left.filter(|left| running.all(|one| one.release == *left)) {
            return Ok(Some(left));
        }
        let releases: std::collections::BTreeSet<_> = observed
            .instances
            .iter()
            .map(|instance| instance.release.as_str())
            .collect();
        let what = format!(
            "{} runs in {} in the releases {}, but none of them has all traffic of all services, \
             and no unfinished run explains it",
            options.spec.application,
            options.spec.environment,
            releases.into_iter().collect::<Vec<_>>().join(", "),
        );
        let next = format!(
            "Stop it with `code-deploy {} {} --stop`, or restore the record of the run that \
             started it.",
            options.spec.environment, options.spec.target
        );
        return Err(Error::refused("CD0414", what, next));
    }
    Ok(observed.stable.clone())
}

pub(super) fn wanted_release(options: &OpenOptions) -> Result<Release> {
    if let Some(to) = &options.to {
        return Ok(to.clone());
    }
    let named = options.spec.release.as_ref().ok_or_else(|| {
        let next = "Write `release: 1.2.3` into the deployment file or give `--to 1.2.3`.";
        Error::refused(
            crate::code::NO_RELEASE,
            "no release to deploy is named",
            next,
        )
    })?;
    named.parse().map_err(|error| {
        Error::refused(
            crate::code::NO_RELEASE,
            format!("{error}"),
            "Correct `release` in the deployment file.",
        )
    })
}

fn run_started(
    options: &OpenOptions,
    inputs: &Inputs,
    lock: &RunLock,
    last: Option<&Last>,
) -> Result<RunStarted> {
    let spec = &options.spec;
    let previous = last.map(Last::link);
    Ok(RunStarted {
        run: lock.holder().run.clone(),
        application: spec.application.clone(),
        environment: spec.environment.clone(),
        target: spec.target.clone(),
        strategy: spec.strategy.kind.word().to_owned(),
        initial: inputs.initial,
        from: inputs.from.clone(),
        to: inputs.to.clone(),
        program: options.program_version.clone(),
        host: options.person.host.clone(),
        user: options.person.name.clone(),
        deployment_file: spec.digest,
        previous: previous.transpose()?,
        planted_fault: options.planted_fault.clone(),
        reverts: inputs.reverts.clone(),
    })
}

pub(super) fn assemble(
    options: OpenOptions,
    inputs: Inputs,
    plan: Plan,
    run: RunFolder,
    journal: Journal,
    lock: Arc<RunLock>,
) -> Result<Runner> {
    let catalog = Catalog::shipped()?;
    let live = Live::new(Arc::clone(&lock));
    let may_act = MayAct {
        journal: journal.clone(),
        fence: lock.fence(),
        surroundings: options.surroundings.clone(),
        taken_by: Arc::default(),
    };
    let stop = live.stop.clone();
    let target = LeasedTarget::new(options.target, may_act.clone(), &live.tracker, stop);
    let context = Context {
        spec: options.spec,
        from: inputs.from.clone(),
        to: inputs.to.clone(),
        target: Arc::new(target) as Arc<dyn Target>,
        may_act,
        run,
        journal,
        surroundings: options.surroundings,
        clock: options.clock,
        interruption: Interruption::default(),
        redactor: options.redactor,
        approver: options.approver,
        program: options.program,
        make_handover: options.make_handover,
    };
    Ok(Runner {
        context,
        plan: Arc::new(plan),
        inputs,
        item_facts: options.item_facts,
        catalog,
        person: options.person,
        program: options.program_version,
        leave: CancellationToken::new(),
        live,
        lock,
    })
}

impl Runner {
    /// Journals who carries the run out from here, and under which fencing number.
    pub(super) async fn journal_lock(&self) -> Result<()> {
        let holder = self.lock.holder();
        let body = EventBody::LockTaken {
            fencing: holder.fencing,
            host: holder.host.clone(),
            pid: holder.pid,
            program: self.program.clone(),
        };
        let actor = format!("person:{}", holder.user);
        self.context.journal.append(&actor, body).await?;
        Ok(())
    }

    /// Journals inventory and plan, unless that was done before.
    pub(super) async fn journal_plan(&self) -> Result<()> {
        if self.state().plan.is_some() {
            return Ok(());
        }
        let found = &self.inputs.inventory;
        let document = serde_json::to_vec_pretty(&found.document).map_err(json)?;
        let evidence = self
            .context
            .keep("inventory", "application/json", document)
            .await?;
        let components = found.components.clone();
        let body = EventBody::InventoryTaken(InventoryTaken {
            evidence,
            components,
        });
        self.context.journal.append("engine", body).await?;
        let (digest, steps) = (self.plan.digest, self.plan.planned());
        let document = serde_json::json!({ "digest": digest, "steps": steps });
        let document = serde_json::to_vec_pretty(&document).map_err(json)?;
        let evidence = self
            .context
            .keep("plan", "application/json", document)
            .await?;
        let body = EventBody::Planned(Planned {
            digest,
            evidence,
            steps,
        });
        self.context.journal.append("engine", body).await?;
        Ok(())
    }

    /// Starts what runs beside the run; the target is asked for what happened on its own after
    /// `noted`, when the last runner's notes end.
    pub(super) async fn start_live(&mut self, noted: Option<DateTime<Utc>>) -> Result<()> {
        let since = noted.unwrap_or_else(|| self.context.clock.now());
        self.live.keep_lock(&self.context);
        self.live.watch(&self.context, since);
        if !self.context.surroundings.door {
            return Ok(());
        }
        let server = crate::steer::Server::bind(&self.context, &self.person).await?;
        self.live.spawn(server.serve());
        Ok(())
    }
}

fn json(error: serde_json::Error) -> Error {
    Error::Record(error.into())
}
