//! Ports of the machine that services are published at: no two can have one.

use std::net::IpAddr;

use super::super::error::{SpecError, code};
use super::super::node::Node;
use super::{Compose, units};

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
struct Known<'a> {
    claim: Claim,
    service: &'a str,
    line: usize,
}

/// Refuses two services, or two entries of one, that ask for the same port of the machine.
pub(super) fn check(compose: &Compose, root: &Node) -> Result<(), Box<SpecError>> {
    let mut known: Vec<Known<'_>> = Vec::new();
    let services = root.get("services").map_or(&[][..], Node::entries);
    let deployed = |name: &String| compose.facts.services.contains_key(name);
    for service in services.iter().filter(|entry| deployed(&entry.key)) {
        let ports = service.node.get("ports").map_or(&[][..], Node::items);
        for (index, port) in ports.iter().enumerate() {
            let Some(claim) = claim_of(port) else {
                continue;
            };
            if let Some((port, other)) = clash(&known, claim) {
                return Err(refused(compose, &service.key, index, port, other));
            }
            known.push(Known {
                claim,
                service: &service.key,
                line: port.at.line,
            });
        }
    }
    Ok(())
}

fn refused(
    compose: &Compose,
    service: &str,
    index: usize,
    port: u16,
    other: &Known<'_>,
) -> Box<SpecError> {
    compose.error(
        code::OUT_OF_RANGE,
        &["services", service, "ports", &index.to_string()],
        format!(
            "`{service}` asks for port {port} of the machine, which `{}` has in line {} already",
            other.service, other.line
        ),
        "Give each its own port in front of the colon, or leave it out for any free one.",
    )
}

/// Returns the first port of a claim that somebody has already, and who.
fn clash<'a, 'b>(known: &'a [Known<'b>], claim: Claim) -> Option<(u16, &'a Known<'b>)> {
    let other = known.iter().find(|other| meet(other.claim, claim))?;
    Some((claim.first.max(other.claim.first), other))
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
