//! Shares of traffic, and the lease under which it is split.

use std::time::Duration;

use code_deploy_engine::target::{Lease, Target as _};
use code_deploy_targets::LocalTarget;

use crate::stage::{LIMIT, Stage, address, eventually, get, release, shares, text, wanted};

fn lease(ttl: Duration) -> Option<Lease> {
    let stable = release("1.0.0");
    Some(Lease { ttl, stable })
}

async fn two_releases(stage: &Stage) -> LocalTarget {
    let target = stage.opened().await;
    for service in ["api", "web"] {
        target.start(&wanted(service, "1.0.0", 1)).await.unwrap();
        target.start(&wanted(service, "2.0.0", 1)).await.unwrap();
        let stable = shares(service, &[("1.0.0", 100)]);
        target.set_traffic(&stable).await.unwrap();
    }
    target
}

#[tokio::test]
async fn traffic_is_split_as_set_and_read_back() {
    let stage = Stage::new();
    let target = two_releases(&stage).await;
    target.renew_lease(lease(LIMIT)).await.unwrap();
    let split = shares("web", &[("1.0.0", 75), ("2.0.0", 25)]);
    target.set_traffic(&split).await.unwrap();
    let observed = target.observe().await.unwrap();
    assert_eq!(observed.traffic["web"], split["web"]);
    assert_eq!(observed.stable, None);
    let new = observed
        .instances
        .iter()
        .find(|instance| instance.service == "web" && instance.release == release("2.0.0"));
    let (new, web) = (
        new.unwrap().pid.unwrap().to_string(),
        address(&observed, "web"),
    );
    let mut reached = 0;
    for _ in 0..100 {
        reached += u32::from(get(&web, "/pid").await == new);
    }
    assert_eq!(reached, 25);
}

#[tokio::test]
async fn a_release_without_instances_gets_no_traffic_and_nothing_changes() {
    let stage = Stage::new();
    let target = two_releases(&stage).await;
    let before = target.traffic().await.unwrap();
    let mut wrong = shares("web", &[("3.0.0", 100)]);
    wrong.extend(shares("api", &[("2.0.0", 100)]));
    let error = target.set_traffic(&wrong).await.unwrap_err();
    assert!(text(&error).contains("3.0.0"), "{}", text(&error));
    assert!(text(&error).starts_with("CD0519"), "{}", text(&error));
    assert_eq!(target.traffic().await.unwrap(), before);
}

#[tokio::test]
async fn traffic_goes_back_to_stable_when_the_lease_is_not_renewed() {
    let stage = Stage::new();
    let target = two_releases(&stage).await;
    let first = lease(Duration::from_millis(1500));
    target.renew_lease(first).await.unwrap();
    let split = shares("web", &[("1.0.0", 50), ("2.0.0", 50)]);
    target.set_traffic(&split).await.unwrap();
    let text = eventually("the lease runs out", || async {
        let events = target.events().await.unwrap();
        let mut texts = events.into_iter().map(|event| event.text);
        texts.find(|text| text.contains("lease") || text.contains("renew"))
    })
    .await;
    assert!(text.contains("1.0.0") || text.contains("stable"), "{text}");
    let traffic = target.traffic().await.unwrap();
    assert_eq!(traffic["web"].get(&release("1.0.0")), Some(&100));
    assert_eq!(
        target.observe().await.unwrap().stable,
        Some(release("1.0.0"))
    );
}
