//! What the account has to be allowed, asked of the cluster before anything is changed.

use code_deploy_engine::target::TargetError;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::Api;
use kube::api::PostParams;

use super::budgets;
use super::cluster::{Connection, try_side_by_side};
use super::leading::Leading;
use crate::failure::{code, failed};

/// Verbs by resource, as `templates/kubernetes/role.yaml` grants them.
const NEEDED: &[(&str, &str, &[&str])] = &[
    (
        "apps",
        "deployments",
        &["get", "list", "watch", "create", "patch", "delete"],
    ),
    (
        "",
        "services",
        &["get", "list", "watch", "create", "patch", "delete"],
    ),
    ("", "pods", &["get", "list", "watch", "patch"]),
    ("", "pods/log", &["get"]),
    ("", "events", &["list"]),
    (
        "coordination.k8s.io",
        "leases",
        &["get", "create", "update", "delete"],
    ),
];

/// The verbs for secrets and for configurations, where a service is given some.
const HIDDEN: [(&str, &str, &[&str]); 2] = [
    ("", "secrets", &["get", "create", "patch", "delete"]),
    ("", "configmaps", &["get", "create", "patch", "delete"]),
];

/// What replacing the pods of a release one by one needs beside that: they are evicted, as far as budgets let them go.
const ROLLING: [(&str, &str, &[&str]); 2] = [
    ("", "pods/eviction", &["create"]),
    (budgets::GROUP, budgets::PLURAL, &["list", "watch"]),
];

/// What splitting requests by a Gateway needs beside that.
const ROUTES: (&str, &str, &[&str]) = (
    super::route::GROUP,
    super::route::PLURAL,
    &["get", "list", "watch", "create", "patch", "delete"],
);

/// What says whom Services lead to: the one that is read (`leading.rs`).
const ENDPOINTS: (&str, &str, &[&str]) = ("", "endpoints", &["list", "watch"]);
const SLICES: (&str, &str, &[&str]) = ("discovery.k8s.io", "endpointslices", &["list", "watch"]);

/// What a run works without, so that nobody is asked for it; so it does without what the inventory lists.
#[cfg(test)]
const WITHOUT: [(&str, &str, &[&str]); 2] = [
    ("events.k8s.io", "events", &["create", "patch"]),
    ("", "limitranges", &["list"]),
];

/// What is needed only where a deployment asks for it.
#[derive(Debug)]
pub struct Extras {
    pub secrets: bool,
    pub configurations: bool,
    pub rolling: bool,
    pub routes: bool,
    /// What says whom Services lead to.
    pub leading: Leading,
    /// What is needed for what the user's own manifests bring.
    pub brought: Vec<Right>,
}

/// Verbs on a resource.
#[derive(Debug)]
pub struct Right {
    pub group: String,
    pub resource: String,
    pub verbs: &'static [&'static str],
}

/// Asks whether the account may do what a run does in the namespace.
///
/// # Errors
/// `CD0532` with all that is missing.
pub async fn check(connection: &Connection, extras: &Extras) -> Result<(), TargetError> {
    let asked_for = [
        extras.secrets,
        extras.configurations,
        extras.rolling,
        extras.rolling,
        extras.routes,
        extras.leading == Leading::Endpoints,
        extras.leading == Leading::Slices,
    ];
    let others = [&ROUTES, &ENDPOINTS, &SLICES];
    let wanted = HIDDEN.iter().chain(&ROLLING).chain(others);
    let wanted = wanted.zip(asked_for);
    let wanted = wanted.filter_map(|(rule, wanted)| wanted.then_some(rule));
    let known = NEEDED.iter().chain(wanted);
    let known = known.map(|(group, resource, verbs)| (*group, *resource, *verbs));
    let brought = extras.brought.iter();
    let brought = brought.map(|one| (one.group.as_str(), one.resource.as_str(), one.verbs));
    let asked = known.chain(brought).flat_map(|(group, resource, verbs)| {
        let verbs = verbs.iter();
        verbs.map(move |verb| may(connection, group, resource, verb))
    });
    let answers = try_side_by_side(asked.collect()).await?;
    let missing: Vec<String> = answers.into_iter().flatten().collect();
    if missing.is_empty() {
        return Ok(());
    }
    let what = format!(
        "the account may not do in namespace {} what a run needs: {}; nothing was changed",
        connection.namespace,
        missing.join(", ")
    );
    let next = match extras.brought.is_empty() {
        true => "Have it allowed: templates/kubernetes/role.yaml is a Role with exactly that.",
        false => {
            "Have it allowed: templates/kubernetes/role.yaml is a Role with that, but for what your \
             own manifests bring, which needs a rule for each kind."
        }
    };
    Err(failed(code::ACCESS, None, what, next))
}

