//! Deployments to a namespace of a cluster that are refused, and change nothing there.

use serde_json::json;

use super::deploying::{OWN, bring, deployments, host_of, place, run, stage};
use crate::kit::Place;

/// The first health check of the demonstration's Compose file.
const HEALTH_CHECK: &str = r#"    healthcheck:
      test: ["CMD", "shop", "probe", "http://127.0.0.1:8080/readyz"]
      interval: 10s
      timeout: 3s
      retries: 3
      start_period: 10s
"#;

/// The kinds of all that a run changes in a namespace.
const KINDS: &str = "services,deployments.apps,leases.coordination.k8s.io,secrets,configmaps,pods,\
                     persistentvolumeclaims,networkpolicies.networking.k8s.io";

#[test]
fn what_cannot_be_deployed_is_refused_and_nothing_has_begun() {
    let (namespace, mine) = stage("refused");
    let refused = |place: &Place, words: &[&str]| {
        let before = namespace.versions(KINDS);
        let said = run(place, &["--to", "1.0.0"]);
        assert_eq!(said.code, Some(1), "{}\n{}", said.out, said.err);
        for word in words {
            assert!(said.err.contains(word), "`{word}` is not in {}", said.err);
        }
        assert!(place.demo_runs().is_empty(), "no run has begun");
        let after = namespace.versions(KINDS);
        assert_eq!(after, before, "something was changed: {words:?}");
        // Nothing that could be stopped.
        std::fs::remove_dir_all(place.demo()).unwrap();
    };
    let mut elsewhere = namespace.kubeconfig(None);
    elsewhere["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1".into();
    refused(
        &place(&elsewhere),
        &["CD0530", "127.0.0.1:1", "kubectl version"],
    );
    let near = namespace.kubeconfig(None);
    // Of this machine no proxy is asked.
    if !host_of(&near).starts_with("127.") {
        let mut through = place(&near);
        through.set("HTTPS_PROXY", "http://anna:pa55word@127.0.0.1:1".to_owned());
        refused(
            &through,
            &["CD0530", "proxy http://127.0.0.1:1", "NO_PROXY"],
        );
    }
    let mut missing = namespace.kubeconfig(None);
    missing["contexts"][0]["context"]["namespace"] = "not-there".into();
    refused(
        &place(&missing),
        &["CD0531", "not-there", "kubectl create namespace"],
    );
    let nobody = namespace.kubeconfig(Some("nobody"));
    refused(
        &place(&nobody),
        &["CD0532", "list deployments", "templates/kubernetes/"],
    );
    let known = namespace.kubeconfig(None);
    let existing = known["contexts"][0]["name"].as_str().unwrap();
    let astray = place(&known);
    astray.edit(
        "    kubernetes:\n",
        "    kubernetes:\n      context: none-such\n",
    );
    let words = ["CD0531", "no context is called none-such", existing];
    refused(&astray, &words);
    let path = namespace.path("/api/v1", "services");
    let theirs = json!({
        "metadata": { "name": "catalog" },
        "spec": { "selector": { "app": "theirs" }, "ports": [{ "port": 80 }] },
    });
    namespace.post(&path, &theirs);
    refused(&mine, &["CD0526", "the name catalog is taken"]);
    namespace.kubectl(&["delete", "service", "catalog"]);

    // The image of one service may change under its name.
    mine.lay_out_with_little_load();
    let compose = include_str!("../../../../shop/compose.yaml");
    let pinned = "shop:${CODE_DEPLOY_RELEASE:-1.0.0}\n    command: [\"shop\", \"catalog\"]";
    assert!(compose.contains(pinned), "{compose}");
    let unpinned = compose.replace(pinned, "shop:latest\n    command: [\"shop\", \"catalog\"]");
    mine.write("code-deploy-demo/compose.yaml", unpinned);
    let stop = "overrides: { failed: note, unpinned_images: stop }";
    mine.edit("overrides: { failed: note }", stop);
    refused(
        &mine,
        &[
            "CD0437",
            "shop:latest of catalog (compose.yaml:",
            "unpinned_images",
        ],
    );

    // Pods of one service would get requests before they are ready.
    mine.lay_out_with_little_load();
    mine.edit("      readiness: /readyz\n", "");
    let unchecked = compose.replacen(HEALTH_CHECK, "", 1);
    assert_ne!(unchecked, compose);
    mine.write("code-deploy-demo/compose.yaml", unchecked);
    let words = [
        "CD0402",
        "`storefront` has no readiness probe",
        "probes.readiness",
    ];
    refused(&mine, &words);

    // What the API server would refuse to store is known before anything is begun.
    let quotas = namespace.path("/api/v1", "resourcequotas");
    let none = json!({
        "metadata": { "name": "none" },
        "spec": { "hard": { "count/deployments.apps": "0" } },
    });
    namespace.post(&quotas, &none);
    let counted = "jsonpath={.status.hard}";
    while namespace
        .kubectl(&["get", "resourcequota", "none", "-o", counted])
        .is_empty()
    {
        std::thread::yield_now();
    }
    refused(&mine, &["CD0539", "exceeded quota"]);
    mine.lay_out_with_little_load();
    bring(
        &mine,
        &OWN.replace("kind: NetworkPolicy", "kind: StatefulSet"),
    );
    refused(&mine, &["CD0402", "k8s/own.yaml:7: ", "does not judge"]);
    assert_eq!(deployments(&namespace), []);
}
