//! One service of a Compose file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use code_deploy_record::Severity;
use docker_compose_types as compose_types;

use super::super::document::read_text;
use super::super::error::{SpecError, code};
use super::super::model::{Restart, SecretRef};
use super::super::node::{Node, Value};
use super::super::secrets::{gives_away, has_password, is_secret_name};
use super::keys::{Fate, NOT_TYPED, fate};
use super::{Compose, ComposeService, Feature, interpolate, keys_of, unknown_key, units};
use crate::duration::Span;

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
        let what = format!("the service `{name}` is {}, not a mapping of keys", node.kind());
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
    let mut reader = Reader {
        compose,
        name,
        node,
        typed,
        vars,
    };
    reader.service().map(Some)
}

/// Gives every key to the library that knows its type, one by one so that an error has its place.
fn typed(compose: &Compose, name: &str, node: &Node) -> Found<compose_types::Service> {
    let mut all = serde_json::Map::new();
    for entry in node.entries() {
        let key = entry.key.as_str();
        match fate(key) {
            None => return Err(unknown_key(compose, name, key)),
            Some(Fate::Refused(why)) => return Err(refused(compose, name, key, why)),
            Some(_) => {}
        }
        if NOT_TYPED.contains(&key) || matches!(entry.node.value, Value::Null) {
            continue;
        }
        let json = normalised(key, &entry.node);
        let one = serde_json::Value::Object([(key.to_owned(), json.clone())].into_iter().collect());
        if let Err(error) = serde_json::from_value::<compose_types::Service>(one) {
            let detail = error.to_string();
            let detail = match detail.strip_prefix("data did not match") {
                Some(_) => String::new(),
                None => format!(": {detail}"),
            };
            let what = format!("`{key}` of `{name}` has a form that Compose does not know{detail}");
            let help = format!(
                "See https://docs.docker.com/reference/compose-file/services/#{key} for its forms."
            );
            return Err(compose.error(code::COMPOSE, &["services", name, key], what, help));
        }
        all.insert(key.to_owned(), json);
    }
    serde_json::from_value(serde_json::Value::Object(all)).map_err(|error| {
        let what = format!("`{name}` has a form that Compose does not know: {error}");
        compose.error(code::COMPOSE, &["services", name], what, "Compare it with the specification.")
    })
}

fn refused(compose: &Compose, name: &str, key: &str, why: &str) -> Box<SpecError> {
    let path = ["services", name, key];
    let what = format!("`{key}` of `{name}` is not supported: {why}");
    let help = "Take it out, or write what it stands for: `docker compose config` prints a file \
                with everything resolved.";
    compose.document.error_at_key(code::NOT_HONOURED, &path, what, help)
}

/// Returns a key's value with numbers as texts where Compose takes both.
fn normalised(key: &str, node: &Node) -> serde_json::Value {
    let mut json = node.json();
    match key {
        "ports" if node.items().iter().any(|item| !item.entries().is_empty()) => {}
        "expose" | "ports" | "labels" | "command" | "entrypoint" | "depends_on" | "user"
        | "mem_limit" | "mem_reservation" | "restart" | "stop_grace_period" | "shm_size"
        | "image" | "container_name" | "hostname" => texts(&mut json, key == "depends_on"),
        "healthcheck" => {
            for part in ["test", "interval", "timeout", "start_period", "start_interval"] {
                if let Some(part) = json.get_mut(part) {
                    texts(part, false);
                }
            }
        }
        "deploy" => {
            if let Some(object) = json.as_object_mut() {
                object.retain(|key, _| !DEPLOY_NOT_TYPED.contains(&key.as_str()));
            }
            for part in ["limits", "reservations"] {
                let found = json.pointer_mut(&format!("/resources/{part}"));
                if let Some(object) = found.and_then(serde_json::Value::as_object_mut) {
                    object.retain(|key, _| !matches!(key.as_str(), "pids" | "generic_resources"));
                    object
                        .iter_mut()
                        .filter(|(key, _)| *key == "cpus" || *key == "memory")
                        .for_each(|(_, value)| texts(value, false));
                }
            }
        }
        _ => {}
    }
    json
}

