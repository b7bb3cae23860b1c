//! The outside client as a process of its own. This program is both: called with the arguments of
//! the client it is the client, otherwise the test, which names itself as the program to start.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]
#![allow(missing_docs, dead_code)]

#[path = "../integration/simulated.rs"]
mod simulated;
#[path = "../integration/stage.rs"]
mod stage;
mod terminator;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use code_deploy_engine::http::HttpClient;
use code_deploy_engine::load::{ClientConfig, ClientTotals, run_client_until_signal};
use code_deploy_engine::spec::StrategyKind;
use code_deploy_engine::{Purpose, Runner};
use code_deploy_record::{RunOutcome, Source, verify_folder};

use crate::stage::Stage;

const COUNTS: &str = "the_client_counts_from_before_the_first_change_to_after_the_last";
const TLS: &str = "a_server_with_tls_is_asked_when_its_certificate_is_trusted";

fn main() {
    let arguments: Vec<_> = std::env::args().collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    match arguments.get(1..).unwrap_or_default() {
        ["internal", "client", "--config", path] => {
            let config = ClientConfig::read(Path::new(path)).unwrap();
            runtime.block_on(run_client_until_signal(config)).unwrap();
        }
        ["get", url] => {
            let answer = runtime.block_on(HttpClient::new().get(url, Duration::from_secs(10)));
            println!("{:?}", answer.map(|answer| answer.status.as_u16()));
        }
        // Test runners ask what there is.
        others if others.contains(&"--list") => {
            if !others.contains(&"--ignored") {
                println!("{COUNTS}: test\n{TLS}: test");
            }
        }
        others => {
            let is_asked = |name: &str| others.contains(&name) || !others.contains(&"--exact");
            if is_asked(COUNTS) {
                runtime.block_on(upgrade_under_the_clients_requests());
                runtime.block_on(first_deployment_starts_the_client_after_promotion());
                println!("test {COUNTS} ... ok");
            }
            if is_asked(TLS) {
                runtime.block_on(tls());
                println!("test {TLS} ... ok");
            }
        }
    }
}

/// Runs this program as another process that trusts that certificate alone.
fn trusting(certificate: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(arguments)
        .env("SSL_CERT_FILE", certificate)
        .env_remove("SSL_CERT_DIR");
    command
}

async fn tls() {
    let folder = tempfile::tempdir().unwrap();
    let own = terminator::certificate(folder.path(), "own");
    let other = terminator::certificate(folder.path(), "other");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plain = listener.local_addr().unwrap();
    let app = axum::Router::new().route("/", axum::routing::get(|| async { "well" }));
    let serving = async { axum::serve(listener, app).await.unwrap() };
    let asking = tokio::task::spawn_blocking(move || {
        let url = format!("https://{}", terminator::start(&own, plain));
        let get = |trusted: &Path| {
            let got = trusting(trusted, &["get", &url]).output().unwrap();
            String::from_utf8(got.stdout).unwrap()
        };
        assert_eq!(get(&own), "Ok(200)\n");
        let refused = get(&other);
        assert!(refused.contains("certificate"), "{refused}");
        for (trusted, name, failed) in [(&own, "client-1", 0), (&other, "client-2", 20)] {
            let totals = client(folder.path(), &url, trusted, name);
            assert_eq!((totals.sent, totals.failed), (20, failed), "{totals:?}");
        }
    });
    tokio::select! {
        () = serving => {}
        done = asking => done.unwrap(),
    }
}

/// Has the outside client send twenty requests; returns what it counted.
fn client(folder: &Path, url: &str, trusted: &Path, name: &str) -> ClientTotals {
    let profile = serde_json::json!({
        "service": "shop", "rate": 100, "duration": "1m", "requests": [{ "path": "/" }],
    });
    let profile = serde_json::from_value(profile).unwrap();
    let mut config = ClientConfig::for_profile(&profile, url, Source::Client, folder, name);
    config.max_requests = Some(20);
    let path = folder.join(format!("{name}.json"));
    config.write(&path).unwrap();
    let words = ["internal", "client", "--config", path.to_str().unwrap()];
    assert!(trusting(trusted, &words).status().unwrap().success());
    ClientTotals::read(&config.status_file).unwrap()
}

fn profile() -> serde_json::Value {
    serde_json::json!({
        "service": "shop", "rate": 50, "duration": "5m", "requests": [{ "path": "/ready" }],
    })
}

async fn stage(from: Option<&str>) -> Stage {
    let mut stage = Stage::with(StrategyKind::Canary, &[(50, 1), (100, 0)], from).await;
    stage.spec.file.client = Some(serde_json::from_value(profile()).unwrap());
    stage
}

async fn upgrade_under_the_clients_requests() {
    let stage = stage(Some("1.0.0")).await;
    let mut options = stage.options("1.1.0", Purpose::Deploy);
    options.program = std::env::current_exe().unwrap();
    let mut runner = Runner::open(options.clone()).await.unwrap();
    for verb in ["inventory", "plan", "preflight", "build", "provision"] {
        assert!(
            runner.run_verb(verb, None).await.unwrap().is_done(),
            "{verb}"
        );
    }
    // The client outlives the process that started it, and the next one finds it again.
    runner.close().await;
    let mut runner = Runner::open(options).await.unwrap();
    let ended = runner.run_all().await.unwrap();
    runner.close().await;
    assert!(ended.is_done(), "{ended:?}");
    let state = stage.last_run().state().unwrap();
    assert_eq!(state.finished.unwrap().0, RunOutcome::Succeeded);
    let client = state.clients.get("client").unwrap();
    assert!(!client.goes_on && client.failed == 0, "{client:?}");
    assert!(client.releases.contains_key("1.0.0") && client.releases.contains_key("1.1.0"));
    let (_, failed, answered) = state.rehearsed.unwrap();
    assert!(failed == 0 && answered > 0, "{answered} answered");
    let report = verify_folder(&stage.last_run()).unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
}

async fn first_deployment_starts_the_client_after_promotion() {
    let stage = stage(None).await;
    let mut options = stage.options("1.0.0", Purpose::Deploy);
    options.program = std::env::current_exe().unwrap();
    let mut runner = Runner::open(options).await.unwrap();
    assert!(runner.run_all().await.unwrap().is_done());
    runner.close().await;
    let state = stage.last_run().state().unwrap();
    assert!(state.clients.get("client").unwrap().sent > 0);
}
