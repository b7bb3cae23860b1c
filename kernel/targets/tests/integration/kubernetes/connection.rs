//! The way to the API server: proxies, several files and contexts, credential plugins, authorities of the cluster's own.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use code_deploy_engine::target::{Target as _, TargetError};
use code_deploy_targets::KubernetesTarget;
use kube::config::Kubeconfig;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use super::cluster::{CLUSTER, GRACE, Stage, variable};
use crate::stage::{get, text, wanted};

/// A proxy that nobody is.
const NOBODY: &str = "http://anna:pa55word@127.0.0.1:1";

/// A proxy that leads wherever it is asked to (CONNECT), until the test ends.
struct Tunnels {
    address: SocketAddr,
    /// Where it was asked to lead.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Tunnels {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let seen = Arc::clone(&asked);
        let tasks = TaskTracker::new();
        tasks.clone().spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tasks.spawn(lead(stream, Arc::clone(&seen)));
            }
        });
        Self { address, asked }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn lead(mut stream: TcpStream, seen: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else {
            return;
        };
        head.push(byte);
    }
    let head = String::from_utf8(head).unwrap();
    let aim = head.split_whitespace().nth(1).unwrap().to_owned();
    assert!(head.starts_with("CONNECT "), "{head}");
    seen.lock().unwrap().push(aim.clone());
    let Ok(mut server) = TcpStream::connect(&aim).await else {
        return;
    };
    if stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.is_ok() {
        // Either side may leave as it likes.
        let _ = tokio::io::copy_bidirectional(&mut stream, &mut server).await;
    }
}

/// Returns the kubeconfig of the cluster, with all files that it names by their whole paths.
fn kubeconfig() -> Value {
    serde_json::to_value(Kubeconfig::read_from(variable(CLUSTER)).unwrap()).unwrap()
}

/// Returns the context that is meant where none is named.
fn current(config: &Value) -> Value {
    let mut contexts = config["contexts"].as_array().unwrap().iter();
    let named = contexts.find(|context| context["name"] == config["current-context"]);
    named.unwrap()["context"].clone()
}

/// Returns host and port of the API server.
fn server() -> (String, String) {
    let config = kubeconfig();
    let server = config["clusters"][0]["cluster"]["server"].as_str().unwrap();
    let server: http::Uri = server.parse().unwrap();
    let (host, port) = (server.host().unwrap(), server.port_u16().unwrap_or(443));
    (host.to_owned(), format!("{host}:{port}"))
}

/// Returns a target for files of that content and an environment with these variables.
fn target(stage: &Stage, files: &[&Value], variables: &[(&'static str, &str)]) -> KubernetesTarget {
    let mut paths = Vec::new();
    for (number, file) in files.iter().enumerate() {
        let path = stage.folder.path().join(format!("kubeconfig-{number}"));
        std::fs::write(&path, file.to_string()).unwrap();
        paths.push(path);
    }
    let paths = std::env::join_paths(paths).unwrap().into_string().unwrap();
    let mut known = vec![("KUBECONFIG", paths)];
    known.extend(
        variables
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned())),
    );
    let mut settings = stage.settings("k8s");
    settings.lookup = Arc::new(move |name: &str| {
        let found = known.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.clone())
    });
    KubernetesTarget::new(settings)
}

async fn refused(target: &KubernetesTarget) -> TargetError {
    target.recover().await.unwrap_err()
}

#[tokio::test]
async fn the_proxy_of_the_kubeconfig_file_is_gone_through_whatever_no_proxy_says() {
    let stage = Stage::new().await;
    let tunnels = Tunnels::new().await;
    let mut config = kubeconfig();
    config["clusters"][0]["cluster"]["proxy-url"] = tunnels.url().into();
    let target = target(&stage, &[&config], &[("NO_PROXY", "*")]);
    target.open(&stage.services()).await.unwrap();
    let started = target.start(&wanted("api", "1.0.0", 1)).await.unwrap();
    let asked = get(&started[0].address.to_string(), "/env/RELEASE").await;
    assert_eq!(asked, "1.0.0");
    target.remove_all(GRACE).await.unwrap();
    let (asked, (_, server)) = (tunnels.asked(), server());
    assert!(!asked.is_empty(), "nobody went through the proxy");
    assert!(asked.iter().all(|aim| *aim == server), "{asked:?}");
    stage.end().await;
}

