//! The ports on which processes of this machine listen, as `/proc` tells.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The state `TCP_LISTEN` in `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// Returns the addresses on which those processes listen for TCP connections. Processes of other
/// users are not seen.
#[must_use]
pub fn of_processes(pids: &[u32]) -> Vec<SocketAddr> {
    let inodes: BTreeSet<u64> = pids.iter().flat_map(|pid| sockets(*pid)).collect();
    let mut found = BTreeSet::new();
    for file in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let lines = text.lines().skip(1).filter_map(parse);
        found.extend(
            lines
                .filter(|(_, inode)| inodes.contains(inode))
                .map(|(address, _)| address),
        );
    }
    found.into_iter().collect()
}

/// Returns the addresses at which this machine listens on those ports, by the kernel's table; where
/// nobody listens, because ports are led on by the kernel itself, the addresses as given.
#[must_use]
pub fn of_ports(published: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let listening: Vec<SocketAddr> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .flat_map(|file| {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            let lines = text.lines().skip(1).filter_map(parse);
            lines.map(|(address, _)| address).collect::<Vec<_>>()
        })
        .collect();
    let mut found = BTreeSet::new();
    for address in published {
        let same = listening.iter().filter(|one| one.port() == address.port());
        let before = found.len();
        found.extend(same.copied());
        if found.len() == before {
            found.insert(address);
        }
    }
    found.into_iter().collect()
}

fn sockets(pid: u32) -> Vec<u64> {
    let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/fd")) else {
        return Vec::new();
    };
    let links = entries
        .flatten()
        .filter_map(|entry| std::fs::read_link(entry.path()).ok());
    links
        .filter_map(|link| {
            let link = link.to_string_lossy().into_owned();
            link.strip_prefix("socket:[")?
                .strip_suffix(']')?
                .parse()
                .ok()
        })
        .collect()
}

/// Reads one line of `/proc/net/tcp`: the address when it listens, and the socket's inode.
fn parse(line: &str) -> Option<(SocketAddr, u64)> {
    let fields: Vec<_> = line.split_ascii_whitespace().collect();
    if *fields.get(3)? != LISTEN {
        return None;
    }
    let (address, port) = fields.get(1)?.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let inode = fields.get(9)?.parse().ok()?;
    Some((SocketAddr::new(parse_ip(address)?, port), inode))
}

/// Addresses stand as 32-bit words in the machine's byte order.
fn parse_ip(text: &str) -> Option<IpAddr> {
    let mut bytes = Vec::new();
    for start in (0..text.len()).step_by(8) {
        let word = u32::from_str_radix(text.get(start..start + 8)?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    match bytes.len() {
        4 => Some(IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?))),
        16 => Some(IpAddr::V6(Ipv6Addr::from(
            <[u8; 16]>::try_from(bytes).ok()?,
        ))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_seen_listening() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert!(of_processes(&[std::process::id()]).contains(&address));
        drop(listener);
        assert!(!of_processes(&[std::process::id()]).contains(&address));
    }
}
