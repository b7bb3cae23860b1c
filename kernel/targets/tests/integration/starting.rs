//! Opening services and starting instances.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use code_deploy_engine::spec::Restart;
use code_deploy_engine::target::Target as _;

use nix::sys::signal::Signal;

use crate::stage::{
    LIMIT, Stage, address, eventually, get, only_instance, shares, signal, text, wanted,
};

#[tokio::test]
async fn opening_twice_keeps_the_same_addresses() {
    let stage = Stage::new();
    let target = stage.target();
    let first = target.open(&stage.services()).await.unwrap();
    assert!(first.iter().all(|service| service.address.port() != 0));
    assert_eq!(target.open(&stage.services()).await.unwrap(), first);
    assert_eq!(stage.target().open(&first).await.unwrap(), first);
    target.close().await.unwrap();
    assert_eq!(stage.processes(), Vec::<u32>::new());
}

#[tokio::test]
async fn started_instances_answer_through_the_router_and_are_observed() {
    let stage = Stage::new();
    let target = stage.opened().await;
    let started = target.start(&wanted("web", "1.0.0", 2)).await.unwrap();
    assert_eq!(started.len(), 2);
    target
        .set_traffic(&shares("web", &[("1.0.0", 100)]))
        .await
        .unwrap();
    let observed = target.observe().await.unwrap();
    let web = address(&observed, "web");
    // Which instance answers is chosen at random; either comes sooner or later.
    let mut pids = BTreeSet::new();
    while pids.len() < 2 {
        pids.insert(get(&web, "/pid").await);
    }
    assert_eq!(observed.instances, started);
    for instance in &observed.instances {
        assert!(pids.contains(&instance.pid.unwrap().to_string()));
        assert!(instance.running);
        assert_eq!(instance.restarts, 0);
        assert!(observed.listening.contains(&instance.address));
        assert_ne!(instance.started.timestamp(), 0);
    }
}

#[tokio::test]
async fn starting_again_keeps_what_runs_and_adds_what_is_missing() {
    let stage = Stage::new();
    let target = stage.opened().await;
    let first = target.start(&wanted("web", "1.0.0", 1)).await.unwrap();
    let again = target.start(&wanted("web", "1.0.0", 1)).await.unwrap();
    assert_eq!(again, first);
    let more = target.start(&wanted("web", "1.0.0", 2)).await.unwrap();
    assert_eq!(more[..1], first[..]);
    assert_eq!(more.len(), 2);
}

#[tokio::test]
async fn two_processes_starting_the_same_at_once_start_it_once() {
    let stage = Stage::new();
    let (one, other) = (stage.opened().await, stage.target());
    let want = wanted("web", "1.0.0", 2);
    let (first, second) = tokio::join!(one.start(&want), other.start(&want));
    assert_eq!(first.unwrap(), second.unwrap());
    assert_eq!(stage.supervisors().len(), 2);
}

#[tokio::test]
async fn another_target_value_sees_and_stops_what_an_earlier_one_started() {
    let stage = Stage::new();
    let first = stage.opened().await;
    first.start(&wanted("web", "1.0.0", 1)).await.unwrap();
    let all = shares("web", &[("1.0.0", 100)]);
    first.set_traffic(&all).await.unwrap();
    let seen = first.observe().await.unwrap();
    drop(first);
    let second = stage.target();
    assert_eq!(second.observe().await.unwrap(), seen);
    assert_eq!(second.traffic().await.unwrap()["web"], all["web"]);
    second.remove_all(Duration::from_secs(1)).await.unwrap();
    assert_eq!(stage.processes(), Vec::<u32>::new());
}

