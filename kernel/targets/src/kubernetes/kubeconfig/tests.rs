#![allow(clippy::panic, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;

use super::*;

/// What is between the lines of a certificate is not looked at before a server shows one.
const AUTHORITY: &str = "-----BEGIN CERTIFICATE-----\nMAUGAyoDBA==\n-----END CERTIFICATE-----\n";

const CLUSTERS: &str = "
apiVersion: v1
kind: Config
clusters:
- name: one
  cluster: { server: 'https://one.example:6443', certificate-authority: ca.pem }
- name: other
  cluster: { server: 'https://other.example/k8s/other', proxy-url: 'http://anna:s3cret@proxy.example:3128' }
- name: odd
  cluster: { server: 'odd.example:6443' }
";

const CONTEXTS: &str = "
current-context: one
contexts:
- name: one
  context: { cluster: one, user: anna, namespace: shop }
- name: other
  context: { cluster: other, user: plugin }
- name: odd
  context: { cluster: odd }
- name: lost
  context: { cluster: lost }
";

const USERS: &str = "
users:
- name: anna
  user: { token: t0ken }
- name: plugin
  user:
    exec: { apiVersion: client.authentication.k8s.io/v1, command: ./plugin, provideClusterInfo: true }
";

/// A folder with kubeconfig files, and the variables that name them.
struct Stage {
    folder: TempDir,
    variables: BTreeMap<&'static str, String>,
}

impl Stage {
    fn with(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        std::fs::write(folder.path().join("ca.pem"), AUTHORITY).unwrap();
        let mut stage = Self {
            folder,
            variables: BTreeMap::new(),
        };
        let names: Vec<&str> = files.iter().map(|(name, _)| *name).collect();
        stage.name(&names);
        stage
    }

    /// Has these files be read, in that order.
    fn name(&mut self, names: &[&str]) {
        let paths = names.iter().map(|name| self.folder.path().join(name));
        let paths = std::env::join_paths(paths).unwrap();
        let paths = paths.into_string().unwrap();
        self.variables.insert("KUBECONFIG", paths);
    }

    fn find(&self, context: Option<&str>) -> Result<Meant, TargetError> {
        let wanted = KubernetesFile {
            context: context.map(str::to_owned),
            ..KubernetesFile::default()
        };
        let variables = self.variables.clone();
        let lookup: Lookup = Arc::new(move |name: &str| variables.get(name).cloned());
        find(&wanted, &lookup)
    }

    fn refused(&self, context: Option<&str>) -> String {
        match self.find(context) {
            Ok(_) => panic!("it is found"),
            Err(error) => {
                assert_eq!(error.code, code::CLUSTER_FILE, "{error}");
                assert!(
                    error.next.contains("kubectl config get-contexts"),
                    "{error:?}"
                );
                error.what
            }
        }
    }
}

fn all() -> Stage {
    Stage::with(&[
        ("clusters", CLUSTERS),
        ("contexts", CONTEXTS),
        ("users", USERS),
    ])
}

#[test]
fn files_complement_each_other_and_the_first_to_say_something_holds() {
    let mut stage = all();
    let meant = stage.find(None).unwrap();
    let url = meant.config.cluster_url.to_string();
    assert_eq!(url, "https://one.example:6443/");
    assert_eq!(meant.config.default_namespace, "shop");
    assert_eq!(meant.config.root_cert.unwrap().len(), 1);
    assert!(meant.config.auth_info.token.is_some());
    assert!(meant.plugin.is_none() && meant.proxy.is_none());

    let other = "current-context: other\nclusters: [{ name: other, cluster: { server: 'https://first.example' } }]\n";
    let unset = "current-context: ''\n";
    for (name, text) in [("other", other), ("unset", unset)] {
        std::fs::write(stage.folder.path().join(name), text).unwrap();
    }
    stage.name(&[
        "not-there",
        "unset",
        "other",
        "clusters",
        "contexts",
        "users",
    ]);
    let meant = stage.find(None).unwrap();
    let url = meant.config.cluster_url.to_string();
    assert_eq!(url, "https://first.example/");
    assert_eq!(meant.config.default_namespace, USUAL_NAMESPACE);
}

