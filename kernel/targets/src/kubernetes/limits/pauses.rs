//! What becomes of pods that end where the cluster cannot have them pause before.

use code_deploy_engine::Spec;
use code_deploy_engine::spec::Service;
use code_deploy_record::{Finding, Severity};
use serde_json::{Value, json};

use crate::kubernetes::{overlay, pod};

/// Returns what is to be known of a cluster of that version, which knows no pause by itself: a finding for each
/// service whose pods are given none by the user's own manifest.
pub fn findings(spec: &Spec, version: &str) -> Vec<Finding> {
    let file = spec.compose.path.file_name().unwrap_or_default();
    let file = file.to_string_lossy();
    let without = spec.services.iter().filter(|one| !has_own(spec, one));
    let findings = without.filter_map(|service| {
        let line = spec.compose.services.get(&service.name)?.line;
        Some(Finding {
            rule: "kubernetes/no-pause".to_owned(),
            severity: Severity::Low,
            place: format!("{file}:{line} {}", service.name),
            message: format!(
                "pods of `{}` do not pause before they end, which clusters can have them do by themselves from 1.30 \
                 on; this one is {version}: a run waits until nodes have followed before it asks pods to end, but one \
                 that ends otherwise, with its node or by somebody else, is sent requests for a moment longer",
                service.name
            ),
            cure: format!(
                "Have it go on answering for some seconds after SIGTERM; or, where its image has `sleep`, name a file of \
                 this in `kubernetes.manifests`: `{}`.",
                patch(service)
            ),
        })
    });
    findings.collect()
}

/// Returns whether the user's own manifest says what the service does before it ends.
fn has_own(spec: &Spec, service: &Service) -> bool {
    let over = overlay::of(spec, &service.name);
    let containers = over.and_then(|over| over.value.pointer("/spec/template/spec/containers"));
    let mut containers = containers.and_then(Value::as_array).into_iter().flatten();
    containers.any(|one| {
        let is_own = one.get("name").and_then(Value::as_str) == Some(&service.name);
        is_own && one.pointer("/lifecycle/preStop").is_some()
    })
}

/// Returns the manifest that gives pods of a service a pause.
fn patch(service: &Service) -> Value {
    let grace = pod::grace(service) + pod::PAUSE;
    let sleep = ["sleep".to_owned(), pod::PAUSE.as_secs().to_string()];
    let container = json!({
        "name": service.name, "lifecycle": { "preStop": { "exec": { "command": sleep } } },
    });
    let pod = json!({
        "terminationGracePeriodSeconds": grace.as_secs(), "containers": [container],
    });
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": service.name },
        "spec": { "template": { "spec": pod } },
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::kubernetes::limits::limits;

    fn spec(folder: &std::path::Path, manifests: &str) -> Spec {
        let api = "image: api:1\n    expose: ['80']\n    stop_grace_period: 20s";
        let compose = format!("services:\n  api:\n    {api}\n");
        let file = format!(
            "application: app\nservices:\n  api: {{ role: backend, probes: {{ readiness: /ready }}, metrics: /metrics }}\n\
             strategy: {{ kind: blue-green }}\nenvironments:\n  dev: {{ kubernetes: {{ manifests: [{manifests}] }} }}\n"
        );
        std::fs::write(folder.join("compose.yaml"), compose).unwrap();
        let path = folder.join("deploy.yaml");
        std::fs::write(&path, file).unwrap();
        Spec::load(&path, "dev", "k8s", &|_| None).unwrap()
    }

    #[test]
    fn a_cluster_that_knows_no_pause_is_told_with_a_manifest_that_gives_one() {
        let folder = tempfile::tempdir().unwrap();
        let bare = spec(folder.path(), "");
        let found = findings(&bare, "v1.20.2");
        let [told] = found.as_slice() else {
            panic!("{found:?}");
        };
        assert_eq!(told.rule, "kubernetes/no-pause");
        assert!(told.place.starts_with("compose.yaml:"), "{}", told.place);
        assert!(
            told.message.contains("this one is v1.20.2"),
            "{}",
            told.message
        );
        let (begin, end) = (told.cure.find('{').unwrap(), told.cure.rfind('}').unwrap());
        let patch = &told.cure[begin..=end];
        assert!(patch.contains(":25"), "{patch}");
        std::fs::write(folder.path().join("pause.yaml"), patch).unwrap();
        let paused = spec(folder.path(), "pause.yaml");
        assert_eq!(findings(&paused, "v1.20.2"), []);
        let refused = limits(&paused);
        let refused = refused
            .iter()
            .find(|one| one.finding.severity == Severity::Critical);
        assert_eq!(refused, None);
    }
}