#[tokio::test]
async fn a_session_with_another_folder_for_sockets_reaches_the_router() {
    let stage = Stage::new();
    let first = stage.opened().await;
    first.start(&wanted("web", "1.0.0", 1)).await.unwrap();
    let all = shares("web", &[("1.0.0", 100)]);
    first.set_traffic(&all).await.unwrap();
    let other = stage.folder.path().join("another-session");
    let second = stage.target_with_sockets_in(other.clone());
    assert_eq!(second.traffic().await.unwrap()["web"], all["web"]);
    second.remove_all(Duration::from_secs(1)).await.unwrap();
    assert_eq!(stage.processes(), Vec::<u32>::new());
    assert!(!other.exists());
    // Nothing runs any more: what is started next has its sockets where this session has them.
    let third = stage.target_with_sockets_in(other.clone());
    third.open(&stage.services()).await.unwrap();
    assert!(other.exists());
    third.close().await.unwrap();
}

async fn assert_start_fails(stage: &Stage, mut limit: Option<Duration>, expected: &[&str]) {
    let target = stage.opened().await;
    let mut want = wanted("web", "1.0.0", 2);
    want.start_limit = limit.take().unwrap_or(want.start_limit);
    let error = target.start(&want).await.unwrap_err();
    for part in expected {
        assert!(text(&error).contains(part), "{part}: {}", text(&error));
    }
    assert_eq!(stage.supervisors(), Vec::<u32>::new());
    assert_eq!(stage.instance_folders(), Vec::<std::path::PathBuf>::new());
    target.close().await.unwrap();
}

#[tokio::test]
async fn a_program_that_ends_at_once_fails_with_the_end_of_its_log() {
    let stage = Stage::serving(&["exit-at-once"], Restart::No);
    let log = "cannot open the database";
    assert_start_fails(
        &stage,
        None,
        &["CD0514", "exit status: 7", log, "stopped again"],
    )
    .await;
    assert_eq!(stage.processes(), Vec::<u32>::new());
    assert_eq!(stage.kept_logs().len(), 2);
}

#[tokio::test]
async fn a_program_that_never_listens_fails_when_its_limit_has_passed() {
    let stage = Stage::serving(&["never-listen"], Restart::Always);
    let limit = Some(Duration::from_millis(500));
    let expected = [
        "CD0514",
        "within 500ms",
        "does not listen",
        "a line of the log",
    ];
    assert_start_fails(&stage, limit, &expected).await;
    assert_eq!(stage.processes(), Vec::<u32>::new());
}

#[tokio::test]
async fn a_program_that_never_is_ready_fails_with_what_its_probe_answers() {
    let stage = Stage::serving(&["never-ready"], Restart::Always);
    let limit = Some(Duration::from_secs(1));
    assert_start_fails(&stage, limit, &["CD0514", "GET /startupz answers 503"]).await;
    assert_eq!(stage.processes(), Vec::<u32>::new());
}

#[tokio::test]
async fn a_missing_program_is_named() {
    let stage = Stage::with(|web| {
        web.file.process.as_mut().unwrap().command = vec!["./bin/nothing".to_owned()];
    });
    assert_start_fails(
        &stage,
        None,
        &["CD0512", "./bin/nothing", "process.command"],
    )
    .await;
}

#[tokio::test]
async fn an_answer_of_another_program_on_the_port_does_not_count() {
    let stage = Stage::serving(&["let-another-take-the-port"], Restart::No);
    assert_start_fails(&stage, None, &["CD0515", "not of this instance"]).await;
}

#[tokio::test]
async fn a_failed_start_of_more_keeps_those_that_ran() {
    let stage = Stage::new();
    let target = stage.opened().await;
    let first = target.start(&wanted("web", "1.0.0", 1)).await.unwrap();
    let worse = Stage::spec(stage.folder.path(), "dev", |web| {
        let command = &mut web.file.process.as_mut().unwrap().command;
        command.push("exit-at-once".to_owned());
        web.restart = Restart::No;
    });
    let failing = stage.target_of(&worse);
    failing.start(&wanted("web", "1.0.0", 3)).await.unwrap_err();
    assert_eq!(vec![only_instance(&target).await], first);
}

