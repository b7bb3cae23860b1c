//! Environments and their policies.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::strategy::Strategy;
use crate::tls;

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
    /// Whether images that are built for a Docker engine are pushed to the registries that their
    /// names tell, and their digests read back.
    #[serde(default)]
    pub push_images: bool,
    /// Variables for the Compose file's `${NAME}`.
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
    /// Where in a Kubernetes cluster it is deployed, when the target is one.
    #[serde(default)]
    pub kubernetes: KubernetesFile,
}

/// Where in a Kubernetes cluster an environment is deployed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case", default)]
pub struct KubernetesFile {
    /// The context of the kubeconfig file; its current one when not given.
    pub context: Option<String>,
    /// The namespace, which must be there; that of the context when not given.
    pub namespace: Option<String>,
    /// Whether pods get the addresses of the application's services in their hosts file, for a
    /// cluster without DNS of its own.
    pub host_aliases: bool,
    /// The Gateway through which users come, where there is one: it splits their requests by weights.
    pub gateway: Option<GatewayFile>,
    /// Files with manifests of your own, or folders of them, relative to the deployment file: what pods get beside
    /// what the Compose file says, and what else the namespace is to have. Of a folder with a kustomization or a chart
    /// they are made, by `kubectl kustomize` or `helm template`.
    pub manifests: Vec<PathBuf>,
    /// Files with values, by the charts of `manifests` that they are for, relative to the deployment file. Of two that
    /// say something of the same value, the later one counts.
    pub chart_values: BTreeMap<String, Vec<PathBuf>>,
}

/// A Gateway (`gateway.networking.k8s.io`) through which users reach services.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub struct GatewayFile {
    /// Its name.
    pub name: String,
    /// Its namespace; that of the environment when not given.
    #[serde(default)]
    pub namespace: Option<String>,
    /// The listener that is meant, by its name; all of them when not given.
    #[serde(default)]
    pub section: Option<String>,
    /// The services that users reach through it.
    pub routes: BTreeMap<String, RouteFile>,
}

/// How users reach a service through a Gateway.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub struct RouteFile {
    /// Where the outside client asks for it, through the Gateway: `https://shop.example.com`.
    pub url: String,
    /// The hosts whose requests are meant; that of `url` when not given, all of them when that is
    /// an address.
    #[serde(default)]
    pub hostnames: Vec<String>,
}

impl RouteFile {
    /// Returns host and port of its URL, if it is one of HTTP or HTTPS without a path.
    #[must_use]
    pub fn reached_at(&self) -> Option<(String, u16)> {
        let url: http::Uri = self.url.parse().ok()?;
        let port = match url.scheme_str()? {
            "http" => 80,
            "https" => 443,
            _ => return None,
        };
        let authority = url.authority()?;
        let bare = !authority.as_str().contains('@') && url.query().is_none();
        let bare = bare && matches!(url.path(), "" | "/");
        let host = authority.host().to_owned();
        (bare && !host.is_empty()).then(|| (host, authority.port_u16().unwrap_or(port)))
    }

    /// Returns whether users ask with TLS.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.url.parse().is_ok_and(|url| tls::is_asked(&url))
    }

    /// Returns the hosts whose requests are meant; none for all.
    #[must_use]
    pub fn hosts(&self) -> Vec<String> {
        if !self.hostnames.is_empty() {
            return self.hostnames.clone();
        }
        let host = self.reached_at().map(|(host, _)| host.to_lowercase());
        let is_name = |host: &String| {
            let bare = host.trim_start_matches('[').trim_end_matches(']');
            bare.parse::<std::net::IpAddr>().is_err()
        };
        host.filter(is_name).into_iter().collect()
    }
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
    /// What images do that may change under their name: without a digest, and without a tag or with `latest`.
    #[serde(default)]
    pub unpinned_images: Option<Reaction>,
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
    /// The phase stops, or the run does not begin.
    Stop,
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
    /// What images do that may change under their name.
    pub unpinned_images: Reaction,
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