/// Keys of `deploy` that the specification knows and the library does not, or not in each form.
const DEPLOY_NOT_TYPED: &[&str] = &["endpoint_mode", "labels", "rollback_config", "update_config"];

fn texts(json: &mut serde_json::Value, keep_switches: bool) {
    use serde_json::Value as J;
    match json {
        J::Number(number) => *json = J::String(number.to_string()),
        J::Bool(value) if !keep_switches => *json = J::String(value.to_string()),
        J::Array(items) => items.iter_mut().for_each(|item| texts(item, keep_switches)),
        J::Object(map) => map.values_mut().for_each(|item| texts(item, keep_switches)),
        J::Null | J::Bool(_) | J::String(_) => {}
    }
}

/// Notes what not every target honours.
fn features(
    compose: &mut Compose,
    name: &str,
    node: &Node,
    typed: &compose_types::Service,
) -> Found<()> {
    for entry in node.entries() {
        let key = entry.key.as_str();
        let harmless = match key {
            "privileged" => !typed.privileged,
            "network_mode" => typed.network_mode.as_deref() == Some("bridge"),
            "stop_signal" => matches!(typed.stop_signal.as_deref(), Some("SIGTERM" | "15")),
            _ => entry.node.value == Value::Bool(false) || entry.node.value == Value::Null,
        };
        if harmless {
            continue;
        }
        let mut feature = |local, why: &str| {
            compose.facts.features.push(Feature {
                service: name.to_owned(),
                key: key.to_owned(),
                line: entry.at.line,
                local,
                why: why.to_owned(),
            });
        };
        match fate(key) {
            Some(Fate::NotLocal(severity, why)) => feature(Some(severity), why),
            Some(Fate::Nowhere(why)) => {
                feature(None, why);
                compose.note(entry.at.line, &format!("`{key}` of `{name}` is not honoured: {why}"));
            }
            Some(Fate::Honoured | Fate::Refused(_)) | None => {}
        }
    }
    deploy_features(compose, name, node)
}

fn deploy_features(compose: &mut Compose, name: &str, node: &Node) -> Found<()> {
    for entry in node.get("deploy").map_or(&[][..], Node::entries) {
        let key = format!("deploy.{}", entry.key);
        let why = match entry.key.as_str() {
            "replicas" | "labels" | "restart_policy" => continue,
            "mode" if entry.node.text().as_deref() == Some("replicated") => continue,
            "mode" => {
                let path = ["services", name, "deploy", "mode"];
                let what = format!("`{key}` of `{name}` is not supported");
                let help = "Take it out and give `deploy.replicas`.";
                return Err(compose.error(code::NOT_HONOURED, &path, what, help));
            }
            "resources" => {
                compose.facts.features.push(Feature {
                    service: name.to_owned(),
                    key,
                    line: entry.at.line,
                    local: Some(Severity::Medium),
                    why: "it is not enforced for a process of this machine".to_owned(),
                });
                continue;
            }
            "update_config" | "rollback_config" => {
                "the strategy of the deployment file says how releases change"
            }
            "placement" => "where instances run is the target's choice",
            "endpoint_mode" => "services are reached through the router or the cluster's service",
            other => {
                let path = ["services", name, "deploy", other];
                let what = format!("the Compose specification has no key `{other}` under `deploy`");
                let known = [
                    "endpoint_mode", "labels", "mode", "placement", "replicas", "resources",
                    "restart_policy", "rollback_config", "update_config",
                ];
                let help = super::did_you_mean(other, "keys here", known.into_iter());
                return Err(compose.document.error_at_key(code::UNKNOWN_KEY, &path, what, help));
            }
        };
        compose.note(entry.at.line, &format!("`{key}` of `{name}` is not honoured: {why}"));
    }
    Ok(())
}

struct Reader<'a> {
    compose: &'a mut Compose,
    name: &'a str,
    node: &'a Node,
    typed: compose_types::Service,
    vars: &'a dyn Fn(&str) -> Option<String>,
}

