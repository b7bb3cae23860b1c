use code_deploy_engine::spec::StrategyKind;
use code_deploy_engine::steer::{Asking, SteerError, ask};
use code_deploy_engine::{Context, Ended, Purpose};
use code_deploy_record::{
    APPROVED, Clock as _, Consent, Digest, SealKey, SignedConsent, SystemClock,
};

use crate::stage::{LIMIT, Stage, place, seal_key};

async fn long_canary() -> Stage {
    Stage::with(StrategyKind::Canary, &[(50, 600), (100, 0)], Some("1.0.0")).await
}

async fn until_traffic_is_split(stage: &Stage) {
    let split = async {
        while !stage
            .target
            .shares()
            .values()
            .all(|shares| shares.len() == 2)
        {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LIMIT, split).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_alive_goes_back_when_another_process_asks_over_the_socket() {
    let mut stage = long_canary().await;
    stage.spec.strategy.rehearse_rollback = false;
    let mut runner = stage.open("1.1.0").await;
    let folder = runner.handle().run().clone();
    let steering = async {
        until_traffic_is_split(&stage).await;
        let told = ask(&folder, Asking::Rollback, "berta", "users complain")
            .await
            .unwrap();
        assert!(told.ok, "{told:?}");
    };
    let (ended, ()) = tokio::join!(runner.run_all(), steering);
    runner.close().await;
    let Ended::RolledBack(reason) = ended.unwrap() else {
        panic!("not rolled back")
    };
    assert_eq!(reason, "berta: users complain");
    assert!(
        stage
            .events()
            .iter()
            .any(|event| event.actor == "person:berta")
    );
    let gone = ask(&folder, Asking::Status, "berta", "").await;
    assert!(matches!(gone, Err(SteerError::NotRunning)), "{gone:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_run_waits_and_goes_on_when_it_is_resumed() {
    let stage = Stage::with(StrategyKind::Canary, &[(50, 3), (100, 0)], Some("1.0.0")).await;
    let mut runner = stage.open("1.1.0").await;
    let (folder, handle) = (runner.handle().run().clone(), runner.handle());
    let steering = async {
        until_traffic_is_split(&stage).await;
        assert!(
            ask(&folder, Asking::Pause, "berta", "look")
                .await
                .unwrap()
                .ok
        );
        while !handle.journal().state().paused {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        let told = ask(&folder, Asking::Status, "berta", "").await.unwrap();
        assert!(told.text.starts_with("paused in phase 06"), "{told:?}");
        assert!(
            ask(&folder, Asking::Resume, "berta", "seen")
                .await
                .unwrap()
                .ok
        );
    };
    let both = async { tokio::join!(runner.run_all(), steering) };
    let (ended, ()) = tokio::time::timeout(LIMIT, both).await.unwrap();
    runner.close().await;
    assert!(ended.unwrap().is_done());
    let course = stage.course();
    assert!(place(&course, "paused") < place(&course, "resumed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_run_stands_at_a_safe_point_and_another_process_takes_it_back() {
    let stage = long_canary().await;
    let mut runner = stage.open("1.1.0").await;
    let handle = runner.handle();
    let interrupting = async {
        until_traffic_is_split(&stage).await;
        handle.interrupt("anna");
    };
    let (ended, ()) = tokio::join!(runner.run_all(), interrupting);
    let ended = ended.unwrap();
    assert_eq!(ended.exit_code(), 130, "{ended:?}");
    runner.close().await;
    let mut other = stage.try_open("1.1.0", Purpose::GoBack).await.unwrap();
    let ended = other.rollback("anna", "enough").await.unwrap();
    other.close().await;
    assert_eq!(ended.exit_code(), 3, "{ended:?}");
    assert_eq!(
        (stage.target.running("1.0.0"), stage.target.running("1.1.0")),
        (4, 0)
    );
}

fn go(signed: Option<SignedConsent>) -> Asking {
    Asking::Approve {
        go: true,
        signed: signed.map(Box::new),
    }
}

/// Waits until the run asks for an approval; returns the plan's digest.
async fn until_asked(context: &Context) -> Digest {
    loop {
        if let Some((_, plan)) = context.state().approval_asked.clone() {
            return plan;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_one_who_runs_a_deployment_may_not_approve_it_where_somebody_else_has_to() {
    let mut stage = Stage::canary().await;
    stage.spec.policy.approval = code_deploy_engine::spec::ApprovalRule::SomebodyElse;
    let runner = stage.open("1.1.0").await;
    let (context, folder) = (runner.context().clone(), runner.handle().run().clone());
    let approving = async {
        until_asked(&context).await;
        let own = ask(&folder, go(None), "anna", "fine").await.unwrap();
        assert!(!own.ok && own.text.contains("somebody else"), "{own:?}");
        let told = ask(&folder, go(None), "berta", "fine").await.unwrap();
        assert!(told.ok, "{told:?}");
    };
    let gate = code_deploy_engine::gate::approval::pass(&context, "go/no-go", "deploy 1.1.0");
    let (passed, ()) = tokio::join!(gate, approving);
    passed.unwrap();
    drop(context);
    runner.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_keys_are_named_only_a_signed_answer_of_a_second_person_counts() {
    let berta = SealKey::from_seed(&[3; 32]).unwrap();
    let line = |key: &SealKey| key.public().ed25519().to_openssh().unwrap();
    let mut stage = Stage::canary().await;
    stage.spec.policy.approval = code_deploy_engine::spec::ApprovalRule::SomebodyElse;
    let signers = [("berta", line(&berta)), ("carl", line(&seal_key()))];
    let signers = signers.map(|(name, key)| (name.to_owned(), key));
    stage.spec.file.approvals.signers = signers.into();
    let runner = stage.open("1.1.0").await;
    let (context, folder) = (runner.context().clone(), runner.handle().run().clone());
    let run = runner.run_id().unwrap();
    let signed = |by: &str, key: &SealKey, plan: Digest, hours: i64| {
        let signed = SystemClock.now();
        let consent = Consent {
            run: run.clone(),
            gate: "go/no-go".to_owned(),
            plan,
            go: true,
            by: by.to_owned(),
            reason: "fine".to_owned(),
            signed,
            expires: signed + chrono::Duration::hours(hours),
            waivers: code_deploy_engine::steer::waivers(&context.spec),
        };
        let statement = serde_json::to_string(&consent).unwrap();
        let signature = key.sign_ssh(APPROVED, statement.as_bytes()).unwrap();
        Some(SignedConsent {
            statement,
            signature,
        })
    };
    let approving = async {
        let plan = until_asked(&context).await;
        let refused = [
            ("berta", None, "has to be signed"),
            (
                "berta",
                signed("berta", &berta, Digest::of(b"another"), 1),
                "is not this answer",
            ),
            ("berta", signed("berta", &berta, plan, 0), "counts from"),
            (
                "berta",
                signed("berta", &seal_key(), plan, 1),
                "the key that the deployment file has",
            ),
            (
                "carl",
                signed("carl", &seal_key(), plan, 1),
                "wants two persons",
            ),
        ];
        for (by, signed, word) in refused {
            let told = ask(&folder, go(signed), by, "fine").await.unwrap();
            assert!(!told.ok && told.text.contains(word), "{word}: {told:?}");
        }
        let answer = signed("berta", &berta, plan, 1);
        let told = ask(&folder, go(answer), "berta", "fine").await.unwrap();
        assert!(told.ok, "{told:?}");
    };
    let gate = code_deploy_engine::gate::approval::pass(&context, "go/no-go", "deploy 1.1.0");
    let (passed, ()) = tokio::join!(gate, approving);
    passed.unwrap();
    drop(context);
    runner.close().await;
    let report = code_deploy_record::verify_folder(&folder).unwrap();
    assert_eq!(report.findings, []);
    assert_eq!(report.approved[0].key, Some(berta.public().ed25519()));
}
