//! What becomes of a router of another build than the program that deploys.

use std::path::Path;

use code_deploy_engine::target::{Target as _, TargetEvent};
use code_deploy_record::Severity;
use code_deploy_targets::LocalTarget;

use crate::asking::{Asking, Crowd};
use crate::stage::{
    LIMIT, PROGRAM, Stage, address, another_build, command_line, eventually, get, kill, shares,
    wanted,
};

/// Returns the process of that role, if it runs that file.
fn running(stage: &Stage, role: &str, program: &Path) -> Option<u32> {
    let mut all = stage.processes().into_iter();
    all.find(|pid| {
        command_line(*pid).contains(&format!("internal\0{role}\0"))
            && std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == program)
    })
}

async fn runs(stage: &Stage, role: &str, program: &Path) -> u32 {
    eventually("the build runs", || async { running(stage, role, program) }).await
}

async fn told(target: &LocalTarget, words: &str) -> TargetEvent {
    eventually(words, || async {
        let mut events = target.events().await.unwrap().into_iter();
        events.find(|event| event.text.contains(words))
    })
    .await
}

#[tokio::test]
async fn routers_of_another_build_are_replaced_while_clients_ask_and_no_request_is_lost() {
    let stage = Stage::new();
    let folder = std::fs::canonicalize(stage.folder.path()).unwrap();
    let [second, third] = ["second", "third"].map(|name| another_build(&folder, name));
    let target = stage.opened().await;
    target.start(&wanted("web", "1.0.0", 1)).await.unwrap();
    let all = shares("web", &[("1.0.0", 100)]);
    target.set_traffic(&all).await.unwrap();
    let before = target.observe().await.unwrap();
    let web = address(&before, "web").parse().unwrap();
    let crowd = Crowd::at(web, "/livez");
    crowd.more(20).await;

    let target = stage.target_of_build(&second);
    let mut slow = Asking::at(web);
    let slow = crowd
        .tracker
        .spawn(async move { slow.ask("/slow?ms=1500").await });
    target.open(&stage.services()).await.unwrap();
    assert_eq!(slow.await.unwrap().unwrap(), 200);
    let done = told(&target, "was upgraded while it served").await;
    assert_eq!(done.severity, Severity::Medium);
    let router = runs(&stage, "router", &second).await;
    runs(&stage, "router-keeper", &second).await;
    crowd.more(20).await;

    // A build that does not run leaves the one that serves.
    let broken = stage.target_of_build(Path::new("/bin/false"));
    broken.open(&stage.services()).await.unwrap();
    let failed = told(&broken, "was not upgraded").await;
    assert_eq!(failed.severity, Severity::High);
    assert_eq!(running(&stage, "router", &second), Some(router));
    crowd.more(20).await;

    let target = stage.target_of_build(&third);
    target.open(&stage.services()).await.unwrap();
    let router = runs(&stage, "router", &third).await;
    crowd.more(20).await;
    crowd.go().await;
    let after = target.observe().await.unwrap();
    assert_eq!(after.traffic, before.traffic);
    assert_eq!(after.addresses, before.addresses);

    // Its keeper brings back what it looks after.
    runs(&stage, "router-keeper", &third).await;
    kill(router);
    let again = eventually("the router again", || async {
        running(&stage, "router", &third).filter(|pid| *pid != router)
    });
    again.await;
    assert_eq!(get(&web.to_string(), "/livez").await, "ok");
    target.remove_all(LIMIT).await.unwrap();
    eventually("nothing is left", || async {
        stage.processes().is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_router_of_the_same_build_stays() {
    let stage = Stage::new();
    let folder = std::fs::canonicalize(stage.folder.path()).unwrap();
    let (program, copy) = (std::fs::canonicalize(PROGRAM).unwrap(), folder.join("copy"));
    std::fs::copy(&program, &copy).unwrap();
    let target = stage.opened().await;
    let before = target.observe().await.unwrap();
    let pid = running(&stage, "router", &program);
    assert!(pid.is_some());
    let target = stage.target_of_build(&copy);
    target.open(&stage.services()).await.unwrap();
    assert_eq!(running(&stage, "router", &program), pid);
    let events = target.events().await.unwrap();
    assert!(
        !events.iter().any(|event| event.text.contains("upgraded")),
        "{events:?}"
    );
    let after = target.observe().await.unwrap();
    assert_eq!(after.addresses, before.addresses);
    target.remove_all(LIMIT).await.unwrap();
}
