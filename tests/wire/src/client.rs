//! A client of one kernel, on all channels.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::error::Error;
use crate::kernel::Kernel;
use crate::socket::{Kind, Socket};

const DELIMITER: &[u8] = b"<IDS|MSG>";
/// The slowest first cell there is takes less.
const LIMIT: Duration = Duration::from_secs(30);
/// How long a kernel without a welcome may not publish to a new subscriber.
const SUBSCRIBED_LIMIT: Duration = Duration::from_millis(250);
const TRIES: usize = 40;
/// Clients of this process so far: each has a name of its own.
static CLIENTS: AtomicU64 = AtomicU64::new(0);

/// Where a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// Requests.
    Shell,
    /// Requests that are answered while a cell runs.
    Control,
    /// Answers of people.
    Stdin,
}

/// A message of a kernel.
#[derive(Debug, Clone)]
pub struct Message {
    /// Its type.
    pub kind: String,
    /// The id of the request to which it belongs.
    pub parent: String,
    /// Its content.
    pub content: Value,
}

/// What came of a cell.
#[derive(Debug)]
pub struct Ran {
    /// The content of the reply.
    pub reply: Value,
    /// How many outputs of each type came before `idle`.
    pub counts: BTreeMap<String, usize>,
    /// The text that was printed, both streams.
    pub text: String,
}

/// A client.
#[derive(Debug)]
pub struct Client {
    shell: Socket,
    control: Socket,
    stdin: Socket,
    iopub: Socket,
    ports: [u16; 4],
    key: String,
    session: String,
    subshell: Option<String>,
    sent: u64,
}

impl Client {
    pub(crate) fn connect(kernel: &Kernel) -> Result<Self, Error> {
        let ports = kernel.ports;
        // Sockets of one client share an identity, by which questions find their way back.
        let number = CLIENTS.fetch_add(1, Ordering::Relaxed);
        let session = format!("wire-{}-{number}", std::process::id());
        let identity = session.as_bytes();
        let mut client = Self {
            shell: Socket::connect(ports.shell, Kind::Dealer, identity)?,
            control: Socket::connect(ports.control, Kind::Dealer, identity)?,
            stdin: Socket::connect(ports.stdin, Kind::Dealer, identity)?,
            iopub: Socket::connect(ports.iopub, Kind::Subscriber, b"")?,
            ports: [ports.shell, ports.control, ports.stdin, ports.iopub],
            key: kernel.key.clone(),
            session: session.clone(),
            subshell: None,
            sent: 0,
        };
        client.iopub.subscribe()?;
        client.until_subscribed()?;
        Ok(client)
    }

    fn until_subscribed(&mut self) -> Result<(), Error> {
        let mut tries = 0;
        loop {
            let id = self.send(Channel::Shell, "kernel_info_request", &json!({}))?;
            self.reply(&id)?;
            match self.until_idle(&id, SUBSCRIBED_LIMIT) {
                Ok(_) => return Ok(()),
                Err(error) if tries == TRIES => return Err(error),
                Err(_) => tries += 1,
            }
        }
    }

    /// Sends a request and returns its id.
    ///
    /// # Errors
    /// When the kernel does not take it.
    pub fn send(&mut self, channel: Channel, kind: &str, content: &Value) -> Result<String, Error> {
        self.sent += 1;
        let id = format!("{}-{}", self.session, self.sent);
        let subshell = self
            .subshell
            .as_deref()
            .filter(|_| channel == Channel::Shell);
        let frames = signed(&self.key, &self.session, subshell, &id, kind, content);
        self.socket(channel).send(&frames)?;
        Ok(id)
    }

    /// Sends what goes to shell to a subshell of its own from now on, and returns its id.
    ///
    /// # Errors
    /// When the kernel opens none.
    pub fn move_to_subshell(&mut self) -> Result<String, Error> {
        let opened = self.control("create_subshell_request", &json!({}))?;
        let id = opened["subshell_id"].as_str().map(str::to_owned);
        let reason = opened.to_string();
        let port = self.ports[1];
        let id = id.ok_or(Error::NoMessage { port, reason })?;
        self.subshell = Some(id.clone());
        Ok(id)
    }

    /// Sends a cell and returns its id.
    ///
    /// # Errors
    /// When the kernel does not take it.
    pub fn send_cell(&mut self, code: &str) -> Result<String, Error> {
        let content = json!({
            "code": code, "silent": false, "store_history": true, "user_expressions": {},
            "allow_stdin": false, "stop_on_error": true,
        });
        self.send(Channel::Shell, "execute_request", &content)
    }

    /// Runs a cell to its reply and its `idle`.
    ///
    /// # Errors
    /// When one of them does not come within half a minute.
    pub fn run(&mut self, code: &str) -> Result<Ran, Error> {
        let id = self.send_cell(code)?;
        self.ran(&id)
    }

    /// Waits for the reply and the `idle` of a cell.
    ///
    /// # Errors
    /// When one of them does not come within half a minute.
    pub fn ran(&mut self, id: &str) -> Result<Ran, Error> {
        let (counts, text) = self.until_idle(id, LIMIT)?;
        let reply = self.reply(id)?;
        Ok(Ran {
            reply,
            counts,
            text,
        })
    }

