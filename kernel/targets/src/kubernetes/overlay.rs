//! What the user's own Deployment says of the pods of a service, laid over what a run makes of it.
//!
//! What the run itself relies on stays as it is made: labels, the number of pods, the image, the
//! routed port, probes, and the time in which pods end.

use code_deploy_engine::Spec;
use code_deploy_engine::spec::{Service, UserManifest};
use serde_json::{Map, Value};

use super::manifest::Manifest;
use super::merge::{self, Unfit};
use super::pod;

/// What of a Deployment is taken over, each by its keys.
const TAKEN: &[&[&str]] = &[
    &["apiVersion"],
    &["kind"],
    &["metadata", "name"],
    &["metadata", "namespace"],
    &["metadata", "labels"],
    &["metadata", "annotations"],
    &["spec", "strategy"],
    &["spec", "progressDeadlineSeconds"],
    &["spec", "minReadySeconds"],
    &["spec", "revisionHistoryLimit"],
    &["spec", "template", "metadata", "labels"],
    &["spec", "template", "metadata", "annotations"],
    &["spec", "template", "spec"],
];

/// What of a Deployment the run itself says, with the reason.
const OURS: &[(&[&str], &str)] = &[
    (
        &["spec", "selector"],
        "each release is selected by labels of its own",
    ),
    (
        &["spec", "replicas"],
        "how many pods there are says `replicas` of the environment, or the Compose file",
    ),
    (&["spec", "paused"], "its pods would not be started"),
];

/// Labels and annotations of this program.
const OWN_KEYS: &str = "code-deploy.";

/// Something of a manifest that cannot be honoured.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused {
    /// The file and the line.
    pub place: String,
    pub what: String,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// Returns the user's Deployment of a service, if there is one.
pub fn of<'a>(spec: &'a Spec, service: &str) -> Option<&'a UserManifest> {
    let is_own = |one: &&UserManifest| one.kind == "Deployment" && one.name == service;
    spec.manifests.iter().find(is_own)
}

/// Returns how many seconds the user's Deployment gives a service's pods to end, if it says so.
pub fn grace(spec: &Spec, service: &str) -> Option<u64> {
    let pointer = "/spec/template/spec/terminationGracePeriodSeconds";
    of(spec, service)?.value.pointer(pointer)?.as_u64()
}

/// Lays the user's Deployment over that of a release.
///
/// # Errors
/// All of it that cannot be: what is ours and differs, what no release takes over, what is no
/// Deployment.
pub fn laid_over(
    service: &Service,
    made: &Manifest,
    over: &UserManifest,
) -> Result<Manifest, Vec<Refused>> {
    let mut judge = Judge {
        over,
        refused: Vec::new(),
    };
    judge.keys(service);
    judge.labels(&made.value);
    judge.pod(service, &made.value);
    if !judge.refused.is_empty() {
        return Err(judge.refused);
    }
    let mut value = made.value.clone();
    let merged = value
        .as_object_mut()
        .map(|base| merge::lay(base, &part(&over.value)));
    if let Some(Err(Unfit { path, why })) = merged {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        judge.refuse(&path, &why);
        return Err(judge.refused);
    }
    Ok(Manifest {
        name: made.name.clone(),
        text: text(over, &value),
        value,
    })
}

/// Returns an object as text: JSON, which is YAML.
pub fn text(from: &UserManifest, value: &Value) -> String {
    format!("# With what {} says.\n{value:#}\n", from.place())
}

/// Returns what is laid over: the name is the release's, and the number of pods what was asked for.
fn part(over: &Value) -> Map<String, Value> {
    let mut part = over.as_object().cloned().unwrap_or_default();
    for key in ["apiVersion", "kind", "status"] {
        part.remove(key);
    }
    if let Some(metadata) = part.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|key, _| matches!(key.as_str(), "labels" | "annotations"));
    }
    if let Some(spec) = part.get_mut("spec").and_then(Value::as_object_mut) {
        spec.remove("replicas");
    }
    part
}

/// What a key of a Deployment is to a release.
enum Standing {
    /// It is taken over, as far as it is not refused by itself.
    Taken,
    /// Some of what is below it is.
    Above,
    /// The run says it, for that reason.
    Ours(&'static str),
    Other,
}

impl Standing {
    fn of(path: &[&str]) -> Self {
        if let Some((_, why)) = OURS.iter().find(|(ours, _)| *ours == path) {
            return Self::Ours(why);
        }
        if TAKEN.contains(&path) {
            return Self::Taken;
        }
        match TAKEN.iter().any(|taken| taken.starts_with(path)) {
            true => Self::Above,
            false => Self::Other,
        }
    }
}

struct Judge<'a> {
    over: &'a UserManifest,
    refused: Vec<Refused>,
}

