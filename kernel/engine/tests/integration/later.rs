//! Items that a phase after their own, or the end of a run, finds not to hold.

use std::sync::Arc;

use async_trait::async_trait;
use code_deploy_engine::plan::{Inputs, MakeSteps};
use code_deploy_engine::spec::{Reaction, StrategyKind};
use code_deploy_engine::step::StepError;
use code_deploy_engine::{Context, Ended, Step, code, release};
use code_deploy_record::{Check, PhaseNumber, PlannedStep, RunOutcome, Vantage, Verdict};
use serde_json::{Value, json};

use crate::simulated::Faults;
use crate::stage::Stage;

/// A mandatory item of phase 1.
const ITEM: &str = "1.2.8";

/// How a phase that stops names it.
const NAMED: &str = "1 item looked at and found not to hold (1.2.8 of phase 01: a node is missing)";

/// A step that finds that it does not hold.
struct Look(PlannedStep);

fn look(name: &str, phase: u8, after: &[&str]) -> Arc<dyn Step> {
    Arc::new(Look(PlannedStep {
        step: name.parse().unwrap(),
        title: "look once more".to_owned(),
        phase: PhaseNumber::new(phase).unwrap(),
        service: None,
        after: after.iter().map(|step| step.parse().unwrap()).collect(),
        items: Vec::new(),
        undo: None,
        changes: false,
        inside: "one look".to_owned(),
        outside: "another look".to_owned(),
        expected_ms: 1,
    }))
}

#[async_trait]
impl Step for Look {
    fn planned(&self) -> &PlannedStep {
        &self.0
    }

    fn intent(&self, _: &Context) -> Value {
        json!({})
    }

    async fn apply(&self, context: &Context) -> Result<Value, StepError> {
        let (item, reason) = (ITEM.parse().unwrap(), "a node is missing");
        context
            .settle(&item, Verdict::Failed, reason, Vec::new())
            .await?;
        Ok(Value::Null)
    }

    async fn verify(&self, _: &Context) -> Result<Check, StepError> {
        Ok(looked(Vantage::Inside))
    }

    async fn cross_check(&self, _: &Context) -> Result<Check, StepError> {
        Ok(looked(Vantage::Outside))
    }
}

fn looked(vantage: Vantage) -> Check {
    Check {
        vantage,
        method: "a look".to_owned(),
        passed: true,
        detail: "looked".to_owned(),
    }
}

/// The steps of a run of which the last one of phase 6 finds that the item does not hold.
fn found_in_release(inputs: &Inputs) -> Vec<Arc<dyn Step>> {
    let mut steps = release::steps(inputs);
    steps.push(look("release.look", 6, &["release.promotion"]));
    steps
}

/// The steps of a run of which one that ends it finds that the item does not hold.
fn found_at_the_end(inputs: &Inputs) -> Vec<Arc<dyn Step>> {
    let mut steps = release::steps(inputs);
    steps.push(look("finish.look", 9, &[]));
    steps
}

fn waive(stage: &mut Stage) {
    let waiver =
        json!({ "item": ITEM, "by": "anna", "reason": "it is known", "expires": "9999-12-31" });
    let waiver = serde_json::from_value(waiver).unwrap();
    stage.spec.file.waivers.push(waiver);
}

fn outcome(stage: &Stage) -> RunOutcome {
    stage.last_run().state().unwrap().finished.unwrap().0
}

