//! The deployment file's types, and what is made of them for one environment and target.

use std::collections::BTreeMap;
use std::path::PathBuf;

use chrono::NaiveDate;
use code_deploy_record::{Digest, ItemId, Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::compose::ComposeFacts;
use crate::duration::Span;

/// A deployment file, `deploy.yaml`, as written.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub struct DeployFile {
    /// The application's name: lower-case letters, digits and `-`.
    pub application: String,
    /// The release to deploy when the command line names none.
    #[serde(default)]
    pub release: Option<String>,
    /// The Compose file that names the services, relative to this file.
    #[serde(default = "default_compose")]
    pub compose: PathBuf,
    /// What the Compose file cannot say of each service.
    #[serde(default)]
    pub services: BTreeMap<String, ServiceFile>,
    /// The rollout strategy of all environments that name none.
    #[serde(default)]
    pub strategy: Strategy,
    /// The environments by name.
    pub environments: BTreeMap<String, EnvironmentFile>,
    /// The databases by name.
    #[serde(default)]
    pub databases: BTreeMap<String, DatabaseFile>,
    /// What the application promises.
    #[serde(default)]
    pub objectives: Vec<Objective>,
    /// Files of user journeys, relative to this file.
    #[serde(default)]
    pub journeys: Vec<PathBuf>,
    /// The outside client that measures the run from before the first change to after the last.
    #[serde(default)]
    pub client: Option<LoadProfile>,
    /// The load test of the validation.
    #[serde(default)]
    pub load: Option<LoadProfile>,
    /// Metrics, logs and traces.
    #[serde(default)]
    pub monitoring: Monitoring,
    /// The rules of the source policy and of security.
    #[serde(default)]
    pub security: Security,
    /// Who may approve.
    #[serde(default)]
    pub approvals: Approvals,
    /// People to turn to.
    #[serde(default)]
    pub contacts: Vec<Contact>,
    /// Who is called when, in order.
    #[serde(default)]
    pub escalation: Vec<EscalationStep>,
    /// When maintenance may be done.
    #[serde(default)]
    pub maintenance: Vec<MaintenanceWindow>,
    /// What is known not to work.
    #[serde(default)]
    pub known_issues: Vec<KnownIssue>,
    /// What a named person vouches for.
    #[serde(default)]
    pub attestations: Vec<Attestation>,
    /// Items that a named person accepts not to hold.
    #[serde(default)]
    pub waivers: Vec<Waiver>,
}

fn default_compose() -> PathBuf {
    PathBuf::from("compose.yaml")
}

/// What the Compose file cannot say of a service.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub struct ServiceFile {
    /// What it is; guessed from the Compose file when not given.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub role: Option<Role>,
    /// Who answers for it.
    #[serde(default)]
    pub owner: Option<String>,
    /// The port on which it listens inside its network; the first of the Compose file's when not
    /// given.
    #[serde(default)]
    pub port: Option<u16>,
    /// The paths of its three probes.
    #[serde(default)]
    pub probes: ProbesFile,
    /// The path of its metrics in Prometheus text format.
    #[serde(default)]
    pub metrics: Option<String>,
    /// The path of its OpenAPI document.
    #[serde(default)]
    pub openapi: Option<String>,
    /// The path of a POST endpoint that writes the given `id` to the service's log, for the
    /// check that no log line is lost.
    #[serde(default)]
    pub log_marker: Option<String>,
    /// How its artifacts are built.
    #[serde(default)]
    pub build: Option<BuildFile>,
    /// How it is started as a process of this machine: program and arguments, without a shell.
    /// `{port}` stands for the port it has to listen on, `{release}` for the release.
    #[serde(default)]
    pub process: Option<ProcessFile>,
    /// How requests are routed to it.
    #[serde(default)]
    pub routing: Routing,
}

/// The paths of the three probes. A probe without a path is not made.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub struct ProbesFile {
    /// Has it started?
    #[serde(default)]
    pub startup: Option<String>,
    /// May it get requests?
    #[serde(default)]
    pub readiness: Option<String>,
    /// Is it alive?
    #[serde(default)]
    pub liveness: Option<String>,
}

/// How a service is started as a process of this machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub struct ProcessFile {
    /// The program and its arguments. The program is looked up relative to this file, then on
    /// the path.
    pub command: Vec<String>,
    /// Environment on top of the Compose file's. Values may hold `{port}`, `{release}`,
    /// `{address:SERVICE}` (where SERVICE is reached) and `{data}` (a folder kept over releases).
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Secrets by the name of the variable that gets the path of a private file with the value.
    #[serde(default)]
    pub secrets: BTreeMap<String, SecretRef>,
}