impl Judge<'_> {
    fn refuse(&mut self, path: &[&str], why: &str) {
        self.refused.push(Refused {
            place: self.over.place_of(path),
            what: format!("`{}` of {}: {why}", path.join("."), self.over.title()),
        });
    }

    /// Judges which keys there are.
    fn keys(&mut self, service: &Service) {
        if self.over.api_version != "apps/v1" {
            self.refuse(&["apiVersion"], "a run makes those of apps/v1");
        }
        let over = self.over;
        self.keys_at(&mut Vec::new(), &over.value, service);
    }

    fn keys_at<'a>(&mut self, path: &mut Vec<&'a str>, value: &'a Value, service: &Service) {
        let entries = value.as_object().into_iter().flatten();
        for (key, value) in entries.filter(|(_, value)| says_something(value)) {
            path.push(key);
            let says_the_same = *path == ["spec", "replicas"] && *value == service.replicas;
            let why = match Standing::of(path) {
                Standing::Taken => None,
                Standing::Above => {
                    self.keys_at(path, value, service);
                    None
                }
                Standing::Ours(why) => (!says_the_same).then_some(why),
                Standing::Other => Some("no release takes this over"),
            };
            if let Some(why) = why {
                self.refuse(path, why);
            }
            path.pop();
        }
    }

    /// Judges labels and annotations: those that are made are what everything of a release is found by.
    fn labels(&mut self, made: &Value) {
        let places: [&[&str]; 4] = [
            &["metadata", "labels"],
            &["metadata", "annotations"],
            &["spec", "template", "metadata", "labels"],
            &["spec", "template", "metadata", "annotations"],
        ];
        let given = self.over;
        for place in places {
            let pointer = format!("/{}", place.join("/"));
            let over = given.value.pointer(&pointer).and_then(Value::as_object);
            let made = made.pointer(&pointer).and_then(Value::as_object);
            for (key, value) in over.into_iter().flatten() {
                let is = made.and_then(|made| made.get(key));
                let is_label = place.ends_with(&["labels"]) && is.is_some();
                if (is_label || key.starts_with(OWN_KEYS)) && is != Some(value) {
                    let path = [place, &[key.as_str()]].concat();
                    self.refuse(&path, "it is one by which a run finds what is its own");
                }
            }
        }
    }

    /// Judges what the pods are.
    fn pod(&mut self, service: &Service, made: &Value) {
        let pod = ["spec", "template", "spec"];
        let key = "terminationGracePeriodSeconds";
        let of = |value: &Value| value.pointer(&format!("/{}/{key}", pod.join("/"))).cloned();
        if let Some(given) = of(&self.over.value) {
            let needed = of(made).and_then(|needed| needed.as_u64()).unwrap_or(0);
            if given.as_u64().is_none_or(|given| given < needed) {
                let why = format!(
                    "pods need {needed} s at least: `stop_grace_period` of the Compose file, or `routing.drain` of the \
                     deployment file where that is longer, and the pause before it"
                );
                self.refuse(&[&pod[..], &[key]].concat(), &why);
            }
        }
        let over = self.over.value.pointer("/spec/template/spec/containers");
        let over = over.and_then(Value::as_array).cloned();
        for (index, container) in over.iter().flatten().enumerate() {
            if container.get("name").and_then(Value::as_str) == Some(&service.name) {
                let index = index.to_string();
                let path = [&pod[..], &["containers", &index]].concat();
                let made = &made["spec"]["template"]["spec"]["containers"][0];
                self.container(&path, container, made);
                self.ports(&path, container, service.port);
            }
        }
    }

    /// Judges what of the service's own container the run relies on.
    fn container(&mut self, path: &[&str], over: &Value, made: &Value) {
        let ours: [(&[&str], &str); 5] = [
            (&["image"], "the image is the release's: leave it out"),
            (&["startupProbe"], PROBE),
            (&["readinessProbe"], PROBE),
            (&["livenessProbe"], PROBE),
            (
                &["lifecycle", "preStop"],
                "in this pause nodes learn that the pod is going",
            ),
        ];
        for (keys, why) in ours {
            let pointer = format!("/{}", keys.join("/"));
            let (is, given) = (made.pointer(&pointer), over.pointer(&pointer));
            if is.is_some() && given.is_some_and(|given| Some(given) != is) {
                self.refuse(&[path, keys].concat(), why);
            }
        }
    }

    /// Judges the ports of the service's own container: the routed one is found by its name.
    fn ports(&mut self, path: &[&str], over: &Value, routed: u16) {
        let listed = over.get("ports").and_then(Value::as_array);
        for (index, port) in listed.into_iter().flatten().enumerate() {
            let is_routed = port.get("containerPort") == Some(&routed.into());
            let name = port.get("name").and_then(Value::as_str);
            let protocol = port.get("protocol").and_then(Value::as_str);
            let differs = match is_routed {
                true => name.is_some_and(|name| name != pod::PORT),
                false => name == Some(pod::PORT),
            };
            if differs || (is_routed && protocol.is_some_and(|protocol| protocol != "TCP")) {
                let index = index.to_string();
                let why = format!(
                    "the routed port is {routed}, over TCP and called `{}`",
                    pod::PORT
                );
                self.refuse(&[path, &["ports", &index]].concat(), &why);
            }
        }
    }
}

const PROBE: &str = "the deployment file and the Compose file say how health is asked";

/// Programs that write manifests leave empty values in them.
fn says_something(value: &Value) -> bool {
    !value.is_null() && value.as_object().is_none_or(|map| !map.is_empty())
}