#[test]
fn the_context_that_the_environment_names_is_taken_with_its_plugin_and_proxy() {
    let stage = all();
    let meant = stage.find(Some("other")).unwrap();
    let url = meant.config.cluster_url.to_string();
    assert_eq!(url, "https://other.example/k8s/other");
    assert!(meant.config.auth_info.exec.is_none());
    let plugin = meant.plugin.unwrap();
    let command = stage.folder.path().join("./plugin");
    assert_eq!(plugin.command.as_deref(), command.to_str());
    let told = plugin.cluster.unwrap();
    assert_eq!(
        told.server.as_deref(),
        Some("https://other.example/k8s/other")
    );
    let proxy = meant.proxy.unwrap();
    assert_eq!(proxy.to_string(), "http://proxy.example:3128");
    assert_eq!(meant.config.proxy_url.as_ref(), Some(proxy.url()));
}

#[test]
fn the_proxy_of_a_file_holds_whatever_the_environment_says() {
    let mut stage = all();
    let variables = [
        ("HTTPS_PROXY", "http://elsewhere.example:8080"),
        ("NO_PROXY", "other.example"),
    ];
    for (name, value) in variables {
        stage.variables.insert(name, value.to_owned());
    }
    let proxy = |context| {
        stage
            .find(Some(context))
            .unwrap()
            .proxy
            .unwrap()
            .to_string()
    };
    assert_eq!(proxy("other"), "http://proxy.example:3128");
    assert_eq!(proxy("one"), "http://elsewhere.example:8080");
}

#[test]
fn a_context_that_is_not_there_is_refused_with_those_that_are() {
    let told = all().refused(Some("nobodys"));
    for part in [
        "no context is called nobodys",
        "there are one, other, odd, lost",
        "nothing was changed",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let mut stage = all();
    stage.name(&["clusters", "users"]);
    let told = stage.refused(None);
    assert!(told.contains("and there is none"), "{told}");
}

#[test]
fn what_leads_to_no_cluster_is_told() {
    let stage = all();
    let told = stage.refused(Some("lost"));
    assert!(
        told.contains("the cluster lost, which is not described"),
        "{told}"
    );
    let told = stage.refused(Some("odd"));
    assert!(
        told.contains("no address that begins with https://"),
        "{told}"
    );
    std::fs::write(stage.folder.path().join("ca.pem"), "no certificate").unwrap();
    let told = stage.refused(Some("one"));
    assert!(told.contains("no certificate (PEM)"), "{told}");
    std::fs::remove_file(stage.folder.path().join("ca.pem")).unwrap();
    let told = stage.refused(Some("one"));
    assert!(told.contains("ca.pem"), "{told}");
}

#[test]
fn a_file_that_is_none_is_told_by_its_place_and_not_repeated() {
    let mut stage = all();
    let text = "users:\n- name: anna\n  user: { token: [s3cret-t0ken] }\n";
    std::fs::write(stage.folder.path().join("broken"), text).unwrap();
    stage.name(&["clusters", "broken"]);
    let told = stage.refused(None);
    for part in ["broken", "it is no kubeconfig file"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(!told.contains("s3cret"), "{told}");
    stage.name(&["not-there"]);
    let told = stage.refused(None);
    assert!(told.contains("not-there) does not say"), "{told}");
    assert!(told.contains("there is no such file"), "{told}");
}

#[test]
fn without_kubeconfig_the_file_in_the_home_folder_is_read() {
    let text = [CLUSTERS, CONTEXTS, USERS].concat();
    let mut stage = Stage::with(&[(USUAL, text.as_str())]);
    stage.variables.clear();
    let home = stage.folder.path().display().to_string();
    stage.variables.insert("HOME", home);
    let meant = stage.find(Some("other")).unwrap();
    assert!(meant.plugin.is_some());
    let told = stage.refused(Some("nobodys"));
    assert!(told.starts_with("~/.kube/config does not say"), "{told}");
}

#[test]
fn authorities_inside_the_file_hold_before_those_beside_it_and_none_are_needed_where_nobody_is_verified()
 {
    let cluster = |more: &str| {
        format!(
            "clusters: [{{ name: one, cluster: {{ server: 'https://one.example', {more} }} }}]\n"
        )
    };
    let find = |more: &str| {
        let text = cluster(more);
        let stage = Stage::with(&[("clusters", text.as_str()), ("contexts", CONTEXTS)]);
        stage.find(Some("one")).unwrap().config
    };
    let two = STANDARD.encode([AUTHORITY, AUTHORITY].concat());
    let inside = find(&format!(
        "certificate-authority-data: {two}, certificate-authority: not-there"
    ));
    assert_eq!(inside.root_cert.unwrap().len(), 2);
    let unset = find("certificate-authority-data: ''");
    assert!(unset.root_cert.is_none());
    let nobody = find("insecure-skip-tls-verify: true");
    assert!(nobody.accept_invalid_certs);
    assert_eq!(nobody.root_cert, Some(Vec::new()));
}
