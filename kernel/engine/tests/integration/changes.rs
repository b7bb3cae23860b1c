use std::sync::Arc;

use code_deploy_engine::plan::Inputs;
use code_deploy_engine::target::{Change, ChangeState, FieldChange};
use code_deploy_engine::{Step, phases, release};

use crate::stage::Stage;

/// Of the plan, what says where something is deployed.
fn steps(inputs: &Inputs) -> Vec<Arc<dyn Step>> {
    let mut steps = phases::planning::steps(inputs);
    steps.retain(|step| step.planned().step.as_str() == "plan.scope");
    steps.extend(release::steps(inputs));
    steps
}

/// Plans a run to a target that says it would change that; returns the stage and its record.
async fn planned(changes: Vec<Change>) -> (Stage, String) {
    let mut stage = Stage::canary().await;
    stage.steps = steps;
    stage.target.foretell(changes);
    let mut runner = stage.open("1.1.0").await;
    for verb in ["inventory", "plan"] {
        let ended = runner.run_verb(verb, None).await.unwrap();
        assert!(ended.is_done(), "{ended:?}");
    }
    runner.close().await;
    let record = serde_json::to_string(&stage.events()).unwrap();
    (stage, record)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_run_changes_is_told_with_its_scope_and_kept_as_evidence() {
    let field = FieldChange {
        path: "spec.image".to_owned(),
        before: Some("api:1".to_owned()),
        after: Some("api:2".to_owned()),
    };
    let change = Change {
        kind: "Deployment".to_owned(),
        name: "api-1-1-0".to_owned(),
        state: ChangeState::New,
        beside: Some("api-1-0-0".to_owned()),
        summary: String::new(),
        fields: vec![field],
        more: 0,
    };
    let (stage, record) = planned(vec![change]).await;
    for part in [
        "The run states 1 object in the cluster; new: 1, changed: 0, as before: 0",
        "new, differs from api-1-0-0",
        "spec.image: api:1 -> api:2",
        "is in the evidence `changes-in-the-cluster`",
    ] {
        assert!(record.contains(part), "{part} is not in {record}");
    }
    let kept = "kept changes-in-the-cluster".to_owned();
    assert!(stage.course().contains(&kept), "{:#?}", stage.course());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_target_that_holds_no_objects_nothing_is_told() {
    let (stage, record) = planned(Vec::new()).await;
    assert!(record.contains("Scope and strategy"), "{record}");
    assert!(!record.contains("by a dry run on the server"), "{record}");
    let kept = "kept changes-in-the-cluster".to_owned();
    assert!(!stage.course().contains(&kept), "{:#?}", stage.course());
}
