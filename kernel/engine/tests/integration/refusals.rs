use code_deploy_engine::runner::VerbDone;
use code_deploy_engine::spec::{ComposeService, Reaction};
use code_deploy_engine::{Ended, Error, Purpose, Runner};
use code_deploy_record::Digest;

use crate::simulated::Faults;
use crate::stage::{Stage, code};

#[tokio::test(flavor = "multi_thread")]
async fn a_second_runner_is_refused_while_one_holds_the_lock() {
    let stage = Stage::canary().await;
    let runner = stage.open("1.1.0").await;
    assert_eq!(
        code(stage.try_open("1.1.0", Purpose::Deploy).await),
        "CD0410"
    );
    runner.close().await;
    stage.open("1.1.0").await.close().await;
}

fn held_elsewhere() -> Faults {
    Faults {
        held_by: Some("run 20260101T000000Z-dev-2 of ben@there".to_owned()),
        ..Faults::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_is_refused_while_another_machine_holds_the_target() {
    let stage = Stage::canary().await;
    stage.target.set_faults(held_elsewhere());
    let Err(Error::Refused(refused)) = stage.try_open("1.1.0", Purpose::Deploy).await else {
        panic!("it was opened");
    };
    assert_eq!(refused.code, "CD0440");
    assert!(refused.what.contains("ben@there"), "{}", refused.what);
    assert!(stage.runs().list().unwrap().is_empty());
    stage.target.set_faults(Faults::default());
    stage.open("1.1.0").await.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_changes_nothing_more_when_another_machine_has_taken_over() {
    let stage = Stage::canary().await;
    let mut runner = stage.open("1.1.0").await;
    stage.target.set_faults(held_elsewhere());
    stage.target.renewed().await;
    let problem = runner.run_all().await.unwrap_err().problem();
    assert_eq!(problem.code, "CD0320");
    assert!(problem.what.contains("ben@there"), "{}", problem.what);
    assert!(
        stage.target.asked().is_empty(),
        "{:?}",
        stage.target.asked()
    );
    runner.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_is_deployed_already_is_refused_and_leaves_no_run() {
    let stage = Stage::canary().await;
    let refused = stage.try_open("1.0.0", Purpose::Deploy).await;
    let problem = refused.err().unwrap().problem();
    assert_eq!(problem.code, "CD0411");
    assert!(problem.what.contains("has all traffic"), "{}", problem.what);
    for words in ["`release:`", "--stop`", "`code-deploy status`"] {
        assert!(problem.next.contains(words), "{}", problem.next);
    }
    assert!(stage.runs().list().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unfinished_run_is_joined_only_for_its_own_release_and_plan() {
    let mut stage = Stage::canary().await;
    stage.open("1.1.0").await.close().await;
    assert_eq!(
        code(stage.try_open("1.2.0", Purpose::Deploy).await),
        "CD0412"
    );
    assert_eq!(
        code(stage.try_open("1.1.0", Purpose::Begin).await),
        "CD0412"
    );
    let joined = stage.open("1.1.0").await;
    joined.close().await;
    assert_eq!(stage.runs().list().unwrap().len(), 1);
    stage.spec.digest = Digest::of(b"changed");
    assert_eq!(
        code(stage.try_open("1.1.0", Purpose::Resume).await),
        "CD0416"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_record_is_refused() {
    let stage = Stage::canary().await;
    stage.open("1.1.0").await.close().await;
    let path = stage.last_run().journal_path();
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("\"engine\"", "\"other!\"", 2)).unwrap();
    assert_eq!(
        code(stage.try_open("1.1.0", Purpose::Deploy).await),
        "CD0413"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_required_run_in_another_environment_must_be_there() {
    let mut stage = Stage::canary().await;
    stage.spec.requires = vec!["staging".to_owned()];
    assert_eq!(
        code(stage.try_open("1.1.0", Purpose::Deploy).await),
        "CD0415"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_nothing_to_resume_or_go_back_from_without_a_run() {
    let stage = Stage::canary().await;
    assert_eq!(
        code(stage.try_open("1.1.0", Purpose::Resume).await),
        "CD0417"
    );
    assert_eq!(
        code(stage.try_open("1.1.0", Purpose::GoBack).await),
        "CD0418"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phase_without_a_step_does_not_keep_later_ones_from_running() {
    let stage = Stage::canary().await;
    let mut runner = stage.open("1.1.0").await;
    assert_eq!(runner.plan().sections("migrate"), Vec::<String>::new());
    for verb in ["inventory", "plan", "preflight", "build", "provision"] {
        assert!(runner.run_verb(verb, None).await.unwrap().is_done());
    }
    let green = runner.run_verb("release", Some("green")).await.unwrap();
    assert!(green.is_done(), "{green:?}");
    let state = runner.state();
    assert!(state.phase_done(code_deploy_record::PhaseNumber::new(5).unwrap()));
    runner.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn verbs_run_in_order_and_what_is_done_stays_done() {
    let stage = Stage::canary().await;
    let mut runner = stage.open("1.1.0").await;
    assert_eq!(code(runner.run_verb("observe", None).await), "CD0420");
    for verb in [
        "inventory",
        "plan",
        "preflight",
        "build",
        "provision",
        "migrate",
    ] {
        assert!(
            runner.run_verb(verb, None).await.unwrap().is_done(),
            "{verb}"
        );
    }
    assert_eq!(
        code(runner.run_verb("release", Some("nonsense")).await),
        "CD0421"
    );
    assert_eq!(
        code(runner.run_verb("release", Some("promotion")).await),
        "CD0422"
    );
    assert!(
        runner
            .run_verb("release", Some("green"))
            .await
            .unwrap()
            .is_done()
    );
    let again = runner.run_verb("release", Some("green")).await.unwrap();
    let Ended::Done(VerbDone { done, already }) = again else {
        panic!("{again:?}")
    };
    assert_eq!((done.len(), already.len()), (0, 2));
    runner.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_may_change_under_its_name_is_refused_where_the_policy_stops_at_it() {
    let mut stage = Stage::canary().await;
    let image = |image: &str| ComposeService {
        image_by_release: Some(image.to_owned()),
        image_line: 3,
        ..ComposeService::default()
    };
    let compose = &mut stage.spec.compose;
    compose.path = "compose.yaml".into();
    compose
        .services
        .insert("shop".to_owned(), image("shop:{release}"));
    stage.spec.policy.unpinned_images = Reaction::Stop;
    // A release of that name leaves the image as open as none does.
    let refused = stage.try_open("latest", Purpose::Deploy).await;
    let problem = refused.err().unwrap().problem();
    assert_eq!(problem.code, "CD0437");
    let place = "shop:latest of shop (compose.yaml:3)";
    assert!(problem.what.contains(place), "{}", problem.what);
    assert!(stage.runs().list().unwrap().is_empty());
    let mut back = stage.options("latest", Purpose::Deploy);
    back.reverts = Some("20260101T000000Z-dev-1".parse().unwrap());
    Runner::open(back).await.unwrap().close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_the_policy_only_notes_keeps_no_run_from_beginning() {
    let mut stage = Stage::canary().await;
    let image = ComposeService {
        image_by_release: Some("shop".to_owned()),
        ..ComposeService::default()
    };
    let services = &mut stage.spec.compose.services;
    services.insert("shop".to_owned(), image);
    stage.open("1.1.0").await.close().await;
}
