//! How a command ends, and the errors that a person reads.

use code_deploy_engine::Error as EngineError;
use code_deploy_record::Problem;

/// How a command ended, as its exit code tells. The codes are documented and stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done,
    /// Refused or failed, with everything as before.
    Refused,
    /// The command line is wrong.
    Usage,
    /// Rolled back.
    RolledBack,
    /// A person must decide.
    NeedsPerson,
    /// Interrupted at a safe point.
    Interrupted,
}

impl Exit {
    /// Returns the exit code.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Refused => 1,
            Self::Usage => 2,
            Self::RolledBack => 3,
            Self::NeedsPerson => 4,
            Self::Interrupted => 130,
        }
    }
}

/// Why a command did not do what was asked.
#[derive(Debug)]
pub struct Failure {
    /// The error as a person reads it.
    pub problem: Problem,
    /// How the command ends.
    pub exit: Exit,
    /// The place in the user's file, where there is one.
    pub spec: Option<Box<code_deploy_engine::spec::SpecError>>,
}

impl Failure {
    /// Returns a failure after which everything is as before.
    pub fn refused(code: &str, what: impl Into<String>, next: impl Into<String>) -> Self {
        Self::with_exit(Exit::Refused, code, what, next)
    }

    /// Returns the failure of a command that was not well formed.
    pub fn usage(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self::with_exit(Exit::Usage, "CD0001", what, next)
    }

    fn with_exit(exit: Exit, code: &str, what: impl Into<String>, next: impl Into<String>) -> Self {
        let state = "Nothing was changed.".to_owned();
        let problem = Problem {
            code: code.to_owned(),
            what: what.into(),
            state,
            next: next.into(),
        };
        Self {
            problem,
            exit,
            spec: None,
        }
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        let problem = error.problem();
        let spec = match error {
            EngineError::Spec(spec) => Some(spec),
            _ => None,
        };
        Self {
            problem,
            exit: Exit::Refused,
            spec,
        }
    }
}

impl Failure {
    /// Returns the error with the lines of the user's file around its place, when it has one.
    pub fn rendered(&self) -> Option<String> {
        let diagnostic = self.spec.as_ref()?.diagnostic();
        let mut text = String::new();
        let theme = miette::GraphicalTheme::unicode_nocolor();
        let handler = miette::GraphicalReportHandler::new_themed(theme).with_width(100);
        handler.render_report(&mut text, &diagnostic).ok()?;
        Some(text)
    }
}

impl From<code_deploy_engine::spec::SpecError> for Failure {
    fn from(error: code_deploy_engine::spec::SpecError) -> Self {
        Self::from(Box::new(error))
    }
}

impl From<Box<code_deploy_engine::spec::SpecError>> for Failure {
    fn from(error: Box<code_deploy_engine::spec::SpecError>) -> Self {
        Self::from(EngineError::Spec(error))
    }
}

impl From<code_deploy_record::Error> for Failure {
    fn from(error: code_deploy_record::Error) -> Self {
        Self::from(EngineError::Record(error))
    }
}

impl From<code_deploy_engine::target::TargetError> for Failure {
    fn from(error: code_deploy_engine::target::TargetError) -> Self {
        Self::from(EngineError::Target(error))
    }
}

impl From<code_deploy_engine::StepError> for Failure {
    fn from(error: code_deploy_engine::StepError) -> Self {
        Self::from(EngineError::Step(error))
    }
}
