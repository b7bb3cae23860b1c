//! Ports for services that are tried out: no two alike, and each kept from others until its service
//! starts.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpSocket;

use crate::{Context, left, listening};

/// Ports of this machine's own address, held by sockets that are bound and do not listen: who
/// connects before the service is there is refused, as by a service that is not there yet.
#[derive(Default)]
pub(super) struct Ports {
    addresses: BTreeMap<String, SocketAddr>,
    held: BTreeMap<String, TcpSocket>,
}

impl Ports {
    /// Takes one port for each service.
    ///
    /// # Errors
    /// When no port is free.
    pub fn take<'a>(services: impl Iterator<Item = &'a str>) -> io::Result<Self> {
        let mut ports = Self::default();
        for service in services {
            let socket = TcpSocket::new_v4()?;
            socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
            ports
                .addresses
                .insert(service.to_owned(), socket.local_addr()?);
            ports.held.insert(service.to_owned(), socket);
        }
        Ok(ports)
    }

    pub fn addresses(&self) -> &BTreeMap<String, SocketAddr> {
        &self.addresses
    }

    /// Lets go of the port of a service that is about to listen on it.
    pub fn let_go(&mut self, service: &str) {
        self.held.remove(service);
    }
}

/// Says whether a process that was started for this run listens at an address. One whose environment
/// or sockets cannot be read is not seen.
pub(super) async fn is_ours(context: &Context, address: SocketAddr) -> io::Result<bool> {
    let run = context.run.clone();
    let look = move || {
        let ours = listening::of_processes(&left::pids(&run)?);
        Ok(ours.iter().any(|one| one.port() == address.port()))
    };
    tokio::task::spawn_blocking(look)
        .await
        .map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[tokio::test]
    async fn no_two_ports_are_alike_and_none_can_be_taken_before_it_is_let_go() {
        let names: Vec<_> = (0..600).map(|number| format!("service{number}")).collect();
        let mut ports = Ports::take(names.iter().map(String::as_str)).unwrap();
        let all: BTreeSet<_> = ports.addresses().values().copied().collect();
        assert_eq!(all.len(), names.len());
        let one = ports.addresses()["service7"];
        let taken = std::net::TcpListener::bind(one).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        let asked = tokio::net::TcpStream::connect(one).await.unwrap_err();
        assert_eq!(asked.kind(), io::ErrorKind::ConnectionRefused);
        ports.let_go("service7");
        std::net::TcpListener::bind(one).unwrap();
    }
}
