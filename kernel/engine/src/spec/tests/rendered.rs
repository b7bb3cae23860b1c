//! Manifests that programs make of kustomizations and charts. The programs are played by scripts.

use std::os::unix::fs::PermissionsExt as _;

use super::*;

const ACCOUNT: &str = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: web}\n";

/// Says what it was called with, in a file beside it, and makes an account.
const MAKES: &str = "echo \"$@\" > \"${0%/*}/called\"
echo 'a warning' >&2
echo '# by a program'
echo '---'
echo 'apiVersion: v1'
echo 'kind: ServiceAccount'
echo 'metadata: {name: web}'
";

/// A project for a cluster, whose programs are those in `bin` and no others.
fn naming(kubernetes: &str) -> Project {
    let project = Project::new();
    let deploy = format!("dev: {{kubernetes: {{{kubernetes}}}}}");
    project.write(FILE_NAME, DEPLOY.replace("dev: {}", &deploy));
    project.write("bin/README.md", "programs");
    project
}

fn kustomized() -> Project {
    let project = naming("manifests: [k8s]");
    project.write("k8s/kustomization.yaml", "resources: [web.yaml]\n");
    project
}

fn charted() -> Project {
    let named =
        "namespace: mine, manifests: [charts/web], chart_values: {charts/web: [a.yaml, b.yaml]}";
    let project = naming(named);
    project.write("charts/web/Chart.yaml", "name: web\n");
    project.write("a.yaml", "a: 1\n");
    project.write("b.yaml", "b: 1\n");
    project
}

impl Project {
    /// Installs a program.
    fn install(&self, name: &str, script: &str) {
        let name = format!("bin/{name}");
        self.write(&name, format!("#!/bin/sh\n{script}"));
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(self.path(&name), mode).unwrap();
    }

    fn load_for(&self, target: &str) -> Result<Spec, Box<SpecError>> {
        let path = self.path("bin").display().to_string();
        let vars = |name: &str| match name {
            "PATH" => Some(path.clone()),
            "HOME" => Some("/nowhere".to_owned()),
            "KUBECONFIG" | "DB_PASSWORD" => Some("hunter2".to_owned()),
            _ => None,
        };
        Spec::load(&self.path(FILE_NAME), "dev", target, &vars)
    }

    #[track_caller]
    fn refused_for_k8s(&self) -> String {
        let error = self.load_for("k8s").unwrap_err();
        self.shown(&error)
    }

    fn called(&self) -> String {
        std::fs::read_to_string(self.path("bin/called")).unwrap()
    }
}

#[test]
fn a_kustomization_is_made_plain_and_its_objects_have_its_place() {
    let project = kustomized();
    project.install("kubectl", MAKES);
    project.install("kustomize", "exit 1\n");
    let spec = project.load_for("k8s").unwrap();
    assert_eq!(project.called(), "kustomize ./k8s\n");
    let [account] = &spec.manifests[..] else {
        panic!("{:?}", spec.manifests)
    };
    assert_eq!(account.title(), "ServiceAccount web");
    assert_eq!(
        account.place(),
        "k8s/kustomization.yaml (ServiceAccount web)"
    );
    assert_eq!(
        account.place_of(&["metadata", "name"]),
        "k8s/kustomization.yaml (ServiceAccount web, metadata.name)"
    );
    let [made] = &spec.rendered[..] else {
        panic!("{:?}", spec.rendered)
    };
    assert_eq!(made.source, Path::new("k8s/kustomization.yaml"));
    assert_eq!(made.command, "kubectl kustomize ./k8s");
    assert!(
        made.text.starts_with("# by a program\n---\n"),
        "{}",
        made.text
    );
    assert_eq!(made.digest, Digest::of(made.text.as_bytes()));
    assert!(spec.files.contains(&project.path("k8s/kustomization.yaml")));
}

#[test]
fn kustomize_itself_does_where_kubectl_is_not_there_and_its_file_may_be_named() {
    let project = naming("manifests: [k8s/kustomization.yml]");
    project.write("k8s/kustomization.yml", "resources: []\n");
    project.install("kustomize", MAKES);
    let spec = project.load_for("k8s").unwrap();
    assert_eq!(project.called(), "build ./k8s\n");
    assert_eq!(spec.manifests.len(), 1);
}

#[test]
fn a_chart_gets_its_name_its_namespace_and_its_values() {
    let project = charted();
    project.install("helm", MAKES);
    let spec = project.load_for("k8s").unwrap();
    assert_eq!(
        project.called(),
        "template app ./charts/web --namespace mine --skip-tests --values ./a.yaml --values ./b.yaml\n"
    );
    let place = spec.manifests[0].place();
    assert_eq!(place, "charts/web/Chart.yaml (ServiceAccount web)");
    for file in ["charts/web/Chart.yaml", "a.yaml", "b.yaml"] {
        assert!(spec.files.contains(&project.path(file)), "{file}");
    }
}

