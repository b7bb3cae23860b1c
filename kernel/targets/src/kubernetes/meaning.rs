//! What the user's own manifests mean: laid over releases, applied as they are, or refused.

use code_deploy_engine::Spec;
use code_deploy_engine::spec::UserManifest;

/// What a manifest means.
#[derive(Debug, PartialEq, Eq)]
pub enum Meaning {
    /// It is laid over each release of the service of its name.
    LaidOver,
    /// It is applied as it is.
    Applied,
    /// It is neither.
    Refused(Refusal),
}

/// Why a manifest is refused.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The keys that lead to what is at fault.
    pub path: &'static [&'static str],
    pub why: String,
    pub cure: &'static str,
}

/// Kinds that start pods by themselves.
const WORKLOADS: &[&str] = &[
    "Pod",
    "ReplicaSet",
    "ReplicationController",
    "StatefulSet",
    "DaemonSet",
    "Job",
];

/// Kinds that are of a whole cluster. Of others the cluster itself says so.
const OF_CLUSTER: &[&str] = &[
    "APIService",
    "CSIDriver",
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "GatewayClass",
    "IngressClass",
    "MutatingWebhookConfiguration",
    "Node",
    "PersistentVolume",
    "PriorityClass",
    "RuntimeClass",
    "StorageClass",
    "ValidatingAdmissionPolicy",
    "ValidatingWebhookConfiguration",
];

const KIND: &[&str] = &["kind"];
const NAME: &[&str] = &["metadata", "name"];
const BY_OTHERS: &str = "Have it made by who looks after the cluster, and take it out here.";

/// Returns what a manifest means for a deployment.
pub fn of(spec: &Spec, manifest: &UserManifest) -> Meaning {
    let is_service = spec.service(&manifest.name).is_some();
    match manifest.kind.as_str() {
        "Deployment" if is_service => {
            return elsewhere(spec, manifest).unwrap_or(Meaning::LaidOver);
        }
        "Deployment" => {
            let why =
                "no service of the Compose file has that name, and pods of others are not judged";
            let cure = "Give it the name of a service, or deploy it apart from this application.";
            return refused(NAME, why, cure);
        }
        "Service" if is_service => {
            let why = "the Service of that name leads to the release that has the traffic, and a run makes it";
            return refused(NAME, why, "Take it out, or give it another name.");
        }
        "Namespace" => {
            let why = "the namespace must be there before a run, and is not one of its objects";
            let cure =
                "Name it as `kubernetes.namespace` of the environment, and take it out here.";
            return refused(KIND, why, cure);
        }
        kind if WORKLOADS.contains(&kind) => {
            let why = "it starts pods that a run does not judge";
            return refused(KIND, why, "Deploy it apart from this application.");
        }
        kind if OF_CLUSTER.contains(&kind) => {
            let why = "it is of the whole cluster, and a run works in one namespace";
            return refused(KIND, why, BY_OTHERS);
        }
        _ => {}
    }
    elsewhere(spec, manifest)
        .or_else(|| scales(spec, manifest))
        .unwrap_or(Meaning::Applied)
}

fn refused(path: &'static [&'static str], why: &str, cure: &'static str) -> Meaning {
    Meaning::Refused(Refusal {
        path,
        why: why.to_owned(),
        cure,
    })
}

/// Returns the namespace that the deployment file names.
fn named_namespace(spec: &Spec) -> Option<&str> {
    let environment = spec.file.environments.get(&spec.environment)?;
    environment.kubernetes.namespace.as_deref()
}

/// Refuses an object of another namespace.
fn elsewhere(spec: &Spec, manifest: &UserManifest) -> Option<Meaning> {
    let (own, named) = (named_namespace(spec)?, manifest.namespace.as_deref()?);
    (own != named).then(|| {
        let why = format!("it is of the namespace {named}, and this environment is {own}");
        let cure = "Take `metadata.namespace` out: the deployment file says it.";
        refused(&["metadata", "namespace"], &why, cure)
    })
}

/// Refuses what would change the number of a service's pods. A release is a Deployment of its own, and a share of
/// traffic a number of pods: another number, set meanwhile by somebody else, would be another share.
fn scales(spec: &Spec, manifest: &UserManifest) -> Option<Meaning> {
    let target = manifest.value.pointer("/spec/scaleTargetRef/name")?;
    let target = target.as_str()?;
    let is_of = |service: &str| {
        let rest = target.strip_prefix(service);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    let service = spec.services.iter().find(|one| is_of(&one.name))?;
    let why = format!(
        "it scales `{target}`: each release of `{}` is a Deployment of its own, and shares of traffic are numbers of \
         pods, which nobody else may change",
        service.name
    );
    let cure = "Take it out, and say how many pods there are as `replicas` of the environment.";
    Some(refused(&["spec", "scaleTargetRef"], &why, cure))
}

/// Returns the user's claim for a named volume of the Compose file, if there is one.
pub fn claim<'a>(spec: &'a Spec, volume: &str) -> Option<&'a UserManifest> {
    let is_own = |one: &&UserManifest| one.kind == CLAIM && one.name == volume;
    spec.manifests.iter().find(is_own)
}

/// The kind that holds data.
pub const CLAIM: &str = "PersistentVolumeClaim";
