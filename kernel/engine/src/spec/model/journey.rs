//! User journeys.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::load::default_method;
use crate::duration::Span;

/// A user journey: requests one after the other, each with what its answer must be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Journey {
    /// Its name.
    pub name: String,
    /// Whether it is a critical path, which the smoke gate asks too.
    #[serde(default)]
    pub smoke: bool,
    /// The service it begins at.
    pub service: String,
    /// Its steps.
    pub steps: Vec<JourneyStep>,
}

/// A step of a journey.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JourneyStep {
    /// What the user does.
    pub name: String,
    /// The method.
    #[serde(default = "default_method")]
    pub method: String,
    /// The path. `{NAME}` stands for a value saved by an earlier step, `{uuid}` for a new UUID.
    pub path: String,
    /// Headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The body.
    #[serde(default)]
    pub body: Option<String>,
    /// What the answer must be.
    pub expect: Expectation,
    /// Values of the JSON answer to save: name -> JSON pointer (`/id`).
    #[serde(default)]
    pub save: BTreeMap<String, String>,
}

/// What an answer must be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    /// The status.
    pub status: u16,
    /// Texts that the body must hold.
    #[serde(default)]
    pub contains: Vec<String>,
    /// Values that the JSON answer must have: JSON pointer -> value.
    #[serde(default)]
    pub json: BTreeMap<String, serde_json::Value>,
    /// The longest time it may take.
    #[serde(default)]
    pub within: Option<Span>,
}
