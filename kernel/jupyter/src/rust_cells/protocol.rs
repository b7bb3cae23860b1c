use serde::{Deserialize, Serialize};

use super::frames::Display;
use crate::cells::{CellError, MimeBundle};

/// What the kernel asks of the host; one at a time. Positions are in bytes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub(super) enum Request {
    Execute {
        code: String,
        /// Crates that the cell may use without asking for them: a line for evcxr each.
        dependencies: Vec<String>,
    },
    Complete {
        code: String,
        position: usize,
    },
    Inspect {
        code: String,
        position: usize,
    },
    /// The answer to [`Event::Ask`], which comes while a cell is executed; nothing where there will be none, and
    /// why.
    Answer {
        line: Option<String>,
        reason: String,
    },
}

/// What the host says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Event {
    /// The host can take requests.
    Ready,
    /// There will be no Rust on this machine.
    Unavailable {
        reason: String,
    },
    Stdout {
        text: String,
    },
    Stderr {
        text: String,
    },
    Display {
        display: Display,
    },
    Clear {
        wait: bool,
    },
    /// The cell waits for a line of whoever runs it.
    Ask {
        prompt: String,
        password: bool,
    },
    /// The answer to [`Request::Execute`].
    Done {
        bundle: MimeBundle,
    },
    /// The answer to any request that failed; `lost` where variables are gone.
    Failed {
        error: CellError,
        lost: bool,
    },
    Completed {
        matches: Vec<(String, String)>,
        start: usize,
        end: usize,
    },
    Inspected {
        bundle: Option<MimeBundle>,
    },
}
