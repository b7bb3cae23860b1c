//! The text of a first deployment file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use code_deploy_record::Role;

use crate::spec::{ComposeFacts, ComposeService, guess_role};

/// What was found in a project.
pub(super) struct Found<'a> {
    /// Who answers for the services, where that is known.
    pub owner: Option<String>,
    pub(super) application: String,
    pub(super) compose: &'a str,
    pub(super) facts: &'a ComposeFacts,
    /// OpenAPI documents.
    pub(super) documents: Vec<PathBuf>,
    pub(super) migrations: Option<&'a str>,
}

const HEAD: &str = "\
# How this project is deployed. What the Compose file says is not repeated here.
# Lengths of time are a whole number with a unit: 500ms, 10s, 5m, 1h.
# Secrets are references, never values: env:NAME or file:PATH.
";

const STRATEGY: &str = "
# How a new release gets its traffic: canary, blue-green or rolling.
strategy:
  kind: canary
  # Shares of traffic that grow up to 100, and how long each is watched.
  steps:
    - { percent: 5, soak: 5m }
    - { percent: 25, soak: 15m }
    - { percent: 50, soak: 30m }
    - { percent: 100, soak: 0s }
  # Go back to 0 % once, on purpose, after the first step.
  rehearse_rollback: true
  health: { interval: 10s, passes: 3, timeout: 5s, deadline: 5m }

# The environments. These four names have the policies of the same name.
environments:
  dev:
    # Seconds instead of minutes.
    strategy:
      steps: [{ percent: 20, soak: 10s }, { percent: 50, soak: 5s }, { percent: 100, soak: 5s }]
      health: { interval: 1s, passes: 3, timeout: 1s, deadline: 1m }
  test: {}
  staging: {}
  prod:
    # The same release must have succeeded there before.
    requires: [staging]
";

const TAIL: &str = "
# User journeys, a file each: requests, each with what its answer must be. A run walks through them
# before it gives a new release traffic, so that it needs one.
# journeys: [journeys/sign-in.yaml]

# People to turn to, and who is called when.
# contacts:
#   - { name: Anna, role: web, reach: anna@example.org }
# escalation:
#   - { after: 0s, contact: Anna }

# What is known not to work.
# known_issues:
#   - { title: Search is slow after a restart, workaround: Wait an hour }
";

/// Returns the text of a deployment file.
pub(super) fn write(found: &Found<'_>) -> String {
    let mut out = Lines(String::from(HEAD));
    out.add(0, &format!("application: {}", quoted(&found.application)));
    out.add(
        0,
        "# The release to deploy when the command line names none.",
    );
    let release = tag_of_all(found).unwrap_or("1.0.0");
    out.add(0, &format!("release: \"{release}\""));
    out.add(0, &format!("compose: {}", quoted(found.compose)));
    out.add(0, "");
    out.add(0, "# What the Compose file cannot say of each service.");
    out.add(0, "services:");
    for (name, service) in &found.facts.services {
        one_service(&mut out, found, name, service);
    }
    out.0.push_str(STRATEGY);
    databases(&mut out, found);
    traffic(&mut out, found);
    out.0.push_str(TAIL);
    out.0
}

struct Lines(String);

impl Lines {
    fn add(&mut self, indent: usize, line: &str) {
        if !line.is_empty() {
            self.0.push_str(&" ".repeat(indent));
            self.0.push_str(line);
        }
        self.0.push('\n');
    }
}

/// Images of others, whose tags say nothing of the project: what serves pages or passes requests on,
/// and languages and systems into which a project's own files are mounted.
const OF_OTHERS: [&str; 30] = [
    "nginx",
    "httpd",
    "caddy",
    "traefik",
    "haproxy",
    "envoy",
    "alpine",
    "amazoncorretto",
    "bun",
    "busybox",
    "clojure",
    "debian",
    "deno",
    "eclipse-temurin",
    "elixir",
    "erlang",
    "fedora",
    "gcc",
    "golang",
    "haskell",
    "jetty",
    "node",
    "openjdk",
    "perl",
    "php",
    "python",
    "ruby",
    "rust",
    "tomcat",
    "ubuntu",
];

/// Returns the tag of the project's own images when all have the same and it names a release. An
/// image of a database, a cache or a queue has a release of its own.
fn tag_of_all<'a>(found: &Found<'a>) -> Option<&'a str> {
    let services = found.facts.services.iter();
    let own = services
        .filter(|(name, service)| matches!(role(name, service), Role::Frontend | Role::Backend))
        .filter_map(|(_, service)| service.image.as_deref())
        .filter(|image| !OF_OTHERS.contains(&name_of(image)));
    let mut tags = own.map(tag_of);
    let first = tags.next()??;
    let names_a_release = first.starts_with(|c: char| c.is_ascii_digit())
        && first.parse::<code_deploy_record::Release>().is_ok();
    (names_a_release && tags.all(|tag| tag == Some(first))).then_some(first)
}

