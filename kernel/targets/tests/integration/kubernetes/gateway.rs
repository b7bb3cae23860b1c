//! Traffic that comes through a Gateway, whose controller is played.

use std::collections::BTreeMap;
use std::net::TcpListener;

use code_deploy_engine::target::{Heading, Target as _};
use k8s_openapi::api::core::v1::Service;
use kube::api::ListParams;
use serde_json::json;

use super::cluster::{GRACE, Stage};
use super::played::{self, Played, Says, backends, routes};
use crate::stage::{address, get, release, shares, text, wanted};

/// Names a Gateway for the service `api`, and returns what stands where users ask: nobody answers there.
fn with_gateway(stage: &Stage, more: &str) -> TcpListener {
    let front = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", front.local_addr().unwrap());
    let gateway =
        format!("gateway: {{ name: public, {more}routes: {{ api: {{ url: '{url}' }} }} }}");
    edit(
        stage,
        "kubernetes: { ",
        &format!("kubernetes: {{ {gateway}, "),
    );
    front
}

fn edit(stage: &Stage, from: &str, to: &str) {
    let file = stage.folder.path().join("deploy.yaml");
    let said = std::fs::read_to_string(&file).unwrap();
    assert!(said.contains(from), "{from}: {said}");
    std::fs::write(&file, said.replace(from, to)).unwrap();
}

async fn leads(stage: &Stage) -> String {
    backends(&routes(stage).get("api").await.unwrap())
}

/// Returns which release the Service of `api` selects, if it is one.
async fn selected(stage: &Stage) -> Option<String> {
    let service = stage.all::<Service>().get("api").await.unwrap();
    let selector = service.spec.unwrap().selector.unwrap();
    selector.get("code-deploy.release").cloned()
}

fn one_of_each() -> BTreeMap<String, u32> {
    ["api", "web"].map(|name| (name.to_owned(), 1)).into()
}

#[tokio::test]
async fn requests_are_split_by_weight_and_the_service_follows_as_far_as_pods_can() {
    let stage = Stage::new().await;
    let _front = with_gateway(&stage, "section: http, ");
    let played = Played::begin(&stage).await;
    let (old, new) = (release("1.0.0"), release("1.1.0"));
    stage
        .target()
        .admit(&old, &one_of_each(), Heading::Forward)
        .await
        .unwrap();
    assert!(routes(&stage).get_opt("api").await.unwrap().is_none());
    let target = stage.opened().await;
    assert!(target.observe().await.unwrap().fronts.is_empty());
    for number in ["1.0.0", "1.1.0"] {
        target.start(&wanted("api", number, 1)).await.unwrap();
    }
    let whole = |number| shares("api", &[(number, 100)]);
    let split = |one, other| shares("api", &[("1.0.0", one), ("1.1.0", other)]);
    target.set_traffic(&whole("1.0.0")).await.unwrap();
    // What pods cannot give.
    target.set_traffic(&split(90, 10)).await.unwrap();
    assert_eq!(leads(&stage).await, "api-1-0-0 90, api-1-1-0 10");
    assert_eq!(selected(&stage).await.as_deref(), Some("1.0.0"));
    // Another process, which knows nothing of the one before, reads it, and does not move it.
    let target = stage.opened().await;
    let observed = target.observe().await.unwrap();
    assert_eq!(observed.traffic["api"], split(90, 10)["api"]);
    assert!(observed.fronts["api"].starts_with("http://127.0.0.1:"));
    assert_eq!(target.traffic().await.unwrap()["api"], split(90, 10)["api"]);

    target.set_traffic(&split(50, 50)).await.unwrap();
    assert_eq!(selected(&stage).await, None);
    assert_eq!(target.traffic().await.unwrap()["api"], split(50, 50)["api"]);
    stage.lead(&target, &whole("1.1.0")).await;
    assert_eq!(
        target.traffic().await.unwrap()["api"],
        whole("1.1.0")["api"]
    );
    assert_eq!(selected(&stage).await.as_deref(), Some("1.1.0"));
    let api = address(&target.observe().await.unwrap(), "api");
    assert_eq!(get(&api, "/env/RELEASE").await, "1.1.0");
    assert_eq!(
        played.seen(),
        [
            "api 1",
            "api-1-0-0 90, api-1-1-0 10",
            "api-1-0-0 50, api-1-1-0 50",
            "api-1-1-0 100",
            "api 1",
        ]
    );
    let listings = target.inventory().await.unwrap();
    let mut listings = listings.iter();
    let listed = listings.find(|one| one.title == "HTTP routes of Gateways");
    assert_eq!(
        listed.unwrap().rows,
        [["api", "", "public", "api (weight 1)"]]
    );

    // Back at once, from a split, with no step between.
    target.set_traffic(&split(95, 5)).await.unwrap();
    target.set_traffic(&whole("1.0.0")).await.unwrap();
    let back = ["api-1-0-0 95, api-1-1-0 5", "api-1-0-0 100", "api 1"];
    assert_eq!(played.seen(), back);
    target.stop("api", &new, GRACE).await.unwrap();
    assert_eq!(get(&api, "/env/RELEASE").await, "1.0.0");
    target.remove_all(GRACE).await.unwrap();
    let left = routes(&stage).list(&ListParams::default()).await.unwrap();
    assert!(left.items.is_empty(), "{left:?}");
    played.end(&stage).await;
    stage.end().await;
}