impl Reader<'_> {
    fn service(&mut self) -> Found<ComposeService> {
        let (ports, published) = self.ports()?;
        let mut service = ComposeService {
            image: self.typed.image.clone(),
            depends_on: self.depends_on(),
            ports,
            published,
            replicas: self.replicas()?,
            secrets: names(self.node.get("secrets")),
            configs: names(self.node.get("configs")),
            volumes: self.volumes(),
            health_url: self.health_url(),
            labels: self.labels(),
            build: self.node.get("build").is_some(),
            restart: self.restart()?,
            stop_grace: self.stop_grace()?,
            memory_limit: self.memory_limit()?,
            processor_limit: self.processor_limit()?,
            ..ComposeService::default()
        };
        self.env_files(&mut service)?;
        self.environment(&mut service)?;
        Ok(service)
    }

    fn error(
        &self,
        code: &'static str,
        path: &[&str],
        what: impl Into<String>,
        help: impl Into<String>,
    ) -> Box<SpecError> {
        let path: Vec<&str> = ["services", self.name].iter().chain(path).copied().collect();
        self.compose.error(code, &path, what, help)
    }

    fn depends_on(&self) -> Vec<String> {
        let mut names = match &self.typed.depends_on {
            compose_types::DependsOnOptions::Simple(names) => names.clone(),
            compose_types::DependsOnOptions::Conditional(map) => map.keys().cloned().collect(),
        };
        names.dedup();
        names
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
        let deploy = self.typed.deploy.as_ref().and_then(|deploy| deploy.replicas);
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
            .filter_map(|item| match item.text() {
                Some(text) => Some(text),
                None => {
                    let part = |key| item.get(key).and_then(Node::text).unwrap_or_default();
                    Some(format!("{}:{}", part("source"), part("target")))
                }
            })
            .collect()
    }

    fn health_url(&self) -> Option<String> {
        let test = self.typed.healthcheck.as_ref()?.test.as_ref()?;
        let words: Vec<&str> = match test {
            compose_types::HealthcheckTest::Single(text) => text.split_whitespace().collect(),
            compose_types::HealthcheckTest::Multiple(parts) => {
                parts.iter().flat_map(|part| part.split_whitespace()).collect()
            }
        };
        words
            .into_iter()
            .map(|word| word.trim_matches(|c| matches!(c, '"' | '\'' | ';' | ')')))
            .find(|word| word.starts_with("http://") || word.starts_with("https://"))
            .map(str::to_owned)
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
        let policy = self.typed.deploy.as_ref().and_then(|d| d.restart_policy.as_ref());
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

    fn env_files(&mut self, service: &mut ComposeService) -> Found<()> {
        let Some(node) = self.node.get("env_file") else {
            return Ok(());
        };
        let single = std::slice::from_ref(node);
        let items = if node.items().is_empty() { single } else { node.items() };
        for item in items {
            let (file, required) = match item.text() {
                Some(text) => (text, true),
                None => {
                    let required = item.get("required").map(|node| node.value.clone());
                    let path = item.get("path").and_then(Node::text).unwrap_or_default();
                    (path, required != Some(Value::Bool(false)))
                }
            };
            let path = self.compose.document.path.with_file_name("").join(&file);
            service.env_files.push(PathBuf::from(file));
            if !required && !path.exists() {
                continue;
            }
            for line in env_file(&path)? {
                self.env_file_line(service, &path, line)?;
            }
            self.compose.files.push(path);
        }
        Ok(())
    }

    fn env_file_line(
        &self,
        service: &mut ComposeService,
        path: &Path,
        line: EnvLine,
    ) -> Found<()> {
        let Some(raw) = line.value else {
            self.pass_on(service, &line.name);
            return Ok(());
        };
        if let Some(variable) = secret_reference(&line.name, &raw, "") {
            let reference = SecretRef::Env(variable.to_owned());
            service.secret_variables.insert(line.name, reference);
            return Ok(());
        }
        let value = interpolate::interpolate(&raw, self.vars).map_or(raw, |found| found.text);
        if gives_away(&line.name, &value) {
            let mut error = secret_value(&line.name, self.name, path);
            error.line = Some(line.line);
            return Err(error);
        }
        service.environment.insert(line.name, value);
        Ok(())
    }

    /// Takes a variable over from where the program is started.
    fn pass_on(&self, service: &mut ComposeService, name: &str) {
        if is_secret_name(name) {
            let reference = SecretRef::Env(name.to_owned());
            service.secret_variables.insert(name.to_owned(), reference);
            return;
        }
        match (self.vars)(name) {
            Some(value) if has_password(&value) => {
                let reference = SecretRef::Env(name.to_owned());
                service.secret_variables.insert(name.to_owned(), reference);
            }
            Some(value) => {
                service.environment.insert(name.to_owned(), value);
            }
            None => {}
        }
    }

    fn environment(&self, service: &mut ComposeService) -> Found<()> {
        let Some(node) = self.node.get("environment") else {
            return Ok(());
        };
        let raw = |key: &str| {
            let path = ["services", self.name, "environment", key];
            self.compose.document.node(&path).and_then(Node::text).unwrap_or_default()
        };
        let mut pairs: Vec<(String, String, Option<String>, String)> = Vec::new();
        for entry in node.entries() {
            let key = entry.key.clone();
            pairs.push((key.clone(), key.clone(), entry.node.text(), raw(&key)));
        }
        for (index, item) in node.items().iter().enumerate() {
            let text = item.text().unwrap_or_default();
            let whole = raw(&index.to_string());
            let before = whole.split_once('=').map_or("", |(_, value)| value).to_owned();
            let (name, value) = match text.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (text, None),
            };
            pairs.push((index.to_string(), name, value, before));
        }
        for (key, name, value, raw) in pairs {
            let Some(value) = value else {
                self.pass_on(service, &name);
                continue;
            };
            if let Some(variable) = secret_reference(&name, &raw, &value) {
                let reference = SecretRef::Env(variable.to_owned());
                service.environment.remove(&name);
                service.secret_variables.insert(name, reference);
            } else if gives_away(&name, &value) {
                let file = &self.compose.document.path;
                let found = secret_value(&name, self.name, file);
                let path = ["environment", key.as_str()];
                return Err(self.error(found.code, &path, found.what, found.help));
            } else {
                service.secret_variables.remove(&name);
                service.environment.insert(name, value);
            }
        }
        Ok(())
    }
}

