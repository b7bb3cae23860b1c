//! What supervisors do when processes end, and what is seen of it.

use code_deploy_engine::spec::Restart;
use code_deploy_engine::target::{Instance, Target as _};
use code_deploy_targets::LocalTarget;

use crate::stage::{Stage, eventually, get, kill, only_instance, wanted};

async fn started(stage: &Stage) -> (LocalTarget, Instance) {
    let target = stage.opened().await;
    target.start(&wanted("web", "1.0.0", 1)).await.unwrap();
    target.events().await.unwrap();
    let instance = only_instance(&target).await;
    (target, instance)
}

async fn restarted(target: &LocalTarget, before: &Instance) -> Instance {
    eventually("the instance runs again and listens", || async {
        let now = only_instance(target).await;
        let listens = tokio::net::TcpStream::connect(now.address).await.is_ok();
        (now.running && now.pid != before.pid && listens).then_some(now)
    })
    .await
}

async fn told(target: &LocalTarget, part: &str) -> String {
    eventually(part, || async {
        let events = target.events().await.unwrap();
        let found = events.into_iter().find(|event| event.text.contains(part));
        found.map(|event| event.text)
    })
    .await
}

#[tokio::test]
async fn a_killed_process_is_started_again_and_counted() {
    let stage = Stage::serving(&[], Restart::Always);
    let (target, first) = started(&stage).await;
    kill(first.pid.unwrap());
    let second = restarted(&target, &first).await;
    assert_eq!((second.restarts, second.address), (1, first.address));
    assert!(second.started > first.started);
    let text = told(&target, "was started again").await;
    assert!(
        text.contains("SIGKILL") && text.contains(&first.id),
        "{text}"
    );
}

#[tokio::test]
async fn what_a_dead_process_left_running_ends_before_it_is_started_again() {
    let stage = Stage::serving(&["with-child"], Restart::Always);
    let (target, first) = started(&stage).await;
    let before = stage.processes().len();
    kill(first.pid.unwrap());
    restarted(&target, &first).await;
    assert_eq!(stage.processes().len(), before);
}

#[tokio::test]
async fn without_restart_a_killed_process_stays_ended() {
    let stage = Stage::serving(&[], Restart::No);
    let (target, first) = started(&stage).await;
    kill(first.pid.unwrap());
    let text = told(&target, "is not started again").await;
    assert!(text.contains("SIGKILL"), "{text}");
    let now = only_instance(&target).await;
    assert!(!now.running);
    assert_eq!(now.restarts, 0);
    let again = target.start(&wanted("web", "1.0.0", 1)).await.unwrap();
    assert!(again[0].running);
}

#[tokio::test]
async fn on_failure_a_process_is_started_again_as_often_as_allowed() {
    let stage = Stage::serving(&[], Restart::OnFailure(Some(1)));
    let (target, first) = started(&stage).await;
    get(&first.address.to_string(), "/exit?code=3").await;
    let second = restarted(&target, &first).await;
    get(&second.address.to_string(), "/exit?code=3").await;
    let text = told(&target, "is not started again").await;
    assert!(text.contains("exit status: 3"), "{text}");
    assert_eq!(only_instance(&target).await.restarts, 1);
}

#[tokio::test]
async fn on_failure_a_process_that_succeeds_is_not_started_again() {
    let stage = Stage::serving(&[], Restart::OnFailure(None));
    let (target, first) = started(&stage).await;
    get(&first.address.to_string(), "/exit?code=0").await;
    let text = told(&target, "is not started again").await;
    assert!(text.contains("exit status: 0"), "{text}");
}

#[tokio::test]
async fn a_killed_supervisor_is_told_and_replaced_without_an_orphan() {
    let stage = Stage::new();
    let (target, first) = started(&stage).await;
    let [supervisor] = stage.supervisors()[..] else {
        panic!("one supervisor");
    };
    kill(supervisor);
    let text = told(&target, "the supervisor of instance").await;
    assert!(text.contains("its process runs on"), "{text}");
    assert!(only_instance(&target).await.running);
    let now = target.start(&wanted("web", "1.0.0", 1)).await.unwrap();
    assert_ne!(now[0].pid, first.pid);
    // One router and its keeper, one supervisor, one instance.
    assert_eq!(stage.processes().len(), 4);
    assert!(!stage.processes().contains(&first.pid.unwrap()));
}
