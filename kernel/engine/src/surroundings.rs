//! What a run touches besides its target: disk, network, chance, and the door for who steers it.
//! A simulation puts its own in their place, so that whole runs need neither time nor machine.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use code_deploy_record::{Disk, SystemDisk};
use tokio::net::TcpStream;

use crate::http::{HttpClient, HttpError, Request, Response};
use crate::step::StepError;

/// What a run touches besides its target. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// Where the record lies.
    pub disk: Arc<dyn Disk>,
    /// Where clients are.
    pub outside: Arc<dyn Outside>,
    /// Where chance comes from.
    pub chance: Arc<dyn Chance>,
    /// The number by which the machine knows this process.
    pub process: u32,
    /// Whether the run listens on a socket for who steers it. Without one it is steered through
    /// its [`Handle`](crate::runner::Handle) alone.
    pub door: bool,
    /// What the engine does wrongly on purpose; nothing outside the tests of the engine's checker.
    pub sabotage: Option<Sabotage>,
}

/// What the engine does wrongly on purpose, so that a checker of the engine can be shown to find
/// it. No command, file or variable sets it: only who opens a runner from Rust can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// A rollback forgets its last step.
    ForgetsAStep,
    /// A gate that did not pass lets the run go on.
    PassesGates,
    /// A step acts before its intent is on disk.
    ActsFirst,
    /// A rollback undoes only what is known to be done.
    UndoesOnlyDone,
    /// A run that is joined knows less than its journal.
    ForgetsOnResume,
    /// Nobody looks who holds the lock.
    IgnoresFence,
    /// Traffic is split without a lease.
    HoldsNoLease,
    /// A run that is joined forgets that a rollback was asked for.
    ForgetsWishes,
}

impl Default for Surroundings {
    fn default() -> Self {
        Self {
            disk: SystemDisk::shared(),
            outside: Arc::new(Network),
            chance: Arc::new(SystemChance),
            process: std::process::id(),
            door: true,
            sabotage: None,
        }
    }
}

impl Surroundings {
    /// Returns whether the engine does this wrongly on purpose.
    pub(crate) fn sabotaged(&self, by: Sabotage) -> bool {
        self.sabotage == Some(by)
    }

    /// Carries out work on the disk away from the runtime's threads, where the disk may block.
    ///
    /// # Errors
    /// `CD0306` when the work was cut off; what the work gives.
    pub async fn on_disk<T, E>(
        &self,
        what: &str,
        work: impl FnOnce() -> Result<T, E> + Send + 'static,
    ) -> Result<T, StepError>
    where
        T: Send + 'static,
        E: Send + 'static,
        StepError: From<E>,
    {
        if !self.disk.may_block() {
            return Ok(work()?);
        }
        let done = tokio::task::spawn_blocking(work).await.map_err(|error| {
            StepError::permanent(
                crate::code::CUT_OFF,
                format!("{what} was cut off: {error}"),
                "",
            )
        })?;
        Ok(done?)
    }
}

/// Where clients are: what is asked from here is what a user would see.
#[async_trait]
pub trait Outside: Debug + Send + Sync {
    /// Returns a client with connections of its own.
    fn client(&self) -> Arc<dyn Client>;

    /// Returns whether an address accepts a connection within a limit.
    async fn connects(&self, address: SocketAddr, limit: Duration) -> bool;
}

/// Sends requests.
#[async_trait]
pub trait Client: Debug + Send + Sync {
    /// Sends a request and reads the whole answer. A status that says error is an answer.
    ///
    /// # Errors
    /// [`HttpError`].
    async fn send(&self, request: &Request) -> Result<Response, HttpError>;
}

#[async_trait]
impl Client for HttpClient {
    async fn send(&self, request: &Request) -> Result<Response, HttpError> {
        HttpClient::send(self, request).await
    }
}

/// The network of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct Network;

#[async_trait]
impl Outside for Network {
    fn client(&self) -> Arc<dyn Client> {
        Arc::new(HttpClient::new())
    }

    async fn connects(&self, address: SocketAddr, limit: Duration) -> bool {
        let connected = tokio::time::timeout(limit, TcpStream::connect(address)).await;
        matches!(connected, Ok(Ok(_)))
    }
}

/// A source of numbers that nobody can guess.
pub trait Chance: Debug + Send + Sync {
    /// Returns 128 bits.
    fn bits(&self) -> u128;
}

/// The chance of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemChance;

impl Chance for SystemChance {
    fn bits(&self) -> u128 {
        rand::random()
    }
}
