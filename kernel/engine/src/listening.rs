//! The ports on which processes of this machine listen, as its kernel tells.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, SocketId, StateFlags};
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_SOCK_DIAG;

/// The state `TCP_LISTEN` in `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// A socket that listens: its address and its inode.
type Listener = (SocketAddr, u64);

/// Returns the addresses on which those processes listen for TCP connections. Processes of other
/// users are not seen.
#[must_use]
pub fn of_processes(pids: &[u32]) -> Vec<SocketAddr> {
    let inodes: BTreeSet<u64> = pids.iter().flat_map(|pid| sockets(*pid)).collect();
    if inodes.is_empty() {
        return Vec::new();
    }
    let own = listeners().into_iter();
    let own = own.filter(|(_, inode)| inodes.contains(inode));
    let found: BTreeSet<SocketAddr> = own.map(|(address, _)| address).collect();
    found.into_iter().collect()
}

/// Returns the addresses at which this machine listens on those ports, by the kernel's table; where
/// nobody listens, because ports are led on by the kernel itself, the addresses as given.
#[must_use]
pub fn of_ports(published: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let listening = listeners();
    let mut found = BTreeSet::new();
    for address in published {
        let same = listening.iter().map(|(one, _)| one);
        let before = found.len();
        found.extend(same.filter(|one| one.port() == address.port()).copied());
        if found.len() == before {
            found.insert(address);
        }
    }
    found.into_iter().collect()
}

/// Returns all sockets of this machine that listen. The kernel is asked for those alone: the tables in
/// `/proc` walk over every slot for a connection, which holds a processor for milliseconds, and are read only
/// where the kernel has no other way.
fn listeners() -> Vec<Listener> {
    let both = [AF_INET, AF_INET6].map(asked);
    match both {
        [Ok(mut all), Ok(more)] => {
            all.extend(more);
            all
        }
        _ => tables(),
    }
}

/// Asks the kernel for the sockets of a family that listen (`sock_diag(7)`).
fn asked(family: u8) -> std::io::Result<Vec<Listener>> {
    let socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.connect(&netlink_sys::SocketAddr::new(0, 0))?;
    socket.send(&request(family), 0)?;
    let mut found = Vec::new();
    loop {
        let (answer, _) = socket.recv_from_full()?;
        let mut rest = answer.as_slice();
        while !rest.is_empty() {
            let message = NetlinkMessage::<SockDiagMessage>::deserialize(rest);
            let message = message.map_err(std::io::Error::other)?;
            match message.payload {
                NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => {
                    let header = response.header;
                    let id = header.socket_id;
                    let address = SocketAddr::new(id.source_address, id.source_port);
                    found.push((address, header.inode.into()));
                }
                // A machine whose kernel cannot tell says so at the end of a list of nothing.
                NetlinkPayload::Done(done) if done.code < 0 => {
                    return Err(std::io::Error::from_raw_os_error(-done.code));
                }
                NetlinkPayload::Done(_) => return Ok(found),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                _ => {}
            }
            let length = (message.header.length as usize).next_multiple_of(4);
            rest = rest.get(length..).unwrap_or_default();
        }
    }
}

fn request(family: u8) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let wanted = InetRequest {
        family,
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::empty(),
        states: StateFlags::LISTEN,
        socket_id: SocketId::new_v4(),
    };
    let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(wanted).into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

fn tables() -> Vec<Listener> {
    let both = ["/proc/net/tcp", "/proc/net/tcp6"].iter();
    let texts = both.map(|file| std::fs::read_to_string(file).unwrap_or_default());
    let parsed = |text: String| {
        let lines = text.lines().skip(1).filter_map(parse);
        lines.collect::<Vec<_>>()
    };
    texts.flat_map(parsed).collect()
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
    fn both_ways_to_ask_find_the_same_listeners() {
        let some = ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"];
        let open = some.map(|address| std::net::TcpListener::bind(address).unwrap());
        let own: BTreeSet<_> = open.iter().map(|one| one.local_addr().unwrap()).collect();
        let of_own = |found: Vec<Listener>| {
            let own = found.into_iter().filter(|(one, _)| own.contains(one));
            own.collect::<BTreeSet<_>>()
        };
        let mut asked_for = asked(AF_INET).unwrap();
        asked_for.extend(asked(AF_INET6).unwrap());
        let asked_for = of_own(asked_for);
        assert_eq!(asked_for.len(), some.len());
        assert_eq!(asked_for, of_own(tables()));
    }

    #[test]
    fn this_process_is_seen_listening() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert!(of_processes(&[std::process::id()]).contains(&address));
        drop(listener);
        assert!(!of_processes(&[std::process::id()]).contains(&address));
    }
}
