#![allow(clippy::panic, clippy::unwrap_used, missing_docs)]

pub mod played;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::kubernetes::wait::until;
use played::{Played, Says};

/// A server that only a proxy finds.
const FAR: &str = "http://api.invalid:8001";

/// A proxy that nobody is.
const NOBODY: &str = "127.0.0.1:1";

/// A plugin that counts in the file `$1` how often it was asked, and gives a token with that number until `$2`.
const COUNTING: &str = "n=$(($(cat \"$1\" 2>/dev/null || echo 0) + 1)); echo $n > \"$1\"; \
                        printf '{\"status\":{\"token\":\"token-number-%s\",\"expirationTimestamp\":\"%s\"}}' $n \"$2\"";

/// A kubeconfig file, and the variables of the environment.
pub struct Stage {
    _folder: TempDir,
    variables: BTreeMap<&'static str, String>,
}

impl Stage {
    pub fn of(server: &str, proxy: Option<&str>, user: &Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut cluster = json!({ "server": server });
        if let Some(proxy) = proxy {
            cluster["proxy-url"] = proxy.into();
        }
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "one",
            "clusters": [{ "name": "one", "cluster": cluster }],
            "contexts": [{ "name": "one", "context": { "cluster": "one", "user": "one" } }],
            "users": [{ "name": "one", "user": user }],
        });
        let path = folder.path().join("kubeconfig");
        std::fs::write(&path, config.to_string()).unwrap();
        let path = path.display().to_string();
        Self {
            _folder: folder,
            variables: BTreeMap::from([("KUBECONFIG", path)]),
        }
    }

    fn with(mut self, name: &'static str, value: String) -> Self {
        self.variables.insert(name, value);
        self
    }

    fn cluster(&self) -> Cluster {
        let variables = self.variables.clone();
        let lookup: Lookup = Arc::new(move |name: &str| variables.get(name).cloned());
        Cluster::new(KubernetesFile::default(), lookup, Redactor::default())
    }

    pub async fn connected(&self) -> Connection {
        self.cluster().connect().await.unwrap().clone()
    }

    async fn refused(&self) -> TargetError {
        match self.cluster().connect().await {
            Ok(_) => panic!("the cluster is reached"),
            Err(error) => error,
        }
    }
}

/// How often a plugin was asked.
struct Count(TempDir);

impl Count {
    fn read(&self) -> usize {
        let text = std::fs::read_to_string(self.0.path().join("count"));
        text.unwrap().trim().parse().unwrap()
    }
}

/// Returns a stage with an account whose plugin is that script, which counts as [`COUNTING`] does.
fn counting(server: &str, script: &str, until: &str) -> (Stage, Count) {
    let count = Count(tempfile::tempdir().unwrap());
    let path = count.0.path().join("count");
    let arguments = ["-c", script, "plugin", path.to_str().unwrap(), until];
    let exec = json!({ "command": "sh", "args": arguments });
    (Stage::of(server, None, &json!({ "exec": exec })), count)
}

async fn ask(connection: &Connection) -> Result<Info, TargetError> {
    let client = connection.client();
    connection
        .ask("ask its version", None, || client.apiserver_version())
        .await
}

#[tokio::test]
async fn a_server_is_asked_through_the_proxy_of_the_kubeconfig_file() {
    let played = Played::new(played::version).await;
    let proxy = format!("http://anna:pa%40ss@{}", played.address);
    let stage = Stage::of(FAR, Some(&proxy), &json!({})).with("NO_PROXY", "*".to_owned());
    let connection = stage.connected().await;
    assert_eq!(connection.version, played::VERSION);
    assert_eq!(connection.server, FAR);
    let heads = played.heads();
    assert!(
        heads[0].starts_with("CONNECT api.invalid:8001 "),
        "{heads:?}"
    );
    let credentials = format!("Basic {}", STANDARD.encode("anna:pa@ss"));
    assert!(heads[0].contains(&credentials), "{heads:?}");
    assert!(heads[1].starts_with("GET /version "), "{heads:?}");
}

