//! What is done to a kernel in one case.

use code_deploy_wire::{Channel, Kernel, Kind, Ports, Socket, frame, greeting, ready};

use crate::message::{self, Draft};
use crate::random::Random;

/// Larger than any message of a client.
const OVERSIZED: usize = 24 * 1024 * 1024;

/// Does one case and returns the connections it leaves open. That a kernel refuses or closes is its good right.
pub fn case(kernel: &Kernel, seed: u64, number: u64) -> Option<Socket> {
    let mut random = Random::of_case(seed, number);
    let random = &mut random;
    let socket = match random.below(16) {
        0..=2 => requests(kernel, random, number, |_, _, _| {}),
        3..=5 => requests(kernel, random, number, |random, key, frames| {
            signed_garbage(random, key, frames);
        }),
        6 => requests(kernel, random, number, |random, _, frames| {
            badly_signed(random, frames);
        }),
        7..=8 => requests(kernel, random, number, wrongly_ordered),
        9 => requests(kernel, random, number, oversized),
        10 => raw(kernel, random, true),
        11 => raw(kernel, random, false),
        12 => lying_frames(kernel, random),
        13 => odd_handshake(kernel, random),
        14 => subscriptions(kernel, random),
        _ => heartbeats(kernel, random),
    };
    socket.ok().filter(|_| random.once_in(2))
}

type Met = Result<Socket, code_deploy_wire::Error>;

/// Sends some messages on one connection, each changed in one way.
fn requests(
    kernel: &Kernel,
    random: &mut Random,
    number: u64,
    change: fn(&mut Random, &str, &mut Vec<Vec<u8>>),
) -> Met {
    let first = message::draft(random, &kernel.key, number);
    let identity = if random.once_in(4) {
        b"the same".to_vec()
    } else {
        random.bytes(40)
    };
    let mut socket = Socket::connect(port(kernel.ports, first.channel), Kind::Dealer, &identity)?;
    for _ in 0..random.below(4) {
        let Draft { mut frames, .. } = message::draft(random, &kernel.key, number);
        change(random, &kernel.key, &mut frames);
        socket.send(&frames)?;
    }
    let mut frames = first.frames;
    change(random, &kernel.key, &mut frames);
    socket.send(&frames)?;
    Ok(socket)
}

/// The signature is right, what it signs is not.
fn signed_garbage(random: &mut Random, key: &str, frames: &mut [Vec<u8>]) {
    let executes = frames[2].windows(15).any(|part| part == b"execute_request");
    // The text of a cell stays as it is: changed, it could be Rust.
    let part = if executes {
        2 + random.below(3)
    } else {
        2 + random.below(4)
    };
    random.mutate(&mut frames[part]);
    message::sign(key, frames);
}

fn badly_signed(random: &mut Random, frames: &mut [Vec<u8>]) {
    match random.below(4) {
        0 => frames[1].clear(),
        1 => frames[1] = random.bytes(80),
        2 => frames[1].push(b'0'),
        _ => random.mutate(&mut frames[1]),
    }
}

fn wrongly_ordered(random: &mut Random, _key: &str, frames: &mut Vec<Vec<u8>>) {
    for _ in 0..=random.below(3) {
        let (a, b) = (random.below(frames.len()), random.below(frames.len()));
        match random.below(5) {
            0 if frames.len() > 1 => drop(frames.remove(a)),
            1 => frames.insert(a, frames[b].clone()),
            2 => frames.swap(a, b),
            3 => frames.insert(a, Vec::new()),
            _ => {
                let many = random.below(3_000);
                frames.extend(std::iter::repeat_n(b"x".to_vec(), many));
            }
        }
    }
}

fn oversized(random: &mut Random, key: &str, frames: &mut Vec<Vec<u8>>) {
    let size = random.below(OVERSIZED);
    match random.below(4) {
        0 => frames.insert(0, vec![b'i'; size]),
        1 => frames[5] = vec![b'['; size.min(4 * 1024 * 1024)],
        2 => frames[3] = format!("{{\"a\":\"{}\"}}", "x".repeat(size)).into_bytes(),
        _ => frames.push(vec![0; size]),
    }
    message::sign(key, frames);
}

