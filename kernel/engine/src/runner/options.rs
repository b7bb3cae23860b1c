//! What a runner is opened with.

use std::path::PathBuf;
use std::sync::Arc;

use code_deploy_record::{Clock, Item, Redactor, Release, RunId, SealKey};

use crate::phases::handover::MakeHandover;
use crate::plan::{Found, Inputs, MakeSteps};
use crate::{Approver, Spec, Surroundings, Target};

/// Returns the fact of the inventory from which it follows that an item cannot apply, if there
/// is one.
pub type ItemFacts = fn(&Item, &Inputs) -> Option<String>;

/// What a runner is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To deploy a release: starts a run, or joins the unfinished one of the same release.
    Deploy,
    /// To deploy a release in a run of its own: an unfinished one is not joined.
    Begin,
    /// To go on with the unfinished run.
    Resume,
    /// To go back in the unfinished run.
    GoBack,
}

/// The person who runs the deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// The name under which the record knows them, usually the system's user.
    pub name: String,
    /// The machine.
    pub host: String,
}

/// What a runner is opened with.
#[derive(Clone)]
pub struct OpenOptions {
    /// The deployment file as read, for one environment and target.
    pub spec: Arc<Spec>,
    /// Where to.
    pub target: Arc<dyn Target>,
    /// The release to deploy; the deployment file's when none is given.
    pub to: Option<Release>,
    /// What for.
    pub purpose: Purpose,
    /// Who.
    pub person: Person,
    /// This program, for helper processes that outlive it.
    pub program: PathBuf,
    /// This program's version.
    pub program_version: String,
    /// What makes the notebook of the handover, if anything here does.
    pub make_handover: Option<MakeHandover>,
    /// Disk, network and chance.
    pub surroundings: Surroundings,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Secret values that must not leave.
    pub redactor: Redactor,
    /// The key that seals the record; nothing leaves it without signatures.
    pub seal_key: Option<Arc<SealKey>>,
    /// The person who may be asked.
    pub approver: Arc<dyn Approver>,
    /// What is to go wrong on purpose, in a demonstration.
    pub planted_fault: Option<String>,
    /// What the inventory found.
    pub inventory: Arc<Found>,
    /// The steps of the plan; [`crate::plan::all_steps`].
    pub steps: MakeSteps,
    /// Which items cannot apply, and why.
    pub item_facts: ItemFacts,
    /// The finished run from which this one goes back, if it does.
    pub reverts: Option<RunId>,
}