/// Returns the variable that a secret comes from, when nothing else stands in the value.
fn secret_reference<'a>(name: &str, raw: &'a str, value: &str) -> Option<&'a str> {
    let variable = interpolate::sole_variable(raw)?;
    let secret = is_secret_name(name) || is_secret_name(variable) || has_password(value);
    secret.then_some(variable)
}

fn secret_value(name: &str, service: &str, path: &Path) -> Box<SpecError> {
    SpecError::of_file(
        code::SECRET_VALUE,
        path,
        format!("`{name}` of `{service}` holds a secret in plain text"),
        format!(
            "Take the value out. Write `{name}: ${{{name}}}` and set it where the program is \
             started, or name it in deploy.yaml under `services.{service}.process.secrets`: \
             `{name}: env:{name}` or `{name}: file:PATH`."
        ),
    )
}

fn names(node: Option<&Node>) -> Vec<String> {
    let Some(node) = node else { return Vec::new() };
    let listed = node.items().iter().filter_map(|item| {
        item.text().or_else(|| item.get("source").and_then(Node::text))
    });
    listed.chain(keys_of(node)).collect()
}

/// A line of an environment file.
pub(super) struct EnvLine {
    pub(super) line: usize,
    pub(super) name: String,
    pub(super) value: Option<String>,
}

/// Reads an environment file.
pub(super) fn env_file(path: &Path) -> Found<Vec<EnvLine>> {
    let empty = std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() == 0);
    if empty {
        return Ok(Vec::new());
    }
    let text = read_text(path, "environment file")?;
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        match units::env_line(line) {
            Ok(Some((name, value))) => lines.push(EnvLine {
                line: index + 1,
                name: name.to_owned(),
                value,
            }),
            Ok(None) => {}
            Err(()) => {
                let mut error = SpecError::of_file(
                    code::COMPOSE,
                    path,
                    "this line of the environment file is not `NAME=value`",
                    "Write NAME=value; comments begin with #.",
                );
                error.line = Some(index + 1);
                return Err(error);
            }
        }
    }
    Ok(lines)
}
