//! The stage's cluster as a test uses it: through `kubectl`, in a namespace of its own.

use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

/// How long it may take until the cluster is there.
const LIMIT: Duration = Duration::from_secs(600);

/// A namespace that goes with the test.
pub struct Namespace {
    pub name: String,
    /// Whether it goes with this value.
    goes: bool,
}

impl Namespace {
    /// Makes a namespace whose name no other test has.
    #[track_caller]
    pub fn new(purpose: &str) -> Self {
        borrow();
        super::node::go_on();
        let name = format!("code-deploy-e2e-{purpose}-{}", std::process::id());
        let namespace = Self { name, goes: true };
        namespace.post(
            "/api/v1/namespaces",
            &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace.name}}),
        );
        namespace
    }

    /// Returns the path of something in it.
    pub fn path(&self, group: &str, rest: &str) -> String {
        format!("{group}/namespaces/{}/{rest}", self.name)
    }

    /// Runs `kubectl` in it and returns what it says, which must be a success.
    #[track_caller]
    pub fn kubectl(&self, words: &[&str]) -> String {
        let ran = self.run(words, "");
        let said = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "kubectl {words:?}: {said}");
        String::from_utf8(ran.stdout).unwrap()
    }

    /// Tells whether a user may do something, as the API server says.
    #[track_caller]
    pub fn may(&self, user: &str, verb: &str, resource: &str) -> bool {
        let ran = self.run(&["auth", "can-i", verb, resource, "--as", user], "");
        match String::from_utf8_lossy(&ran.stdout).trim() {
            "yes" => true,
            "no" => false,
            other => panic!("{other}{}", String::from_utf8_lossy(&ran.stderr)),
        }
    }

    /// Sends an object as JSON and returns the answer.
    #[track_caller]
    pub fn post(&self, path: &str, object: &Value) -> Value {
        let ran = self.run(&["create", "--raw", path, "-f", "-"], &object.to_string());
        let said = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "POST {path}: {said}");
        serde_json::from_slice(&ran.stdout).unwrap()
    }

    /// Asks for something as JSON.
    #[track_caller]
    pub fn get(&self, path: &str) -> Value {
        serde_json::from_str(&self.kubectl(&["get", "--raw", path])).unwrap()
    }

    /// Returns the objects of these kinds with their versions: whatever is changed gets another one. What controllers
    /// make in every namespace is left out, because it may still be on its way.
    #[track_caller]
    pub fn versions(&self, kinds: &str) -> Vec<String> {
        let listed = self.kubectl(&["get", kinds, "--output=json"]);
        let listed: Value = serde_json::from_str(&listed).unwrap();
        let by_controllers = |one: &Value| {
            one["type"] == "kubernetes.io/service-account-token"
                || one["metadata"]["name"] == "kube-root-ca.crt"
        };
        let objects = listed["items"].as_array().unwrap().iter();
        let objects = objects.filter(|one| !by_controllers(one));
        let words = objects.map(|one| {
            let (kind, metadata) = (&one["kind"], &one["metadata"]);
            let (name, version) = (&metadata["name"], &metadata["resourceVersion"]);
            format!("{kind} {name} {version}")
        });
        words.collect()
    }

    /// Returns the cluster's kubeconfig with this namespace as the usual one, for a user who acts as
    /// somebody else or as who he is.
    #[track_caller]
    pub fn kubeconfig(&self, acts_as: Option<&str>) -> Value {
        let words = [
            "config",
            "view",
            "--raw",
            "--minify",
            "--flatten",
            "--output=json",
        ];
        let mut config: Value = serde_json::from_str(&self.kubectl(&words)).unwrap();
        config["contexts"][0]["context"]["namespace"] = self.name.clone().into();
        if let Some(name) = acts_as {
            config["users"][0]["user"]["as"] = name.into();
        }
        config
    }

    /// Returns the kubeconfig of an account that may do in this namespace what the roles of
    /// `templates/kubernetes` grant, and nothing else.
    #[track_caller]
    pub fn account(&self) -> Value {
        let (name, namespace) = ("deployer", self.name.as_str());
        self.kubectl(&["create", "serviceaccount", name]);
        self.apply(include_str!(
            "../../../../../templates/kubernetes/role.yaml"
        ));
        let cluster_role = include_str!("../../../../../templates/kubernetes/cluster-role.yaml");
        // It goes with the namespace, and other tests have one of their own.
        let owner = self.get(&format!("/api/v1/namespaces/{namespace}"));
        let metadata = format!(
            "metadata:\n  ownerReferences: [{{ apiVersion: v1, kind: Namespace, name: {namespace}, \
             uid: {} }}]\n",
            owner["metadata"]["uid"]
        );
        let own = cluster_role.replace("name: code-deploy", &format!("name: {namespace}"));
        self.apply(&own.replacen("metadata:\n", &metadata, 1));
        let subject = format!("--serviceaccount={namespace}:{name}");
        self.kubectl(&[
            "create",
            "rolebinding",
            name,
            "--role=code-deploy",
            &subject,
        ]);
        let bound = [
            "create",
            "clusterrolebinding",
            namespace,
            "--clusterrole",
            namespace,
            &subject,
            "--dry-run=client",
            "--output=yaml",
        ];
        let binding = self.kubectl(&bound);
        self.apply(&binding.replacen("metadata:\n", &metadata, 1));
        let path = self.path("/api/v1", &format!("serviceaccounts/{name}/token"));
        let asked = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {},
        });
        let token = self.post(&path, &asked)["status"]["token"].clone();
        let mut config = self.kubeconfig(None);
        config["users"][0]["user"] = json!({ "token": token });
        config
    }

    #[track_caller]
    pub fn apply(&self, text: &str) {
        let ran = self.run(&["apply", "--filename", "-"], text);
        let said = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{said}{text}");
    }

    /// Returns the same namespace for a thread of its own, without which it goes all the same.
    pub fn lent(&self) -> Self {
        Self {
            name: self.name.clone(),
            goes: false,
        }
    }

    /// Returns `kubectl` in it, not started yet.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(promised("CODE_DEPLOY_STAGE_KUBERNETES_KUBECTL"));
        command
            .arg("--kubeconfig")
            .arg(promised("CODE_DEPLOY_STAGE_KUBERNETES"))
            .args(["--namespace", &self.name])
            .args(words)
            .env("NO_PROXY", "*")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn run(&self, words: &[&str], input: &str) -> Output {
        let mut child = self.command(words).spawn().unwrap();
        let mut words = child.stdin.take().unwrap();
        words.write_all(input.as_bytes()).unwrap();
        drop(words);
        child.wait_with_output().unwrap()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if !self.goes {
            return;
        }
        let words = [
            "delete",
            "namespace",
            &self.name,
            "--ignore-not-found",
            "--timeout=120s",
        ];
        let ran = self.run(&words, "");
        let said = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success() || std::thread::panicking(), "{said}");
    }
}

