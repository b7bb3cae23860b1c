//! What can go wrong with a deployment.

use code_deploy_record::Problem;

/// The result of an operation of the engine.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong with a deployment. Each has a stable code ([`Error::problem`]).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The deployment file or something it names is not right. Nothing was changed.
    #[error(transparent)]
    Spec(#[from] Box<crate::spec::SpecError>),
    /// The record could not be written or read.
    #[error("the record of the run failed")]
    Record(#[from] code_deploy_record::Error),
    /// The target could not do what was asked.
    #[error(transparent)]
    Target(#[from] crate::target::TargetError),
    /// The run cannot do this now; nothing was changed.
    #[error("{}", .0.what)]
    Refused(Box<Problem>),
    /// A step failed.
    #[error(transparent)]
    Step(#[from] crate::step::StepError),
}

impl Error {
    /// Returns a refusal: nothing was changed.
    #[must_use]
    pub fn refused(code: &str, what: impl Into<String>, next: impl Into<String>) -> Self {
        Self::Refused(Box::new(Problem {
            code: code.to_owned(),
            what: what.into(),
            state: "Nothing was changed.".to_owned(),
            next: next.into(),
        }))
    }

    /// Returns the error as a person reads it, with its stable code.
    #[must_use]
    pub fn problem(&self) -> Problem {
        match self {
            Self::Refused(problem) => (**problem).clone(),
            Self::Step(error) => error.problem.clone(),
            Self::Spec(error) => error.problem(),
            Self::Target(error) => error.problem(),
            Self::Record(error) => Problem {
                code: record_code(error).to_owned(),
                what: with_sources(error),
                state: "The record holds everything up to its last complete line.".to_owned(),
                next: match error {
                    code_deploy_record::Error::NoSuchRun { .. } => {
                        "`code-deploy runs` lists the runs."
                    }
                    code_deploy_record::Error::Io { source, .. }
                        if source.kind() == std::io::ErrorKind::PermissionDenied =>
                    {
                        "Let this user read and write there (`chown`, `chmod`), or give the \
                         command as the user who owns it."
                    }
                    _ => {
                        "Look at the path and the cause; `code-deploy verify RUN` shows whether \
                         the record is whole."
                    }
                }
                .to_owned(),
            },
        }
    }
}

/// Returns the text of an error with those of its sources.
#[must_use]
pub fn with_sources(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

fn record_code(error: &code_deploy_record::Error) -> &'static str {
    use code_deploy_record::Error as E;
    match error {
        E::Broken { .. } | E::BadSample { .. } | E::EvidenceChanged { .. } => {
            crate::code::BROKEN_RECORD
        }
        E::NoSuchRun { .. } => crate::code::NO_SUCH_RUN,
        E::NotARecord { .. } => crate::code::NOT_A_RECORD,
        E::Locked { .. } => "CD0304",
        E::SecretInEntry { .. } => "CD0305",
        E::FencedOff { .. } => crate::code::FENCED_OFF,
        _ => crate::code::NO_RECORD,
    }
}