/// Returns the tag of an image: what follows the colon behind the last slash.
fn tag_of(image: &str) -> Option<&str> {
    let image = image.split('@').next()?;
    let name = image.rsplit('/').next()?;
    name.split_once(':').map(|(_, tag)| tag)
}

/// Returns the last part of an image's name: `nginx` of `docker.io/library/nginx:1`.
fn name_of(image: &str) -> &str {
    let name = image.rsplit('/').next().unwrap_or_default();
    name.split([':', '@']).next().unwrap_or_default()
}

fn role(name: &str, service: &ComposeService) -> Role {
    guess_role(name, service.image.as_deref(), &service.ports)
}

fn word(role: Role) -> &'static str {
    match role {
        Role::Frontend => "frontend",
        Role::Backend => "backend",
        Role::Database => "database",
        Role::Cache => "cache",
        Role::Queue => "queue",
    }
}

fn one_service(out: &mut Lines, found: &Found<'_>, name: &str, service: &ComposeService) {
    let role = role(name, service);
    out.add(2, &format!("{}:", quoted(name)));
    out.add(4, "# Guessed from name, image and port.");
    out.add(4, &format!("role: {}", word(role)));
    if !service.labels.contains_key("code-deploy.owner") {
        out.add(
            4,
            "# Who answers for it: a person or a team. A run refuses a service without.",
        );
        out.add(
            4,
            &match &found.owner {
                Some(owner) => format!("owner: {}", quoted(owner)),
                None => "# owner: team-web".to_owned(),
            },
        );
    }
    if service.ports.is_empty() {
        out.add(4, "# The Compose file names no port; this is a guess.");
        out.add(4, &format!("port: {}", usual_port(service)));
    }
    match health_path(service) {
        Some(path) => {
            out.add(4, "# From the health check of the Compose file.");
            let path = quoted(path);
            out.add(
                4,
                &format!("probes: {{ startup: {path}, readiness: {path}, liveness: {path} }}"),
            );
        }
        None => {
            out.add(
                4,
                "# A run needs all three. For one without a path a `healthcheck` of the Compose file stands, on",
            );
            out.add(
                4,
                "# `docker-desktop` and `k8s`; for processes of this machine nothing runs it.",
            );
            out.add(
                4,
                "# probes: { startup: /startupz, readiness: /readyz, liveness: /livez }",
            );
        }
    }
    if matches!(role, Role::Frontend | Role::Backend) {
        out.add(4, "# metrics: /metrics");
        out.add(4, "# log_marker: /log-marker");
        let document = found
            .documents
            .iter()
            .find(|path| path.display().to_string().contains(name));
        match document {
            Some(path) => {
                out.add(
                    4,
                    &format!(
                        "# The project has {}; where does the service give it?",
                        path.display()
                    ),
                );
                out.add(4, "# openapi: /openapi.json");
            }
            None => out.add(4, "# openapi: /openapi.json"),
        }
    }
    out.add(
        4,
        "# How it is started as a process of this machine, for the target `local`:",
    );
    out.add(4, "# process:");
    out.add(4, "#   command: [path/to/program, --port, \"{port}\"]");
    for need in service.depends_on.iter().take(1) {
        let variable = need.to_uppercase().replace(['-', '.'], "_");
        out.add(4, "#   environment:");
        out.add(4, &format!("#     {variable}_URL: \"{{address:{need}}}\""));
    }
}

fn usual_port(service: &ComposeService) -> u16 {
    let image = service.image.as_deref().unwrap_or_default();
    let known = [
        ("postgres", 5432),
        ("mysql", 3306),
        ("mariadb", 3306),
        ("mongo", 27017),
        ("redis", 6379),
        ("valkey", 6379),
        ("memcached", 11211),
        ("rabbitmq", 5672),
        ("kafka", 9092),
        ("nats", 4222),
        ("nginx", 80),
    ];
    known
        .iter()
        .find(|(name, _)| image.contains(name))
        .map_or(8080, |(_, port)| *port)
}

/// Returns the path of the URL that the health check asks.
fn health_path(service: &ComposeService) -> Option<&str> {
    let (_, rest) = service.health_url.as_deref()?.split_once("://")?;
    let path = rest
        .find('/')
        .map_or("/", |at| rest.get(at..).unwrap_or("/"));
    path.split('?').next()
}

