//! What the file says of a service.

use std::collections::BTreeMap;
use std::path::PathBuf;

use code_deploy_record::Role;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::Span;

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

/// The paths of the three probes. For one without a path the health check of the Compose file stands, where the target
/// runs it (`docker-desktop`, `k8s`); otherwise it is not made.
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
    /// the path. `{program}` stands for the running `code-deploy`; the placeholders of
    /// `environment` hold here too.
    pub command: Vec<String>,
    /// Environment on top of the Compose file's. Values may hold `{port}`, `{release}`,
    /// `{address:SERVICE}` (where SERVICE is reached, as `http://host:port`), `{program}` and
    /// `{data}` (a folder kept over releases).
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

impl From<SecretRef> for String {
    fn from(secret: SecretRef) -> String {
        match secret {
            SecretRef::Env(name) => format!("env:{name}"),
            SecretRef::File(path) => format!("file:{}", path.display()),
        }
    }
}
