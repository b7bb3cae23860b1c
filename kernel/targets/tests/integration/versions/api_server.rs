//! An API server that is played: it serves what a version of Kubernetes serves, says so in its discovery, keeps the
//! objects of one namespace, and does with a request what a test wants. No real server of these versions can run here.

mod answers;
mod asked;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Query, Request, State};
use axum::response::Response;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use asked::Asked;
use world::{Busy, Reaction, World};

/// The namespace in which everything is played.
pub const NAMESPACE: &str = "played";

/// What becomes of an object.
#[derive(Debug, Clone)]
pub enum Change {
    /// Of that resource, it is so.
    Is(&'static str, Value),
    /// Of that resource, the one of that name is gone.
    Gone(&'static str, &'static str),
}

/// What becomes of a watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watch {
    /// It tells what changes.
    Tells,
    /// It tells that the version from which it goes on is too old.
    TellsTooOld,
    /// It is refused for that.
    RefusedTooOld,
}

/// The server. It ends with this value.
pub struct ApiServer {
    pub url: String,
    world: Arc<Mutex<World>>,
    task: JoinHandle<()>,
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ApiServer {
    /// Begins to serve what that version serves.
    pub async fn begin(version: &str) -> Self {
        let world = Arc::new(Mutex::new(World::of(version)));
        let router = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&world));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let task = TaskTracker::new().spawn(async move {
            axum::serve(listener, router).await.unwrap();
        });
        let server = Self { url, world, task };
        server.is("namespaces", json!({ "metadata": { "name": NAMESPACE } }));
        server
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// Has an object of a resource be so.
    pub fn is(&self, resource: &'static str, object: Value) {
        self.world().change(Change::Is(resource, object));
    }

    /// Has objects change once something was asked, `DELETE deployments`: each time the next of these changes.
    pub fn after(&self, what: &str, changes: Vec<Change>) {
        self.react(what, Watch::Tells, changes);
    }

    /// Has a watch of a resource go so, and objects change when it begins.
    pub fn watched(&self, resource: &str, watch: Watch, changes: Vec<Change>) {
        self.react(&format!("WATCH {resource}"), watch, changes);
    }

    fn react(&self, what: &str, watch: Watch, changes: Vec<Change>) {
        let mut world = self.world();
        let reactions = world.reactions.entry(what.to_owned()).or_default();
        reactions.push_back(Reaction { watch, changes });
    }

    /// Has the server refuse everything for so many seconds, from when that is asked next.
    pub fn is_busy(&self, what: &str, seconds: u64) {
        self.world().busy = Some(Busy {
            what: what.to_owned(),
            seconds,
            until: None,
        });
    }

    /// Has all answers warn of something.
    pub fn warns(&self) {
        self.world().warns = true;
    }

    /// Has the account lack a right: `list pods`.
    pub fn deny(&self, right: &str) {
        self.world().denied.insert(right.to_owned());
    }

    /// Returns the versions of its API by which a resource was asked for.
    pub fn versions_of(&self, resource: &str) -> Vec<String> {
        let world = self.world();
        let of = world.asked.iter().filter(|(what, _)| {
            let asked = what.split_once(' ');
            asked.is_some_and(|(_, asked)| asked == resource)
        });
        let versions: BTreeSet<String> = of.map(|(_, version)| version.clone()).collect();
        versions.into_iter().collect()
    }

    /// Returns how often that was asked: `WATCH pods`.
    pub fn times(&self, what: &str) -> usize {
        let world = self.world();
        world
            .asked
            .iter()
            .filter(|(asked, _)| asked == what)
            .count()
    }

    /// Returns the rights that were asked about, with their groups: `list apps/deployments`.
    pub fn reviewed(&self) -> Vec<String> {
        self.world().reviewed.clone()
    }

    pub fn has(&self, resource: &str, name: &str) -> bool {
        let key = (resource.to_owned(), name.to_owned());
        self.world().objects.contains_key(&key)
    }

    /// Asserts that nothing was asked for by a version that is not served, and nothing earlier than wanted.
    #[track_caller]
    pub fn was_asked_well(&self) {
        let world = self.world();
        assert_eq!(world.unserved, Vec::<String>::new());
        assert_eq!(world.early, Vec::<String>::new());
    }
}

async fn answer(State(world): State<Arc<Mutex<World>>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let query: Query<BTreeMap<String, String>> = Query::try_from_uri(&parts.uri).unwrap();
    let asked = Asked::of(&parts.method, parts.uri.path(), query.0, &body);
    world.lock().unwrap().answer(&asked)
}
