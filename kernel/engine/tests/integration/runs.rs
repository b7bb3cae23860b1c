use std::time::Duration;

use code_deploy_engine::Ended;
use code_deploy_engine::spec::{Service, Spec, StrategyKind};
use code_deploy_engine::target::{Shares, Target as _};
use code_deploy_record::{EventBody, RunOutcome, Verdict, verify_folder};

use crate::simulated::{Faults, Simulated};
use crate::stage::{Stage, place};

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_moves_traffic_in_steps_rehearses_and_stops_the_old_release_last() {
    let stage = Stage::with(
        StrategyKind::Canary,
        &[(5, 1), (50, 1), (100, 0)],
        Some("1.0.0"),
    )
    .await;
    let mut runner = stage.open("1.1.0").await;
    let ended = runner.run_all().await.unwrap();
    runner.close().await;
    assert!(ended.is_done(), "{ended:?}");
    let course = stage.course();
    let order = [
        "run started",
        "planned",
        "Apply release.green.catalog",
        "Apply release.green.shop",
        "Apply release.smoke",
        "Apply release.monitoring",
        "Apply release.traffic.5",
        "Apply release.rehearsal",
        "rehearsed",
        "Apply release.traffic.50",
        "Apply release.promotion",
        "Apply finish.old-release",
        "succeeded",
        "sealed",
    ];
    let places: Vec<_> = order.iter().map(|what| place(&course, what)).collect();
    assert!(places.is_sorted(), "{course:#?}");
    let traffic: Vec<_> = stage
        .target
        .asked()
        .into_iter()
        .filter(|asked| asked.starts_with("traffic"))
        .collect();
    let expected = [
        "traffic 1.0.0=95 1.1.0=5",
        "traffic 1.0.0=100",
        "traffic 1.0.0=95 1.1.0=5",
        "traffic 1.0.0=50 1.1.0=50",
        "traffic 1.1.0=100",
    ];
    assert_eq!(traffic, expected);
    assert_eq!(
        (stage.target.running("1.0.0"), stage.target.running("1.1.0")),
        (0, 4)
    );
    let state = stage.last_run().state().unwrap();
    assert_eq!(state.items.len(), 208);
    assert!(
        state
            .items
            .values()
            .any(|item| item.verdict == Verdict::Open)
    );
    assert!(state.gates.iter().all(|gate| gate.passed));
    let report = verify_folder(&stage.last_run()).unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_deployment_says_that_there_is_no_stable_release() {
    let stage = Stage::with(StrategyKind::Canary, &[(5, 1), (100, 0)], None).await;
    let mut runner = stage.open("1.0.0").await;
    assert!(runner.inputs().initial);
    let ended = runner.run_all().await.unwrap();
    runner.close().await;
    assert!(ended.is_done(), "{ended:?}");
    let asked = stage.target.asked();
    assert!(asked.contains(&"traffic 1.0.0=100".to_owned()), "{asked:?}");
    let text = serde_json::to_string(&stage.events()).unwrap();
    assert!(text.contains("there is no stable release"));
}

#[tokio::test(flavor = "multi_thread")]
async fn blue_green_and_rolling_end_with_everything_on_the_new_release() {
    for kind in [StrategyKind::BlueGreen, StrategyKind::Rolling] {
        let stage = Stage::with(kind, &[(50, 0), (100, 0)], Some("1.0.0")).await;
        let mut runner = stage.open("1.1.0").await;
        let ended = runner.run_all().await.unwrap();
        runner.close().await;
        assert!(ended.is_done(), "{kind:?}: {ended:?}");
        assert_eq!(
            (stage.target.running("1.0.0"), stage.target.running("1.1.0")),
            (0, 4)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stable_release_that_drains_for_longer_than_the_soak_is_still_compared_with() {
    let stage = Stage::with(StrategyKind::Rolling, &[(50, 1), (100, 1)], Some("1.0.0")).await;
    stage.target.set_faults(Faults {
        drain: Duration::from_secs(3),
        ..Faults::default()
    });
    let mut runner = stage.open("1.1.0").await;
    let ended = runner.run_all().await.unwrap();
    runner.close().await;
    assert!(ended.is_done(), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_requests_of_the_new_release_send_the_run_back_and_keep_its_logs() {
    let stage = Stage::with(StrategyKind::Canary, &[(50, 30), (100, 0)], Some("1.0.0")).await;
    let failing = Some("1.1.0".parse().unwrap());
    stage.target.set_faults(Faults {
        failing,
        ..Faults::default()
    });
    let mut runner = stage.open("1.1.0").await;
    let ended = runner.run_all().await.unwrap();
    runner.close().await;
    let Ended::RolledBack(reason) = &ended else {
        panic!("{ended:?}")
    };
    assert!(
        reason.contains("failed requests of the new release: 10.00 %"),
        "{reason}"
    );
    assert_eq!(ended.exit_code(), 3);
    let course = stage.course();
    let order = [
        "gate analysis false",
        "rollback Gate",
        "Undo release.traffic.50",
        "Undo release.green.shop",
        "kept log of shop-1.1.0-1 before it was stopped",
        "release.green.shop Done",
        "rollback finished Done",
        "rolled back",
        "sealed",
    ];
    let from = place(&course, "rollback Gate") - 5;
    let places: Vec<_> = order
        .iter()
        .map(|what| place(course.get(from..).unwrap(), what))
        .collect();
    assert!(places.is_sorted(), "{course:#?}");
    assert_eq!(
        (stage.target.running("1.0.0"), stage.target.running("1.1.0")),
        (4, 0)
    );
    let shares = stage.target.shares();
    assert!(
        shares.values().all(|shares| shares.len() == 1),
        "{shares:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_never_becomes_ready_gets_no_traffic() {
    let mut stage = Stage::canary().await;
    stage.spec.strategy.health.deadline = code_deploy_engine::duration::Span::from_millis(300);
    let unready = Some("1.1.0".parse().unwrap());
    stage.target.set_faults(Faults {
        unready,
        ..Faults::default()
    });
    let mut runner = stage.open("1.1.0").await;
    let ended = runner.run_all().await.unwrap();
    runner.close().await;
    assert_eq!(ended.exit_code(), 3, "{ended:?}");
    let asked = stage.target.asked();
    assert!(
        !asked.iter().any(|asked| asked.contains("1.1.0=")),
        "{asked:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_that_cannot_be_completed_needs_a_person_and_goes_on_when_asked_again() {
    let mut stage = Stage::canary().await;
    stage.spec.strategy.health.deadline = code_deploy_engine::duration::Span::from_millis(300);
    let release = Some("1.1.0".parse().unwrap());
    let faults = Faults {
        unready: release.clone(),
        unstoppable: release,
        failing: None,
        ..Faults::default()
    };
    stage.target.set_faults(faults);
    let mut runner = stage.open("1.1.0").await;
    let ended = runner.run_all().await.unwrap();
    runner.close().await;
    let Ended::NeedsPerson(problem) = &ended else {
        panic!("{ended:?}")
    };
    assert_eq!(ended.exit_code(), 4);
    assert!(problem.what.contains("release.green"), "{problem:?}");
    for word in ["retry", "skip release.green.shop", "abandon"] {
        let command = format!("code-deploy {word}");
        assert!(problem.next.contains(&command), "{problem:?}");
    }
    let finished = stage.last_run().state().unwrap().finished.unwrap();
    assert_eq!(finished.0, RunOutcome::NeedsPerson);
    let refused = stage
        .try_open("1.2.0", code_deploy_engine::Purpose::Deploy)
        .await;
    assert_eq!(crate::stage::code(refused), "CD0412");
    stage.target.set_faults(Faults::default());
    let mut again = stage
        .try_open("1.1.0", code_deploy_engine::Purpose::GoBack)
        .await
        .unwrap();
    let ended = again.rollback("anna", "mended").await.unwrap();
    again.close().await;
    assert_eq!(ended.exit_code(), 3, "{ended:?}");
    assert_eq!(stage.target.running("1.1.0"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_run_is_reverted_by_a_run_that_moves_traffic_at_once() {
    let stage = Stage::canary().await;
    let mut runner = stage.open("1.1.0").await;
    assert!(runner.run_all().await.unwrap().is_done());
    let reverts = runner.run_id();
    runner.close().await;
    let mut options = stage.options("1.0.0", code_deploy_engine::Purpose::Begin);
    options.reverts = reverts;
    let mut back = code_deploy_engine::Runner::open(options).await.unwrap();
    assert!(back.run_all().await.unwrap().is_done());
    back.close().await;
    let course = stage.course();
    assert!(
        !course
            .iter()
            .any(|entry| entry.starts_with("Apply release.traffic")),
        "{course:?}"
    );
    assert_eq!(
        (stage.target.running("1.0.0"), stage.target.running("1.1.0")),
        (4, 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_of_which_a_service_serves_nobody_is_the_one_that_the_last_run_left() {
    let stage = Stage::canary().await;
    let mut runner = stage.open("1.1.0").await;
    assert!(runner.run_all().await.unwrap().is_done());
    let reverts = runner.run_id();
    runner.close().await;
    let nobody = [("catalog".to_owned(), Shares::new())].into();
    stage.target.set_traffic(&nobody).await.unwrap();
    assert_eq!(stage.target.observe().await.unwrap().stable, None);
    let mut options = stage.options("1.0.0", code_deploy_engine::Purpose::Begin);
    options.reverts = reverts;
    let mut back = code_deploy_engine::Runner::open(options).await.unwrap();
    let ended = back.run_all().await.unwrap();
    back.close().await;
    assert!(ended.is_done(), "{ended:?}");
    assert_eq!(
        (stage.target.running("1.0.0"), stage.target.running("1.1.0")),
        (4, 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_is_ill_is_left_although_what_replaces_it_needs_what_is_ill() {
    let stage = Stage::canary().await;
    let mut runner = stage.open("1.1.0").await;
    assert!(runner.run_all().await.unwrap().is_done());
    let reverts = runner.run_id();
    runner.close().await;
    stage.target.set_faults(Faults {
        ill: "1.1.0".parse().ok(),
        ..Faults::default()
    });
    let mut options = stage.options("1.0.0", code_deploy_engine::Purpose::Begin);
    options.reverts = reverts.clone();
    let mut back = code_deploy_engine::Runner::open(options).await.unwrap();
    let ended = back.run_all().await.unwrap();
    back.close().await;
    assert!(ended.is_done(), "{ended:?}");
    let events = stage.events();
    let moved = events.iter().filter_map(|event| match &event.body {
        EventBody::TrafficShifted {
            service, reason, ..
        } => Some((service.as_str(), reason.as_str())),
        _ => None,
    });
    let moved: Vec<_> = moved.collect();
    let [(first, why), rest @ ..] = moved.as_slice() else {
        panic!("{moved:?}")
    };
    assert_eq!(*first, "catalog");
    assert!(why.contains("catalog 1.1.0 is not healthy"), "{why}");
    assert!(rest.iter().all(|(_, why)| *why == "promotion"), "{rest:?}");

    // Where what replaces it does not get ready, everything is as before.
    stage.target.set_faults(Faults {
        ill: "1.0.0".parse().ok(),
        unready: "1.1.0".parse().ok(),
        ..Faults::default()
    });
    let mut stage = stage;
    stage.spec.strategy.health.deadline = code_deploy_engine::duration::Span::from_millis(300);
    let mut options = stage.options("1.1.0", code_deploy_engine::Purpose::Begin);
    options.reverts = reverts;
    let mut back = code_deploy_engine::Runner::open(options).await.unwrap();
    let ended = back.run_all().await.unwrap();
    back.close().await;
    assert_eq!(ended.exit_code(), 3, "{ended:?}");
    let shares = stage.target.shares();
    assert!(
        shares
            .values()
            .all(|shares| shares.keys().all(|one| one.as_str() == "1.0.0")),
        "{shares:?}"
    );
    assert_eq!(stage.target.running("1.1.0"), 0);
}

/// A stage on which a run needs a person, because the new release cannot be stopped.
async fn needs_a_person() -> Stage {
    let mut stage = Stage::canary().await;
    stage.spec.strategy.health.deadline = code_deploy_engine::duration::Span::from_millis(300);
    let release = Some("1.1.0".parse().unwrap());
    stage.target.set_faults(Faults {
        unready: release.clone(),
        unstoppable: release,
        failing: None,
        ..Faults::default()
    });
    let mut runner = stage.open("1.1.0").await;
    let ended = runner.run_all().await.unwrap();
    runner.close().await;
    let Ended::NeedsPerson(problem) = &ended else {
        panic!("{ended:?}")
    };
    for command in ["retry", "skip release.green.", "abandon"] {
        let told = format!("code-deploy {command}");
        assert!(problem.next.contains(&told), "{problem:?}");
    }
    stage
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_dealt_with_a_step_by_hand_lets_the_rollback_go_on_without_it() {
    let stage = needs_a_person().await;
    let purpose = code_deploy_engine::Purpose::GoBack;
    let mut runner = stage.try_open("1.1.0", purpose).await.unwrap();
    let other = "release.smoke".parse().unwrap();
    let refused = runner.skip(&other, "anna", "it is gone").await;
    assert_eq!(crate::stage::code(refused), "CD0471");
    for name in runner.state().to_undo() {
        runner.skip(&name, "anna", "killed by hand").await.unwrap();
    }
    let ended = runner.rollback("anna", "go on").await.unwrap();
    runner.close().await;
    assert_eq!(ended.exit_code(), 3, "{ended:?}");
    let state = stage.last_run().state().unwrap();
    let skipped = state.steps.values().filter(|step| step.skipped.is_some());
    assert!(skipped.count() > 0);
    let refused = stage.try_open("1.1.0", purpose).await;
    assert_eq!(crate::stage::code(refused), "CD0418");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_abandons_a_run_ends_it_and_another_can_begin() {
    let stage = needs_a_person().await;
    let purpose = code_deploy_engine::Purpose::GoBack;
    let mut runner = stage.try_open("1.1.0", purpose).await.unwrap();
    let ended = runner.abandon("anna", "it is to be rebuilt").await.unwrap();
    runner.close().await;
    let Ended::Abandoned(summary) = &ended else {
        panic!("{ended:?}")
    };
    assert!(summary.contains("release.green"), "{summary}");
    let finished = stage.last_run().state().unwrap().finished.unwrap();
    assert_eq!(finished.0, RunOutcome::Abandoned);
    assert!(verify_folder(&stage.last_run()).unwrap().sealed);
    stage.target.set_faults(Faults::default());
    let mut next = stage.open("1.2.0").await;
    let refused = next.abandon("anna", "a run under way").await;
    assert_eq!(crate::stage::code(refused), "CD0470");
    assert!(next.run_all().await.unwrap().is_done());
    next.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn services_are_started_after_those_that_depends_on_names() {
    let mut stage = Stage::with(StrategyKind::Canary, &[(5, 1), (100, 0)], None).await;
    let folder = tempfile::tempdir().unwrap();
    let deploy = "application: app\nenvironments: {dev: {}}\n";
    let compose = "services:
  a: {image: 'a:1', expose: [80], depends_on: {b: {condition: service_healthy}}}
  b: {image: 'b:1', expose: [80], depends_on: {d: {condition: service_started}}}
  c: {image: 'c:1', expose: [80], depends_on: [a]}
  d: {image: 'd:1', expose: [80]}
";
    std::fs::write(folder.path().join("deploy.yaml"), deploy).unwrap();
    std::fs::write(folder.path().join("compose.yaml"), compose).unwrap();
    let path = folder.path().join("deploy.yaml");
    let read = Spec::load(&path, "dev", "local", &|_| None).unwrap();
    let like = stage.spec.services.remove(0);
    let services = read.services.into_iter().map(|service| Service {
        name: service.name,
        needs: service.needs,
        ..like.clone()
    });
    stage.spec.services = services.collect();
    stage.target = Simulated::new(folder.path().join("simulated"));
    stage.target.address_all(&stage.spec).await;
    let mut runner = stage.open("1.0.0").await;
    let ended = runner.run_all().await.unwrap();
    runner.close().await;
    assert!(ended.is_done(), "{ended:?}");
    let asked = stage.target.asked().into_iter();
    let starts: Vec<_> = asked.filter(|asked| asked.starts_with("start ")).collect();
    let order = ["d", "b", "a", "c"].map(|name| format!("start {name} 1.0.0"));
    assert_eq!(starts, order);
}
