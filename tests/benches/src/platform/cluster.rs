//! A Kubernetes cluster: a rolling update by the program beside one of the same Deployment by `kubectl`.

use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use serde_json::{Value, json};

use super::Measured;
use super::program::run_with;
use super::project::{IMAGE, Images, Project, Way};
use super::users::{Asking, until_answered};
use crate::Error;

/// The platform's own way, in words.
pub const TOOL: &str = "kubectl apply, until kubectl rollout status is content";

/// The Deployment of the platform's own way, and what its pods are labelled with.
const NAME: &str = "own";

/// Where its containers listen.
const PORT: u16 = 8080;

/// Where a cluster is.
pub struct Place<'a> {
    pub kubeconfig: &'a Path,
    pub kubectl: &'a Path,
    pub node_docker: &'a str,
    pub lender: Option<&'a Path>,
}

/// Goes both ways so many times, in a namespace that goes afterwards.
///
/// # Errors
/// When one of them does not lead to an update.
pub fn measure(program: &Path, place: &Place<'_>, rounds: usize) -> Result<Measured, Error> {
    let _lent = place.lender.map(borrow).transpose()?;
    let _images = Images::make(place.node_docker, rounds + 1)?;
    let namespace = Namespace::make(place)?;
    let way = Way {
        target: "k8s",
        kind: "rolling",
        steps: "{ percent: 50, soak: 0s }, { percent: 100, soak: 0s }",
        replicas: 2,
        // A wave of a rolling update starts its pods when traffic is moved, and ends those of before.
        starts: &["release.green.", "release.traffic."],
        variables: vec![
            (
                "KUBECONFIG",
                namespace.kubeconfig.path().display().to_string(),
            ),
            ("DOCKER_HOST", place.node_docker.to_owned()),
        ],
    };
    let project = Project::new(program, &way)?;
    project.deploy(1)?;
    let deployment = namespace.kubectl(&["get", "deployment", "server-1", "--output=json"], "")?;
    let deployment: Value = serde_json::from_str(&deployment)
        .map_err(|error| Error::Answer(format!("kubectl get deployment: {error}")))?;
    namespace.own(&deployment, 1)?;
    let address = namespace.own_address()?;
    until_answered(address)?;
    let mut measured = Measured::default();
    for round in 1..=rounds {
        let asking = Asking::begin(address);
        let own = namespace.own(&deployment, round + 1);
        let users = asking.end()?;
        measured.own.push(own?);
        measured.own_users.push(users);
        measured.ours.push(project.deploy(round + 1)?);
    }
    Ok(measured)
}

/// Asks for the cluster of `cargo verify`, which is there for as long as the value is.
fn borrow(lender: &Path) -> Result<BufReader<UnixStream>, Error> {
    let asked = UnixStream::connect(lender).map_err(Error::io("ask", lender))?;
    let mut lent = BufReader::new(asked);
    let mut said = String::new();
    let read = lent.read_line(&mut said);
    read.map_err(Error::io("listen to", lender))?;
    match said.as_str() {
        "ready\n" => Ok(lent),
        _ => Err(Error::Answer(format!(
            "the cluster did not come up: {said}"
        ))),
    }
}

/// A namespace, which goes with the value, and a file that names it.
struct Namespace<'a> {
    place: &'a Place<'a>,
    name: String,
    kubeconfig: tempfile::NamedTempFile,
}

impl<'a> Namespace<'a> {
    fn make(place: &'a Place<'a>) -> Result<Self, Error> {
        let name = format!("code-deploy-bench-{}", std::process::id());
        let kubeconfig = tempfile::NamedTempFile::new();
        let kubeconfig = kubeconfig.map_err(Error::io("make a file in", &std::env::temp_dir()))?;
        let namespace = Self {
            place,
            name,
            kubeconfig,
        };
        namespace.kubectl(&["create", "namespace", &namespace.name], "")?;
        let words = [
            "config",
            "view",
            "--raw",
            "--minify",
            "--flatten",
            "--output=json",
        ];
        let read = serde_json::from_str::<Value>(&namespace.kubectl(&words, "")?);
        let mut config = read.map_err(|error| Error::Answer(format!("kubectl config: {error}")))?;
        if let Some(context) = config.pointer_mut("/contexts/0/context") {
            context["namespace"] = namespace.name.clone().into();
        }
        let path = namespace.kubeconfig.path();
        std::fs::write(path, config.to_string()).map_err(Error::io("write", path))?;
        Ok(namespace)
    }

    fn kubectl(&self, words: &[&str], input: &str) -> Result<String, Error> {
        let mut command = Command::new(self.place.kubectl);
        command.arg("--kubeconfig").arg(self.place.kubeconfig);
        command.args(["--namespace", &self.name]).args(words);
        run_with(command.env("NO_PROXY", "*"), input)
    }

    /// Applies a Deployment as the program's, under another name, and waits until it is rolled out.
    fn own(&self, deployment: &Value, release: usize) -> Result<f64, Error> {
        let mut spec = deployment["spec"].clone();
        let labels = json!({ "app": NAME });
        spec["replicas"] = 2.into();
        spec["selector"] = json!({ "matchLabels": labels });
        spec["template"]["metadata"] = json!({ "labels": labels });
        let image = format!("{IMAGE}:{release}");
        if let Some(container) = spec.pointer_mut("/template/spec/containers/0") {
            container["image"] = image.into();
        }
        let wanted = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": { "name": NAME }, "spec": spec,
        });
        let began = Instant::now();
        self.kubectl(&["apply", "--filename", "-"], &wanted.to_string())?;
        let status = format!("deployment/{NAME}");
        self.kubectl(&["rollout", "status", &status, "--timeout=120s"], "")?;
        Ok(began.elapsed().as_secs_f64())
    }

    /// Makes the Service of that Deployment, and returns where it is reached.
    fn own_address(&self) -> Result<SocketAddr, Error> {
        let wanted = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": NAME },
            "spec": { "selector": { "app": NAME }, "ports": [{ "port": PORT, "targetPort": PORT }] },
        });
        self.kubectl(&["apply", "--filename", "-"], &wanted.to_string())?;
        let words = [
            "get",
            "service",
            NAME,
            "--output=jsonpath={.spec.clusterIP}",
        ];
        let address = self.kubectl(&words, "")?;
        let parsed = address.trim().parse::<IpAddr>();
        let parsed = parsed.map_err(|error| Error::Answer(format!("{address}: {error}")))?;
        Ok(SocketAddr::new(parsed, PORT))
    }
}

impl Drop for Namespace<'_> {
    fn drop(&mut self) {
        let words = ["delete", "namespace", &self.name, "--timeout=120s"];
        // One that is left shows in `kubectl get namespaces`.
        let _ = self.kubectl(&words, "");
    }
}
