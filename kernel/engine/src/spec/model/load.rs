//! Objectives and streams of requests.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::Span;

/// What the application promises.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Objective {
    /// Its name.
    pub name: String,
    /// The service it is measured at.
    pub service: String,
    /// The share of requests that must be answered well, in percent.
    #[serde(default)]
    pub availability: Option<f64>,
    /// The latency that the given share of requests must not exceed.
    #[serde(default)]
    pub latency: Option<LatencyObjective>,
    /// Requests a second that must be reached under load.
    #[serde(default)]
    pub throughput: Option<f64>,
}

impl Objective {
    /// Returns the name under which one of its figures is checked: `pages are fast (p99)`.
    pub(crate) fn check(&self, what: &str) -> String {
        format!("{} ({what})", self.name)
    }
}

/// A latency that a share of requests must not exceed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LatencyObjective {
    /// The share of requests in percent: 99 for p99.
    pub percent: f64,
    /// The latency.
    pub below: Span,
}

/// A stream of requests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoadProfile {
    /// The service they are sent to.
    pub service: String,
    /// Requests a second.
    #[schemars(range(min = 1, max = 100_000))]
    pub rate: u32,
    /// How long; for the outside client, the most it may last.
    #[serde(default = "default_load_duration")]
    pub duration: Span,
    /// How long one request may take.
    #[serde(default = "default_load_timeout")]
    pub timeout: Span,
    /// What is requested.
    pub requests: Vec<LoadRequest>,
}

fn default_load_duration() -> Span {
    Span::from_secs(30)
}

fn default_load_timeout() -> Span {
    Span::from_secs(5)
}

/// One kind of request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoadRequest {
    /// The method.
    #[serde(default = "default_method")]
    pub method: String,
    /// The path with its query. `{n}` stands for a number that grows with each request,
    /// `{uuid}` for a new UUID.
    pub path: String,
    /// How often it is sent relative to the others.
    #[serde(default = "default_weight")]
    pub weight: u32,
    /// Headers; values may hold `{n}` and `{uuid}`.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The body; may hold `{n}` and `{uuid}`.
    #[serde(default)]
    pub body: Option<String>,
}

pub(super) fn default_method() -> String {
    "GET".to_owned()
}

fn default_weight() -> u32 {
    1
}
