use std::process::Stdio;

use http::Method;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::kit::{LIMIT, get, migrate, send, sqlite_url};

fn shop(args: &[&str], env: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shop"));
    command.args(args).env_clear().envs(env.iter().copied());
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

async fn line(lines: &mut Lines<BufReader<ChildStdout>>) -> Value {
    let line = tokio::time::timeout(LIMIT, lines.next_line())
        .await
        .expect("a line in time");
    serde_json::from_str(&line.unwrap().expect("a line")).unwrap()
}

async fn started(mut child: Child) -> (Child, Lines<BufReader<ChildStdout>>, String) {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = line(&mut lines).await;
    assert_eq!(first["message"], "listening");
    let url = format!("http://127.0.0.1:{}", first["port"]);
    (child, lines, url)
}

#[tokio::test]
async fn the_program_says_its_port_first_and_ends_well_on_sigterm() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("shop.db");
    migrate(&database, 1).await;
    let url_file = folder.path().join("url");
    std::fs::write(&url_file, sqlite_url(&database) + "\n").unwrap();
    let env = [
        ("DATABASE_URL_FILE", url_file.to_str().unwrap()),
        ("SHOP_DRAIN_MS", "10"),
    ];
    let (mut child, mut lines, url) = started(shop(&["catalog"], &env).spawn().unwrap()).await;
    assert_eq!(get(&format!("{url}/readyz")).await.status, 200);
    let probe = shop(&["probe", &format!("{url}/readyz")], &[])
        .output()
        .await
        .unwrap();
    assert_eq!(probe.status.code(), Some(0));

    kill(
        Pid::from_raw(child.id().unwrap().try_into().unwrap()),
        Signal::SIGTERM,
    )
    .unwrap();
    let mut last = Value::Null;
    while let Ok(Some(text)) = lines.next_line().await {
        last = serde_json::from_str(&text).unwrap();
    }
    assert_eq!(last["message"], "stopped");
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
    let probe = shop(&["probe", &format!("{url}/readyz")], &[])
        .output()
        .await
        .unwrap();
    assert_eq!(probe.status.code(), Some(1));
}

#[tokio::test]
async fn wrong_usage_and_settings_end_with_2_and_a_reason() {
    for (args, env, reason) in [
        (&["shop"][..], &[][..], "there is no service `shop`"),
        (&[], &[], "usage: shop"),
        (
            &["catalog"],
            &[],
            "DATABASE_URL is not set, and catalog needs it",
        ),
        (
            &["storefront"],
            &[("PORT", "70000")],
            "PORT=70000 cannot be used",
        ),
    ] {
        let output = shop(args, env).output().await.unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{complaint}");
        assert!(complaint.contains(reason), "{complaint}");
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let env = [
        ("PORT", port.as_str()),
        ("DATABASE_URL", "sqlite://nowhere.db"),
    ];
    let output = shop(&["catalog"], &env).output().await.unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        complaint.contains(&format!("cannot listen on 127.0.0.1:{port}")),
        "{complaint}"
    );
}

#[tokio::test]
async fn a_crashed_service_ends_with_70() {
    let nobody = "http://127.0.0.1:1";
    let env = [
        ("CATALOG_URL", nobody),
        ("ORDERS_URL", nobody),
        ("SHOP_FAULT", "crash"),
        ("SHOP_FAULT_AFTER", "0"),
    ];
    let (mut child, _lines, url) = started(shop(&["storefront"], &env).spawn().unwrap()).await;
    let answer = send(Method::GET, &format!("{url}/"), &[], "").await;
    assert!(answer.is_err(), "{answer:?}");
    let ended = tokio::time::timeout(LIMIT, child.wait())
        .await
        .expect("ends in time");
    assert_eq!(ended.unwrap().code(), Some(70));
}
