//! The way of one request through the router.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use http::header::{CONNECTION, CONTENT_TYPE, UPGRADE};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use tokio::sync::watch;

use crate::body::{Exchange, RouterBody};
use crate::config::ServiceConfig;
use crate::headers::{self, SERVED_BY};
use crate::outgoing::{self, BodyNotRead, ForwardBody};
use crate::reply::Reason;
use crate::retry::{self, Attempts};
use crate::route::Route;
use crate::shared::Shared;
use crate::sticky;
use crate::table::{Pick, Want};
use crate::tally::Measure;
use crate::upgrade;
use crate::upstream::{Connection, Failure};

/// Passes the requests of one service on.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) service: Arc<str>,
    pub(crate) config: watch::Receiver<Arc<ServiceConfig>>,
    pub(crate) shared: Arc<Shared>,
}

/// A response's head together with what ends with it.
struct Delivered {
    response: Response<Incoming>,
    connection: Connection,
    pick: Pick,
    measure: Measure,
}

/// A request that no backend answered.
struct Undelivered {
    reason: Reason,
    measure: Measure,
    /// The release whose instance did not answer, where one was tried.
    release: Option<Arc<str>>,
}

impl Undelivered {
    fn by(reason: Reason, measure: Measure, pick: &Pick) -> Self {
        let release = Some(Arc::clone(&pick.in_flight.backend().release));
        Self {
            reason,
            measure,
            release,
        }
    }

    fn response(mut self) -> Response<RouterBody> {
        if let Some(class) = self.reason.class() {
            self.measure.failed(class);
        }
        let mut response = self.reason.response();
        self.measure.note_status(response.status().as_u16());
        let release = self.release.as_deref().map(HeaderValue::from_str);
        if let Some(Ok(release)) = release {
            response.headers_mut().insert(headers::ANSWERS_FOR, release);
        }
        response
    }
}

impl Proxy {
    /// Answers one request.
    pub(crate) async fn handle(
        &self,
        mut request: Request<Incoming>,
        peer: SocketAddr,
    ) -> Response<RouterBody> {
        let started = Instant::now();
        let config = Arc::clone(&self.config.borrow());
        if request.method() == Method::CONNECT {
            return Reason::MethodNotSupported.response();
        }
        let route = Route::of(&config, request.headers_mut());
        let protocol = headers::wanted_upgrade(request.version(), request.headers());
        let client = protocol.is_some().then(|| hyper::upgrade::on(&mut request));
        headers::prepare(&mut request, peer, protocol);
        let request = match with_body(request, &config).await {
            Ok(request) => request,
            Err(BodyNotRead::Broken) => return Reason::RequestBodyBroken.response(),
            Err(BodyNotRead::TooSlow) => return Reason::RequestBodyTooSlow.response(),
        };
        match self.deliver(&config, &route, request, started).await {
            Ok(delivered) => self.reply(&config, &route, delivered, client),
            Err(undelivered) => undelivered.response(),
        }
    }

    /// Sends a request to a backend, and again to another where that is safe.
    async fn deliver(
        &self,
        config: &ServiceConfig,
        route: &Route,
        mut request: Request<ForwardBody>,
        started: Instant,
    ) -> Result<Delivered, Undelivered> {
        let method = request.method().clone();
        let mut pick = self.first_pick(&route.want, started)?;
        let measure = measure_of(&pick, started);
        let mut attempts = Attempts::new(config.retries.max);
        loop {
            let spare = if attempts.may_follow() {
                outgoing::again(&request)
            } else {
                None
            };
            let answer = self.attempt(config, &pick, request, attempts.fresh).await;
            let mut failure = match answer {
                Ok((response, connection)) => {
                    return Ok(Delivered {
                        response,
                        connection,
                        pick,
                        measure,
                    });
                }
                Err(failure) => failure,
            };
            let reason = Reason::Failed(failure.kind);
            let stale = retry::was_stale(&failure);
            if !stale && failure.kind.is_backends() {
                self.note_failure(config, &mut pick);
            }
            let next = failure.unsent.take().or(spare);
            let allowed = retry::may_follow(&failure, &method) && attempts.take(stale);
            let (true, Some(next)) = (allowed, next) else {
                return Err(Undelivered::by(reason, measure, &pick));
            };
            // After a stale connection the pick stays: it is still counted, so no drain passes it.
            if !stale {
                let Some(other) = self.next_pick(&pick, &mut attempts.tried) else {
                    return Err(Undelivered::by(reason, measure, &pick));
                };
                pick = other;
            }
            pick.tally.retried();
            request = next;
        }
    }

    /// Gives a failed instance up for another of the same release.
    fn next_pick(&self, pick: &Pick, tried: &mut Vec<Arc<str>>) -> Option<Pick> {
        let backend = pick.in_flight.backend();
        tried.push(Arc::clone(&backend.id));
        let same = Want::Same(Arc::clone(&backend.release));
        self.shared
            .table
            .pick(&self.service, &same, tried, Instant::now())
            .ok()
    }

