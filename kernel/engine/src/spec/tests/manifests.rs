//! The user's own manifests of a cluster.

use super::*;

const BUDGET: &str = "\
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec: {minAvailable: 1}
";

/// A project whose environment names manifests.
fn naming(paths: &str) -> Project {
    let project = Project::new();
    let deploy = DEPLOY.replace(
        "dev: {}",
        &format!("dev: {{kubernetes: {{manifests: {paths}}}}}"),
    );
    project.write(FILE_NAME, deploy);
    project
}

fn refused(text: &str) -> String {
    let project = naming("[own.yaml]");
    project.write("own.yaml", text);
    project.refused()
}

#[test]
fn documents_of_files_and_folders_are_read_with_their_lines() {
    let project = naming("[k8s, one.json]");
    let account =
        "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: web\n  namespace: mine\n";
    project.write(
        "k8s/b.yml",
        format!("# first\n---\n{BUDGET}---\n\n---\n{account}"),
    );
    let list = "kind: List\napiVersion: v1\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: a}}\n";
    project.write("k8s/a.yaml", list);
    project.write("k8s/README.md", "no manifest");
    project.write("k8s/below/c.yaml", "no manifest");
    let json = r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b"}, "data": {"mode": "0444"}}"#;
    project.write("one.json", json);
    let spec = project.load().unwrap();
    let read: Vec<String> = spec
        .manifests
        .iter()
        .map(|one| format!("{} {}", one.place(), one.title()))
        .collect();
    assert_eq!(
        read,
        [
            "k8s/a.yaml:4 ConfigMap a",
            "k8s/b.yml:3 PodDisruptionBudget web",
            "k8s/b.yml:10 ServiceAccount web",
            "one.json:1 ConfigMap b",
        ]
    );
    let budget = &spec.manifests[1];
    assert_eq!((budget.group(), &budget.namespace), ("policy", &None));
    assert_eq!(budget.place_of(&["spec", "minAvailable"]), "k8s/b.yml:6");
    assert_eq!(budget.value["spec"]["minAvailable"], 1);
    assert_eq!(spec.manifests[2].namespace.as_deref(), Some("mine"));
    assert_eq!(spec.manifests[3].value["data"]["mode"], "0444");
}

#[test]
fn modes_of_files_are_octal_as_other_programs_read_them() {
    let project = naming("[own.yaml]");
    project.write("own.yaml", format!("{BUDGET}mode: 0444\n"));
    let spec = project.load().unwrap();
    assert_eq!(spec.manifests[0].value["mode"], 0o444);
}

#[test]
fn manifests_are_part_of_the_digest() {
    let project = naming("[own.yaml]");
    project.write("own.yaml", BUDGET);
    let before = project.load().unwrap();
    assert!(before.files.contains(&project.path("own.yaml")));
    project.write("own.yaml", BUDGET.replace("1}", "2}"));
    assert_ne!(project.load().unwrap().digest, before.digest);
}

#[test]
fn what_manifests_are_made_from_is_refused_in_a_file_of_manifests() {
    let text = refused("apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n");
    assert!(text.starts_with("CD0123 own.yaml:2:"), "{text}");
    assert!(text.contains("`kustomization.yaml`"), "{text}");
    let text = refused("apiVersion: v1\nkind: {{ .Values.kind }}\n");
    assert!(text.starts_with("CD0"), "{text}");
    assert!(text.contains("helm template"), "{text}");
}

#[test]
fn what_is_no_manifest_is_refused_with_its_line() {
    let text = refused(&format!(
        "{BUDGET}---\napiVersion: v1\nmetadata: {{name: a}}\n"
    ));
    insta::assert_snapshot!(text, @r#"
    CD0123 own.yaml:6:1: a manifest says `kind`, and this one does not (at `kind`)
    Write `apiVersion`, `kind` and `metadata.name` in each document.
    "#);
    let text = refused(&format!("{BUDGET}---\n{BUDGET}"));
    insta::assert_snapshot!(text, @r#"
    CD0123 own.yaml:8:18: PodDisruptionBudget web stands in own.yaml:1 already (at `metadata.name`)
    Keep one of the two.
    "#);
    let text = refused("just words\n");
    assert!(text.starts_with("CD0123 own.yaml:1:"), "{text}");
    let text = refused("a: [\n");
    assert!(text.starts_with("CD0106 own.yaml:"), "{text}");
}

#[test]
fn paths_that_lead_to_no_manifest_are_refused() {
    let text = naming("[gone.yaml]").refused();
    assert!(
        text.contains("the manifest `gone.yaml` does not exist"),
        "{text}"
    );
    assert!(
        text.contains("environments.dev.kubernetes.manifests[0]"),
        "{text}"
    );
    let project = naming("[k8s]");
    project.write("k8s/README.md", "nothing");
    let text = project.refused();
    assert!(text.contains("the folder `k8s` has no manifest"), "{text}");
}

#[test]
fn manifests_are_few() {
    let many: String = (0..201)
        .map(|n| format!("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c{n}}}\n"))
        .collect();
    let text = refused(&many);
    assert!(text.starts_with("CD0103 own.yaml: "), "{text}");
}

#[test]
fn a_secret_in_plain_text_is_refused_and_not_repeated() {
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData:\n  key: hunter2\n";
    let config =
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata:\n  DB_PASSWORD: hunter2\n";
    let variable = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  template:\n    spec:\n      \
                    containers:\n      - name: side\n        env:\n        - {name: API_TOKEN, value: hunter2}\n";
    for (text, place) in [
        (secret, "own.yaml:4:"),
        (config, "own.yaml:5:"),
        (variable, "own.yaml:10:"),
    ] {
        let project = naming("[own.yaml]");
        project.write("own.yaml", text);
        let error = project.load().unwrap_err();
        let shown = project.shown(&error);
        assert!(shown.starts_with(&format!("CD0111 {place}")), "{shown}");
        assert!(
            !shown.contains("hunter2") && error.text.is_none(),
            "{shown}"
        );
    }
}

#[test]
fn manifests_of_other_environments_are_not_read() {
    let project = Project::new();
    let deploy = DEPLOY.replace(
        "qa: {policy: test}",
        "qa: {policy: test, kubernetes: {manifests: [gone.yaml]}}",
    );
    project.write(FILE_NAME, deploy);
    assert!(project.load().unwrap().manifests.is_empty());
}
