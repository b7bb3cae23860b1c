//! The engine: a deployment file becomes a plan, the plan becomes steps with undo, the steps are
//! carried out journal first on a [`Target`], between gates.
//!
//! The engine knows no concrete target and no face. Its state is the fold of the run's journal
//! ([`code_deploy_record::RunState`]) and nothing else.

pub mod code;
mod confidence;
pub mod context;
pub mod contract;
pub mod duration;
pub mod error;
pub mod exposition;
pub mod foresight;
pub mod gate;
pub mod http;
pub mod init;
pub mod inventory;
pub mod journey;
mod lease;
mod left;
pub mod listening;
pub mod load;
pub mod phases;
pub mod plan;
pub mod policy;
pub mod release;
pub mod rollback;
pub mod runner;
mod section;
mod settle;
pub mod source;
pub mod spec;
pub mod steer;
pub mod step;
pub mod surroundings;
pub mod target;
mod tls;

pub use context::{Approver, Context, Interruption, Journal, Notice, Progress};
pub use error::{Error, Result};
pub use inventory::Inventory;
pub use plan::{Inputs, Plan};
pub use runner::{Ended, OpenOptions, Person, Purpose, Runner};
pub use spec::Spec;
pub use step::{Step, StepError};
pub use surroundings::Surroundings;
pub use target::Target;