/// Where a secret's value is found: `env:NAME` or `file:PATH`. Never the value itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = "^(env|file):.+$"))]
pub enum SecretRef {
    /// An environment variable of the process that runs the deployment.
    Env(String),
    /// A file, relative to the deployment file.
    File(PathBuf),
}

impl TryFrom<String> for SecretRef {
    type Error = String;

    fn try_from(value: String) -> Result<Self, String> {
        match value.split_once(':') {
            Some(("env", name)) if !name.is_empty() => Ok(Self::Env(name.to_owned())),
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(PathBuf::from(path))),
            _ => Err(
                "a secret is a reference, never a value: write env:NAME or file:PATH".to_owned(),
            ),
        }
    }
}

impl From<SecretRef> for String {
    fn from(secret: SecretRef) -> String {
        match secret {
            SecretRef::Env(name) => format!("env:{name}"),
            SecretRef::File(path) => format!("file:{}", path.display()),
        }
    }
}

/// How a service's artifacts are built or found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub struct BuildFile {
    /// The program and arguments that build it; nothing when the artifacts are there already.
    #[serde(default)]
    pub command: Vec<String>,
    /// How long the build may take.
    #[serde(default = "default_build_limit")]
    pub limit: Span,
    /// The artifacts, relative to the deployment file. `{program}` is the running program itself.
    pub artifacts: Vec<PathBuf>,
}

fn default_build_limit() -> Span {
    Span::from_secs(1800)
}

/// How requests are routed to a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case", default)]
pub struct Routing {
    /// The port of this machine where the service is reached; 0 for any free one.
    pub port: u16,
    /// How long a request may take until the first byte of its answer.
    pub timeout: Span,
    /// How often an idempotent request is tried on another instance.
    pub retries: u8,
    /// Whether a user stays with the release that answered first.
    pub sticky: bool,
    /// How long requests in flight are waited for.
    pub drain: Span,
    /// Failures in a row after which an instance gets no requests for a while; 0 for never.
    pub breaker_failures: u32,
}

impl Default for Routing {
    fn default() -> Self {
        Self {
            port: 0,
            timeout: Span::from_secs(10),
            retries: 1,
            sticky: false,
            drain: Span::from_secs(10),
            breaker_failures: 5,
        }
    }
}

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

/// An environment as written.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub struct EnvironmentFile {
    /// Which of the four policies applies; by the environment's name when not given.
    #[serde(default)]
    pub policy: Option<PolicyKind>,
    /// What of the policy is different here.
    #[serde(default)]
    pub overrides: PolicyOverrides,
    /// The rollout strategy, in place of the application's.
    #[serde(default)]
    pub strategy: Option<Strategy>,
    /// Environments in which the same release must have succeeded before.
    #[serde(default)]
    pub requires: Vec<String>,
    /// Replicas by service, in place of the Compose file's.
    #[serde(default)]
    pub replicas: BTreeMap<String, u32>,
    /// Variables for the Compose file's `${NAME}`.
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
}

/// The four policies.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum PolicyKind {
    /// Development: notes where others stop.
    Dev,
    /// Test.
    Test,
    /// Staging.
    Staging,
    /// Production.
    Prod,
}

/// What of a policy is different in one environment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub struct PolicyOverrides {
    /// Whether a person must say go.
    #[serde(default)]
    pub approval: Option<ApprovalRule>,
    /// What uncommitted changes do.
    #[serde(default)]
    pub uncommitted: Option<Reaction>,
    /// What items nobody attested do.
    #[serde(default)]
    pub unattested: Option<Reaction>,
    /// What items that the program cannot establish do.
    #[serde(default)]
    pub open: Option<Reaction>,
    /// What failed items do.
    #[serde(default)]
    pub failed: Option<Reaction>,
}

/// Whether a person must say go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalRule {
    /// Nobody.
    None,
    /// Anybody.
    Anybody,
    /// A person other than the one who runs it.
    SomebodyElse,
}

/// What a policy does about something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reaction {
    /// It is shown.
    Note,
    /// The phase stops.
    Stop,
}

