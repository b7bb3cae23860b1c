use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use code_deploy_engine::plan::Inputs;
use code_deploy_engine::{Ended, Step, phases, release};
use code_deploy_record::{Digest, Verdict};

use crate::stage::{LIMIT, Stage};

/// Of the build, what runs commands and looks at artifacts.
fn steps(inputs: &Inputs) -> Vec<Arc<dyn Step>> {
    let mut steps = phases::build::steps(inputs);
    let own = ["build.logs", "build.artifacts"];
    steps.retain(|step| own.contains(&step.planned().step.as_str()));
    steps.extend(release::steps(inputs));
    steps
}

/// A stage whose services are built by that command, within a limit.
async fn stage(command: &[&str], limit: &str) -> Stage {
    let mut stage = Stage::canary().await;
    stage.steps = steps;
    let build = serde_json::json!({ "command": command, "limit": limit, "artifacts": ["app"] });
    for service in &mut stage.spec.services {
        service.file.build = Some(serde_json::from_value(build.clone()).unwrap());
    }
    let file = serde_json::json!({ "application": "shop", "environments": { "dev": {} } });
    std::fs::write(&stage.spec.path, file.to_string()).unwrap();
    std::fs::write(stage.spec.project.join("source"), "the program").unwrap();
    stage
}

async fn build(stage: &Stage) -> Ended {
    let mut runner = stage.open("1.1.0").await;
    for verb in ["inventory", "plan", "preflight"] {
        assert!(runner.run_verb(verb, None).await.unwrap().is_done());
    }
    let ended = runner.run_verb("build", None).await.unwrap();
    runner.close().await;
    ended
}

fn settled(stage: &Stage, item: &str) -> (Verdict, String) {
    let state = stage.last_run().state().unwrap();
    let item = state.items.get(&item.parse().unwrap()).unwrap();
    (item.verdict.clone(), item.reason.clone())
}

fn record(stage: &Stage) -> String {
    serde_json::to_string(&stage.events()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_leaves_its_log_and_the_digest_of_what_it_made() {
    let stage = stage(&["cp", "-v", "source", "app"], "1m").await;
    let ended = build(&stage).await;
    assert!(ended.is_done(), "{ended:?}");
    for item in ["2.3.1", "2.3.5", "2.3.6", "2.5.1", "2.5.2"] {
        let (verdict, reason) = settled(&stage, item);
        assert!(matches!(verdict, Verdict::Met { .. }), "{item} {reason}");
    }
    let record = record(&stage);
    assert!(record.contains(&Digest::of(b"the program").to_string()));
    assert!(record.contains("-> 'app'"), "the log is not in the record");
    let log = stage.last_run().logs_path().join("build-catalog.log");
    let mode = std::fs::metadata(log).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_artifact_that_everybody_can_write_fails_its_item() {
    for mode in [0o666, 0o4755] {
        let stage = stage(&[], "1m").await;
        let path = stage.spec.project.join("app");
        std::fs::write(&path, "the program").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        assert!(!build(&stage).await.is_done());
        let (verdict, reason) = settled(&stage, "2.5.2");
        assert_eq!(verdict, Verdict::Failed);
        assert!(reason.contains("app"), "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_artifact_stops_the_build() {
    let stage = stage(&[], "1m").await;
    assert!(!build(&stage).await.is_done());
    assert_eq!(settled(&stage, "2.3.6").0, Verdict::Failed);
    assert!(record(&stage).contains("CD0704"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_fails_is_shown_with_the_end_of_its_log() {
    let stage = stage(&["ls", "no-such-source"], "1m").await;
    assert!(!build(&stage).await.is_done());
    assert_eq!(settled(&stage, "2.3.1").0, Verdict::Failed);
    let record = record(&stage);
    assert!(record.contains("CD0703"));
    assert!(record.contains("No such file or directory"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_takes_too_long_is_ended_with_what_it_started() {
    let mark = format!("600.{}", std::process::id());
    let command = ["timeout", "--foreground", "600", "sleep", &mark];
    let stage = stage(&command, "300ms").await;
    assert!(!build(&stage).await.is_done());
    let (verdict, reason) = settled(&stage, "2.3.1");
    assert_eq!(verdict, Verdict::Failed);
    assert!(reason.contains("300ms"), "{reason}");
    let began = Instant::now();
    while runs(&mark) {
        assert!(began.elapsed() < LIMIT, "what the build started still runs");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Whether a process has that argument.
fn runs(argument: &str) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap();
    let lines = processes.filter_map(|one| std::fs::read(one.ok()?.path().join("cmdline")).ok());
    lines.into_iter().any(|line| {
        line.split(|byte| *byte == 0)
            .any(|word| word == argument.as_bytes())
    })
}
