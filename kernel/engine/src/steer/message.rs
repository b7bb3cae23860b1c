//! What is said over the control socket: one JSON object a line each way.

use std::path::{Path, PathBuf};

use code_deploy_record::{RunFolder, SignedConsent};
use serde::{Deserialize, Serialize};

/// The longest line that is read, in bytes.
pub(super) const LONGEST_LINE: u64 = 64 * 1024;

/// The name of the file in a run's folder that says where its socket is.
const CONTROL: &str = "control";

/// What may be asked of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case")]
pub enum Asking {
    /// Stop at the next safe point and wait.
    Pause,
    /// Go on.
    Resume,
    /// Go back.
    Rollback,
    /// Say go or no-go to what waits for it.
    Approve {
        /// Whether it is a go.
        go: bool,
        /// What the person signed, if they did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signed: Option<Box<SignedConsent>>,
    },
    /// Say where the run stands.
    Status,
}

/// A line from whoever asks.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Line {
    pub token: String,
    #[serde(flatten)]
    pub asking: Asking,
    pub by: String,
    pub reason: String,
}

/// What the run answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Whether it is going to do what was asked.
    pub ok: bool,
    /// In words: what it does, or why it does not.
    pub text: String,
}

/// Where a run's socket is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Control {
    pub socket: PathBuf,
    pub token: String,
    pub pid: u32,
}

impl Control {
    pub(super) fn path(run: &RunFolder) -> PathBuf {
        run.path().join(CONTROL)
    }

    pub(super) fn read(path: &Path) -> Option<Self> {
        let text = std::fs::read(path).ok()?;
        serde_json::from_slice(&text).ok()
    }
}