/// Bytes that are no frames, before or after the greeting.
fn raw(kernel: &Kernel, random: &mut Random, greeted: bool) -> Met {
    let port = kernel.ports.all()[random.below(5)];
    let mut socket = Socket::open(port)?;
    if greeted {
        socket.write(&greeting())?;
        if random.once_in(2) {
            socket.write(&ready(b"DEALER", &random.bytes(20)))?;
        }
    } else if random.once_in(2) {
        let part = random.below(64);
        socket.write(&greeting()[..part])?;
    }
    let mut bytes = random.bytes(600);
    if random.once_in(2) {
        bytes = ready(b"DEALER", b"x");
        random.mutate(&mut bytes);
    }
    socket.write(&bytes)?;
    Ok(socket)
}

/// Frames that say to be longer than they are, or than anything can be.
fn lying_frames(kernel: &Kernel, random: &mut Random) -> Met {
    let port = kernel.ports.all()[random.below(5)];
    let mut socket = Socket::open(port)?;
    socket.write(&greeting())?;
    let types: [&[u8]; 3] = [b"DEALER", b"SUB", b"REQ"];
    socket.write(&ready(random.pick(&types), b""))?;
    let flags = random.byte() | 2;
    let size = match random.below(4) {
        0 => 1_u64 << random.below(64),
        1 => random.next(),
        2 => u64::MAX,
        _ => 1 << 20,
    };
    let mut bytes = vec![flags];
    bytes.extend_from_slice(&size.to_be_bytes());
    bytes.extend_from_slice(&random.bytes(2_000));
    socket.write(&bytes)?;
    Ok(socket)
}

/// Greetings and READY commands that are wrong in one place.
fn odd_handshake(kernel: &Kernel, random: &mut Random) -> Met {
    let port = kernel.ports.all()[random.below(5)];
    let mut socket = Socket::open(port)?;
    let mut hello = greeting().to_vec();
    if random.once_in(2) {
        let at = random.below(hello.len());
        hello[at] = random.byte();
    }
    socket.write(&hello)?;
    let types: [&[u8]; 9] = [
        b"DEALER",
        b"REQ",
        b"SUB",
        b"XSUB",
        b"ROUTER",
        b"PUB",
        b"",
        b"\xff\xff",
        b"dealer",
    ];
    let identity = vec![b'i'; random.below(700)];
    let mut command = ready(random.pick(&types), &identity);
    if random.once_in(2) {
        random.mutate(&mut command);
    }
    for _ in 0..=random.below(3) {
        socket.write(&command)?;
    }
    socket.write(&frame(4, &random.bytes(300)))?;
    Ok(socket)
}

fn subscriptions(kernel: &Kernel, random: &mut Random) -> Met {
    let mut socket = Socket::connect(kernel.ports.iopub, Kind::Subscriber, b"")?;
    for _ in 0..random.below(200) {
        let mut body = vec![u8::try_from(random.below(3)).unwrap_or(0)];
        let limit = if random.once_in(20) { 6_000 } else { 12 };
        body.extend_from_slice(&random.bytes(limit));
        let commands: [&[u8]; 3] = [b"\x09SUBSCRIBEk", b"\x06CANCELk", b"\x04PING\0\0x"];
        let bytes = if random.once_in(3) {
            frame(4, random.pick(&commands))
        } else {
            frame(u8::from(random.once_in(5)), &body)
        };
        socket.write(&bytes)?;
    }
    Ok(socket)
}

fn heartbeats(kernel: &Kernel, random: &mut Random) -> Met {
    let kind = if random.once_in(2) {
        Kind::Requester
    } else {
        Kind::Dealer
    };
    let mut socket = Socket::connect(kernel.ports.heartbeat, kind, &random.bytes(10))?;
    for _ in 0..random.below(6) {
        let frames: Vec<Vec<u8>> = (0..=random.below(4)).map(|_| random.bytes(300)).collect();
        socket.send(&frames)?;
    }
    Ok(socket)
}

fn port(ports: Ports, channel: Channel) -> u16 {
    match channel {
        Channel::Shell => ports.shell,
        Channel::Control => ports.control,
        Channel::Stdin => ports.stdin,
    }
}
