//! After any ending nothing of a run is left that the record does not name: process, port, socket,
//! lock or temporary file. On the way: a closed terminal, the router's own return of traffic, and a
//! rollback that cannot be completed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use code_deploy_kills::{Client, Place, Said, processes_of};
use code_deploy_record::{Direction, Event, EventBody, RunOutcome, verify_folder};
use tokio::process::Child;

use crate::stage::Part;

/// How long something may take that comes by itself.
const LIMIT: Duration = Duration::from_secs(120);

/// What is there of an environment and its runs.
#[derive(Debug, PartialEq, Eq)]
struct Left {
    processes: BTreeMap<String, usize>,
    ports: usize,
    sockets: BTreeSet<String>,
    locks: BTreeSet<String>,
    temporary: BTreeSet<String>,
    environment: BTreeSet<String>,
}

fn left(place: &Place) -> Left {
    let processes = processes_of(place.path()).unwrap();
    let mut roles = BTreeMap::new();
    for process in &processes {
        let role = process.role().unwrap_or(&process.line).to_owned();
        *roles.entry(role).or_default() += 1;
    }
    let records = place.project().join(".code-deploy");
    let files: BTreeSet<String> = files_below(&records);
    let locks = files.iter().filter(|name| name.ends_with(".lock"));
    let locks = locks.filter(|name| is_locked(&records.join(name))).cloned();
    let temporary = files.iter().filter(|name| {
        let control = name.ends_with("/control");
        control || name.ends_with(".part") || name.ends_with(".new")
    });
    let mut temporary: BTreeSet<String> = temporary.cloned().collect();
    temporary.extend(files_below(&place.temporary()));
    let environment = files.iter().filter(|name| name.starts_with("local/dev/"));
    let environment = environment.filter(|name| !name.starts_with("local/dev/logs/"));
    Left {
        ports: ports_of(&processes.iter().map(|p| p.pid).collect::<Vec<_>>()),
        processes: roles,
        sockets: files_below(&place.path().join("code-deploy")),
        locks: locks.collect(),
        temporary,
        // What runs differs by its release alone.
        environment: environment
            .map(|name| name.replace("1.0.0", "R").replace("1.1.0", "R"))
            .collect(),
    }
}

fn files_below(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(inner) = folders.pop() {
        for entry in std::fs::read_dir(&inner).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap();
                found.insert(name.display().to_string());
            }
        }
    }
    found
}

fn is_locked(path: &Path) -> bool {
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.try_lock().is_err()
}

fn ports_of(pids: &[u32]) -> usize {
    let tcp = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let listening: BTreeSet<String> = tcp
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            (fields.get(3) == Some(&"0A")).then(|| format!("socket:[{}]", fields[9]))
        })
        .collect();
    let mut open = BTreeSet::new();
    for pid in pids {
        let entries = std::fs::read_dir(format!("/proc/{pid}/fd"));
        for entry in entries.into_iter().flatten().flatten() {
            if let Ok(link) = std::fs::read_link(entry.path()) {
                open.insert(link.display().to_string());
            }
        }
    }
    open.intersection(&listening).count()
}

/// Starts a deployment and waits until it says that.
async fn deploying(place: &Place, to: &str, words: &str) -> Child {
    let output = place.path().join("deploying");
    let child = place.start(&["dev", "local", "--to", to], &[], &output);
    let child = child.unwrap();
    eventually(words, || async {
        let said = std::fs::read_to_string(&output).unwrap();
        said.contains(words).then_some(())
    })
    .await;
    child
}

