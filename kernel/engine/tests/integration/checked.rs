//! Services of which the deployment file names no probes, on a place that runs a health check in each instance.

use std::sync::Arc;

use code_deploy_engine::duration::Span;
use code_deploy_engine::plan::Inputs;
use code_deploy_engine::spec::ProbesFile;
use code_deploy_engine::{Step, phases, release};
use code_deploy_record::{EventBody, Gate, GateEvaluated, ItemId, Verdict};

use crate::simulated::Faults;
use crate::stage::Stage;

/// Of the build, what makes images ready.
fn steps(inputs: &Inputs) -> Vec<Arc<dyn Step>> {
    let mut steps = phases::build::steps(inputs);
    steps.retain(|step| step.planned().step.as_str() == "build.images");
    steps.extend(release::steps(inputs));
    steps
}

/// A stage whose services have no paths for probes.
async fn pathless(faults: Faults) -> Stage {
    let mut stage = Stage::canary().await;
    for service in &mut stage.spec.services {
        service.file.probes = ProbesFile::default();
    }
    stage.target.set_faults(faults);
    stage
}

fn gates(stage: &Stage, wanted: Gate) -> Vec<GateEvaluated> {
    let bodies = stage.events().into_iter().map(|event| event.body);
    let gates = bodies.filter_map(|body| match body {
        EventBody::GateEvaluated(gate) if gate.gate == wanted => Some(gate),
        _ => None,
    });
    gates.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_health_check_of_the_place_stands_for_all_probes() {
    let stage = pathless(Faults {
        checks: true,
        ..Faults::default()
    })
    .await;
    let mut runner = stage.open("1.1.0").await;
    let ended = runner.run_all().await.unwrap();
    runner.close().await;
    assert!(ended.is_done(), "{ended:?}");
    let health = gates(&stage, Gate::Health);
    let text = "passed the health check that the target runs (startup, readiness, liveness)";
    assert!(
        !health.is_empty() && health.iter().all(|gate| gate.reason.contains(text)),
        "{health:?}"
    );
    let smoke = gates(&stage, Gate::Smoke);
    assert!(smoke.iter().all(|gate| gate.passed), "{smoke:?}");
    assert!(
        smoke[0].reason.contains("2 health checks passed"),
        "{smoke:?}"
    );
    let state = stage.last_run().state().unwrap();
    for item in ["5.4.2", "5.4.3", "5.4.4"] {
        let id: ItemId = item.parse().unwrap();
        let settled = &state.items[&id];
        let is_met = matches!(settled.verdict, Verdict::Met { .. });
        let says = settled.reason.contains("one check stands for every probe");
        assert!(is_met && says, "{item}: {settled:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_whose_health_check_fails_is_stopped_by_the_gate_with_its_words() {
    let mut stage = pathless(Faults {
        checks: true,
        unwell: "1.1.0".parse().ok(),
        ..Faults::default()
    })
    .await;
    stage.spec.strategy.health.deadline = Span::from_millis(300);
    let mut runner = stage.open("1.1.0").await;
    let ended = runner.run_all().await.unwrap();
    runner.close().await;
    assert_eq!(ended.exit_code(), 3, "{ended:?}");
    let health = gates(&stage, Gate::Health);
    let failed = health.iter().find(|gate| !gate.passed).unwrap();
    let words = "exit code 1, no way to the database";
    assert!(failed.reason.contains(words), "{failed:?}");
    // One check has one thing to say of an instance, whatever it stands for.
    assert_eq!(failed.reason.matches(words).count(), 2, "{failed:?}");
    let asked = stage.target.asked();
    let is_served = |asked: &String| asked.contains("1.1.0=");
    assert!(!asked.iter().any(is_served), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_build_stops_where_images_turn_out_to_have_no_health_check() {
    for has_check in [true, false] {
        let mut stage = pathless(Faults {
            images: ["catalog", "shop"]
                .map(|name| (name.to_owned(), has_check))
                .into(),
            ..Faults::default()
        })
        .await;
        stage.steps = steps;
        stage.spec.target = "docker-desktop".to_owned();
        let file = serde_json::json!({ "application": "shop", "environments": { "dev": {} } });
        std::fs::write(&stage.spec.path, file.to_string()).unwrap();
        let mut runner = stage.open("1.1.0").await;
        for verb in ["inventory", "plan", "preflight"] {
            assert!(runner.run_verb(verb, None).await.unwrap().is_done());
        }
        let ended = runner.run_verb("build", None).await.unwrap();
        runner.close().await;
        assert_eq!(ended.is_done(), has_check, "{ended:?}");
        let record = serde_json::to_string(&stage.events()).unwrap();
        for words in ["CD0437", "no startup probe: catalog, shop"] {
            assert_eq!(record.contains(words), !has_check, "{words}");
        }
        assert!(
            !stage
                .target
                .asked()
                .iter()
                .any(|asked| asked.starts_with("start"))
        );
    }
}
