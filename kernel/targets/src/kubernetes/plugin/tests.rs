#![allow(clippy::panic, clippy::unwrap_used)]

use std::path::Path;

use base64::Engine as _;
use serde_json::{Value, json};

use super::*;

/// No plugin of these tests takes this long on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

/// Returns a plugin that is a script of the shell. It finds `more` as `$1`.
fn script(text: &str, more: &str) -> Plugin {
    described(json!({ "command": "sh", "args": ["-c", text, "plugin", more] }))
}

fn described(mut exec: Value) -> Plugin {
    exec["apiVersion"] = "client.authentication.k8s.io/v1".into();
    Plugin::new(serde_json::from_value(exec).unwrap(), Redactor::default())
}

fn printing(status: &Value) -> Plugin {
    let written = json!({
        "apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status,
    });
    script("printf '%s' \"$1\"", &written.to_string())
}

async fn refused(plugin: &Plugin) -> String {
    match plugin.ask(LIMIT).await {
        Ok(_) => panic!("it gives credentials"),
        Err(told) => told,
    }
}

#[tokio::test]
async fn a_token_comes_with_its_end_and_becomes_known_as_a_secret() {
    let until = "2030-01-02T03:04:05Z";
    let plugin = printing(&json!({ "token": "t0ken-of-the-plugin", "expirationTimestamp": until }));
    let given = plugin.ask(LIMIT).await.unwrap();
    assert_eq!(given.token.unwrap().expose(), "t0ken-of-the-plugin");
    assert_eq!(
        given.until.unwrap().to_rfc3339(),
        "2030-01-02T03:04:05+00:00"
    );
    assert!(given.identity.is_none());
    let text = "it says t0ken-of-the-plugin";
    assert!(plugin.redactor.find(text).is_some());

    let plugin = printing(&json!({ "clientCertificateData": "CERT", "clientKeyData": "KEY" }));
    let given = plugin.ask(LIMIT).await.unwrap();
    let (certificate, key) = given.identity.unwrap();
    assert_eq!((certificate.as_str(), key.expose()), ("CERT", "KEY"));
    assert!(given.token.is_none() && given.until.is_none());
}

#[tokio::test]
async fn what_a_plugin_is_told_is_in_its_environment_and_nobody_is_to_be_asked() {
    let text = "test \"$OWN\" = yes || exit 3\n\
                cat >&2\n\
                printf '{\"status\":{\"token\":\"%s\"}}' \
                \"$(printf '%s' \"$KUBERNETES_EXEC_INFO\" | base64 -w 0)\"";
    let plugin = described(json!({
        "command": "sh", "args": ["-c", text], "env": [{ "name": "OWN", "value": "yes" }],
    }));
    let given = plugin.ask(LIMIT).await.unwrap().token.unwrap();
    let told = base64::engine::general_purpose::STANDARD.decode(given.expose());
    let told: Value = serde_json::from_slice(&told.unwrap()).unwrap();
    let expected = json!({
        "apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
        "spec": { "interactive": false },
    });
    assert_eq!(told, expected);

    let asking = json!({ "command": "sh", "args": ["-c", "exit 0"], "interactiveMode": "Always" });
    let told = refused(&described(asking)).await;
    assert!(told.contains("interactiveMode: Always"), "{told}");
}

#[tokio::test]
async fn a_plugin_that_fails_is_told_with_what_it_wrote_and_without_secrets() {
    let text =
        "echo 'password=hunter22xyz' >&2; printf 'no way to\\033[2J the issuer\\n' >&2; exit 3";
    let told = refused(&script(text, "")).await;
    for part in [
        "plugin sh ended with",
        "3",
        "it wrote: ",
        "no way to",
        "the issuer",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(!told.contains("hunter22xyz"), "{told}");
    assert!(!told.chars().any(char::is_control), "{told:?}");
}

#[tokio::test]
async fn a_plugin_that_is_not_there_is_told_with_how_it_is_installed() {
    let missing =
        json!({ "command": "./no-such-plugin", "installHint": "\nget it from example.org\n" });
    let told = refused(&described(missing)).await;
    for part in [
        "./no-such-plugin cannot be started",
        "get it from example.org",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let told = refused(&described(json!({}))).await;
    assert!(told.contains("has no command"), "{told}");
}

#[tokio::test]
async fn what_is_no_credential_is_told_and_not_repeated() {
    for (written, said) in [
        ("t0ken-alone", "no ExecCredential"),
        (
            "{\"kind\":\"ExecCredential\",\"token\":\"t0ken-alone\"}",
            "without a status",
        ),
        (
            "{\"status\":{\"token\":\"\"}}",
            "neither a token nor a certificate",
        ),
        (
            "{\"status\":{\"clientCertificateData\":\"t0ken-alone\"}}",
            "one of certificate and key",
        ),
        (
            "{\"status\":{\"token\":\"t0ken-alone\",\"expirationTimestamp\":\"t0ken-alone\"}}",
            "no time",
        ),
    ] {
        let told = refused(&script("printf '%s' \"$1\"", written)).await;
        assert!(told.contains(said), "{said}: {told}");
        assert!(!told.contains("t0ken-alone"), "{told}");
    }
}

#[tokio::test]
async fn a_plugin_that_does_not_end_is_ended_with_all_that_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("pids");
    let text = "echo 'waits for a browser' >&2\n\
                sleep 600 & echo \"$$ $!\" > \"$1.new\" && mv \"$1.new\" \"$1\"\n\
                wait";
    let plugin = script(text, place.to_str().unwrap());
    let started = async {
        while !place.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let asked = tokio::time::timeout(LIMIT, plugin.ask_until(started, "in time")).await;
    let Err(told) = asked.unwrap() else {
        panic!("it gives credentials");
    };
    for part in ["did not end in time", "waits for a browser"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let pids = std::fs::read_to_string(&place).unwrap();
    for pid in pids.split_whitespace() {
        let gone = async {
            while runs(pid) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let gone = tokio::time::timeout(LIMIT, gone).await;
        assert!(gone.is_ok(), "process {pid} of the plugin is there still");
    }
}

/// Returns whether a process runs: one that has ended may stay listed until somebody takes note.
fn runs(pid: &str) -> bool {
    let status = Path::new("/proc").join(pid).join("stat");
    let status = std::fs::read_to_string(status).unwrap_or_default();
    let state = status.rsplit_once(") ").map(|(_, rest)| rest);
    state.is_some_and(|state| !state.starts_with(['Z', 'X']))
}