#[tokio::test]
async fn a_server_is_asked_through_the_proxy_of_the_environment_but_one_of_this_machine_is_not() {
    let played = Played::new(played::version).await;
    let proxy = played.address.to_string();
    let stage = Stage::of(FAR, None, &json!({})).with("http_proxy", proxy);
    assert_eq!(stage.connected().await.version, played::VERSION);
    assert!(played.heads()[0].starts_with("CONNECT "));

    let near = Stage::of(&played.url(), None, &json!({})).with("HTTP_PROXY", NOBODY.to_owned());
    assert_eq!(near.connected().await.version, played::VERSION);
}

#[tokio::test]
async fn a_proxy_that_refuses_or_is_not_there_is_told_without_its_password() {
    let refusing = Played::new(|head| match head.starts_with("CONNECT") {
        true => Says::Answer(407, String::new()),
        false => played::version(head),
    })
    .await;
    for (scheme, address, why) in [
        (
            "http",
            refusing.address.to_string(),
            "proxy authorization required",
        ),
        ("http", NOBODY.to_owned(), "Connection refused"),
        ("socks5", NOBODY.to_owned(), "SOCKS error"),
    ] {
        let user = if scheme == "http" {
            "anna:pa55word@"
        } else {
            ""
        };
        let proxy = format!("{scheme}://{user}{address}");
        let refused = Stage::of(FAR, Some(&proxy), &json!({})).refused().await;
        assert_eq!(refused.code, code::CLUSTER, "{refused}");
        let shown = format!("the proxy {scheme}://{address} does not lead there");
        for part in [FAR, shown.as_str(), why] {
            assert!(refused.what.contains(part), "{part}: {refused}");
        }
        assert!(!refused.what.contains("pa55word"), "{refused}");
        assert!(refused.next.contains("NO_PROXY"), "{}", refused.next);
    }
    let odd = Stage::of(FAR, Some("ftp://anna:pa55word@proxy.invalid"), &json!({}));
    let refused = odd.refused().await;
    assert_eq!(refused.code, code::CLUSTER_FILE, "{refused}");
    assert!(!refused.what.contains("pa55word"), "{refused}");
}

#[tokio::test]
async fn a_token_that_is_withdrawn_or_runs_out_is_asked_for_anew() {
    let withdrawn = Arc::new(AtomicBool::new(false));
    let says = Arc::clone(&withdrawn);
    let played = Played::new(move |head| {
        let first = head.contains("Bearer token-number-1\r\n");
        match first && says.load(Ordering::SeqCst) {
            true => Says::Answer(401, "{}".to_owned()),
            false => played::version(head),
        }
    })
    .await;
    let (stage, count) = counting(&played.url(), COUNTING, "2999-01-01T00:00:00Z");
    let connection = stage.connected().await;
    ask(&connection).await.unwrap();
    assert_eq!(count.read(), 1);
    withdrawn.store(true, Ordering::SeqCst);
    ask(&connection).await.unwrap();
    ask(&connection).await.unwrap();
    assert_eq!(count.read(), 2);
    let last = played.heads().pop().unwrap();
    assert!(last.contains("Bearer token-number-2\r\n"), "{last}");

    let (stage, count) = counting(&played.url(), COUNTING, "2020-01-01T00:00:00Z");
    let connection = stage.connected().await;
    let before = count.read();
    ask(&connection).await.unwrap();
    assert_eq!(count.read(), before + 1);
}

#[tokio::test]
async fn a_plugin_that_fails_is_told_and_the_server_is_not_asked() {
    let played = Played::new(played::version).await;
    let text = "echo 'password=hunter22xyz is wrong' >&2; exit 3";
    let exec = json!({ "command": "sh", "args": ["-c", text] });
    let stage = Stage::of(&played.url(), None, &json!({ "exec": exec }));
    let refused = stage.refused().await;
    assert_eq!(refused.code, code::SIGN_IN, "{refused}");
    for part in [
        played.url().as_str(),
        "cannot sign in",
        "the credential plugin sh ended with",
    ] {
        assert!(refused.what.contains(part), "{part}: {refused}");
    }
    assert!(!refused.what.contains("hunter22xyz"), "{refused}");
    assert_eq!(played.heads(), Vec::<String>::new());
}

