use std::sync::Arc;

use code_deploy_engine::plan::{Found, Inputs, Plan};
use code_deploy_engine::spec::StrategyKind;

use crate::stage::Stage;

fn inputs(stage: &Stage, to: &str) -> Inputs {
    let spec = Arc::new(stage.spec.clone());
    Inputs {
        inventory: Arc::new(Found::declared(&spec)),
        spec,
        from: Some("1.0.0".parse().unwrap()),
        to: to.parse().unwrap(),
        initial: false,
        reverts: None,
    }
}

#[tokio::test]
async fn the_same_inputs_give_the_same_digest_and_others_another() {
    let stage = Stage::canary().await;
    let digest = |to| Plan::make(&inputs(&stage, to)).unwrap().digest;
    assert_eq!(digest("1.1.0"), digest("1.1.0"));
    assert_ne!(digest("1.1.0"), digest("1.2.0"));
}

#[tokio::test]
async fn every_step_names_both_verifications_and_every_change_its_undo() {
    for kind in [
        StrategyKind::Canary,
        StrategyKind::BlueGreen,
        StrategyKind::Rolling,
    ] {
        let stage = Stage::with(kind, &[(25, 1), (50, 1), (100, 0)], None).await;
        for step in Plan::make(&inputs(&stage, "1.1.0")).unwrap().planned() {
            assert!(
                !step.inside.is_empty() && !step.outside.is_empty(),
                "{}",
                step.step
            );
            assert_ne!(step.inside, step.outside, "{}", step.step);
            assert_eq!(step.changes, step.undo.is_some(), "{}", step.step);
        }
    }
}

#[tokio::test]
async fn a_section_brings_the_steps_between_its_own() {
    let stage = Stage::canary().await;
    let plan = Plan::make(&inputs(&stage, "1.1.0")).unwrap();
    let names: Vec<_> = plan
        .selection("release", Some("traffic"))
        .iter()
        .map(|step| step.planned().step.to_string())
        .collect();
    assert_eq!(
        names,
        [
            "release.traffic.5",
            "release.rehearsal",
            "release.traffic.50"
        ]
    );
}
