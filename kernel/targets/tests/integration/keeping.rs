//! What becomes of the router and of the process that looks after it when they are killed.

use std::time::Duration;

use code_deploy_engine::target::{Observed, Target as _};
use code_deploy_targets::LocalTarget;
use nix::sys::signal::Signal;

use crate::stage::{
    LIMIT, Stage, address, command_line, eventually, get, kill, shares, signal, wanted,
};

fn process(stage: &Stage, word: &str) -> Option<u32> {
    let mut all = stage.processes().into_iter();
    all.find(|pid| command_line(*pid).contains(&format!("internal\0{word}\0")))
}

async fn serving(stage: &Stage) -> (LocalTarget, Observed) {
    let target = stage.opened().await;
    target.start(&wanted("web", "1.0.0", 1)).await.unwrap();
    let all = shares("web", &[("1.0.0", 100)]);
    target.set_traffic(&all).await.unwrap();
    eventually("the keeper looks after the router", || async {
        process(stage, "router-keeper")
    })
    .await;
    let observed = target.observe().await.unwrap();
    (target, observed)
}

#[tokio::test]
async fn a_killed_router_is_back_by_itself_as_it_was_and_that_is_told() {
    let stage = Stage::new();
    let (target, before) = serving(&stage).await;
    target.events().await.unwrap();
    let router = process(&stage, "router").unwrap();
    kill(router);
    // Nobody asks for it: no run is under way.
    eventually("another router", || async {
        process(&stage, "router").filter(|pid| *pid != router)
    })
    .await;
    get(&address(&before, "web"), "/livez").await;
    let after = target.observe().await.unwrap();
    assert_eq!(after.traffic, before.traffic);
    assert_eq!(after.addresses, before.addresses);
    let told = eventually("it is told", || async {
        let mut events = target.events().await.unwrap().into_iter();
        events.find(|event| event.text.contains("was started again"))
    })
    .await;
    assert!(told.text.contains("restart 1"), "{}", told.text);
    assert_eq!(target.recover().await.unwrap(), None);
}

#[tokio::test]
async fn no_connection_is_refused_while_a_killed_router_is_away() {
    let stage = Stage::new();
    let (_target, before) = serving(&stage).await;
    let web = address(&before, "web");
    let router = process(&stage, "router").unwrap();
    let keeper = process(&stage, "router-keeper").unwrap();
    eventually("the keeper holds the ports", || async {
        (sockets(keeper) > 1).then_some(())
    })
    .await;
    signal(keeper, Signal::SIGSTOP);
    kill(router);
    eventually("the router's end", || async {
        (!stage.processes().contains(&router)).then_some(())
    })
    .await;
    // Nobody accepts now, and nobody can start a router.
    let resumed = async {
        tokio::net::TcpStream::connect(&web).await.unwrap();
        signal(keeper, Signal::SIGCONT);
    };
    let (answer, ()) = futures::future::join(get(&web, "/livez"), resumed).await;
    assert_eq!(answer, "ok");
}

fn sockets(pid: u32) -> usize {
    let tcp = std::fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap();
    let listening: Vec<_> = tcp
        .lines()
        .filter_map(|line| {
            let fields: Vec<_> = line.split_ascii_whitespace().collect();
            (fields.get(3) == Some(&"0A")).then(|| format!("socket:[{}]", fields[9]))
        })
        .collect();
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let links = open.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    links
        .filter(|link| listening.iter().any(|socket| link.as_os_str() == &**socket))
        .count()
}

#[tokio::test]
async fn a_killed_keeper_is_replaced_and_the_next_holds_the_ports_too() {
    let stage = Stage::new();
    let (target, _) = serving(&stage).await;
    let keeper = process(&stage, "router-keeper").unwrap();
    let router = process(&stage, "router").unwrap();
    kill(keeper);
    let next = eventually("another keeper", || async {
        process(&stage, "router-keeper").filter(|pid| *pid != keeper)
    })
    .await;
    eventually("it holds the ports", || async {
        (sockets(next) > 1).then_some(())
    })
    .await;
    assert_eq!(process(&stage, "router"), Some(router));
    target.remove_all(Duration::from_secs(5)).await.unwrap();
    eventually("nothing is left", || async {
        stage.processes().is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_router_that_died_with_its_keeper_is_started_by_whoever_recovers_it() {
    let stage = Stage::new();
    let (target, before) = serving(&stage).await;
    assert_eq!(target.recover().await.unwrap(), None);
    let both = ["router", "router-keeper"].map(|word| process(&stage, word).unwrap());
    for pid in both {
        signal(pid, Signal::SIGSTOP);
    }
    both.into_iter().for_each(kill);
    eventually("their end", || async {
        let left = stage.processes();
        both.iter().all(|pid| !left.contains(pid)).then_some(())
    })
    .await;
    let said = target.recover().await.unwrap().unwrap();
    assert!(said.contains("the router had ended"), "{said}");
    assert!(process(&stage, "router-keeper").is_some());
    let after = target.observe().await.unwrap();
    assert_eq!(after.traffic, before.traffic);
    assert_eq!(after.addresses, before.addresses);

    target.remove_all(LIMIT).await.unwrap();
    assert_eq!(target.recover().await.unwrap(), None);
}