/// A database as written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub struct DatabaseFile {
    /// Where it is: `sqlite:PATH` (relative to the data folder of the environment) or a
    /// reference to a secret that holds the URL.
    pub url: DatabaseUrl,
    /// The services that use it.
    #[serde(default)]
    pub used_by: Vec<String>,
    /// The folder of migrations (`NNNN_name.up.sql`, `.down.sql`), relative to this file.
    #[serde(default)]
    pub migrations: Option<PathBuf>,
    /// The last migration of each release: those after it belong to later releases.
    #[serde(default)]
    pub release_migrations: BTreeMap<String, i64>,
    /// Queries with the results they must give after the migration.
    #[serde(default)]
    pub checks: Vec<DatabaseCheck>,
}

/// Where a database is.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum DatabaseUrl {
    /// A reference to a secret: `from: env:DATABASE_URL`.
    Reference {
        /// The reference.
        from: SecretRef,
    },
    /// `sqlite:PATH`, without any secret in it; `{data}` stands for the environment's data folder.
    Plain(#[schemars(extend("pattern" = "^sqlite:.+$"))] String),
}

impl<'de> Deserialize<'de> for DatabaseUrl {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DatabaseUrlVisitor)
    }
}

/// Reads both forms itself, so that an error names what is wrong and never the value.
struct DatabaseUrlVisitor;

impl<'de> serde::de::Visitor<'de> for DatabaseUrlVisitor {
    type Value = DatabaseUrl;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("`sqlite:PATH` or `from: env:NAME`")
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<DatabaseUrl, E> {
        if value.starts_with("sqlite:") && value.len() > "sqlite:".len() {
            return Ok(DatabaseUrl::Plain(value.to_owned()));
        }
        Err(E::custom(
            "a secret is a reference, never a value: write `url: sqlite:PATH` for a file, or \
             `url: {from: env:NAME}` for an address that may hold a password",
        ))
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<DatabaseUrl, A::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Reference {
            from: SecretRef,
        }
        let reference = Reference::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
        Ok(DatabaseUrl::Reference {
            from: reference.from,
        })
    }
}

/// A query with the result it must give.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DatabaseCheck {
    /// What it shows.
    pub name: String,
    /// The query; it gives one row with one column.
    pub query: String,
    /// The value it must give, as text.
    pub expect: String,
}

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

fn default_method() -> String {
    "GET".to_owned()
}

fn default_weight() -> u32 {
    1
}

/// Metrics, logs and traces.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Monitoring {
    /// The time between two scrapes in the generated Prometheus configuration.
    pub scrape_interval: Span,
    /// How long logs are kept.
    pub log_retention: Span,
    /// The share of requests that is traced, in percent.
    pub trace_sampling: f64,
}

impl Default for Monitoring {
    fn default() -> Self {
        Self {
            scrape_interval: Span::from_secs(15),
            log_retention: Span::from_secs(14 * 86_400),
            trace_sampling: 100.0,
        }
    }
}

/// The rules of the source policy and of security.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Security {
    /// Rules of the source policy that are switched off, by name.
    pub rules_off: Vec<String>,
    /// The folder whose source is deployed, relative to this file; the file's folder when not
    /// given.
    pub source: Option<PathBuf>,
    /// The branch from which work starts.
    pub development_branch: Option<String>,
}

/// Who may approve.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Approvals {
    /// The names of those who may; anybody when empty.
    pub by: Vec<String>,
}

/// A person or team to turn to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Contact {
    /// The name.
    pub name: String,
    /// What they answer for.
    pub role: String,
    /// How they are reached.
    pub reach: String,
    /// The services they answer for; all when empty.
    #[serde(default)]
    pub services: Vec<String>,
}

/// Who is called when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EscalationStep {
    /// The time after the alert.
    pub after: Span,
    /// Who is called: the name of a contact.
    pub contact: String,
}

/// When maintenance may be done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MaintenanceWindow {
    /// When, in words: `Sundays 02:00-04:00 UTC`.
    pub when: String,
    /// What for.
    pub purpose: String,
}

/// Something that is known not to work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KnownIssue {
    /// What.
    pub title: String,
    /// Whom it affects.
    #[serde(default)]
    pub impact: String,
    /// What to do about it meanwhile.
    #[serde(default)]
    pub workaround: String,
    /// Where it is tracked.
    #[serde(default)]
    pub reference: String,
}

/// What a named person vouches for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Attestation {
    /// The item.
    pub item: ItemId,
    /// Who.
    pub by: String,
    /// When.
    #[schemars(with = "String")]
    pub date: NaiveDate,
    /// Where the proof is: a URL or a file's digest.
    pub proof: String,
    /// What they vouch for, in words.
    pub statement: String,
}