#[tokio::test]
async fn a_plugin_that_fails_for_a_while_is_asked_again() {
    let played = Played::new(played::version).await;
    // It is asked twice until the server has answered, and gives nothing the next two times.
    let script = format!("{COUNTING}; case $n in 3|4) exit 1;; esac");
    let (stage, count) = counting(&played.url(), &script, "2020-01-01T00:00:00Z");
    let mut connection = stage.connected().await;
    connection.limits.unsigned = Duration::from_millis(1);
    ask(&connection).await.unwrap();
    assert_eq!(count.read(), 5);
    let silences = connection.silences.since_last();
    assert!(silences.is_empty(), "it was not the server: {silences:?}");

    // One that goes on is told, in the end.
    connection.limits.unsigned = connection.limits.silence;
    std::fs::write(count.0.path().join("count"), "2").unwrap();
    let refused = ask(&connection).await.unwrap_err();
    assert_eq!(refused.code, code::SIGN_IN, "{refused}");
}

#[tokio::test]
async fn a_server_that_is_silent_is_asked_again_and_told_in_the_end() {
    let silent = Arc::new(AtomicUsize::new(0));
    let left = Arc::clone(&silent);
    let played = Played::new(move |head| {
        let one_less = |left: usize| left.checked_sub(1);
        match left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less) {
            Ok(_) => Says::Nothing,
            Err(_) => played::version(head),
        }
    })
    .await;
    let stage = Stage::of(&played.url(), None, &json!({}));
    let mut connection = stage.connected().await;
    connection.limits.answer = Duration::from_millis(100);
    connection.limits.again = Duration::from_millis(1);
    silent.store(2, Ordering::SeqCst);
    ask(&connection).await.unwrap();
    let told = connection.silences.since_last();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0]
            .text
            .starts_with("the cluster's API server did not answer for")
    );

    silent.store(usize::MAX, Ordering::SeqCst);
    connection.limits.silence = Duration::from_millis(300);
    let refused = ask(&connection).await.unwrap_err();
    assert_eq!(refused.code, code::CLUSTER, "{refused}");
    assert!(refused.transient, "{refused}");
    assert!(
        refused.what.contains("the cluster did not answer within"),
        "{refused}"
    );

    let (all, limit) = (connection.all::<Pod>(), Duration::from_millis(100));
    let waited = until(
        all,
        watcher::Config::default(),
        limit,
        "api",
        |_| None::<()>,
    )
    .await;
    let Err(refused) = waited else {
        panic!("it knows which pods there are");
    };
    assert_eq!(refused.code, code::CLUSTER, "{refused}");
    for part in ["cannot watch pods", "no answer of the cluster"] {
        assert!(refused.what.contains(part), "{part}: {refused}");
    }
}

#[tokio::test]
async fn what_a_server_wants_is_waited_for_within_the_time_of_a_silence() {
    let busy = Arc::new(AtomicBool::new(false));
    let says = Arc::clone(&busy);
    let played = Played::new(move |head| match says.swap(false, Ordering::SeqCst) {
        true => Says::Later(7),
        false => played::version(head),
    })
    .await;
    let mut connection = Stage::of(&played.url(), None, &json!({})).connected().await;
    connection.limits.silence = Duration::from_secs(1);
    busy.store(true, Ordering::SeqCst);
    let before = played.heads().len();
    for _ in 0..2 {
        let refused = ask(&connection).await.unwrap_err();
        assert_eq!(refused.code, code::CLUSTER, "{refused}");
    }
    assert_eq!(played.heads().len(), before + 1);
}

#[tokio::test]
async fn the_first_error_is_told_without_the_answers_behind_it() {
    let asked = |fails: bool| {
        let each = (0..3).map(move |number| async move {
            match number {
                1 if fails => Err("no answer"),
                2 if fails => std::future::pending().await,
                number => Ok(number),
            }
        });
        try_side_by_side(each.collect())
    };
    assert_eq!(asked(true).await, Err("no answer"));
    assert_eq!(asked(false).await, Ok(vec![0, 1, 2]));
}