async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, ask: impl Fn() -> F) -> T {
    let asking = async {
        loop {
            if let Some(found) = ask().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let found = tokio::time::timeout(LIMIT, asking).await;
    found.unwrap_or_else(|_| panic!("within {LIMIT:?} not: {what}"))
}

async fn code_of(place: &Place, mut child: Child, code: i32) {
    let ended = tokio::time::timeout(LIMIT, child.wait()).await.unwrap();
    let said = std::fs::read_to_string(place.path().join("deploying")).unwrap();
    assert_eq!(ended.unwrap().code(), Some(code), "{said}");
}

async fn run(place: &Place, words: &[&str], code: i32) -> Said {
    let said = place.run(words).await.unwrap();
    assert_eq!(said.code, Some(code), "{words:?}: {}", said.text);
    said
}

/// Returns the events of the last run, which must have ended like that, with a record that is whole.
#[track_caller]
fn events(place: &Place, outcome: RunOutcome) -> Vec<Event> {
    let (folder, state) = place.runs().unwrap().pop().unwrap();
    let ended = state.finished.as_ref().map(|end| end.0);
    assert_eq!(ended, Some(outcome));
    assert_eq!(verify_folder(&folder).unwrap().findings, []);
    folder.events().unwrap().map(Result::unwrap).collect()
}

fn signal(child: &Child, signal: nix::sys::signal::Signal) {
    let pid = nix::unistd::Pid::from_raw(child.id().unwrap().cast_signed());
    nix::sys::signal::kill(pid, signal).unwrap();
}

const SPLIT: &str = "traffic of storefront: 1.0.0 95 %";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_of_a_run_that_the_record_does_not_name_however_it_ends() {
    let place = Place::new(&Part::CodeDeploy.path()).unwrap();

    // The terminal is closed: the run goes on.
    let child = deploying(&place, "1.0.0", "[02] preflight").await;
    signal(&child, nix::sys::signal::Signal::SIGHUP);
    code_of(&place, child, 0).await;
    events(&place, RunOutcome::Succeeded);
    let first = left(&place);
    let expected = [
        ("instance", 6),
        ("router", 1),
        ("router-keeper", 1),
        ("shop", 6),
    ];
    let expected = expected.map(|(role, count)| (role.to_owned(), count));
    assert_eq!(first.processes, BTreeMap::from(expected));
    assert_eq!(first.ports, 9);
    assert_eq!(first.sockets.len(), 2, "{first:?}");
    assert_eq!(first.locks.len(), 2, "{first:?}");
    assert_eq!(first.temporary, BTreeSet::new());

    let url = address(&place);
    let client = Client::start(url);
    rolled_back_from_another_terminal(&place, &first).await;
    killed_and_resumed(&place, &first).await;
    needs_a_person(&place, &first).await;
    assert_eq!(client.stop().await.failed.len(), 0);

    run(&place, &["dev", "local", "--stop"], 0).await;
    let last = left(&place);
    assert_eq!(last.processes, BTreeMap::new());
    assert_eq!(
        (last.ports, last.sockets.len(), last.locks.len()),
        (0, 0, 0)
    );
    assert_eq!(last.temporary, BTreeSet::new());
    let kept = |name: &&String| !name.contains("/locks/") && !name.ends_with("state.json.lock");
    let kept: Vec<&String> = last.environment.iter().filter(kept).collect();
    let logs =
        ["config.json", "keeper.log", "router.log"].map(|name| format!("local/dev/router/{name}"));
    let mut expected: Vec<String> = logs.to_vec();
    expected.push("local/dev/token".to_owned());
    assert_eq!(kept, expected.iter().collect::<Vec<_>>());
}

fn address(place: &Place) -> std::net::SocketAddr {
    let events = events(place, RunOutcome::Succeeded);
    let mut urls = events.into_iter().filter_map(|event| match event.body {
        EventBody::ClientStarted { url, .. } => Some(url),
        _ => None,
    });
    let url = urls.next().unwrap();
    let address = url.trim_start_matches("http://").trim_end_matches('/');
    address.parse().unwrap()
}

async fn rolled_back_from_another_terminal(place: &Place, first: &Left) {
    let child = deploying(place, "1.1.0", SPLIT).await;
    run(place, &["rollback", "--reason", "old prices"], 0).await;
    code_of(place, child, 3).await;
    let events = events(place, RunOutcome::RolledBack);
    let asked = events.iter().position(|event| {
        matches!(&event.body, EventBody::SteeringAsked { by, reason, .. }
            if !by.is_empty() && reason == "old prices")
    });
    let began = events
        .iter()
        .position(|event| matches!(event.body, EventBody::RollbackStarted { .. }));
    let (asked, began) = (asked.unwrap(), began.unwrap());
    let between = &events[asked..began];
    assert!(
        !between.iter().any(|event| matches!(
            &event.body,
            EventBody::StepIntended {
                direction: Direction::Apply,
                ..
            }
        )),
        "no step is begun once a rollback is asked for: {between:?}"
    );
    assert_eq!(left(place), *first);
}

/// Nobody renews the lease: the router sends all traffic back by itself, and the resumed run knows.
async fn killed_and_resumed(place: &Place, first: &Left) {
    let mut child = deploying(place, "1.1.0", SPLIT).await;
    child.kill().await.unwrap();
    eventually("the router's return of all traffic", || async {
        let said = run(place, &["--json", "status"], 0).await.text;
        let status: serde_json::Value = serde_json::from_str(said.lines().last()?).ok()?;
        let rows = status["status"]["now"]["services"].as_array()?;
        let back = |row: &&serde_json::Value| row["release"] == "1.0.0" && row["percent"] == 100;
        (rows.iter().filter(back).count() == 3).then_some(())
    })
    .await;
    run(place, &["resume"], 0).await;
    let events = events(place, RunOutcome::Succeeded);
    let told = events.iter().find(|event| {
        matches!(&event.body, EventBody::Noted { text, .. } if text.contains("did not renew"))
    });
    let told = told.expect("the record says when and why the router acted");
    assert!(
        format!("{told:?}").contains("all traffic went back"),
        "{told:?}"
    );
    let known = events.iter().filter(|event| {
        matches!(&event.body, EventBody::TrafficShifted { reason, .. }
            if reason.contains("the lease had run out"))
    });
    assert_eq!(known.count(), 3);
    assert_eq!(left(place), *first);
}

async fn needs_a_person(place: &Place, first: &Left) {
    let child = deploying(place, "1.0.0", "traffic of storefront: 1.0.0 5 %").await;
    // Logs of what is stopped cannot be put away, so nothing can be stopped.
    let logs = place.project().join(".code-deploy/local/dev/logs");
    let aside = logs.with_extension("aside");
    std::fs::rename(&logs, &aside).unwrap();
    std::fs::write(&logs, "in the way").unwrap();
    run(place, &["rollback"], 0).await;
    code_of(place, child, 4).await;
    let there = left(place);
    let named = ["instance", "shop", "router", "router-keeper", "client"];
    let roles: Vec<&str> = there.processes.keys().map(String::as_str).collect();
    assert!(roles.iter().all(|role| named.contains(role)), "{there:?}");
    assert_eq!(there.temporary, BTreeSet::new());
    // No other run begins meanwhile.
    run(place, &["dev", "local", "--to", "1.0.0"], 4).await;
    std::fs::remove_file(&logs).unwrap();
    std::fs::rename(&aside, &logs).unwrap();
    run(place, &["rollback"], 0).await;
    events(place, RunOutcome::RolledBack);
    assert_eq!(left(place), *first);
}
