//! How a call of the runner ended.

use code_deploy_record::{Problem, StepName};

/// How a call of the runner ended, with its exit code.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Ended {
    /// As intended.
    Done(VerbDone),
    /// A phase did not pass. The run is not ended: the cause can be mended and the verb run
    /// again, or the run rolled back.
    Failed(Problem),
    /// The run is ended and everything is as before.
    Refused(Problem),
    /// The run is ended and everything is on the old release, for this reason.
    RolledBack(String),
    /// Neither release could be reached whole: a person must decide. The run is not ended.
    NeedsPerson(Problem),
    /// A person ended a run that needed one, and answers for what runs.
    Abandoned(String),
    /// The run stands at a safe point.
    Interrupted(String),
}

/// What a verb did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerbDone {
    /// The steps carried out now.
    pub done: Vec<StepName>,
    /// The steps that were done before and stayed done.
    pub already: Vec<StepName>,
}

impl Ended {
    /// Returns the documented exit code: 0 done, 1 refused or failed with everything as before,
    /// 3 rolled back, 4 needs a person, 130 interrupted at a safe point.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Done(_) => 0,
            Self::Failed(_) | Self::Refused(_) => 1,
            Self::RolledBack(_) => 3,
            Self::NeedsPerson(_) | Self::Abandoned(_) => 4,
            Self::Interrupted(_) => 130,
        }
    }

    /// Returns whether the call did what it was asked for.
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done(_))
    }
}
