//! The client's side of ZMTP 3.0 with the NULL mechanism: <https://rfc.zeromq.org/spec/23/>.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::error::Error;

const MORE: u8 = 0b001;
const LONG: u8 = 0b010;
const COMMAND: u8 = 0b100;
const GREETING_SIZE: usize = 64;
/// How often a wait looks at the clock.
const TICK: Duration = Duration::from_millis(50);
/// A kernel that does not greet in this time is not there.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// How long a kernel may take nothing of what is written to it.
const WRITE_LIMIT: Duration = Duration::from_secs(10);
const READ_BYTES: usize = 64 * 1024;

/// The kinds of sockets that clients have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// For shell, control and stdin.
    Dealer,
    /// For iopub.
    Subscriber,
    /// For the heartbeat.
    Requester,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Dealer => "DEALER",
            Self::Subscriber => "SUB",
            Self::Requester => "REQ",
        }
    }
}

/// Until when what is waited for, and how long that was at the beginning.
#[derive(Debug, Clone, Copy)]
struct Deadline {
    at: Instant,
    limit: Duration,
    what: &'static str,
}

impl Deadline {
    fn after(limit: Duration, what: &'static str) -> Self {
        let at = Instant::now() + limit;
        Self { at, limit, what }
    }
}

/// A connection to one port of a kernel.
#[derive(Debug)]
pub struct Socket {
    stream: TcpStream,
    port: u16,
    input: Vec<u8>,
    read: usize,
}

impl Socket {
    /// Connects to a port of this machine and says nothing.
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn open(port: u16) -> Result<Self, Error> {
        let connected = || {
            let stream = TcpStream::connect(("127.0.0.1", port))?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(TICK))?;
            stream.set_write_timeout(Some(WRITE_LIMIT))?;
            Ok(stream)
        };
        let action = "connecting";
        let stream = connected().map_err(|source| Error::Socket {
            port,
            action,
            source,
        })?;
        let (input, read) = (Vec::new(), 0);
        Ok(Self {
            stream,
            port,
            input,
            read,
        })
    }

    /// Connects to a port of this machine and greets.
    ///
    /// # Errors
    /// When nobody listens there, or what listens does not speak ZMTP.
    pub fn connect(port: u16, kind: Kind, identity: &[u8]) -> Result<Self, Error> {
        let mut socket = Self::open(port)?;
        socket.write(&greeting())?;
        socket.fill(
            GREETING_SIZE,
            Deadline::after(HANDSHAKE_LIMIT, "a greeting"),
        )?;
        socket.read += GREETING_SIZE;
        socket.write(&ready(kind.name().as_bytes(), identity))?;
        // Its READY is a command, which is skipped before the first message.
        Ok(socket)
    }

    /// Subscribes to everything, where this is a subscriber.
    ///
    /// # Errors
    /// When the kernel does not take it.
    pub fn subscribe(&mut self) -> Result<(), Error> {
        self.write(b"\x00\x01\x01")
    }

    /// Sends a message of several frames.
    ///
    /// # Errors
    /// When the kernel does not take it.
    pub fn send(&mut self, frames: &[Vec<u8>]) -> Result<(), Error> {
        let mut bytes = Vec::with_capacity(frames.iter().map(|frame| frame.len() + 9).sum());
        for (index, body) in frames.iter().enumerate() {
            let more = if index + 1 < frames.len() { MORE } else { 0 };
            bytes.extend_from_slice(&frame(more, body));
        }
        self.write(&bytes)
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    /// When the kernel does not take them.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let port = self.port;
        self.stream
            .write_all(bytes)
            .map_err(|source| Error::Socket {
                port,
                action: "writing",
                source,
            })
    }

    /// Waits for the next message and returns its frames; commands are skipped.
    ///
    /// # Errors
    /// When none comes in time, or the kernel has closed the connection.
    pub fn receive(&mut self, limit: Duration) -> Result<Vec<Vec<u8>>, Error> {
        let deadline = Deadline::after(limit, "a message");
        let mut frames = Vec::new();
        loop {
            let (flags, body) = self.frame(deadline)?;
            if flags & COMMAND != 0 {
                continue;
            }
            frames.push(body);
            if flags & MORE == 0 {
                return Ok(frames);
            }
        }
    }

    fn frame(&mut self, deadline: Deadline) -> Result<(u8, Vec<u8>), Error> {
        self.fill(2, deadline)?;
        let flags = self.input[self.read];
        let (header, size) = if flags & LONG == 0 {
            (2, usize::from(self.input[self.read + 1]))
        } else {
            self.fill(9, deadline)?;
            let bytes = &self.input[self.read + 1..self.read + 9];
            let size = bytes
                .iter()
                .fold(0_u64, |size, byte| size << 8 | u64::from(*byte));
            (9, usize::try_from(size).unwrap_or(usize::MAX >> 1))
        };
        self.fill(header + size, deadline)?;
        let start = self.read + header;
        let body = self.input[start..start + size].to_vec();
        self.read = start + size;
        if self.read == self.input.len() {
            self.input.clear();
            self.read = 0;
        }
        Ok((flags, body))
    }

    /// Reads until at least `size` bytes are there that were not taken.
    fn fill(&mut self, size: usize, deadline: Deadline) -> Result<(), Error> {
        while self.input.len() - self.read < size {
            if self.read > READ_BYTES {
                self.input.drain(..self.read);
                self.read = 0;
            }
            let before = self.input.len();
            self.input.resize(before + READ_BYTES, 0);
            let read = self.stream.read(&mut self.input[before..]);
            self.input
                .truncate(before + read.as_ref().copied().unwrap_or(0));
            let port = self.port;
            let failed = |source| Error::Socket {
                port,
                action: "reading",
                source,
            };
            match read {
                Ok(0) => return Err(failed(ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if Instant::now() >= deadline.at {
                        let (what, limit) = (deadline.what.to_owned(), deadline.limit);
                        return Err(Error::TimedOut { what, limit });
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(())
    }
}

/// Returns what both sides of a connection say first.
#[must_use]
pub fn greeting() -> [u8; GREETING_SIZE] {
    let mut bytes = [0; GREETING_SIZE];
    bytes[0] = 0xff;
    bytes[9] = 0x7f;
    bytes[10] = 3;
    bytes[12..16].copy_from_slice(b"NULL");
    bytes
}

/// Returns the command after the greeting; an empty identity is left out.
#[must_use]
pub fn ready(socket_type: &[u8], identity: &[u8]) -> Vec<u8> {
    let mut body = b"\x05READY".to_vec();
    property(&mut body, b"Socket-Type", socket_type);
    if !identity.is_empty() {
        property(&mut body, b"Identity", identity);
    }
    frame(COMMAND, &body)
}

fn property(body: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    body.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    body.extend_from_slice(name);
    body.extend_from_slice(&u32::try_from(value.len()).unwrap_or(u32::MAX).to_be_bytes());
    body.extend_from_slice(value);
}

/// Returns the bytes of one frame.
#[must_use]
pub fn frame(flags: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(body.len() + 9);
    match u8::try_from(body.len()) {
        Ok(short) => bytes.extend_from_slice(&[flags, short]),
        Err(_) => {
            bytes.push(flags | LONG);
            bytes.extend_from_slice(&(body.len() as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(body);
    bytes
}
