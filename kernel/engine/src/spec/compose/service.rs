//! One service of a Compose file.

use std::collections::BTreeMap;

use docker_compose_types as compose_types;

use super::super::error::{SpecError, code};
use super::super::model::Restart;
use super::super::node::{Node, Value};
use super::features::features;
use super::image::RELEASE;
use super::typed::typed;
use super::{Compose, ComposeService, depends, interpolate, keys_of, units, without};
use crate::duration::Span;
use crate::spec::{HealthCheck, RELEASE_VARIABLE};

type Found<T> = Result<T, Box<SpecError>>;

/// Reads a service; nothing when it only belongs to profiles.
pub(super) fn read(
    compose: &mut Compose,
    name: &str,
    node: &Node,
    vars: &dyn Fn(&str) -> Option<String>,
) -> Found<Option<ComposeService>> {
    let path = ["services", name];
    if !matches!(node.value, Value::Map(_)) {
        let what = format!(
            "the service `{name}` is {}, not a mapping of keys",
            node.kind()
        );
        let help = "Write its keys below it: `image:`, `ports:` and so on.";
        return Err(compose.error(code::COMPOSE, &path, what, help));
    }
    if !node.get("profiles").map_or(&[][..], Node::items).is_empty() {
        let text = format!("`{name}` belongs to profiles and is not deployed");
        compose.note(node.at.line, &text);
        compose.profiled.insert(name.to_owned());
        return Ok(None);
    }
    let typed = typed(compose, name, node)?;
    features(compose, name, node, &typed)?;
    let needs = depends::needed(compose, name, node, &typed)?;
    let mut reader = Reader {
        compose,
        name,
        node,
        typed,
        vars,
    };
    reader.service(needs).map(Some)
}

/// A service being read.
pub(super) struct Reader<'a> {
    pub(super) compose: &'a mut Compose,
    pub(super) name: &'a str,
    pub(super) node: &'a Node,
    typed: compose_types::Service,
    pub(super) vars: &'a dyn Fn(&str) -> Option<String>,
}