fn verdict(stage: &Stage, item: &str) -> Verdict {
    let state = stage.last_run().state().unwrap();
    state.items[&item.parse().unwrap()].verdict.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mandatory_item_that_a_later_phase_finds_not_to_hold_stops_that_phase_each_time_it_is_asked()
 {
    let mut stage = Stage::canary().await;
    stage.steps = found_in_release;
    let mut runner = stage.open("1.1.0").await;
    for _ in 0..2 {
        let ended = runner.run_verb("release", None).await.unwrap();
        let Ended::Failed(problem) = &ended else {
            panic!("{ended:?}")
        };
        assert_eq!(problem.code, code::STOPPED_BY_POLICY);
        let words = format!("phase 06 stops by the policy of dev: {NAMED}");
        assert_eq!(problem.what, words);
        let next = "`code-deploy rollback`: the step that found it is done and does not look again";
        assert!(problem.next.contains(next), "{}", problem.next);
    }
    runner.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_sends_the_run_back_where_the_policy_says_so_and_where_nobody_is_there_to_decide() {
    for roll_back_on_failure in [true, false] {
        let mut stage = Stage::canary().await;
        stage.steps = found_in_release;
        stage.spec.policy.roll_back_on_failure = roll_back_on_failure;
        let mut runner = stage.open("1.1.0").await;
        let ended = match roll_back_on_failure {
            true => runner.run_verb("release", None).await.unwrap(),
            false => runner.run_all().await.unwrap(),
        };
        runner.close().await;
        let Ended::RolledBack(reason) = &ended else {
            panic!("{ended:?}")
        };
        assert!(reason.contains(NAMED), "{reason}");
        assert_eq!(
            (stage.target.running("1.0.0"), stage.target.running("1.1.0")),
            (4, 0)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_waives_or_the_policy_only_notes_stops_nothing_whichever_phase_finds_it() {
    let found: [MakeSteps; 2] = [found_in_release, found_at_the_end];
    for steps in found {
        let mut stage = Stage::canary().await;
        stage.steps = steps;
        waive(&mut stage);
        let mut runner = stage.open("1.1.0").await;
        let ended = runner.run_all().await.unwrap();
        runner.close().await;
        assert!(ended.is_done(), "{ended:?}");
        assert_eq!(outcome(&stage), RunOutcome::Succeeded);
        let verdict = verdict(&stage, ITEM);
        assert!(matches!(verdict, Verdict::Waived { .. }), "{verdict:?}");
    }
    let mut stage = Stage::canary().await;
    stage.steps = found_in_release;
    stage.spec.policy.failed = Reaction::Note;
    let mut runner = stage.open("1.1.0").await;
    let ended = runner.run_all().await.unwrap();
    runner.close().await;
    assert!(ended.is_done(), "{ended:?}");
    assert_eq!(verdict(&stage, ITEM), Verdict::Failed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_does_not_succeed_with_an_item_that_its_very_end_finds_not_to_hold() {
    let mut stage = Stage::canary().await;
    stage.steps = found_at_the_end;
    let mut runner = stage.open("1.1.0").await;
    let ended = runner.run_all().await.unwrap();
    runner.close().await;
    let Ended::RolledBack(reason) = &ended else {
        panic!("{ended:?}")
    };
    let words = format!("the run cannot succeed by the policy of dev: {NAMED}");
    assert!(reason.contains(&words), "{reason}");
    assert_eq!(outcome(&stage), RunOutcome::RolledBack);
    assert_eq!(
        (stage.target.running("1.0.0"), stage.target.running("1.1.0")),
        (4, 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_split_that_is_counted_off_by_twenty_points_sends_the_run_back() {
    let stage = Stage::with(StrategyKind::Canary, &[(50, 1), (100, 0)], Some("1.0.0")).await;
    stage.target.set_faults(Faults {
        favoured: "1.1.0".parse().ok(),
        ..Faults::default()
    });
    let mut runner = stage.open("1.1.0").await;
    let ended = runner.run_all().await.unwrap();
    runner.close().await;
    let Ended::RolledBack(reason) = &ended else {
        panic!("{ended:?}")
    };
    let words = "(3.4.5 of phase 04: at 50 % for release 1.1.0: catalog ";
    assert!(reason.contains(words), "{reason}");
    assert!(reason.contains(" points)"), "{reason}");
    assert_eq!(verdict(&stage, "3.4.5"), Verdict::Failed);
}
