//! What happens to pods is watched, by a target that is answered by an API server that is played: what it is asked is
//! seen there.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use code_deploy_engine::Spec;
use code_deploy_engine::target::{Target as _, TargetEvent};
use code_deploy_record::Redactor;
use code_deploy_targets::{KubernetesTarget, Settings};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use crate::stage::eventually;

const DEPLOY: &str = "application: shop
release: '1.0.0'
strategy:
  kind: blue-green
  health: { interval: 1s, timeout: 2s, passes: 2, deadline: 60s }
services:
  api:
    role: backend
    probes: { startup: /startupz, readiness: /readyz, liveness: /livez }
environments:
  dev:
    kubernetes: { namespace: shop }
";

const COMPOSE: &str = "services:
  api:
    image: api:1
    expose: ['8080']
";

/// An API server that is played: it has one pod, and says what it is told to say to whoever watches.
struct Played {
    /// What it was asked, in order.
    asked: Mutex<Vec<String>>,
    /// Whether it hangs up on the next small question.
    hangs_up: AtomicBool,
    said: tokio::sync::Mutex<mpsc::Receiver<Value>>,
}

fn pod() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "api-1", "namespace": "shop", "resourceVersion": "2",
            "labels": { "code-deploy.service": "api" },
            "annotations": { "code-deploy.release": "1.0.0" },
        },
        "status": {
            "conditions": [{ "type": "Ready", "status": "True" }],
            "containerStatuses": [{
                "name": "api", "image": "api:1", "imageID": "", "ready": true, "restartCount": 0,
                "state": { "running": {} },
            }],
        },
    })
}

fn version() -> Value {
    let words = [
        "gitCommit",
        "gitTreeState",
        "goVersion",
        "buildDate",
        "compiler",
        "platform",
    ];
    let mut version = json!({ "major": "1", "minor": "33", "gitVersion": "v1.33.0" });
    for word in words {
        version[word] = "played".into();
    }
    version
}

impl Played {
    async fn serve(self: Arc<Self>, listener: TcpListener) {
        let tasks = TaskTracker::new();
        while let Ok((stream, _)) = listener.accept().await {
            tasks.spawn(Arc::clone(&self).answer(stream));
        }
    }

    async fn answer(self: Arc<Self>, stream: TcpStream) {
        let mut stream = BufReader::new(stream);
        while let Some(path) = asked(&mut stream).await {
            self.asked.lock().unwrap().push(path.clone());
            if path.ends_with("limit=1") && self.hangs_up.swap(false, Ordering::SeqCst) {
                return;
            }
            if path.contains("watch=true") {
                return self.tell(stream).await;
            }
            let body = match path.starts_with("/version") {
                true => version(),
                false => json!({
                    "apiVersion": "v1", "kind": "PodList", "metadata": { "resourceVersion": "1" },
                    "items": [pod()],
                }),
            };
            let body = body.to_string();
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            let answer = format!("{head}{body}");
            if stream.get_mut().write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }

    /// Tells a watch what is said, until nobody says anything any more.
    async fn tell(&self, mut stream: BufReader<TcpStream>) {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
        stream.get_mut().write_all(head.as_bytes()).await.unwrap();
        let mut said = self.said.lock().await;
        while let Some(event) = said.recv().await {
            let line = format!("{event}\n");
            let chunk = format!("{:x}\r\n{line}\r\n", line.len());
            if stream.get_mut().write_all(chunk.as_bytes()).await.is_err() {
                return;
            }
        }
    }

    /// Returns how often it was asked for all pods, for one of them, and for a watch.
    fn counted(&self) -> (usize, usize, usize) {
        let asked = self.asked.lock().unwrap();
        let pods = || asked.iter().filter(|path| path.contains("/pods?"));
        let watches = pods().filter(|path| path.contains("watch=true")).count();
        let all = pods()
            .filter(|path| path.contains("labelSelector="))
            .count();
        (all - watches, pods().count() - all, watches)
    }
}

/// Returns the path of a request; nothing when there is no more.
async fn asked(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut first = String::new();
    stream.read_line(&mut first).await.ok()?;
    let path = first.split(' ').nth(1)?.to_owned();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            return Some(path);
        }
    }
}

fn target(folder: &Path, port: u16) -> KubernetesTarget {
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    write("deploy.yaml", DEPLOY);
    write("compose.yaml", COMPOSE);
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "played",
        "clusters": [{ "name": "played", "cluster": { "server": format!("http://127.0.0.1:{port}") } }],
        "contexts": [{ "name": "played", "context": { "cluster": "played", "user": "played" } }],
        "users": [{ "name": "played", "user": {} }],
    });
    let file = folder.join("kubeconfig");
    std::fs::write(&file, kubeconfig.to_string()).unwrap();
    let spec = Spec::load(&folder.join("deploy.yaml"), "dev", "k8s", &|_| None).unwrap();
    KubernetesTarget::new(Settings {
        spec: Arc::new(spec),
        program: folder.join("program"),
        runtime: folder.join("run"),
        lookup: Arc::new(move |name| (name == "KUBECONFIG").then(|| file.display().to_string())),
        redactor: Redactor::default(),
    })
}

struct Stage {
    _folder: TempDir,
    target: KubernetesTarget,
    played: Arc<Played>,
    say: mpsc::Sender<Value>,
    _tasks: TaskTracker,
}

async fn stage() -> Stage {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    // One thing is said at a time.
    let (say, said) = mpsc::channel(1);
    let played = Arc::new(Played {
        asked: Mutex::default(),
        hangs_up: AtomicBool::new(false),
        said: tokio::sync::Mutex::new(said),
    });
    let tasks = TaskTracker::new();
    tasks.spawn(Arc::clone(&played).serve(listener));
    let folder = tempfile::tempdir().unwrap();
    Stage {
        target: target(folder.path(), port),
        _folder: folder,
        played,
        say,
        _tasks: tasks,
    }
}

impl Stage {
    async fn events(&self) -> Vec<TargetEvent> {
        self.target.events().await.unwrap()
    }
}

#[tokio::test]
async fn pods_are_listed_once_and_what_becomes_of_them_is_told_by_the_watch() {
    let stage = stage().await;
    for _ in 0..3 {
        assert_eq!(stage.events().await, []);
    }
    let gone = json!({ "type": "DELETED", "object": pod() });
    stage.say.send(gone).await.unwrap();
    let told = eventually("the end of the pod is told", || async {
        stage.events().await.pop()
    })
    .await;
    assert_eq!(
        told.text,
        "pod api-1 is gone: somebody else or the cluster removed it"
    );
    assert_eq!(told.service.as_deref(), Some("api"));
    let (all, one, watches) = stage.played.counted();
    assert_eq!((all, watches), (1, 1), "{:?}", stage.played.asked);
    assert!(one >= 4, "{:?}", stage.played.asked);
}

#[tokio::test]
async fn a_server_that_hung_up_is_told_and_the_watch_is_begun_anew() {
    let stage = stage().await;
    assert_eq!(stage.events().await, []);
    stage.played.hangs_up.store(true, Ordering::SeqCst);
    let told = stage.events().await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0]
            .text
            .starts_with("the cluster's API server did not answer for"),
        "{told:?}"
    );
    assert_eq!(stage.played.counted().0, 2, "{:?}", stage.played.asked);
    assert_eq!(stage.events().await, []);
}