#[tokio::test]
async fn a_route_that_no_controller_accepts_is_put_back_and_nothing_moves() {
    let stage = Stage::new().await;
    let _front = with_gateway(&stage, "");
    let played = Played::begin(&stage).await;
    played.say(Says::Nothing);
    let refused = stage.target().open(&stage.services()).await.unwrap_err();
    assert_eq!(refused.code, "CD0541", "{}", text(&refused));
    for part in [
        "no controller has said anything",
        "public",
        "was removed again",
    ] {
        assert!(refused.what.contains(part), "{part}: {}", text(&refused));
    }
    assert!(routes(&stage).get_opt("api").await.unwrap().is_none());

    played.say(Says::Accepted);
    let target = stage.opened().await;
    for number in ["1.0.0", "1.1.0"] {
        target.start(&wanted("api", number, 1)).await.unwrap();
    }
    let before = shares("api", &[("1.0.0", 100)]);
    target.set_traffic(&before).await.unwrap();
    played.say(Says::NotAllowed);
    let half = shares("api", &[("1.0.0", 50), ("1.1.0", 50)]);
    let refused = target.set_traffic(&half).await.unwrap_err();
    assert_eq!(refused.code, "CD0541", "{}", text(&refused));
    for part in [
        "Accepted is False (NotAllowedByListeners: said by a test)",
        "1.0.0 with weight 50, 1.1.0 with weight 50",
        "it is as it was before",
    ] {
        assert!(refused.what.contains(part), "{part}: {}", text(&refused));
    }
    assert_eq!(leads(&stage).await, "api 1");
    assert_eq!(selected(&stage).await.as_deref(), Some("1.0.0"));
    assert_eq!(target.traffic().await.unwrap()["api"], before["api"]);

    // A way back is left as it is stated, and whoever asks the Service goes it at once.
    played.say(Says::Accepted);
    let whole = shares("api", &[("1.1.0", 100)]);
    target.set_traffic(&whole).await.unwrap();
    target.set_traffic(&half).await.unwrap();
    played.say(Says::Nothing);
    let late = target.set_traffic(&before).await.unwrap_err();
    assert_eq!(late.code, "CD0541", "{}", text(&late));
    for part in ["has not looked at its last change", "it stays stated so"] {
        assert!(late.what.contains(part), "{part}: {}", text(&late));
    }
    assert_eq!(leads(&stage).await, "api-1-0-0 100");
    assert_eq!(selected(&stage).await.as_deref(), Some("1.0.0"));
    assert!(target.traffic().await.unwrap()["api"].is_empty());
    target.remove_all(GRACE).await.unwrap();
    played.end(&stage).await;
    stage.end().await;
}

#[tokio::test]
async fn what_a_gateway_lacks_is_told_before_anything_changes() {
    let stage = Stage::new().await;
    let _front = with_gateway(&stage, "");
    let first = release("1.0.0");
    let refused = |words: &'static [&'static str]| {
        let (target, first) = (stage.target(), first.clone());
        async move {
            let refused = target
                .admit(&first, &one_of_each(), Heading::Forward)
                .await
                .unwrap_err();
            assert_eq!(refused.code, "CD0540", "{}", text(&refused));
            for word in words {
                assert!(text(&refused).contains(word), "{word}: {}", text(&refused));
            }
        }
    };
    // In a cluster where others have installed it this cannot be shown.
    if played::remove(&stage.client()).await {
        refused(&["serves no HTTPRoutes", "take `gateway` out"]).await;
    }
    played::install(&stage.client()).await;
    refused(&["has no Gateway public"]).await;
    played::make_gateway(&stage).await;
    edit(&stage, "name: public", "name: public, section: https");
    refused(&["without a listener https"]).await;
    let services = stage.all::<Service>().list(&ListParams::default()).await;
    assert!(services.unwrap().items.is_empty());
    played::remove(&stage.client()).await;
    stage.end().await;
}

#[tokio::test]
async fn routes_of_others_are_refused_and_not_touched_and_own_ones_are_not_forgotten() {
    let stage = Stage::new().await;
    let front = with_gateway(&stage, "");
    let played = Played::begin(&stage).await;
    let theirs = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": { "name": "api" },
        "spec": { "parentRefs": [{ "name": "public" }], "rules": [{ "backendRefs": [{ "name": "x", "port": 1 }] }] },
    });
    played::make(&routes(&stage), theirs).await;
    let spec = routes(&stage).get("api").await.unwrap().data["spec"].clone();
    let target = stage.target();
    let refused = target
        .admit(&release("1.0.0"), &one_of_each(), Heading::Forward)
        .await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code, "CD0526", "{}", text(&refused));
    let refused = target.open(&stage.services()).await.unwrap_err();
    assert_eq!(refused.code, "CD0526", "{}", text(&refused));
    target.remove_all(GRACE).await.unwrap();
    let kept = routes(&stage).get("api").await.unwrap();
    assert_eq!(kept.data["spec"], spec);
    let gone = kube::api::DeleteParams::default();
    routes(&stage).delete("api", &gone).await.unwrap();

    let target = stage.opened().await;
    for number in ["1.0.0", "1.1.0"] {
        target.start(&wanted("api", number, 1)).await.unwrap();
    }
    let split = shares("api", &[("1.0.0", 90), ("1.1.0", 10)]);
    target.set_traffic(&split).await.unwrap();
    // Without its Gateway nobody would move those whom the route leads.
    let url = format!("http://{}", front.local_addr().unwrap());
    let gateway = format!("gateway: {{ name: public, routes: {{ api: {{ url: '{url}' }} }} }}, ");
    edit(&stage, &gateway, "");
    let refused = stage.target().open(&stage.services()).await.unwrap_err();
    assert_eq!(refused.code, "CD0540", "{}", text(&refused));
    assert!(
        refused.what.contains("1.1.0 with weight 10"),
        "{}",
        text(&refused)
    );
    stage.target().remove_all(GRACE).await.unwrap();
    assert!(routes(&stage).get_opt("api").await.unwrap().is_none());
    played.end(&stage).await;
    stage.end().await;
}