/// Returns by which objects the account may read whom Services lead to, on a cluster that serves slices. Where it may
/// read neither, slices are what it lacks.
///
/// # Errors
/// What the cluster says.
pub async fn leading(connection: &Connection) -> Result<Leading, TargetError> {
    if !may_all(connection, SLICES).await? && may_all(connection, ENDPOINTS).await? {
        tracing::warn!("the account may not list and watch endpointslices: endpoints are read");
        return Ok(Leading::Endpoints);
    }
    Ok(Leading::Slices)
}

/// Returns whether all of a rule is allowed. Where the account may not even ask, the cluster tells when it comes to that.
async fn may_all(
    connection: &Connection,
    (group, resource, verbs): (&str, &str, &[&str]),
) -> Result<bool, TargetError> {
    for verb in verbs {
        match may(connection, group, resource, verb).await {
            Ok(None) => {}
            Ok(Some(_)) => return Ok(false),
            Err(error) if error.code == code::ACCESS => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// Returns in words what is not allowed.
async fn may(
    connection: &Connection,
    group: &str,
    resource: &str,
    verb: &str,
) -> Result<Option<String>, TargetError> {
    let (name, part) = match resource.split_once('/') {
        Some((name, part)) => (name, Some(part.to_owned())),
        None => (resource, None),
    };
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                namespace: Some(connection.namespace.clone()),
                group: Some(group.to_owned()),
                resource: Some(name.to_owned()),
                subresource: part,
                verb: Some(verb.to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let all: Api<SelfSubjectAccessReview> = Api::all(connection.client());
    let params = PostParams::default();
    let ask = || all.create(&params, &review);
    let answer = connection.ask("ask what the account may do", None, ask);
    let answer = answer.await?;
    let allowed = answer.status.is_some_and(|status| status.allowed);
    Ok((!allowed).then(|| format!("{verb} {resource}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::Value;

    use super::{ENDPOINTS, HIDDEN, NEEDED, ROLLING, ROUTES, SLICES, WITHOUT};
    use crate::kubernetes::inventory::{Scope, granted};

    /// Returns what a role grants, a line for each group, resource and verb.
    fn grants(text: &str) -> Vec<String> {
        let role: Value = serde_saphyr::from_str(text).unwrap();
        let words =
            |value: &Value| -> Vec<String> { serde_json::from_value(value.clone()).unwrap() };
        let mut granted = Vec::new();
        for rule in role["rules"].as_array().unwrap() {
            for resource in words(&rule["resources"]) {
                for verb in words(&rule["verbs"]) {
                    granted.push(format!(
                        "{} {resource} {verb}",
                        words(&rule["apiGroups"])[0]
                    ));
                }
            }
        }
        granted.sort();
        granted
    }

    #[test]
    fn the_role_that_is_shipped_grants_what_is_asked_for_and_nothing_else() {
        let mut needed: Vec<String> = NEEDED
            .iter()
            .chain(&HIDDEN)
            .chain(&ROLLING)
            .chain([&ROUTES, &ENDPOINTS, &SLICES])
            .chain(&WITHOUT)
            .flat_map(|(group, resource, verbs)| {
                verbs
                    .iter()
                    .map(move |verb| format!("{group} {resource} {verb}"))
            })
            .collect();
        // To list Secrets is to read them: whoever wants certificates told has to grant it.
        let listed = granted(Scope::Namespace).into_iter();
        let listed = listed.filter(|(_, resource)| *resource != "secrets");
        needed.extend(listed.map(|(group, resource)| format!("{group} {resource} list")));
        needed.sort();
        // The inventory also lists what a run needs.
        needed.dedup();
        let role = include_str!("../../../../templates/kubernetes/role.yaml");
        assert_eq!(grants(role), needed);
    }

    #[test]
    fn what_is_listed_beyond_the_namespace_is_granted() {
        let role = include_str!("../../../../templates/kubernetes/cluster-role.yaml");
        let grants = grants(role);
        for (group, resource) in granted(Scope::Cluster) {
            let list = format!("{group} {resource} list");
            assert!(grants.contains(&list), "{list}");
        }
    }
}
