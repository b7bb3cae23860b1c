//! The disk of the record fills up, or becomes read-only, while traffic is split: the run stops, says
//! so, and leaves traffic where it is verified; when the disk is well again, it comes to rest.
//!
//! Mounting needs the rights of the system's administrator.

use std::time::Duration;

use code_deploy_kills::{Client, Place, SmallDisk, Trouble};
use code_deploy_record::{EventBody, RunOutcome, verify_folder};

use crate::stage::Part;

/// How long something may take that comes by itself.
const LIMIT: Duration = Duration::from_secs(180);

/// Deploys 1.1.0 over 1.0.0 with trouble once the record says `words`, and goes on after it.
async fn stops_and_comes_to_rest(trouble: Trouble, words: &str) {
    let root = nix::unistd::geteuid().is_root();
    assert!(
        root,
        "this test mounts a disk: run it as root, or leave out the part `mounts`"
    );
    let place = Place::new(&Part::CodeDeploy.path()).unwrap();
    let disk = SmallDisk::mount(&place, trouble).await.unwrap();
    let first = place.run(&["dev", "local", "--to", "1.0.0"]).await.unwrap();
    assert_eq!(first.code, Some(0), "{}", first.text);
    let (folder, _) = place.runs().unwrap().pop().unwrap();
    let started = folder
        .events()
        .unwrap()
        .find_map(|event| match event.unwrap().body {
            EventBody::ClientStarted { url, .. } => Some(url),
            _ => None,
        });
    let url = started.unwrap();
    let client = Client::start(url.trim_start_matches("http://").parse().unwrap());

    let output = place.path().join("deploying");
    let mut child = place
        .start(&["dev", "local", "--to", "1.1.0"], &[], &output)
        .unwrap();
    let said = || std::fs::read_to_string(&output).unwrap();
    let until = tokio::time::Instant::now() + LIMIT;
    while !said().contains(words) {
        assert!(
            tokio::time::Instant::now() < until,
            "not `{words}`:\n{}",
            said()
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    disk.begin().await.unwrap();
    let ended = tokio::time::timeout(LIMIT, child.wait()).await.unwrap();
    assert_eq!(ended.unwrap().code(), Some(1), "{}", said());
    let reason = match trouble {
        Trouble::Full => "No space left on device",
        Trouble::ReadOnly => "Read-only file system",
    };
    assert!(said().contains("error[CD0300]"), "{}", said());
    assert!(said().contains(reason), "{}", said());

    disk.end().await.unwrap();
    let resumed = place.run(&["resume"]).await.unwrap();
    assert!(matches!(resumed.code, Some(0 | 3)), "{}", resumed.text);
    let (folder, state) = place.runs().unwrap().pop().unwrap();
    let outcome = state.finished.as_ref().map(|end| end.0);
    let at_rest = [RunOutcome::Succeeded, RunOutcome::RolledBack].map(Some);
    assert!(at_rest.contains(&outcome), "{}", resumed.text);
    assert_eq!(verify_folder(&folder).unwrap().findings, []);
    let failed = client.stop().await.failed;
    assert!(failed.is_empty(), "{failed:?}");
    place.stop().await.unwrap();
    disk.unmount().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_the_run_and_harms_nobody() {
    stops_and_comes_to_rest(Trouble::Full, "traffic of storefront: 1.0.0 95 %").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_becomes_read_only_stops_the_run_and_harms_nobody() {
    stops_and_comes_to_rest(Trouble::ReadOnly, "traffic of storefront: 1.0.0 50 %").await;
}