fn databases(out: &mut Lines, found: &Found<'_>) {
    let services = &found.facts.services;
    let mut all: BTreeMap<String, (String, BTreeSet<&str>)> = BTreeMap::new();
    for (name, service) in services {
        let files = service
            .environment
            .values()
            .filter_map(|value| sqlite_file(value));
        for file in files {
            let database = file.split('.').next().unwrap_or(file);
            let url = quoted(&format!("sqlite:{{data}}/{file}"));
            let entry = all
                .entry(database.to_owned())
                .or_insert((url, BTreeSet::new()));
            entry.1.insert(name);
        }
    }
    let servers = services
        .iter()
        .filter(|(name, one)| role(name, one) == Role::Database);
    let servers: Vec<&str> = servers.map(|(name, _)| name.as_str()).collect();
    if all.is_empty() && servers.is_empty() {
        return;
    }
    out.add(0, "");
    if !servers.is_empty() {
        let names = servers.join(", ");
        out.add(
            0,
            &format!("# Not migrated by a run, but by their own tools: the servers ({names})."),
        );
        out.add(
            0,
            "# What a run cannot establish about their data stays open.",
        );
    }
    if all.is_empty() {
        return;
    }
    out.add(0, "# Databases that a run migrates: SQLite files.");
    out.add(0, "databases:");
    for (index, (name, (url, users))) in all.iter().enumerate() {
        let users: Vec<String> = users.iter().map(|user| quoted(user)).collect();
        out.add(2, &format!("{}:", quoted(name)));
        out.add(4, &format!("url: {url}"));
        out.add(4, &format!("used_by: [{}]", users.join(", ")));
        match found.migrations {
            Some(folder) if index == 0 => out.add(4, &format!("migrations: {folder}")),
            _ => out.add(4, "# migrations: migrations"),
        }
        out.add(4, "# The last migration of each release.");
        out.add(4, "# release_migrations: { 1.0.0: 1 }");
    }
}

/// Returns the name of the file of a SQLite address.
fn sqlite_file(value: &str) -> Option<&str> {
    let path = value.strip_prefix("sqlite:")?.split('?').next()?;
    let name = path.rsplit('/').next()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (!name.is_empty() && !name.starts_with('.') && name.chars().all(plain)).then_some(name)
}

/// Returns the service that users meet first: a frontend, or else one that no other needs.
fn entry<'a>(found: &Found<'a>) -> Option<(&'a String, &'a ComposeService)> {
    let of = |wanted| {
        let all = found.facts.services.iter();
        all.filter(move |(name, service)| role(name, service) == wanted)
    };
    let needed: BTreeSet<_> = found
        .facts
        .services
        .values()
        .flat_map(|service| &service.depends_on)
        .collect();
    let mut first = of(Role::Backend).filter(|(name, _)| !needed.contains(name));
    let frontend = of(Role::Frontend).next();
    frontend
        .or_else(|| first.next())
        .or_else(|| of(Role::Backend).next())
}

/// Objectives and the outside client, for the service that users meet first.
fn traffic(out: &mut Lines, found: &Found<'_>) {
    let Some((name, service)) = entry(found) else {
        return;
    };
    let path = health_path(service).unwrap_or("/");
    let (name, path) = (quoted(name), quoted(path));
    out.add(0, "");
    out.add(0, "# What the application promises; measured in every run.");
    out.add(0, "objectives:");
    out.add(
        2,
        &format!("- {{ name: availability, service: {name}, availability: 99.9 }}"),
    );
    out.add(
        2,
        &format!("- {{ name: speed, service: {name}, latency: {{ percent: 99, below: 500ms }} }}"),
    );
    out.add(0, "");
    out.add(
        0,
        "# The outside client, which sends from before the first change to after the last.",
    );
    out.add(0, "client:");
    out.add(2, &format!("service: {name}"));
    out.add(
        2,
        "# Requests a second: enough for each share of traffic to be judged while it is watched.",
    );
    out.add(2, "rate: 50");
    out.add(2, "duration: 2h");
    out.add(2, "# What users ask for, in place of this.");
    out.add(2, "requests:");
    out.add(4, &format!("- path: {path}"));
    out.add(0, "");
    out.add(0, "# The load test.");
    out.add(0, "load:");
    out.add(2, &format!("service: {name}"));
    out.add(2, "rate: 50");
    out.add(2, "duration: 10s");
    out.add(2, "requests:");
    out.add(4, &format!("- path: {path}"));
}

/// Returns a text as YAML reads it back, in quotes where it needs them.
fn quoted(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/'))
        && !matches!(
            text.to_lowercase().as_str(),
            "true" | "false" | "yes" | "no" | "on" | "off" | "null" | "y" | "n"
        );
    if plain {
        text.to_owned()
    } else {
        serde_json::Value::from(text).to_string()
    }
}