impl Reader<'_> {
    fn service(&mut self, needs: Vec<String>) -> Found<ComposeService> {
        let (ports, published) = self.ports()?;
        let mut service = ComposeService {
            image: self.typed.image.clone(),
            image_by_release: self.image_by_release(),
            image_line: self.node.get("image").map_or(0, |node| node.at.line),
            depends_on: needs,
            ports,
            published,
            replicas: self.replicas()?,
            secrets: names(self.node.get("secrets")),
            configs: names(self.node.get("configs")),
            volumes: self.volumes(),
            health_url: self.health_url(),
            health: self.health(),
            labels: self.labels(),
            build: self.node.get("build").is_some(),
            restart: self.restart()?,
            stop_grace: self.stop_grace()?,
            keys: without(self.node, "environment"),
            memory_limit: self.memory_limit()?,
            processor_limit: self.processor_limit()?,
            ..ComposeService::default()
        };
        self.env_files(&mut service)?;
        self.environment(&mut service)?;
        Ok(service)
    }

    pub(super) fn error(
        &self,
        code: &'static str,
        path: &[&str],
        what: impl Into<String>,
        help: impl Into<String>,
    ) -> Box<SpecError> {
        let path: Vec<&str> = ["services", self.name]
            .iter()
            .chain(path)
            .copied()
            .collect();
        self.compose.error(code, &path, what, help)
    }

    /// Returns the image with the release left open: a command line may name another than the deployment file does.
    fn image_by_release(&self) -> Option<String> {
        let path = ["services", self.name, "image"];
        let written = self.compose.document.node(&path)?.text()?;
        let vars = |name: &str| match name {
            RELEASE_VARIABLE => Some(RELEASE.to_owned()),
            _ => (self.vars)(name),
        };
        let image = interpolate::interpolate(&written, &vars).ok()?;
        Some(image.text)
    }

    fn ports(&self) -> Found<(Vec<u16>, BTreeMap<u16, u16>)> {
        let (mut ports, mut published) = (Vec::new(), BTreeMap::new());
        let bad = |index: usize, text: &str| {
            let what = format!("`{text}` is not a port");
            let help = "Write \"8080\", \"80:8080\" or \"127.0.0.1:80:8080\", in quotes.";
            self.error(code::COMPOSE, &["ports", &index.to_string()], what, help)
        };
        match &self.typed.ports {
            compose_types::Ports::Short(list) => {
                for (index, text) in list.iter().enumerate() {
                    let port = units::port(text).ok_or_else(|| bad(index, text))?;
                    ports.push(port.target);
                    published.extend(port.published.map(|to| (port.target, to)));
                }
            }
            compose_types::Ports::Long(list) => {
                for (index, port) in list.iter().enumerate() {
                    ports.push(port.target);
                    let to = match &port.published {
                        Some(compose_types::PublishedPort::Single(to)) => Some(*to),
                        Some(compose_types::PublishedPort::Range(text)) => {
                            Some(units::first_of_range(text).ok_or_else(|| bad(index, text))?)
                        }
                        None => None,
                    };
                    published.extend(to.map(|to| (port.target, to)));
                }
            }
        }
        for (index, text) in self.typed.expose.iter().enumerate() {
            let port = units::port(text).ok_or_else(|| {
                let what = format!("`{text}` is not a port");
                let help = "Write \"8080\".";
                self.error(code::COMPOSE, &["expose", &index.to_string()], what, help)
            })?;
            ports.push(port.target);
        }
        let mut seen = std::collections::BTreeSet::new();
        ports.retain(|port| seen.insert(*port));
        Ok((ports, published))
    }

    fn replicas(&self) -> Found<Option<u32>> {
        let deploy = self
            .typed
            .deploy
            .as_ref()
            .and_then(|deploy| deploy.replicas);
        let (wanted, path): (_, &[&str]) = match deploy {
            Some(replicas) => (replicas, &["deploy", "replicas"]),
            None if self.typed.scale != 0 => (self.typed.scale, &["scale"]),
            None => return Ok(None),
        };
        match u32::try_from(wanted) {
            Ok(replicas @ 1..=1000) => Ok(Some(replicas)),
            _ => Err(self.error(
                code::OUT_OF_RANGE,
                path,
                format!("{wanted} instances of `{}` cannot be wanted", self.name),
                "Give a number from 1 to 1000; a service that is not to run is taken out or put \
                 under `profiles`.",
            )),
        }
    }

    fn volumes(&self) -> Vec<String> {
        let items = self.node.get("volumes").map_or(&[][..], Node::items);
        items
            .iter()
            .map(|item| {
                item.text().unwrap_or_else(|| {
                    let part = |key| item.get(key).and_then(Node::text).unwrap_or_default();
                    format!("{}:{}", part("source"), part("target"))
                })
            })
            .collect()
    }

    fn health_url(&self) -> Option<String> {
        let test = self.typed.healthcheck.as_ref()?.test.as_ref()?;
        let words: Vec<&str> = match test {
            compose_types::HealthcheckTest::Single(text) => text.split_whitespace().collect(),
            compose_types::HealthcheckTest::Multiple(parts) => parts
                .iter()
                .flat_map(|part| part.split_whitespace())
                .collect(),
        };
        words
            .into_iter()
            .map(|word| word.trim_matches(|c| matches!(c, '"' | '\'' | ';' | ')')))
            .find(|word| word.starts_with("http://") || word.starts_with("https://"))
            .map(str::to_owned)
    }

    fn health(&self) -> HealthCheck {
        let Some(check) = &self.typed.healthcheck else {
            return HealthCheck::Unnamed;
        };
        match &check.test {
            _ if check.disable => HealthCheck::Off,
            None => HealthCheck::Unnamed,
            Some(compose_types::HealthcheckTest::Single(_)) => HealthCheck::Named,
            Some(compose_types::HealthcheckTest::Multiple(words)) => {
                match words.first().map(String::as_str) {
                    None => HealthCheck::Unnamed,
                    Some("NONE") => HealthCheck::Off,
                    Some(_) => HealthCheck::Named,
                }
            }
        }
    }

    fn labels(&self) -> BTreeMap<String, String> {
        match &self.typed.labels {
            compose_types::Labels::Map(map) => map.clone().into_iter().collect(),
            compose_types::Labels::List(list) => list
                .iter()
                .map(|label| {
                    let (name, value) = label.split_once('=').unwrap_or((label, ""));
                    (name.to_owned(), value.to_owned())
                })
                .collect(),
        }
    }

    fn restart(&self) -> Found<Option<Restart>> {
        let policy = self
            .typed
            .deploy
            .as_ref()
            .and_then(|d| d.restart_policy.as_ref());
        let (text, path): (_, &[&str]) = match policy {
            Some(policy) => {
                let text = match policy.condition.as_deref() {
                    None | Some("any") => "always".to_owned(),
                    Some("none") => "no".to_owned(),
                    Some("on-failure") => match policy.max_attempts {
                        Some(times) => format!("on-failure:{times}"),
                        None => "on-failure".to_owned(),
                    },
                    Some(other) => other.to_owned(),
                };
                (text, &["deploy", "restart_policy", "condition"])
            }
            None => match &self.typed.restart {
                Some(text) => (text.clone(), &["restart"]),
                None => return Ok(None),
            },
        };
        let times = text.strip_prefix("on-failure:").map(str::parse);
        match (text.as_str(), times) {
            ("no" | "false", _) => Ok(Some(Restart::No)),
            ("always", _) => Ok(Some(Restart::Always)),
            ("unless-stopped", _) => Ok(Some(Restart::UnlessStopped)),
            ("on-failure", _) => Ok(Some(Restart::OnFailure(None))),
            (_, Some(Ok(times))) => Ok(Some(Restart::OnFailure(Some(times)))),
            _ => Err(self.error(
                code::COMPOSE,
                path,
                format!("`{text}` is not a restart policy"),
                "Write \"no\" (in quotes), always, unless-stopped, on-failure or on-failure:3.",
            )),
        }
    }

    fn stop_grace(&self) -> Found<Option<Span>> {
        let Some(text) = &self.typed.stop_grace_period else {
            return Ok(None);
        };
        text.parse().map(Some).map_err(|_| {
            self.error(
                code::BAD_DURATION,
                &["stop_grace_period"],
                format!("`{text}` is not a length of time"),
                "Write a whole number with a unit, such as 10s or 1m30s.",
            )
        })
    }

    fn limit(&self, of_deploy: &str, of_service: &str) -> Option<(String, Vec<String>)> {
        let path = ["deploy", "resources", "limits", of_deploy];
        let found = path.iter().try_fold(self.node, |node, part| node.get(part));
        let paths: Vec<String> = path.iter().map(|part| (*part).to_owned()).collect();
        match found.and_then(Node::text) {
            Some(text) => Some((text, paths)),
            None => {
                let text = self.node.get(of_service).and_then(Node::text)?;
                Some((text, vec![of_service.to_owned()]))
            }
        }
    }

    fn memory_limit(&self) -> Found<Option<u64>> {
        let Some((text, path)) = self.limit("memory", "mem_limit") else {
            return Ok(None);
        };
        units::bytes(&text).map(Some).ok_or_else(|| {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            let what = format!("`{text}` is not an amount of memory");
            self.error(code::COMPOSE, &path, what, "Write it as 256M or 1G.")
        })
    }

    fn processor_limit(&self) -> Found<Option<f64>> {
        let Some((text, path)) = self.limit("cpus", "cpus") else {
            return Ok(None);
        };
        match text.parse::<f64>() {
            Ok(limit) if limit > 0.0 && limit.is_finite() => Ok(Some(limit)),
            _ => {
                let path: Vec<&str> = path.iter().map(String::as_str).collect();
                let what = format!("`{text}` is not a number of processors");
                Err(self.error(code::COMPOSE, &path, what, "Write it as \"0.5\" or \"2\"."))
            }
        }
    }
}

fn names(node: Option<&Node>) -> Vec<String> {
    let Some(node) = node else { return Vec::new() };
    let listed = node.items().iter().filter_map(|item| {
        item.text()
            .or_else(|| item.get("source").and_then(Node::text))
    });
    listed.chain(keys_of(node)).collect()
}