#[tokio::test]
async fn the_proxy_of_the_environment_is_gone_through_but_for_servers_that_no_proxy_names() {
    let stage = Stage::new().await;
    let (config, (host, address)) = (kubeconfig(), server());
    if host == "localhost" || host.starts_with("127.") || host == "[::1]" {
        eprintln!("not run: the API server is one of this machine, which no proxy is asked for");
        stage.end().await;
        return;
    }
    let tunnels = Tunnels::new().await;
    let proxy = tunnels.url();
    let through = target(&stage, &[&config], &[("HTTPS_PROXY", proxy.as_str())]);
    through.recover().await.unwrap();
    assert!(tunnels.asked().contains(&address), "{:?}", tunnels.asked());

    for list in [host.as_str(), &format!("elsewhere.example,{address}"), "*"] {
        let variables = [("HTTPS_PROXY", NOBODY), ("NO_PROXY", list)];
        let direct = target(&stage, &[&config], &variables);
        direct
            .recover()
            .await
            .unwrap_or_else(|error| panic!("{list}: {}", text(&error)));
    }
    let variables = [("HTTPS_PROXY", NOBODY), ("NO_PROXY", "elsewhere.example")];
    let refused = refused(&target(&stage, &[&config], &variables)).await;
    assert_eq!(refused.code, "CD0530", "{}", text(&refused));
    let told = text(&refused);
    assert!(
        told.contains("the proxy http://127.0.0.1:1 does not lead there"),
        "{told}"
    );
    assert!(!told.contains("pa55word"), "{told}");
    stage.end().await;
}

#[tokio::test]
async fn several_files_are_one_and_the_deployment_file_names_the_context() {
    let stage = Stage::new().await;
    let file = stage.folder.path().join("deploy.yaml");
    let said = std::fs::read_to_string(&file).unwrap();
    let name = |context: &str| {
        let named = format!("kubernetes: {{ context: {context}, namespace");
        std::fs::write(&file, said.replace("kubernetes: { namespace", &named)).unwrap();
    };
    let mut config = kubeconfig();
    let known = current(&config);
    // Of the current context there is a server that is nobody.
    let nowhere = json!({ "name": "nowhere", "cluster": { "server": "https://127.0.0.1:1" } });
    config["clusters"].as_array_mut().unwrap().push(nowhere);
    let contexts = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "lost",
        "contexts": [
            { "name": "lost", "context": { "cluster": "nowhere", "user": known["user"] } },
            { "name": "there", "context": known },
        ],
    });
    config["contexts"] = json!([]);
    config["current-context"] = Value::Null;
    let files = [&contexts, &config];
    name("there");
    target(&stage, &files, &[]).recover().await.unwrap();
    name("elsewhere");
    let told = text(&refused(&target(&stage, &files, &[])).await);
    for part in [
        "CD0531",
        "no context is called elsewhere",
        "there are lost, there",
        "nothing was changed",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    stage.end().await;
}

#[tokio::test]
async fn an_account_signs_in_with_what_its_plugin_gives() {
    let stage = Stage::new().await;
    let config = kubeconfig();
    let name = current(&config)["user"].clone();
    let users = config["users"].as_array().unwrap();
    let user = users.iter().position(|user| user["name"] == name).unwrap();
    let Some(token) = config["users"][user]["user"]["token"]
        .as_str()
        .map(str::to_owned)
    else {
        eprintln!("not run: the account of the cluster has no token");
        stage.end().await;
        return;
    };
    let with = |script: &str| {
        let mut config = config.clone();
        let exec = json!({
            "apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "IfAvailable",
            "command": "sh", "args": ["-c", script],
            "env": [{ "name": "STAGE_TOKEN", "value": token }],
        });
        config["users"][user]["user"] = json!({ "exec": exec });
        config
    };
    let giving = with(
        "printf '{\"kind\":\"ExecCredential\",\"apiVersion\":\"client.authentication.k8s.io/v1\",\
         \"status\":{\"token\":\"%s\"}}' \"$STAGE_TOKEN\"",
    );
    let signed = target(&stage, &[&giving], &[]);
    signed.open(&stage.services()).await.unwrap();
    signed.start(&wanted("api", "1.0.0", 1)).await.unwrap();
    signed.remove_all(GRACE).await.unwrap();

    let failing = with("echo \"token=$STAGE_TOKEN has run out, sign in again\" >&2; exit 4");
    let told = text(&refused(&target(&stage, &[&failing], &[])).await);
    for part in ["CD0542", "exit status: 4", "has run out, sign in again"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(!told.contains(&token), "{told}");
    let wrong = with("printf '{\"status\":{\"token\":\"of-nobody\"}}'");
    let refused = refused(&target(&stage, &[&wrong], &[])).await;
    assert_eq!(refused.code, "CD0532", "{}", text(&refused));
    stage.end().await;
}

#[tokio::test]
async fn a_server_is_known_by_the_authority_of_its_cluster_and_by_no_other() {
    let stage = Stage::new().await;
    let mut config = kubeconfig();
    let cluster = config["clusters"][0]["cluster"].as_object_mut().unwrap();
    if let Some(path) = cluster.remove("certificate-authority") {
        let authority = std::fs::read(path.as_str().unwrap()).unwrap();
        let inside = STANDARD.encode(authority);
        cluster.insert("certificate-authority-data".to_owned(), inside.into());
    }
    target(&stage, &[&config], &[]).recover().await.unwrap();
    let cluster = config["clusters"][0]["cluster"].as_object_mut().unwrap();
    cluster.remove("certificate-authority-data").unwrap();
    let refused = refused(&target(&stage, &[&config], &[])).await;
    assert_eq!(refused.code, "CD0530", "{}", text(&refused));
    assert!(refused.what.contains("certificate"), "{}", text(&refused));
    stage.end().await;
}