    /// Returns the reply to a request on shell if it has come.
    ///
    /// # Errors
    /// When the kernel has closed the connection.
    pub fn reply_if_there(&mut self, id: &str) -> Result<Option<Value>, Error> {
        match self.shell.receive(Duration::ZERO) {
            Ok(frames) => {
                let message = message(self.ports[0], &frames)?;
                Ok((message.parent == id).then_some(message.content))
            }
            Err(Error::TimedOut { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Waits for the reply to a request on shell.
    ///
    /// # Errors
    /// When it does not come within half a minute.
    pub fn reply(&mut self, id: &str) -> Result<Value, Error> {
        loop {
            let message = message(self.ports[0], &self.shell.receive(LIMIT)?)?;
            if message.parent == id {
                return Ok(message.content);
            }
        }
    }

    /// Sends a request on control and waits for its reply.
    ///
    /// # Errors
    /// When it does not come within half a minute.
    pub fn control(&mut self, kind: &str, content: &Value) -> Result<Value, Error> {
        let id = self.send(Channel::Control, kind, content)?;
        loop {
            let message = message(self.ports[1], &self.control.receive(LIMIT)?)?;
            if message.parent == id {
                return Ok(message.content);
            }
        }
    }

    /// Waits for the next output of any request.
    ///
    /// # Errors
    /// When none comes in time.
    pub fn output(&mut self, limit: Duration) -> Result<Message, Error> {
        message(self.ports[3], &self.iopub.receive(limit)?)
    }

    /// Waits until a cell has printed something.
    ///
    /// # Errors
    /// When it does not within half a minute.
    pub fn printed(&mut self, id: &str) -> Result<String, Error> {
        loop {
            let output = self.output(LIMIT)?;
            if output.parent == id && output.kind == "stream" {
                return Ok(text(&output.content["text"]));
            }
        }
    }

    /// Waits until a cell has shown or printed something, and returns that.
    ///
    /// # Errors
    /// When it does not within half a minute.
    pub fn shown(&mut self, id: &str) -> Result<Message, Error> {
        loop {
            let output = self.output(LIMIT)?;
            let silent = ["status", "execute_input"].contains(&output.kind.as_str());
            if output.parent == id && !silent {
                return Ok(output);
            }
        }
    }

    fn until_idle(
        &mut self,
        id: &str,
        limit: Duration,
    ) -> Result<(BTreeMap<String, usize>, String), Error> {
        let (mut counts, mut printed) = (BTreeMap::new(), String::new());
        loop {
            let output = self.output(limit)?;
            if output.parent != id {
                continue;
            }
            if output.content["execution_state"] == "idle" {
                return Ok((counts, printed));
            }
            if output.kind == "stream" {
                printed.push_str(output.content["text"].as_str().unwrap_or_default());
            }
            *counts.entry(output.kind).or_default() += 1;
        }
    }

    fn socket(&mut self, channel: Channel) -> &mut Socket {
        match channel {
            Channel::Shell => &mut self.shell,
            Channel::Control => &mut self.control,
            Channel::Stdin => &mut self.stdin,
        }
    }
}

/// Returns the frames of a signed request.
#[must_use]
pub fn request(key: &str, session: &str, id: &str, kind: &str, content: &Value) -> Vec<Vec<u8>> {
    signed(key, session, None, id, kind, content)
}

fn signed(
    key: &str,
    session: &str,
    subshell: Option<&str>,
    id: &str,
    kind: &str,
    content: &Value,
) -> Vec<Vec<u8>> {
    let mut header = json!({
        "msg_id": id, "msg_type": kind, "session": session, "username": "wire",
        "date": "2026-01-01T00:00:00.000000Z", "version": "5.5",
    });
    if let Some(subshell) = subshell {
        header["subshell_id"] = json!(subshell);
    }
    let parts = [
        header.to_string(),
        "{}".to_owned(),
        "{}".to_owned(),
        content.to_string(),
    ];
    let mut frames = vec![DELIMITER.to_vec(), signature(key, &parts)];
    frames.extend(parts.into_iter().map(String::into_bytes));
    frames
}

/// Returns the signature of the parts of a message, in hexadecimal.
// HMAC takes keys of every length, so the empty signature stands for no error that can happen.
#[must_use]
pub fn signature(key: &str, parts: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.as_bytes()) else {
        return Vec::new();
    };
    parts.iter().for_each(|part| mac.update(part.as_ref()));
    hex::encode(mac.finalize().into_bytes()).into_bytes()
}

fn message(port: u16, frames: &[Vec<u8>]) -> Result<Message, Error> {
    let refused = |reason: String| Error::NoMessage { port, reason };
    let delimiter = frames.iter().position(|frame| frame == DELIMITER);
    let after = delimiter.map_or(&[][..], |position| &frames[position + 1..]);
    let [_, header, parent, _, content, ..] = after else {
        return Err(refused(format!("{} frames", frames.len())));
    };
    let read = |part: &[u8]| {
        serde_json::from_slice::<Value>(part).map_err(|error| refused(error.to_string()))
    };
    let (header, parent, content) = (read(header)?, read(parent)?, read(content)?);
    Ok(Message {
        kind: text(&header["msg_type"]),
        parent: text(&parent["msg_id"]),
        content,
    })
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
