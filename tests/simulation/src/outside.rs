//! What a client outside sees of the simulated world.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use code_deploy_engine::http::{HttpError, Request, Response};
use code_deploy_engine::surroundings::{Client, Outside};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::faults::{Fault, Point};
use crate::target::{ON_PURPOSE, number_of, pass};
use crate::world::{Inner, Process, World};

/// The outside as one process sees it.
#[derive(Debug, Clone)]
pub struct Clients {
    /// The world.
    pub world: World,
    /// Who asks.
    pub process: Process,
    /// The services in order.
    pub services: Vec<String>,
}

#[async_trait]
impl Outside for Clients {
    fn client(&self) -> Arc<dyn Client> {
        Arc::new(self.clone())
    }

    async fn connects(&self, address: SocketAddr, limit: Duration) -> bool {
        match pass(&self.world, self.process, Point::Ask).await {
            Some(Fault::Fail { .. }) => false,
            _ => {
                let _ = limit;
                let world = self.world.look();
                match address.ip() {
                    IpAddr::V4(address) => world.instance(number_of(address)).is_some(),
                    IpAddr::V6(_) => false,
                }
            }
        }
    }
}

#[async_trait]
impl Client for Clients {
    async fn send(&self, request: &Request) -> Result<Response, HttpError> {
        let url = request.url.clone();
        let passing = pass(&self.world, self.process, Point::Ask);
        let fault = tokio::time::timeout(request.timeout, passing).await;
        let Ok(fault) = fault else {
            let limit = request.timeout;
            return Err(HttpError::Timeout { url, limit });
        };
        if let Some(Fault::Fail { .. }) = fault {
            let what = "reset by a fault of the simulation".to_owned();
            return Err(HttpError::Broken { url, what });
        }
        self.answer(request)
    }
}

impl Clients {
    fn answer(&self, request: &Request) -> Result<Response, HttpError> {
        let uri: http::Uri = request.url.parse().unwrap();
        let address: IpAddr = uri.host().unwrap().parse().unwrap();
        let IpAddr::V4(address) = address else {
            return Ok(reply(StatusCode::NOT_FOUND, None));
        };
        let mut world = self.world.look();
        if let [10, 0, high, low] = address.octets() {
            let place = u16::from_be_bytes([high, low]);
            let service = self.services[usize::from(place) - 1].clone();
            return Ok(match self.route(&mut world, &service, request) {
                Some(release) => reply(StatusCode::OK, Some(&release)),
                None => reply(StatusCode::SERVICE_UNAVAILABLE, None),
            });
        }
        let Some((id, one)) = world.instance(number_of(address)) else {
            let (url, what) = (request.url.clone(), "nobody listens".to_owned());
            return Err(HttpError::Connect { url, what });
        };
        Ok(if world.is_well(id) {
            reply(StatusCode::OK, Some(&one.release))
        } else {
            reply(StatusCode::SERVICE_UNAVAILABLE, Some(&one.release))
        })
    }

    fn route(&self, world: &mut Inner, service: &str, request: &Request) -> Option<String> {
        let named = request.secret_headers.iter();
        let named = named.filter(|(name, _)| name == ON_PURPOSE);
        let named = named.map(|(_, release)| release.expose().to_owned()).next();
        let release = match named {
            Some(release) => release,
            None => by_turn(world, service)?,
        };
        let own = world.instances_of(service);
        let mut own = own.filter(|(_, one)| one.release == release);
        own.any(|(id, _)| world.is_well(id)).then_some(release)
    }
}

fn by_turn(world: &mut Inner, service: &str) -> Option<String> {
    world.turn = (world.turn + 37) % 100;
    let turn = world.turn;
    let mut end = 0;
    for (release, share) in world.traffic.get(service)? {
        end += u32::from(*share);
        if turn < end {
            return Some(release.clone());
        }
    }
    None
}

fn reply(status: StatusCode, release: Option<&str>) -> Response {
    let mut headers = HeaderMap::new();
    if let Some(release) = release.and_then(|release| HeaderValue::from_str(release).ok()) {
        headers.insert("x-release", release);
    }
    Response {
        status,
        headers,
        body: Bytes::from_static(b"simulated_requests_total 1\n"),
        elapsed: Duration::from_millis(2),
    }
}
