//! What the played server has, and what it does with what is asked of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use futures::StreamExt as _;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::answers::{missing, nothing_here, resource_list, told};
use super::asked::{Asked, is_chosen, merged};
use super::{Change, NAMESPACE, Watch};

const SERVED: &str = include_str!("../served.yaml");

/// Resources by group and version.
type Apis = BTreeMap<String, BTreeMap<String, Vec<String>>>;

#[derive(Debug, Clone, Deserialize)]
struct Served {
    release: String,
    apis: Apis,
}

/// What happens when something is asked.
pub struct Reaction {
    pub watch: Watch,
    pub changes: Vec<Change>,
}

/// That the server has too much to do.
pub struct Busy {
    /// What is refused first: `GET pods`.
    pub what: String,
    pub seconds: u64,
    pub until: Option<Instant>,
}

/// The server's world.
pub struct World {
    served: Served,
    pub objects: BTreeMap<(String, String), Value>,
    revision: u64,
    pub reactions: BTreeMap<String, VecDeque<Reaction>>,
    pub busy: Option<Busy>,
    pub warns: bool,
    /// Rights that the account lacks: `list pods`.
    pub denied: BTreeSet<String>,
    /// Rights that were asked about, with groups: `list apps/deployments`.
    pub reviewed: Vec<String>,
    /// What was asked, with the version of its API: `GET pods`, `v1`.
    pub asked: Vec<(String, String)>,
    /// What was asked by versions that are not served.
    pub unserved: Vec<String>,
    /// What was asked before the server wanted it.
    pub early: Vec<String>,
}

impl World {
    /// Returns one in which that version is served and nothing is there.
    pub fn of(version: &str) -> Self {
        let mut served: BTreeMap<String, Served> = serde_saphyr::from_str(SERVED).unwrap();
        Self {
            served: served.remove(version).unwrap(),
            objects: BTreeMap::new(),
            revision: 0,
            reactions: BTreeMap::new(),
            busy: None,
            warns: false,
            denied: BTreeSet::new(),
            reviewed: Vec::new(),
            asked: Vec::new(),
            unserved: Vec::new(),
            early: Vec::new(),
        }
    }

    pub fn answer(&mut self, asked: &Asked) -> Response {
        self.asked.push((asked.what(), asked.version.clone()));
        let mut answer = match self.refused(asked) {
            Some(refused) => refused,
            None => self.answered(asked),
        };
        if self.warns {
            let warning = HeaderValue::from_static("299 - \"played: this is on its way out\"");
            answer.headers_mut().append(header::WARNING, warning);
        }
        answer
    }

    /// Refuses as a server that has too much to do: with words that are no object.
    fn refused(&mut self, asked: &Asked) -> Option<Response> {
        let busy = self.busy.as_mut()?;
        let (now, seconds) = (Instant::now(), busy.seconds);
        match busy.until {
            None if asked.what() != busy.what => return None,
            None => busy.until = Some(now + Duration::from_secs(seconds)),
            Some(until) if now < until => self.early.push(asked.what()),
            Some(_) => {
                self.busy = None;
                return None;
            }
        }
        let answer = Response::builder().status(429);
        let answer = answer.header(header::RETRY_AFTER, seconds.to_string());
        let words = "Too many requests, please try again later.\n";
        Some(answer.body(Body::from(words)).unwrap())
    }

    fn answered(&mut self, asked: &Asked) -> Response {
        match asked.path.as_str() {
            "/version" => {
                let release = &self.served.release;
                let number: Vec<&str> = release.trim_start_matches('v').split('.').collect();
                let version =
                    json!({ "major": number[0], "minor": number[1], "gitVersion": release });
                return told(200, &version);
            }
            "/apis" => return told(200, &self.groups()),
            _ => {}
        }
        let (group, version) = asked
            .version
            .split_once('/')
            .unwrap_or(("", &asked.version));
        let served = self.served.apis.get(group);
        let served = served.and_then(|versions| versions.get(version));
        if asked.resource.is_empty() {
            return match served {
                Some(resources) => told(200, &resource_list(&asked.version, resources)),
                None => nothing_here(),
            };
        }
        if served.is_none_or(|resources| !resources.contains(&asked.resource)) {
            self.unserved.push(asked.path.clone());
            return nothing_here();
        }
        if asked.method == "WATCH" {
            return self.watch(asked);
        }
        let answer = self.carried_out(asked);
        self.change_after(&asked.what());
        answer
    }

