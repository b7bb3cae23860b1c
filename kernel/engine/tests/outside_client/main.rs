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

use std::path::Path;

use code_deploy_engine::load::{ClientConfig, run_client_until_signal};
use code_deploy_engine::spec::StrategyKind;
use code_deploy_engine::{Purpose, Runner};
use code_deploy_record::{RunOutcome, verify_folder};

use crate::stage::Stage;

const NAME: &str = "the_client_counts_from_before_the_first_change_to_after_the_last";

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
        // Test runners ask what there is.
        others if others.contains(&"--list") => {
            if !others.contains(&"--ignored") {
                println!("{NAME}: test");
            }
        }
        _ => {
            runtime.block_on(upgrade_under_the_clients_requests());
            runtime.block_on(first_deployment_starts_the_client_after_promotion());
            println!("test {NAME} ... ok");
        }
    }
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
