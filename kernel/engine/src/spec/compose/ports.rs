//! Ports of the machine that services are to be published at: two may ask for one. What comes of that, the target says.

use std::net::IpAddr;

use super::super::error::{SpecError, code};
use super::super::model::{Service, is_docker};
use super::super::node::Node;
use super::{Compose, units};

/// Two entries of `ports` that ask for the same ports of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Clash {
    /// The service of the later entry, which of its entries that is, and the line.
    service: String,
    index: usize,
    line: usize,
    /// The service that has asked for them already, and the line.
    other: String,
    other_line: usize,
    first: u16,
    last: u16,
}

/// The ports of the machine that one entry of `ports` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Claim {
    /// The address there; all of them when none is given.
    address: Option<IpAddr>,
    first: u16,
    last: u16,
    udp: bool,
}

/// A claim, and whose it is.
#[derive(Clone, Copy)]
struct Known<'a> {
    claim: Claim,
    service: &'a str,
    line: usize,
}

/// Returns the entries of services that are deployed which ask for the same ports of the machine.
pub(super) fn clashes(compose: &Compose, root: &Node) -> Vec<Clash> {
    let (mut known, mut clashes) = (Vec::<Known<'_>>::new(), Vec::new());
    let services = root.get("services").map_or(&[][..], Node::entries);
    let deployed = |name: &String| compose.facts.services.contains_key(name);
    for service in services.iter().filter(|entry| deployed(&entry.key)) {
        let ports = service.node.get("ports").map_or(&[][..], Node::items);
        for (index, port) in ports.iter().enumerate() {
            let Some(claim) = claim_of(port) else {
                continue;
            };
            let one = Known {
                claim,
                service: &service.key,
                line: port.at.line,
            };
            let others = known.iter().filter(|other| meet(other.claim, claim));
            clashes.extend(others.map(|other| one.clash(index, other)));
            known.push(one);
        }
    }
    clashes
}

/// Refuses two services that would be published at one port, and notes all else that asks for the same ones.
///
/// Docker publishes one port of a service: at `routing.port` of the deployment file, or else where the Compose file
/// says. Processes are reached at free ports or at `routing.port`, and in a cluster nothing has a port of a machine.
///
/// # Errors
/// The first two, with their lines.
pub(crate) fn settle(
    compose: &mut Compose,
    services: &[Service],
    target: &str,
) -> Result<(), Box<SpecError>> {
    for clash in std::mem::take(&mut compose.clashes) {
        if is_docker(target)
            && let Some(port) = clash.published(services)
        {
            return Err(clash.refused(compose, port));
        }
        compose.note(clash.line, &clash.noted(target));
    }
    Ok(())
}

impl Known<'_> {
    fn clash(&self, index: usize, other: &Self) -> Clash {
        Clash {
            service: self.service.to_owned(),
            index,
            line: self.line,
            other: other.service.to_owned(),
            other_line: other.line,
            first: self.claim.first.max(other.claim.first),
            last: self.claim.last.min(other.claim.last),
        }
    }
}

impl Clash {
    /// Returns the port at which Docker would publish both services.
    fn published(&self, services: &[Service]) -> Option<u16> {
        let of = |name: &str| {
            let service = services.iter().find(|one| one.name == name)?;
            service.published.filter(|_| service.file.routing.port == 0)
        };
        let port = of(&self.service).filter(|port| (self.first..=self.last).contains(port))?;
        (self.service != self.other && of(&self.other) == Some(port)).then_some(port)
    }

    fn refused(&self, compose: &Compose, port: u16) -> Box<SpecError> {
        let (service, index) = (self.service.as_str(), self.index.to_string());
        compose.error(
            code::NOT_HONOURED,
            &["services", service, "ports", &index],
            self.text(port),
            format!(
                "Give each its own port in front of the colon, leave it out for any free one, or write \
                 `services.{service}.routing.port` in the deployment file."
            ),
        )
    }

    fn noted(&self, target: &str) -> String {
        let why = match target {
            "local" => "processes are reached at free ports, or at `routing.port`",
            target if is_docker(target) => {
                "one port of a service is published, at `routing.port` of the deployment file where it gives that"
            }
            _ => "in a cluster nothing has a port of a machine",
        };
        format!("{}, which is not honoured: {why}", self.text(self.first))
    }

    fn text(&self, port: u16) -> String {
        format!(
            "`{}` asks for port {port} of the machine, which `{}` has in line {} already",
            self.service, self.other, self.other_line
        )
    }
}

fn meet(one: Claim, other: Claim) -> bool {
    let addresses = match (one.address, other.address) {
        (Some(one), Some(other)) => {
            let all = one.is_unspecified() || other.is_unspecified();
            one == other || (all && one.is_ipv4() == other.is_ipv4())
        }
        _ => true,
    };
    addresses && one.udp == other.udp && one.first <= other.last && other.first <= one.last
}

fn claim_of(port: &Node) -> Option<Claim> {
    if port.entries().is_empty() {
        return short(&port.text()?);
    }
    let text = |key| port.get(key).and_then(Node::text);
    let udp = text("protocol").is_some_and(|protocol| protocol == "udp");
    let address = text("host_ip").unwrap_or_default();
    claim(&address, &text("published")?, &text("target")?, udp)
}

/// Reads `80:8080`, `127.0.0.1:80:8080/tcp`, `[::1]:80:8080`, `3000-3005:3000-3005`.
fn short(text: &str) -> Option<Claim> {
    let (ports, protocol) = text.trim().split_once('/').unwrap_or((text.trim(), "tcp"));
    let (outside, target) = ports.rsplit_once(':')?;
    let (address, published) = outside.rsplit_once(':').unwrap_or(("", outside));
    claim(address, published, target, protocol == "udp")
}

fn claim(address: &str, published: &str, target: &str, udp: bool) -> Option<Claim> {
    let ((first, last), (from, to)) = (units::range(published)?, units::range(target)?);
    // Of more ports than there are inside, any free one is taken.
    (last - first == to - from).then(|| Claim {
        address: address.trim_matches(['[', ']']).parse().ok(),
        first,
        last,
        udp,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, missing_docs)]

    use super::*;

    fn clash(one: &str, other: &str) -> bool {
        meet(short(one).unwrap(), short(other).unwrap())
    }

    #[test]
    fn a_port_is_the_same_by_number_protocol_and_address() {
        assert!(clash("80:8080", "80:9090"));
        assert!(clash("80:8080", "127.0.0.1:80:8080"));
        assert!(clash("0.0.0.0:80:8080", "127.0.0.1:80:8080"));
        assert!(clash("3000-3005:3000-3005", "3004:80"));
        assert!(clash("[::1]:80:8080", "[::1]:80:8081"));
        assert!(!clash("80:8080", "81:8080"));
        assert!(!clash("53:53/udp", "53:53/tcp"));
        assert!(!clash("127.0.0.1:80:8080", "127.0.0.2:80:8080"));
    }

    #[test]
    fn what_takes_any_free_port_asks_for_none() {
        for text in ["8080", "127.0.0.1::8080", "3000-3005:80", "8080/udp"] {
            assert_eq!(short(text), None, "{text}");
        }
    }
}
