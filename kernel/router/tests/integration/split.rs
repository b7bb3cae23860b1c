use std::collections::BTreeMap;

use http::Method;

use crate::kit::{App, Router, TOKEN, refused};

#[tokio::test]
async fn of_every_hundred_requests_each_release_gets_exactly_its_weight() {
    let (old, new) = (App::start("old").await, App::start("new").await);
    let router = Router::start().await;
    let address = router.service("web").await;
    router.release("web", "1.0.0", &[&old]).await;
    router.release("web", "1.1.0", &[&new]).await;
    router.lease("web", "1.0.0").await;
    for weight in [1, 5, 25, 50] {
        router
            .weights("web", &[("1.0.0", 100 - weight), ("1.1.0", weight)])
            .await
            .unwrap();
        for _ in 0..3 {
            let before = new.requests();
            for _ in 0..100 {
                assert_eq!(router.get(address, "/id").await.status, 200);
            }
            assert_eq!(new.requests() - before, usize::from(weight));
        }
    }
}

#[tokio::test]
async fn weights_of_several_services_switch_together_or_not_at_all() {
    let (old, new) = (App::start("old").await, App::start("new").await);
    let router = Router::start().await;
    for service in ["a", "b"] {
        router.service(service).await;
        router.release(service, "1.0.0", &[&old]).await;
        router.weights(service, &[("1.0.0", 100)]).await.unwrap();
    }
    router.release("a", "1.1.0", &[&new]).await;
    let to_new = crate::kit::percent(&[("1.1.0", 100)]);
    let both = BTreeMap::from([
        ("a".to_owned(), to_new.clone()),
        ("b".to_owned(), to_new.clone()),
    ]);
    refused(
        router.control.set_weights(both.clone()).await,
        "no-such-release",
    );
    assert_eq!(router.status().await.services["a"].weights["1.0.0"], 100);
    router.release("b", "1.1.0", &[&new]).await;
    router.control.set_weights(both).await.unwrap();
    let status = router.status().await;
    assert_eq!(status.services["a"].weights["1.1.0"], 100);
    assert_eq!(status.services["b"].weights["1.1.0"], 100);
}

#[tokio::test]
async fn the_override_reaches_a_release_without_traffic_only_with_the_token() {
    let (old, new) = (App::start("old").await, App::start("new").await);
    let router = Router::start().await;
    let address = router.service("web").await;
    router.release("web", "1.0.0", &[&old]).await;
    router.release("web", "1.1.0", &[&new]).await;
    router.weights("web", &[("1.0.0", 100)]).await.unwrap();
    let ask = async |headers: &[(&str, &str)], path: &str| {
        router.send(Method::GET, address, path, headers, "").await
    };
    let release = ("x-code-deploy-release", "1.1.0");
    let token = ("x-code-deploy-token", TOKEN);
    let served = ask(&[release, token], "/id").await;
    assert_eq!(served.text(), "new");
    assert_eq!(served.headers["x-code-deploy-served-by"], "1.1.0/new");
    for headers in [&[release][..], &[release, ("x-code-deploy-token", "wrong")]] {
        let answer = ask(headers, "/id").await;
        assert_eq!(answer.text(), "old");
        assert!(!answer.headers.contains_key("x-code-deploy-served-by"));
    }
    let other = ("x-code-deploy-release", "9.9.9");
    assert_eq!(ask(&[other, token], "/id").await.text(), "old");

    let passed = ask(&[release, token], "/headers").await;
    assert!(passed.text().contains("x-code-deploy-release: 1.1.0"));
    assert!(
        passed
            .text()
            .contains(&format!("x-code-deploy-token: {TOKEN}"))
    );
    let stripped = ask(&[release, ("x-code-deploy-token", "wrong")], "/headers").await;
    assert!(!stripped.text().contains("x-code-deploy"));

    let status = router.status().await;
    let counts = |release: &str| {
        let releases = &status.services["web"].releases;
        releases
            .iter()
            .find(|r| r.release == release)
            .unwrap()
            .counts
    };
    assert_eq!(counts("1.1.0").overridden, 2);
    assert_eq!(counts("1.1.0").requests, 0);
    assert_eq!(counts("1.0.0").requests, 4);
}

#[tokio::test]
async fn a_user_stays_on_the_new_release_while_its_weight_grows() {
    let (old, new) = (App::start("old").await, App::start("new").await);
    let router = Router::start().await;
    let address = router
        .service_with("web", |c| c.sticky = Some(Default::default()))
        .await;
    router.release("web", "1.0.0", &[&old]).await;
    router.release("web", "1.1.0", &[&new]).await;
    router.lease("web", "1.0.0").await;
    router
        .weights("web", &[("1.0.0", 75), ("1.1.0", 25)])
        .await
        .unwrap();
    let mut users = Vec::new();
    for _ in 0..40 {
        let first = router.get(address, "/id").await;
        let cookie = first.headers["set-cookie"].to_str().unwrap();
        assert!(cookie.starts_with("code-deploy-web=") && cookie.contains("HttpOnly"));
        users.push((
            cookie.split(';').next().unwrap().to_owned(),
            first.text().to_owned(),
        ));
    }
    assert_eq!(
        users.iter().filter(|(_, release)| release == "new").count(),
        10
    );
    for weight in [25, 50, 80, 100] {
        router
            .weights("web", &[("1.0.0", 100 - weight), ("1.1.0", weight)])
            .await
            .unwrap();
        for (cookie, seen) in &mut users {
            let headers = [("cookie", cookie.as_str())];
            let answer = router.send(Method::GET, address, "/id", &headers, "").await;
            assert!(!answer.headers.contains_key("set-cookie"));
            assert!(
                seen == "old" || answer.text() == "new",
                "a user went back at {weight} %"
            );
            *seen = answer.text().to_owned();
        }
    }
    assert!(users.iter().all(|(_, release)| release == "new"));
}

#[tokio::test]
async fn requests_go_to_the_less_loaded_replica() {
    let (busy, free) = (App::start("busy").await, App::start("free").await);
    let router = Router::start().await;
    let address = router.service("web").await;
    router.release("web", "1.0.0", &[&busy]).await;
    router.weights("web", &[("1.0.0", 100)]).await.unwrap();
    let stuck = async {
        let waits = (0..5).map(|_| router.get(address, "/gated"));
        futures::future::join_all(waits).await
    };
    let others = async {
        busy.waiting(5).await;
        router.release("web", "1.0.0", &[&free]).await;
        for _ in 0..20 {
            assert_eq!(router.get(address, "/id").await.text(), "free");
        }
        busy.shared.gate.add_permits(5);
    };
    let (stuck, ()) = futures::future::join(stuck, others).await;
    assert!(stuck.iter().all(|answer| answer.text() == "busy"));
}
