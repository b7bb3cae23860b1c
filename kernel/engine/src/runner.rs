//! The engine of one run: opens or joins it, carries its verbs out step by step, and ends it.

mod course;
mod ended;
mod execute;
mod finish;
mod hold;
mod join;
mod last;
mod live;
mod lock;
mod open;
mod options;
mod preview;
mod ready;
mod stopped;
mod unfit;

use std::sync::Arc;

use code_deploy_record::{Catalog, EventBody, RunFolder, RunId, RunLock, RunState, Steering};
use tokio_util::sync::CancellationToken;

pub use course::phase_of;
pub use ended::{Ended, VerbDone};
pub use options::{ItemFacts, OpenOptions, Person, Purpose};

pub(crate) use execute::{back, forward};

use crate::plan::{Inputs, Plan};
use crate::steer::{Asking, Told};
use crate::{Context, Journal, Result};
use live::Live;

/// The engine of one run, in this process.
///
/// # Flow
/// [`open`](Self::open) takes the lock and starts or joins a run; [`run_verb`](Self::run_verb)
/// carries one verb out, or [`run_all`](Self::run_all) all of them and [`finish`](Self::finish);
/// [`rollback`](Self::rollback) goes back. [`close`](Self::close) ends what runs beside.
///
/// # Guarantees
/// - Nothing is done whose intent is not on disk.
/// - What stands in the journal is all that is known: a process that opens the run after this one
///   died goes on, or goes back, from there.
/// - One runner per application and environment: the lock is held until the runner and what runs
///   beside it have ended.
pub struct Runner {
    context: Context,
    plan: Arc<Plan>,
    inputs: Inputs,
    item_facts: ItemFacts,
    catalog: &'static Catalog,
    person: Person,
    program: String,
    leave: CancellationToken,
    live: Live,
    lock: Arc<RunLock>,
}

impl std::fmt::Debug for Runner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runner")
            .field("run", &self.context.run.path())
            .field("plan", &self.plan)
            .finish()
    }
}

/// What other parts of a process need of a runner that is busy. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    context: Context,
    person: Person,
    leave: CancellationToken,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle")
            .field("run", &self.context.run.path())
            .finish()
    }
}

impl Handle {
    /// Asks the run to stop at the next safe point and the call under way to return
    /// [`Ended::Interrupted`]. For Ctrl-C and a kernel's interrupt.
    pub fn interrupt(&self, by: &str) {
        self.leave.cancel();
        let interruption = &self.context.interruption;
        interruption.ask(Steering::Pause, by, "interrupted");
    }

    /// Asks for something, as a person in this process; it is journaled first.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub async fn ask(&self, verb: Steering, by: &str, reason: &str) -> Result<()> {
        let (by_text, reason_text) = (by.to_owned(), reason.to_owned());
        let body = EventBody::SteeringAsked {
            verb,
            by: by_text,
            reason: reason_text,
        };
        let journal = &self.context.journal;
        journal.append(&format!("person:{by}"), body).await?;
        self.context.interruption.ask(verb, by, reason);
        Ok(())
    }

    /// Does what somebody asks, exactly as the control socket does for another process.
    pub async fn steer(&self, asking: &Asking, by: &str, reason: &str) -> Told {
        crate::steer::carry_out(asking, (by, reason), &self.context, &self.person).await
    }

    /// Returns the journal, for its notices and its state.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.context.journal
    }

    /// Returns the run's folder.
    #[must_use]
    pub fn run(&self) -> &RunFolder {
        &self.context.run
    }
}

impl Runner {
    /// Returns what other parts of this process need while the runner is busy.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle {
            context: self.context.clone(),
            person: self.person.clone(),
            leave: self.leave.clone(),
        }
    }

    /// Returns where the run stands.
    #[must_use]
    pub fn state(&self) -> Arc<RunState> {
        self.context.state()
    }

    /// Returns the plan.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Returns what the plan was made from.
    #[must_use]
    pub fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    /// Returns what a step has at hand in this run.
    #[must_use]
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Returns the run's name.
    #[must_use]
    pub fn run_id(&self) -> Option<RunId> {
        self.state()
            .started
            .as_ref()
            .map(|started| started.run.clone())
    }

    /// Returns the fencing number under which this runner holds the lock.
    #[must_use]
    pub fn fencing(&self) -> u64 {
        self.lock.holder().fencing
    }

    /// Forgets an interrupt, so that the run can go on in the same process.
    pub fn clear_interrupt(&mut self) {
        self.leave = CancellationToken::new();
        self.context.interruption.clear();
    }

    /// Ends what runs beside the run (probes, the lease, the control socket) and waits for it.
    /// The run itself stays as it is; the lock is free then.
    pub async fn close(self) {
        self.live.close().await;
        hold::let_go(self.context.target.as_ref(), self.lock.holder()).await;
    }
}