#[test]
fn what_is_made_is_part_of_the_digest() {
    let project = kustomized();
    project.install("kubectl", MAKES);
    let before = project.load_for("k8s").unwrap();
    assert_eq!(project.load_for("k8s").unwrap().digest, before.digest);
    project.install("kubectl", &MAKES.replace("name: web", "name: api"));
    assert_ne!(project.load_for("k8s").unwrap().digest, before.digest);
}

#[test]
fn another_release_is_read_with_what_was_made_before() {
    let project = kustomized();
    project.install("kubectl", MAKES);
    let before = project.load_for("k8s").unwrap();
    project.install("kubectl", "exit 1\n");
    let again = before
        .with_variables(&|name: &str| (name == "TAG").then(|| "2".to_owned()))
        .unwrap();
    assert_eq!(
        again.service("web").unwrap().image.as_deref(),
        Some("web:2")
    );
    assert_eq!(again.manifests.len(), 1);
    assert_eq!((again.digest, again.files), (before.digest, before.files));
}

#[test]
fn a_program_gets_little_of_the_environment() {
    let project = kustomized();
    let script = "echo \"$HOME ${KUBECONFIG-none} ${DB_PASSWORD-none}\" >&2\nexit 1\n";
    project.install("kubectl", script);
    let text = project.refused_for_k8s();
    assert!(text.contains("/nowhere none none"), "{text}");
}

#[test]
fn no_program_runs_for_another_target() {
    for project in [kustomized(), charted()] {
        let spec = project.load_for("local").unwrap();
        assert!(spec.manifests.is_empty() && spec.rendered.is_empty());
    }
}

#[test]
fn a_program_that_is_not_there_is_named_with_the_command_to_run_elsewhere() {
    let text = kustomized().refused_for_k8s();
    assert!(text.starts_with("CD0123 deploy.yaml:3:"), "{text}");
    assert!(
        text.contains("by `kubectl` or `kustomize`, which is not on the PATH"),
        "{text}"
    );
    assert!(text.contains("`kubectl kustomize ./k8s > FILE`"), "{text}");
    let text = charted().refused_for_k8s();
    assert!(text.contains("Install `helm`"), "{text}");
    let by_hand = "`helm template app ./charts/web --namespace mine --skip-tests --values ./a.yaml --values ./b.yaml > FILE`";
    assert!(text.contains(by_hand), "{text}");
}

#[test]
fn a_program_that_fails_or_makes_nothing_is_refused_with_what_it_says() {
    let project = kustomized();
    project.install("kubectl", "echo 'Error: no web.yaml' >&2\nexit 1\n");
    let text = project.refused_for_k8s();
    assert!(text.starts_with("CD0123 deploy.yaml:3:"), "{text}");
    let said = "`kubectl kustomize ./k8s` makes no manifests of the kustomization `k8s`: it ended with exit status: 1: \
                Error: no web.yaml";
    assert!(text.contains(said), "{text}");
    project.install("kubectl", "echo\n");
    let text = project.refused_for_k8s();
    assert!(text.contains("`k8s`: it gives nothing"), "{text}");
}

#[test]
fn what_is_made_is_judged_as_files_are_with_the_object_in_place_of_a_line() {
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {key: hunter2}\n";
    let twice = format!("{ACCOUNT}---\n{ACCOUNT}");
    for (made, code, object) in [
        (secret, "CD0111", "(Secret s)"),
        (twice.as_str(), "CD0123", "(ServiceAccount web)"),
        ("kind: Job\n", "CD0123", "(Job)"),
        ("a: [\n", "CD0106", "`kubectl kustomize ./k8s` makes: "),
    ] {
        let project = kustomized();
        project.write("made.yaml", made);
        let script = "while IFS= read -r line; do echo \"$line\"; done < made.yaml\n";
        project.install("kubectl", script);
        let text = project.refused_for_k8s();
        let place = format!("{code} k8s/kustomization.yaml: ");
        assert!(text.starts_with(&place), "{text}");
        assert!(text.contains("`kubectl kustomize ./k8s` makes"), "{text}");
        assert!(text.contains(object) && !text.contains("hunter2"), "{text}");
    }
}

#[test]
fn what_the_deployment_file_says_of_sources_has_to_fit() {
    let project = naming("manifests: [charts/web]");
    project.write("charts/web/Chart.yaml", "name: web\n");
    let text = project.refused_for_k8s();
    assert!(
        text.contains("made for a namespace, and none is named"),
        "{text}"
    );
    let project = charted();
    std::fs::remove_file(project.path("b.yaml")).unwrap();
    let text = project.refused_for_k8s();
    assert!(
        text.contains("kubernetes.chart_values.charts/web[1]"),
        "{text}"
    );
    let project = naming("namespace: mine, chart_values: {charts/web: []}");
    let text = project.refused_for_k8s();
    assert!(
        text.contains("`manifests` names no chart `charts/web`"),
        "{text}"
    );
    let project = kustomized();
    project.write("k8s/Chart.yaml", "name: web\n");
    let text = project.refused_for_k8s();
    assert!(
        text.contains("has both kustomization.yaml and Chart.yaml"),
        "{text}"
    );
    assert!(text.contains("`k8s/kustomization.yaml`"), "{text}");
}
