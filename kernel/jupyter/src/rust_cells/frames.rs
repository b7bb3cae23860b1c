//! What the process that runs cells tells the host, beside what evcxr reads: one JSON object a line,
//! on a socket in the folder of the two.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Text in one frame at most, in bytes.
pub(super) const TEXT_LIMIT: usize = 64 * 1024;
/// Where evcxr's own files and the socket lie, as the kernel tells the host and the host its child.
pub(super) const FOLDER: &str = "CODE_DEPLOY_CELLS_FOLDER";
/// What the host answers to a frame that waits for it.
const HEARD: u8 = b'.';

/// Returns the socket in the folder of a host.
pub(super) fn socket(folder: &Path) -> PathBuf {
    folder.join("cells.sock")
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Frame {
    Stdout(String),
    Stderr(String),
    Display(Display),
    /// What the cell has shown is to be cleared; where it says so, when the next output comes.
    Clear(bool),
    /// The cell asks for a line. Waits: the prompt comes after everything written before it.
    Asked(Asked),
    /// The cell panicked, in the process of that id.
    Panicked(u32),
    /// A `?` ended the cell.
    GaveUp,
    /// What the cell shows has more bytes than can be shown.
    TooLarge(u64),
    /// The cell is done. Waits: its end comes after everything that it wrote.
    Done,
    /// The process has ended, in that way. Waits.
    Ended(String),
}

/// A question of a cell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Asked {
    pub(super) prompt: String,
    pub(super) password: bool,
    /// Whether whoever asks can be told that there will be no answer.
    pub(super) can_refuse: bool,
}

/// A content that a cell shows while it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Display {
    /// Whether it replaces what was shown under its id.
    pub(super) update: bool,
    /// The id under which it can be replaced; may be empty.
    pub(super) id: String,
    pub(super) mime: String,
    pub(super) data: String,
}

impl Frame {
    fn waits(&self) -> bool {
        matches!(self, Self::Asked(_) | Self::Done | Self::Ended(_))
    }
}

/// The end that tells.
#[derive(Debug)]
pub(super) struct Teller(UnixStream);

impl Teller {
    pub(super) fn connect(folder: &Path) -> std::io::Result<Self> {
        UnixStream::connect(socket(folder)).map(Self)
    }

    /// Sends a frame; returns when the host has dealt with it, where the frame waits for that.
    pub(super) fn tell(&mut self, frame: &Frame) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(frame)?;
        line.push(b'\n');
        self.0.write_all(&line)?;
        if frame.waits() {
            self.0.read_exact(&mut [0])?;
        }
        Ok(())
    }
}

/// Deals with all frames of one connection, in their order, until it is closed.
pub(super) fn listen(connection: UnixStream, mut each: impl FnMut(Frame)) -> std::io::Result<()> {
    let mut answers = connection.try_clone()?;
    for line in BufReader::new(connection).lines() {
        let frame: Frame = serde_json::from_str(&line?)?;
        let waits = frame.waits();
        each(frame);
        if waits {
            answers.write_all(&[HEARD])?;
        }
    }
    Ok(())
}
