//! The Docker engine: how it is reached, and what its refusals mean.

use std::time::Duration;

use bollard::errors::Error;
use bollard::{API_DEFAULT_VERSION, Docker};
use code_deploy_engine::target::TargetError;
use code_deploy_record::{Clock as _, SystemClock};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::endpoint::Endpoint;
use crate::failure::{code, failed, transient};
use crate::settings::Lookup;
use crate::silence::Silences;

/// The oldest interface of the engine that has all that is needed: that of Docker 20.10.
const OLDEST: (usize, usize) = (1, 41);

/// How long an engine that is being restarted is waited for.
const AWAY: Duration = Duration::from_secs(45);

/// The pause between two tries to reach an engine that is away.
const AGAIN: Duration = Duration::from_millis(200);

/// How long one answer of the engine may take, in seconds. Stopping a container has its own limit.
const ANSWER: u64 = 120;

/// An engine that may be asked. It is found and connected to when it is first asked.
pub struct Engine {
    lookup: Lookup,
    connected: OnceCell<Connected>,
    /// Times in which it did not answer.
    pub silences: Silences,
}

/// An engine that has answered.
struct Connected {
    docker: Docker,
    endpoint: Endpoint,
}

/// Why the engine did not do something.
#[derive(Debug)]
pub enum Refusal {
    /// It answered with that status and reason.
    Answer(u16, String),
    /// It did not answer; why.
    Away(String),
    /// It cannot be used at all.
    Unfit(TargetError),
}

impl Refusal {
    /// Returns whether the engine knows no such thing.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Answer(404, _))
    }

    /// Returns whether it is so already, or a name is taken.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Answer(304 | 409, _))
    }

    /// Returns that a container is in a network when that is why it could not be put there: it was, and the
    /// engine was gone before it had said so.
    pub fn unless_joined(self) -> Result<(), Self> {
        match &self {
            Self::Answer(403, reason) if reason.contains("already exists in network") => Ok(()),
            _ => Err(self),
        }
    }

    /// Returns the reason.
    pub fn reason(&self) -> String {
        match self {
            Self::Answer(_, reason) | Self::Away(reason) => reason.clone(),
            Self::Unfit(error) => error.what.clone(),
        }
    }

    /// Returns the error of not having done what `action` says.
    pub fn into_error(self, service: Option<&str>, action: &str) -> TargetError {
        match self {
            Self::Unfit(error) => error,
            Self::Answer(status, reason) => {
                let what = format!("the Docker engine did not {action}: {reason} ({status})");
                let next = "Mend what it says and run again.";
                TargetError {
                    transient: status >= 500,
                    ..failed(code::ENGINE, service, what, next)
                }
            }
            Self::Away(reason) => {
                let what =
                    format!("the Docker engine does not answer when asked to {action}: {reason}");
                let next = if reason.contains("ermission denied") {
                    "Let this user use the engine's socket, which is usually that of the group docker; \
                     `docker version` must answer. Then run again."
                } else {
                    "Start the engine, or set DOCKER_HOST to where it listens (while that is set, no context counts); \
                     `docker version` must answer. Then run again."
                };
                transient(code::ENGINE, service, what, next)
            }
        }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        match error {
            Error::DockerResponseServerError {
                status_code,
                message,
            } => Self::Answer(status_code, message),
            Error::DockerStreamError { error } => Self::Answer(0, error),
            other => Self::Away(code_deploy_engine::error::with_sources(&other)),
        }
    }
}

impl Engine {
    /// Returns the engine that the variables of the program and the configuration of Docker's client name; that of the
    /// machine when they name none.
    pub fn new(lookup: Lookup) -> Self {
        Self {
            lookup,
            connected: OnceCell::new(),
            silences: Silences::of("the Docker engine"),
        }
    }

    /// Returns the connection; the version of the interface is agreed on when it is first asked
    /// for.
    pub async fn docker(&self) -> Result<&Docker, Refusal> {
        Ok(&self.connected().await?.docker)
    }

    async fn connected(&self) -> Result<&Connected, Refusal> {
        self.connected.get_or_try_init(|| self.connect()).await
    }

    async fn connect(&self) -> Result<Connected, Refusal> {
        let endpoint = Endpoint::find(&*self.lookup).map_err(Refusal::Unfit)?;
        let address = &endpoint.address;
        let away = |error: Error| match Refusal::from(error) {
            Refusal::Away(reason) => Refusal::Away(format!("{reason}, at {endpoint}")),
            other => other,
        };
        let made = match address.split_once("://") {
            Some(("unix", _)) => Docker::connect_with_unix(address, ANSWER, API_DEFAULT_VERSION),
            Some(("tcp" | "http", _)) => {
                Docker::connect_with_http(address, ANSWER, API_DEFAULT_VERSION)
            }
            _ => return Err(Refusal::Unfit(no_way(&endpoint))),
        };
        let docker = made.map_err(away)?.negotiate_version().await;
        let docker = docker.map_err(away)?;
        let agreed = docker.client_version();
        if (agreed.major_version, agreed.minor_version) < OLDEST {
            let what = format!(
                "the Docker engine at {endpoint} speaks version {}.{} of its interface; {}.{} is needed; \
                 nothing was changed",
                agreed.major_version, agreed.minor_version, OLDEST.0, OLDEST.1
            );
            let next = "Use Docker 20.10 or later.";
            return Err(Refusal::Unfit(failed(code::ENGINE_UNFIT, None, what, next)));
        }
        Ok(Connected { docker, endpoint })
    }

