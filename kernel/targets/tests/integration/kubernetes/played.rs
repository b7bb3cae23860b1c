//! The Gateway API in the stage's cluster, and the part of a controller, which cannot run there: a task that
//! writes what a controller would write of each route.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use super::cluster::Stage;
use crate::stage::eventually;

const DEFINITIONS: &str = include_str!("gateway-api.yaml");

/// The label of definitions that tests made: no others are removed.
const OWN: &str = "code-deploy.test";

/// What the played controller says of routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    Accepted,
    NotAllowed,
    Nothing,
}

/// A controller that is played, with the Gateway `public` in the namespace of the stage.
pub struct Played {
    says: Arc<Mutex<Says>>,
    /// Whom routes led to, in the order in which they were told, with names and weights.
    seen: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

fn definitions(client: &Client) -> Api<CustomResourceDefinition> {
    Api::all(client.clone())
}

fn names() -> Vec<CustomResourceDefinition> {
    let list: Value = serde_saphyr::from_str(DEFINITIONS).unwrap();
    let items = list["items"].as_array().unwrap().iter();
    items
        .map(|item| serde_json::from_value(item.clone()).unwrap())
        .collect()
}

/// Has the cluster serve the Gateway API, if it does not yet.
pub async fn install(client: &Client) {
    let all = definitions(client);
    for one in names() {
        if all.get_opt(&one.name_any()).await.unwrap().is_none() {
            all.create(&PostParams::default(), &one).await.unwrap();
        }
        eventually("the definition is served", || async {
            let found = all.get(&one.name_any()).await.ok()?;
            let conditions = found.status?.conditions?;
            let mut conditions = conditions.into_iter();
            conditions.find(|one| one.type_ == "Established" && one.status == "True")
        })
        .await;
    }
    eventually("its API answers", || async {
        client
            .list_api_group_resources("gateway.networking.k8s.io/v1")
            .await
            .ok()
    })
    .await;
}

/// Takes the Gateway API away. Returns whether it is away: what others installed stays.
pub async fn remove(client: &Client) -> bool {
    let all = definitions(client);
    for one in names() {
        let name = one.name_any();
        match all.get_opt(&name).await.unwrap() {
            None => continue,
            Some(found) if !found.labels().contains_key(OWN) => return false,
            Some(_) => drop(all.delete(&name, &DeleteParams::default()).await.unwrap()),
        }
        eventually("the definition is gone", || async {
            let gone = all.get_opt(&name).await.ok()?.is_none();
            gone.then_some(())
        })
        .await;
    }
    eventually("its API is gone", || async {
        let listed = client.list_api_group_resources("gateway.networking.k8s.io/v1");
        listed.await.is_err().then_some(())
    })
    .await;
    true
}

/// Returns the objects of a kind of the Gateway API in the namespace of a stage.
pub fn all_of(stage: &Stage, kind: &str, plural: &str) -> Api<DynamicObject> {
    let gvk = GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", kind);
    let resource = ApiResource::from_gvk_with_plural(&gvk, plural);
    Api::namespaced_with(stage.client(), &stage.spec("k8s").application, &resource)
}

pub fn routes(stage: &Stage) -> Api<DynamicObject> {
    all_of(stage, "HTTPRoute", "httproutes")
}

/// Makes an object of the Gateway API.
pub async fn make(all: &Api<DynamicObject>, object: Value) -> DynamicObject {
    let object = serde_json::from_value(object).unwrap();
    all.create(&PostParams::default(), &object).await.unwrap()
}

/// Makes the Gateway `public` with the listener `http`.
pub async fn make_gateway(stage: &Stage) {
    let listener = json!({ "name": "http", "port": 80, "protocol": "HTTP" });
    let gateway = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
        "metadata": { "name": "public" },
        "spec": { "gatewayClassName": "played", "listeners": [listener] },
    });
    make(&all_of(stage, "Gateway", "gateways"), gateway).await;
}

impl Played {
    /// Installs what is missing, makes the Gateway and plays its controller from now on.
    pub async fn begin(stage: &Stage) -> Self {
        install(&stage.client()).await;
        make_gateway(stage).await;
        let (says, seen) = (Arc::new(Mutex::new(Says::Accepted)), Arc::default());
        let all = routes(stage);
        let task = TaskTracker::new().spawn(play(all, Arc::clone(&says), Arc::clone(&seen)));
        Self { says, seen, task }
    }

    /// Has it say something else of what is stated from now on.
    pub fn say(&self, says: Says) {
        *self.says.lock().unwrap() = says;
    }

    /// Returns whom the routes led to, one after the other, since this was asked last.
    pub fn seen(&self) -> Vec<String> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }

    pub async fn end(self, stage: &Stage) {
        self.task.abort();
        remove(&stage.client()).await;
    }
}

/// Returns to whom a route leads: `api-1-0-0 90, api-1-1-0 10`.
pub fn backends(route: &DynamicObject) -> String {
    let backends = route.data["spec"]["rules"][0]["backendRefs"].as_array();
    let words = |one: &Value| format!("{} {}", one["name"].as_str().unwrap(), one["weight"]);
    let backends = backends.into_iter().flatten().map(words);
    backends.collect::<Vec<_>>().join(", ")
}

async fn play(all: Api<DynamicObject>, says: Arc<Mutex<Says>>, seen: Arc<Mutex<Vec<String>>>) {
    let config = watcher::Config::default().any_semantic();
    let mut events = watcher::watcher(all.clone(), config).boxed();
    let mut last = None;
    while let Some(event) = events.next().await {
        let Ok(Event::Apply(route) | Event::InitApply(route)) = event else {
            // What the API server does not answer is asked again by the watcher.
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        };
        let version = (route.metadata.uid.clone(), route.metadata.generation);
        if last.as_ref() == Some(&version) {
            continue;
        }
        last = Some(version);
        seen.lock().unwrap().push(backends(&route));
        let said = *says.lock().unwrap();
        if said == Says::Nothing {
            continue;
        }
        let status = json!({ "status": { "parents": [parent(&route, said)] } });
        let params = PatchParams::default();
        // It may be gone by now.
        let _ = all
            .patch_status(&route.name_any(), &params, &Patch::Merge(&status))
            .await;
    }
}

fn parent(route: &DynamicObject, says: Says) -> Value {
    let condition = |kind: &str, holds: bool, reason: &str| {
        json!({
            "type": kind, "status": if holds { "True" } else { "False" }, "reason": reason,
            "message": "said by a test", "lastTransitionTime": "2026-01-01T00:00:00Z",
            "observedGeneration": route.metadata.generation,
        })
    };
    let accepted = match says {
        Says::NotAllowed => condition("Accepted", false, "NotAllowedByListeners"),
        Says::Accepted | Says::Nothing => condition("Accepted", true, "Accepted"),
    };
    json!({
        "parentRef": route.data["spec"]["parentRefs"][0],
        "controllerName": "tests.code-deploy/played",
        "conditions": [accepted, condition("ResolvedRefs", true, "ResolvedRefs")],
    })
}