/// An image from scratch with the server, in the engine from which the cluster takes images.
pub struct Image {
    pub name: String,
}

impl Image {
    /// Compiles the server without libraries and makes the image of it.
    #[track_caller]
    pub fn new() -> Self {
        borrow();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("server.rs"), include_str!("server.rs")).unwrap();
        let compile = [
            "--edition=2021",
            "-Ctarget-feature=+crt-static",
            "server.rs",
        ];
        let image = Self {
            name: format!("code-deploy-e2e/server:{}", std::process::id()),
        };
        let archive = folder.path().join("server.tar");
        let archive = archive.to_str().unwrap();
        for (program, words) in [
            ("rustc", compile.as_slice()),
            ("tar", &["-cf", archive, "server"]),
            (
                "docker",
                &[
                    "import",
                    "--change",
                    "ENTRYPOINT [\"/server\"]",
                    archive,
                    &image.name,
                ],
            ),
        ] {
            let mut command = Command::new(program);
            let command = command.args(words).current_dir(folder.path());
            let ran = command.env("DOCKER_HOST", engine()).output().unwrap();
            let said = String::from_utf8_lossy(&ran.stderr);
            assert!(ran.status.success(), "{program} {words:?}: {said}");
        }
        image
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let mut docker = Command::new("docker");
        let docker = docker.args(["image", "rm", "--force", &self.name]);
        let ran = docker.env("DOCKER_HOST", engine()).output().unwrap();
        let said = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success() || std::thread::panicking(), "{said}");
    }
}

/// Asks for the cluster, which then is there until this process ends.
#[track_caller]
fn borrow() {
    static LENT: OnceLock<BufReader<UnixStream>> = OnceLock::new();
    LENT.get_or_init(|| {
        let lender = promised("CODE_DEPLOY_STAGE_KUBERNETES_LENDER");
        let asked = UnixStream::connect(&lender);
        let asked = asked.unwrap_or_else(|error| panic!("{}: {error}", lender.display()));
        asked.set_read_timeout(Some(LIMIT)).unwrap();
        let mut lent = BufReader::new(asked);
        let mut said = String::new();
        lent.read_line(&mut said).unwrap();
        assert_eq!(said, "ready\n", "the cluster did not come up");
        lent
    });
}

pub fn engine() -> PathBuf {
    promised("CODE_DEPLOY_STAGE_KUBERNETES_DOCKER")
}

#[track_caller]
pub fn promised(variable: &str) -> PathBuf {
    let place = std::env::var_os(variable).unwrap_or_else(|| {
        panic!("a Kubernetes cluster is needed here, and {variable} is not set: run `cargo verify --only tests`")
    });
    place.into()
}