/// An item that a named person accepts not to hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Waiver {
    /// The item.
    pub item: ItemId,
    /// Who accepts it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// The day after which it no longer counts.
    #[schemars(with = "String")]
    pub expires: NaiveDate,
    /// Who approved it, where the policy asks for an approver.
    #[serde(default)]
    pub approver: Option<String>,
}

/// A deployment file together with its Compose file, checked, for one environment and target:
/// what the engine works with. Nothing in it is secret.
#[derive(Debug, Clone, Serialize)]
pub struct Spec {
    /// The deployment file.
    pub path: PathBuf,
    /// Its folder: the project.
    pub project: PathBuf,
    /// The digest of the deployment file and the files it names.
    pub digest: Digest,
    /// The application's name.
    pub application: String,
    /// The environment's name.
    pub environment: String,
    /// The target's name.
    pub target: String,
    /// The release named in the deployment file.
    pub release: Option<String>,
    /// The services in an order in which each comes after those it needs.
    pub services: Vec<Service>,
    /// The strategy for this environment.
    pub strategy: Strategy,
    /// The policy for this environment.
    pub policy: Policy,
    /// Environments in which the same release must have succeeded before.
    pub requires: Vec<String>,
    /// The user journeys.
    pub journeys: Vec<Journey>,
    /// The whole deployment file.
    pub file: DeployFile,
    /// What of the Compose file is not honoured by any target of this program, in words.
    pub compose_notes: Vec<String>,
    /// What else the Compose file says.
    pub compose: ComposeFacts,
    /// The files that were read: the deployment file, and those it names.
    pub files: Vec<PathBuf>,
}

impl Spec {
    /// Returns the service of that name.
    #[must_use]
    pub fn service(&self, name: &str) -> Option<&Service> {
        self.services.iter().find(|service| service.name == name)
    }

    /// Returns the folder where data of the environment is kept over releases.
    #[must_use]
    pub fn data_folder(&self) -> PathBuf {
        let runs = code_deploy_record::RunsFolder::of_project(&self.project);
        runs.path().join("data").join(&self.environment)
    }
}

/// A service, from Compose file and deployment file together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Service {
    /// The name.
    pub name: String,
    /// What it is.
    pub role: Role,
    /// Who answers for it.
    pub owner: Option<String>,
    /// The image of the Compose file, variables replaced.
    pub image: Option<String>,
    /// The services it needs.
    pub needs: Vec<String>,
    /// The port on which it listens inside its network.
    pub port: u16,
    /// The port of this machine that the Compose file publishes it on.
    pub published: Option<u16>,
    /// How many instances are wanted.
    pub replicas: u32,
    /// The environment of the Compose file, variables replaced. Values of names that look like
    /// secrets are refused when the file is read.
    pub environment: BTreeMap<String, String>,
    /// What happens when an instance ends.
    pub restart: Restart,
    /// How long an instance may take to end when asked.
    pub stop_grace: Span,
    /// The most memory an instance may use, in bytes.
    pub memory_limit: Option<u64>,
    /// The most processors an instance may use.
    pub processor_limit: Option<f64>,
    /// What the deployment file adds.
    pub file: ServiceFile,
}

/// What happens when an instance ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// Nothing.
    No,
    /// It is started again.
    Always,
    /// It is started again unless it was stopped on purpose.
    UnlessStopped,
    /// It is started again when it failed, at most that often.
    OnFailure(Option<u32>),
}

/// The policy that applies to an environment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Policy {
    /// Which of the four it is.
    pub kind: PolicyKind,
    /// Whether a person must say go.
    pub approval: ApprovalRule,
    /// What uncommitted changes do.
    pub uncommitted: Reaction,
    /// What items nobody attested do.
    pub unattested: Reaction,
    /// What items that the program cannot establish do.
    pub open: Reaction,
    /// What failed items do.
    pub failed: Reaction,
    /// What a waiver needs to count.
    pub waivers: WaiverRule,
    /// Whether waivers of mandatory and forbidden items count.
    pub waive_mandatory: bool,
    /// Whether a failed item after traffic has moved sends the run back.
    pub roll_back_on_failure: bool,
}

/// What a waiver needs to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WaiverRule {
    /// Nothing more.
    Allowed,
    /// The name of who approved it.
    WithApprover,
}

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