    /// Returns where the engine that has answered listens, in words.
    fn place(&self) -> String {
        let connected = self.connected.get();
        connected.map_or_else(String::new, |one| one.endpoint.to_string())
    }

    /// Asks the engine; one that is away is waited for, because it may be restarted.
    pub async fn ask<T, F>(&self, mut question: impl FnMut(Docker) -> F) -> Result<T, Refusal>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let until = Instant::now() + AWAY;
        loop {
            let answered = match self.docker().await {
                Ok(docker) => question(docker.clone()).await.map_err(Refusal::from),
                // An engine that never answered is not being restarted.
                Err(refusal) => return Err(refusal),
            };
            match answered {
                Err(Refusal::Away(_)) if Instant::now() < until => {
                    self.silences.began(SystemClock.now());
                }
                Err(Refusal::Away(_)) => return answered,
                answered => {
                    self.silences.ended();
                    return answered;
                }
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Returns its version and where it is.
    pub async fn describe(&self) -> Result<String, TargetError> {
        let version = self
            .ask(|docker| async move { docker.version().await })
            .await;
        let version = version.map_err(|refusal| refusal.into_error(None, "tell its version"))?;
        let version = version.version.unwrap_or_default();
        Ok(format!("Docker {version} at {}", self.place()))
    }

    /// Checks that the engine runs on this machine's kernel: services and routers share folders
    /// and sockets with this program.
    pub async fn check_here(&self) -> Result<(), TargetError> {
        let info = self.ask(|docker| async move { docker.info().await }).await;
        let info = info.map_err(|refusal| refusal.into_error(None, "tell what it runs on"))?;
        let own = rustix::system::uname();
        let own = (
            own.release().to_string_lossy(),
            own.nodename().to_string_lossy(),
        );
        let its = (
            info.kernel_version.unwrap_or_default(),
            info.name.unwrap_or_default(),
        );
        if own.0 == its.0.as_str() && own.1 == its.1.as_str() {
            return Ok(());
        }
        let what = format!(
            "the Docker engine at {} runs on {} ({}), not on this machine, {} ({}); nothing was \
             changed",
            self.place(),
            its.1,
            its.0,
            own.1,
            own.0
        );
        let next = "Use an engine of this machine itself: one in a virtual machine or elsewhere \
                    shares neither folders nor sockets with this program.";
        Err(failed(code::ENGINE_UNFIT, None, what, next))
    }
}

fn no_way(endpoint: &Endpoint) -> TargetError {
    let what = format!(
        "the Docker engine is to be at {endpoint}; this program reaches an engine by unix:// or tcp:// only, and nothing was \
         changed"
    );
    let next = "Set DOCKER_HOST to such an address of an engine on this machine; while that is set, no context counts.";
    failed(code::ENGINE_UNFIT, None, what, next)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, missing_docs)]

    use std::sync::Arc;

    use super::*;

    async fn refused_at(address: String) -> TargetError {
        let lookup: Lookup =
            Arc::new(move |name: &str| (name == "DOCKER_HOST").then(|| address.clone()));
        Engine::new(lookup).describe().await.unwrap_err()
    }

    #[tokio::test]
    async fn an_engine_that_is_not_there_is_named_with_what_named_it() {
        let folder = tempfile::tempdir().unwrap();
        let left = folder.path().join("left.sock");
        drop(std::os::unix::net::UnixListener::bind(&left).unwrap());
        for path in [folder.path().join("none.sock"), left] {
            let address = format!("unix://{}", path.display());
            let error = refused_at(address.clone()).await;
            assert_eq!(error.code, code::ENGINE);
            let place = format!("at {address} (DOCKER_HOST)");
            assert!(error.what.contains(&place), "{}", error.what);
            assert!(error.next.contains("`docker version`"), "{}", error.next);
        }
        let error = refused_at("ssh://somewhere".to_owned()).await;
        assert_eq!(error.code, code::ENGINE_UNFIT);
        assert!(error.what.contains("ssh://somewhere"), "{}", error.what);
    }

    #[test]
    fn a_socket_that_this_user_may_not_use_is_told_from_an_engine_that_is_away() {
        let reason = "error trying to connect: Permission denied (os error 13)".to_owned();
        let error = Refusal::Away(reason).into_error(None, "tell its version");
        assert!(error.next.contains("group docker"), "{}", error.next);
        let error = Refusal::Away("refused".to_owned()).into_error(None, "tell its version");
        assert!(error.next.contains("Start the engine"), "{}", error.next);
    }
}