#[tokio::test]
async fn an_instance_of_a_start_that_was_cut_off_counts_only_when_it_answers() {
    let stage = Stage::serving(&["never-ready"], Restart::Always);
    let target = stage.opened().await;
    let mut want = wanted("web", "1.0.0", 1);
    tokio::select! {
        _ = target.start(&want) => panic!("it is never ready"),
        () = eventually("a supervisor runs", || async {
            (stage.supervisors().len() == 1).then_some(())
        }) => {}
    }
    want.start_limit = Duration::from_millis(500);
    let error = target.start(&want).await.unwrap_err();
    assert!(text(&error).starts_with("CD0514"), "{}", text(&error));
    target.stop("web", &want.release, LIMIT).await.unwrap();
    target.close().await.unwrap();
    assert_eq!(stage.processes(), Vec::<u32>::new());
}

#[tokio::test]
async fn an_instance_counts_as_started_once_its_supervisor_has_told_of_its_process() {
    let stage = Stage::new();
    let target = stage.opened().await;
    let mut want = wanted("web", "1.0.0", 1);
    let first = target.start(&want).await.unwrap();
    // As it is between the start of a process and the supervisor's word of it.
    let supervisor = stage.supervisors()[0];
    signal(supervisor, Signal::SIGSTOP);
    let state = stage.instance_folders()[0].join("state.json");
    let whole = std::fs::read_to_string(&state).unwrap();
    let mut early: serde_json::Value = serde_json::from_str(&whole).unwrap();
    early["process"] = serde_json::Value::Null;
    std::fs::write(&state, early.to_string()).unwrap();
    want.start_limit = Duration::from_millis(500);
    let error = target.start(&want).await.unwrap_err();
    let expected = "it answers, but its supervisor has not told which process it is";
    assert!(text(&error).contains(expected), "{}", text(&error));
    std::fs::write(&state, whole).unwrap();
    signal(supervisor, Signal::SIGCONT);
    assert_eq!(target.start(&want).await.unwrap(), first);
}

#[tokio::test]
async fn a_service_that_nobody_knows_is_refused_before_anything_is_started() {
    let stage = Stage::new();
    let target = stage.target();
    let error = target.start(&wanted("wep", "1.0.0", 1)).await.unwrap_err();
    assert!(text(&error).starts_with("CD0510 wep: "), "{}", text(&error));
    assert_eq!(stage.processes(), Vec::<u32>::new());
}

#[tokio::test]
async fn a_taken_port_of_a_service_is_refused() {
    let stage = Stage::new();
    let target = stage.target();
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut services = stage.services();
    services[0].address = other.local_addr().unwrap();
    let error = target.open(&services).await.unwrap_err();
    let port = services[0].address.port().to_string();
    assert!(text(&error).starts_with("CD0519"), "{}", text(&error));
    assert!(text(&error).contains(&port), "{}", text(&error));
    target.close().await.unwrap();
    assert_eq!(stage.processes(), Vec::<u32>::new());
}

#[tokio::test]
async fn environments_of_a_project_live_side_by_side() {
    let stage = Stage::new();
    let dev = stage.opened().await;
    let test = stage.target_of(&Stage::spec(stage.folder.path(), "test", |_| {}));
    test.open(&stage.services()).await.unwrap();
    for target in [&dev, &test] {
        target.start(&wanted("web", "1.0.0", 1)).await.unwrap();
        let all = shares("web", &[("1.0.0", 100)]);
        target.set_traffic(&all).await.unwrap();
    }
    let (one, other) = (only_instance(&dev).await, only_instance(&test).await);
    assert_ne!(one.id, other.id);
    dev.remove_all(Duration::from_secs(1)).await.unwrap();
    let observed = test.observe().await.unwrap();
    assert_eq!(observed.instances, std::slice::from_ref(&other));
    let pid = get(&address(&observed, "web"), "/pid").await;
    assert_eq!(pid, other.pid.unwrap().to_string());
    assert!(Path::new(&format!("/proc/{pid}")).exists());
    test.remove_all(Duration::from_secs(1)).await.unwrap();
    assert_eq!(stage.processes(), Vec::<u32>::new());
}