    fn groups(&self) -> Value {
        let groups = self
            .served
            .apis
            .iter()
            .filter(|(group, _)| !group.is_empty());
        let groups = groups.map(|(group, versions)| {
            let versions: Vec<Value> = versions
                .keys()
                .map(|version| {
                    json!({ "groupVersion": format!("{group}/{version}"), "version": version })
                })
                .collect();
            json!({ "name": group, "versions": versions, "preferredVersion": versions[0] })
        });
        let groups: Vec<Value> = groups.collect();
        json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups })
    }

    fn carried_out(&mut self, asked: &Asked) -> Response {
        if asked.part.as_deref() == Some("log") {
            return Response::new(Body::from("a line of the log\n"));
        }
        match (asked.method.as_str(), &asked.name) {
            ("POST", _) if asked.resource == "selfsubjectaccessreviews" => self.reviewed_of(asked),
            ("GET", None) => told(200, &self.list(asked)),
            ("POST", None) => self.stated(asked, asked.body.clone()),
            (method, Some(name)) => {
                let key = (asked.resource.clone(), name.clone());
                let found = self.objects.get(&key).filter(|_| asked.is_here).cloned();
                match (method, found) {
                    ("PATCH" | "PUT", found) => {
                        let merges = !asked.query.contains_key("fieldManager");
                        let stated = match found {
                            Some(found) if merges => merged(found, &asked.body),
                            _ => asked.body.clone(),
                        };
                        self.stated(asked, stated)
                    }
                    (_, None) => missing(asked),
                    ("DELETE", Some(_)) => {
                        self.objects.remove(&key);
                        told(200, &json!({ "kind": "Status", "status": "Success" }))
                    }
                    (_, Some(found)) => told(200, &found),
                }
            }
            (method, None) => panic!("{method} {}", asked.path),
        }
    }

    fn reviewed_of(&mut self, asked: &Asked) -> Response {
        let right = &asked.body["spec"]["resourceAttributes"];
        let word = |key: &str| right[key].as_str().unwrap_or_default().to_owned();
        let (verb, group, resource) = (word("verb"), word("group"), word("resource"));
        let allowed = !self.denied.contains(&format!("{verb} {resource}"));
        self.reviewed.push(format!("{verb} {group}/{resource}"));
        let mut answer = asked.body.clone();
        answer["status"] = json!({ "allowed": allowed });
        told(201, &answer)
    }

    /// Keeps an object, unless that is only tried out.
    fn stated(&mut self, asked: &Asked, object: Value) -> Response {
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        if asked.query.contains_key("dryRun") {
            return told(200, &object);
        }
        let key = (asked.resource.clone(), name);
        self.keep(key.clone(), object);
        told(200, &self.objects[&key])
    }

    fn keep(&mut self, key: (String, String), mut object: Value) {
        self.revision += 1;
        object["metadata"]["resourceVersion"] = self.revision.to_string().into();
        object["metadata"]["namespace"] = NAMESPACE.into();
        self.objects.insert(key, object);
    }

    fn list(&self, asked: &Asked) -> Value {
        let of_kind = self.objects.iter();
        let of_kind = of_kind.filter(|((resource, _), _)| *resource == asked.resource);
        let chosen = of_kind
            .filter(|(_, object)| asked.is_here && is_chosen(object, &asked.query))
            .map(|(_, object)| {
                // As servers list them: what they are says the list.
                let mut object = object.clone();
                if let Some(keys) = object.as_object_mut() {
                    keys.remove("apiVersion");
                    keys.remove("kind");
                }
                object
            });
        let items: Vec<Value> = chosen.collect();
        json!({
            "kind": "List", "apiVersion": asked.version,
            "metadata": { "resourceVersion": self.revision.to_string() }, "items": items,
        })
    }

    fn watch(&mut self, asked: &Asked) -> Response {
        let waiting = self.reactions.get_mut(&asked.what());
        let reaction = waiting.and_then(VecDeque::pop_front);
        let reaction = reaction.unwrap_or(Reaction {
            watch: Watch::Tells,
            changes: Vec::new(),
        });
        let mut events = Vec::new();
        for change in reaction.changes {
            events.extend(
                self.change(change)
                    .filter(|(resource, _)| *resource == asked.resource),
            );
        }
        let gone = json!({
            "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 410, "reason": "Expired",
            "message": "too old resource version",
        });
        let events: Vec<Value> = match reaction.watch {
            Watch::RefusedTooOld => return told(410, &gone),
            Watch::TellsTooOld => vec![json!({ "type": "ERROR", "object": gone })],
            Watch::Tells => events.into_iter().map(|(_, event)| event).collect(),
        };
        let lines = events
            .iter()
            .map(|event| Ok::<_, Infallible>(format!("{event}\n")));
        let lines: Vec<Result<String, Infallible>> = lines.collect();
        // It stays open: nothing else happens.
        let open = futures::stream::iter(lines).chain(futures::stream::pending());
        Response::new(Body::from_stream(open))
    }

    fn change_after(&mut self, what: &str) {
        let waiting = self.reactions.get_mut(what);
        let reaction = waiting.and_then(VecDeque::pop_front);
        for change in reaction.into_iter().flat_map(|reaction| reaction.changes) {
            self.change(change);
        }
    }

    /// Carries a change out, and returns what a watch of the resource tells of it.
    pub fn change(&mut self, change: Change) -> Option<(&'static str, Value)> {
        match change {
            Change::Is(resource, object) => {
                let name = object["metadata"]["name"].as_str().unwrap().to_owned();
                let key = (resource.to_owned(), name);
                self.keep(key.clone(), object);
                let event = json!({ "type": "MODIFIED", "object": self.objects[&key] });
                Some((resource, event))
            }
            Change::Gone(resource, name) => {
                let key = (resource.to_owned(), name.to_owned());
                let gone = self.objects.remove(&key)?;
                Some((resource, json!({ "type": "DELETED", "object": gone })))
            }
        }
    }
}
