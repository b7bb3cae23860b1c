//! Asks a running router.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use crate::config::ServiceConfig;
use crate::control::{
    Answer, BackendAddress, Bound, Drained, Event, Lease, MAX_LINE, Request, Status, Weights,
};
use crate::control_server::{BAD_REQUEST, HANDED_OVER, check_path};
use crate::error::Error;

/// How long a router may take to answer, beyond the limit that a request itself has.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// How often a question is asked again whose router has just handed over to another.
const MOVES: u32 = 10;

/// The pause before that, in which the one before stops listening.
const MOVE_PAUSE: Duration = Duration::from_millis(10);

/// Asks a running router over its control socket, with a connection for each request.
///
/// Every method fails with [`Error::Refused`] when the router refuses, which changes nothing;
/// with [`Error::Control`] when there is no router; and with [`Error::NoAnswer`] when it takes
/// longer than ten seconds beyond the request's own limit.
#[derive(Clone, Debug)]
pub struct ControlClient {
    socket: PathBuf,
}

impl ControlClient {
    /// Returns a client; nothing is connected yet.
    #[must_use]
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self {
            socket: socket.into(),
        }
    }

    /// Returns the path of the control socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Adds a service or changes its settings; returns where it is listened for.
    ///
    /// # Errors
    /// See [`ControlClient`]; refused with `bad-config`, `bad-name`, `too-many` or `listen`.
    pub async fn put_service(&self, service: ServiceConfig) -> Result<Bound, Error> {
        self.ask(Request::PutService {
            service: Box::new(service),
        })
        .await
    }

    /// Stops listening for a service, drains its instances and forgets it.
    ///
    /// # Errors
    /// See [`ControlClient`]; refused with `no-such-service`.
    pub async fn remove_service(&self, service: &str, limit: Duration) -> Result<Drained, Error> {
        self.ask(Request::RemoveService {
            service: service.to_owned(),
            limit,
        })
        .await
    }

    /// Adds instances to a release, or moves them to other addresses. Those that it has and that
    /// are not named stay. A new release has weight 0.
    ///
    /// # Errors
    /// See [`ControlClient`]; refused with `no-such-service`, `bad-name`, `bad-backends`,
    /// `instance-taken` or `too-many`.
    pub async fn put_release(
        &self,
        service: &str,
        release: &str,
        backends: Vec<BackendAddress>,
    ) -> Result<(), Error> {
        let (service, release) = (service.to_owned(), release.to_owned());
        self.ask(Request::PutRelease {
            service,
            release,
            backends,
        })
        .await
    }

    /// Drains a release of weight 0 and forgets it. Returns only when none of its requests is in
    /// flight any more, or `limit` has passed and the rest was cut.
    ///
    /// # Errors
    /// See [`ControlClient`]; refused with `has-traffic`, `held-by-lease`, `no-such-release` or
    /// `no-such-service`.
    pub async fn remove_release(
        &self,
        service: &str,
        release: &str,
        limit: Duration,
    ) -> Result<Drained, Error> {
        let (service, release) = (service.to_owned(), release.to_owned());
        self.ask(Request::RemoveRelease {
            service,
            release,
            limit,
        })
        .await
    }

    /// Drains one instance and forgets it.
    ///
    /// # Errors
    /// See [`ControlClient`]; refused with `last-instance`, `no-such-instance` or
    /// `no-such-service`.
    pub async fn drain(
        &self,
        service: &str,
        backend: &str,
        limit: Duration,
    ) -> Result<Drained, Error> {
        let (service, backend) = (service.to_owned(), backend.to_owned());
        self.ask(Request::Drain {
            service,
            backend,
            limit,
        })
        .await
    }

    /// Switches the weights of one or more services, all at once. The weights of a service sum to
    /// 100; a release that is not named gets none. When this returns, requests are routed by them.
    ///
    /// # Errors
    /// See [`ControlClient`]; refused with `bad-weights`, `no-healthy-backend`, `lease-required`,
    /// `no-such-release` or `no-such-service`.
    pub async fn set_weights(&self, services: BTreeMap<String, Weights>) -> Result<(), Error> {
        self.ask(Request::SetWeights { services }).await
    }

    /// Takes a lease, in place of one that is held, or gives it up with `None`.
    ///
    /// # Errors
    /// See [`ControlClient`]; refused with `bad-lease`, `traffic-split`, `no-such-release` or
    /// `no-such-service`.
    pub async fn lease(&self, lease: Option<Lease>) -> Result<(), Error> {
        self.ask(Request::Lease { lease }).await
    }

    /// Begins the lease's time anew.
    ///
    /// # Errors
    /// See [`ControlClient`]; refused with `no-lease`, which tells what became of the last one.
    pub async fn renew(&self) -> Result<(), Error> {
        self.ask(Request::Renew).await
    }

    /// Waits until every instance of a release has passed its health checks.
    ///
    /// # Errors
    /// See [`ControlClient`]; refused with `not-healthy` when the limit passes, naming each
    /// instance and why its last check failed.
    pub async fn wait_healthy(
        &self,
        service: &str,
        release: &str,
        limit: Duration,
    ) -> Result<(), Error> {
        let (service, release) = (service.to_owned(), release.to_owned());
        self.ask(Request::WaitHealthy {
            service,
            release,
            limit,
        })
        .await
    }

    /// Returns everything that is in force.
    ///
    /// # Errors
    /// See [`ControlClient`].
    pub async fn status(&self) -> Result<Status, Error> {
        self.ask(Request::Status).await
    }

    /// Returns the events with a number greater than `since`, at most the newest 1024.
    ///
    /// # Errors
    /// See [`ControlClient`].
    pub async fn events(&self, since: u64) -> Result<Vec<Event>, Error> {
        self.ask(Request::Events { since }).await
    }

    /// Begins writing samples to `router.jsonl` in a folder (an absolute path), or stops.
    ///
    /// # Errors
    /// See [`ControlClient`]; refused with `bad-path` or `cannot-record`.
    pub async fn record(&self, dir: Option<PathBuf>) -> Result<(), Error> {
        self.ask(Request::Record { dir }).await
    }

    /// Has the router give a copy of each listening socket to its keeper.
    ///
    /// # Errors
    /// See [`ControlClient`].
    pub async fn offer_listeners(&self) -> Result<(), Error> {
        self.ask(Request::OfferListeners).await
    }

    /// Returns the digest of the file of the program that the router runs, as
    /// [`program_build`](crate::program_build) gives it; nothing of a router that was made before routers
    /// could tell, and can hand over to no other.
    ///
    /// # Errors
    /// See [`ControlClient`].
    pub async fn build(&self) -> Result<Option<String>, Error> {
        match self.ask(Request::Build).await {
            Ok(build) => Ok(Some(build)),
            Err(Error::Refused { code, .. }) if code == BAD_REQUEST => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Stops the router; requests may go on for `grace`. Returns when it has begun to stop.
    ///
    /// # Errors
    /// See [`ControlClient`].
    pub async fn shutdown(&self, grace: Duration) -> Result<(), Error> {
        self.ask(Request::Shutdown { grace }).await
    }

    async fn ask<T: DeserializeOwned>(&self, request: Request) -> Result<T, Error> {
        for _ in 0..MOVES {
            match self.ask_once(&request).await {
                Err(Error::Refused { code, .. }) if code == HANDED_OVER => {
                    tokio::time::sleep(MOVE_PAUSE).await;
                }
                answered => return answered,
            }
        }
        self.ask_once(&request).await
    }

    async fn ask_once<T: DeserializeOwned>(&self, request: &Request) -> Result<T, Error> {
        check_path(&self.socket)?;
        let operation = request.word();
        let limit = request.own_limit().saturating_add(ANSWER_LIMIT);
        let line = tokio::time::timeout(limit, self.exchange(request))
            .await
            .map_err(|_| Error::NoAnswer {
                socket: self.socket.clone(),
                operation,
                limit,
            })??;
        let wrong = |source| Error::Answer {
            socket: self.socket.clone(),
            operation,
            source,
        };
        match serde_json::from_str(&line).map_err(wrong)? {
            Answer::Ok(value) => serde_json::from_value(value).map_err(wrong),
            Answer::Error { code, message } => Err(Error::Refused { code, message }),
        }
    }

    async fn exchange(&self, request: &Request) -> Result<String, Error> {
        let operation = request.word();
        let failed = |source| Error::Control {
            socket: self.socket.clone(),
            operation,
            source,
        };
        let mut text = serde_json::to_vec(request).map_err(|source| Error::Encode {
            what: "a control request",
            source,
        })?;
        text.push(b'\n');
        let mut stream = UnixStream::connect(&self.socket).await.map_err(failed)?;
        stream.write_all(&text).await.map_err(failed)?;
        let mut line = String::new();
        let mut answer = BufReader::new(stream).take(MAX_LINE as u64);
        answer.read_line(&mut line).await.map_err(failed)?;
        if line.is_empty() {
            return Err(failed(std::io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(line)
    }
}
