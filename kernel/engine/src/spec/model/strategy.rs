//! Rollout strategies.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::Span;

/// The rollout strategy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case", default)]
pub struct Strategy {
    /// Which.
    pub kind: StrategyKind,
    /// The steps of a canary or a rolling update; the last is 100 %.
    pub steps: Vec<TrafficStep>,
    /// Whether the run goes back to 0 % once on purpose after the first traffic step.
    pub rehearse_rollback: bool,
    /// How health is asked.
    pub health: HealthPolicy,
    /// What the analysis accepts.
    pub analysis: AnalysisPolicy,
    /// How long the old release stays up after all traffic left it.
    pub keep_old: Span,
}

impl Default for Strategy {
    fn default() -> Self {
        let step = |percent, soak| TrafficStep {
            percent,
            soak: Span::from_secs(soak),
        };
        Self {
            kind: StrategyKind::Canary,
            steps: vec![step(5, 300), step(25, 900), step(50, 1800), step(100, 0)],
            rehearse_rollback: true,
            health: HealthPolicy::default(),
            analysis: AnalysisPolicy::default(),
            keep_old: Span::from_secs(30),
        }
    }
}

/// The strategies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StrategyKind {
    /// All traffic at once, after green passed everything without traffic.
    BlueGreen,
    /// A growing share of traffic, with an analysis at each step.
    Canary,
    /// Instance by instance, never below the wanted capacity.
    Rolling,
}

impl StrategyKind {
    /// Returns the strategy's name.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::BlueGreen => "blue-green",
            Self::Canary => "canary",
            Self::Rolling => "rolling",
        }
    }
}

/// A step of traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrafficStep {
    /// The share of the new release in percent.
    #[schemars(range(min = 1, max = 100))]
    pub percent: u16,
    /// How long it is watched before the next step.
    pub soak: Span,
}

/// How health is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HealthPolicy {
    /// The time between two probes.
    pub interval: Span,
    /// Passes in a row that count as healthy.
    pub passes: u32,
    /// How long one probe may take.
    pub timeout: Span,
    /// How long it may take until an instance is healthy.
    pub deadline: Span,
}

impl Default for HealthPolicy {
    fn default() -> Self {
        Self {
            interval: Span::from_secs(10),
            passes: 3,
            timeout: Span::from_secs(5),
            deadline: Span::from_secs(300),
        }
    }
}

/// What the analysis of new against stable release accepts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AnalysisPolicy {
    /// The share of failed requests of the new release may be higher than that of the stable one
    /// by at most this, in percentage points.
    pub error_share_margin: f64,
    /// The p99 latency of the new release may be at most this many times that of the stable one.
    pub p99_ratio: f64,
    /// The p50 latency of the new release may be at most this many times that of the stable one.
    pub p50_ratio: f64,
    /// Latencies below this are not told apart.
    pub latency_floor: Span,
    /// Requests of the new release below which nothing can be said; too few is a failure.
    pub min_requests: u64,
}

impl Default for AnalysisPolicy {
    fn default() -> Self {
        Self {
            error_share_margin: 1.0,
            p99_ratio: 2.0,
            p50_ratio: 2.0,
            latency_floor: Span::from_millis(20),
            min_requests: 50,
        }
    }
}
