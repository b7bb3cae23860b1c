//! The health of an instance as the place that runs it knows it.

use serde::{Deserialize, Serialize};

/// What a health check found last that the place itself runs: a Docker engine the one of the container, a kubelet the
/// one by which a pod is ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Whether the instance counts as healthy. One that was not checked yet does not.
    pub passed: bool,
    /// In words, with the end of what the check said where it failed, without anything secret.
    pub detail: String,
}