    fn first_pick(&self, want: &Want, started: Instant) -> Result<Pick, Undelivered> {
        self.shared
            .table
            .pick(&self.service, want, &[], started)
            .map_err(|none| {
                let (reason, tally) = match none.tally {
                    Some(tally) => (Reason::NoHealthyBackend, tally),
                    None => (Reason::NoRelease, self.shared.tallies.of(&self.service, "")),
                };
                let measure = if none.named {
                    Measure::none(started)
                } else {
                    Measure::begin(tally, started)
                };
                Undelivered {
                    reason,
                    measure,
                    release: None,
                }
            })
    }

    /// Tries one backend once.
    async fn attempt(
        &self,
        config: &ServiceConfig,
        pick: &Pick,
        request: Request<ForwardBody>,
        fresh: bool,
    ) -> Result<(Response<Incoming>, Connection), Failure> {
        let backend = pick.in_flight.backend();
        let limits = &config.timeouts;
        let kept = if fresh {
            None
        } else {
            backend.pool.take(limits.upstream_idle, Instant::now())
        };
        let connection = match kept {
            Some(connection) => connection,
            None => {
                let opened = Connection::open(
                    backend.address,
                    limits.connect,
                    config.limits.header_bytes,
                    &self.shared.background,
                    &self.shared.hard,
                );
                match opened.await {
                    Ok(connection) => connection,
                    Err(kind) => return Err(Failure::unsent(kind, request)),
                }
            }
        };
        connection
            .exchange(request, limits.response, &backend.cut, &self.shared.hard)
            .await
    }

    fn note_failure(&self, config: &ServiceConfig, pick: &mut Pick) {
        if pick.in_flight.failed(&config.breaker) {
            let backend = pick.in_flight.backend();
            self.shared.events.push(
                "breaker-opened",
                Some(&self.service),
                format!(
                    "instance {} of {} failed too often in a row",
                    backend.id, backend.release
                ),
            );
        }
    }

    /// Turns a backend's response into the one for the client.
    fn reply(
        &self,
        config: &ServiceConfig,
        route: &Route,
        delivered: Delivered,
        client: Option<OnUpgrade>,
    ) -> Response<RouterBody> {
        let Delivered {
            mut response,
            connection,
            mut pick,
            mut measure,
        } = delivered;
        measure.answered(response.status().as_u16());
        if config.breaker.count_5xx && response.status().is_server_error() {
            self.note_failure(config, &mut pick);
        } else {
            pick.in_flight.succeeded();
        }
        let upgraded = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        let protocol = response.headers().get(UPGRADE).cloned();
        headers::strip_hop_by_hop(response.headers_mut());
        *response.version_mut() = Version::HTTP_11;
        mark(config, route, &pick, &mut response);
        if !upgraded {
            if is_endless(&response) {
                measure.end();
            }
            let exchange = Exchange {
                in_flight: pick.in_flight,
                connection,
                measure,
            };
            return response.map(|incoming| RouterBody::pass(incoming, exchange));
        }
        let (Some(client), Some(protocol)) = (client, protocol) else {
            measure.failed(crate::tally::FailureClass::Reset);
            return Reason::UnexpectedUpgrade.response();
        };
        measure.end();
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("upgrade"));
        response.headers_mut().insert(UPGRADE, protocol);
        let backend = hyper::upgrade::on(&mut response);
        let hard = self.shared.hard.clone();
        self.shared
            .work
            .spawn(upgrade::tunnel(client, backend, pick.in_flight, hard));
        response.map(|_| RouterBody::Own(None))
    }
}

async fn with_body(
    request: Request<Incoming>,
    config: &ServiceConfig,
) -> Result<Request<ForwardBody>, BodyNotRead> {
    let (parts, incoming) = request.into_parts();
    let keep = if config.retries.max > 0 {
        config.retries.buffer_bytes
    } else {
        0
    };
    let limit = config.timeouts.response;
    let body = ForwardBody::of(incoming, &parts.method, keep, limit).await?;
    let mut request = Request::new(body);
    *request.method_mut() = parts.method;
    *request.uri_mut() = parts.uri;
    *request.headers_mut() = parts.headers;
    Ok(request)
}

fn measure_of(pick: &Pick, started: Instant) -> Measure {
    if pick.named {
        pick.tally.was_asked_for();
        return Measure::none(started);
    }
    let tally = Arc::clone(&pick.tally);
    match pick.taken_over {
        true => Measure::begin_in_place(tally, started),
        false => Measure::begin(tally, started),
    }
}

/// Adds what the router tells the client.
fn mark(config: &ServiceConfig, route: &Route, pick: &Pick, response: &mut Response<Incoming>) {
    if route.trusted {
        let backend = pick.in_flight.backend();
        let served_by = format!("{}/{}", backend.release, backend.id);
        if let Ok(value) = HeaderValue::from_str(&served_by) {
            response.headers_mut().insert(SERVED_BY, value);
        }
    }
    if let (Some(sticky), Some(name), Some(part)) = (&config.sticky, &route.cookie, &pick.part) {
        sticky::set(response.headers_mut(), sticky, name, &sticky::draw(part));
    }
}

/// An event stream has no end that would say anything about its backend's speed.
fn is_endless<B>(response: &Response<B>) -> bool {
    response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.starts_with("text/event-stream"))
}
