#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::path::Path;

use super::*;
use crate::http::HttpClient;
use crate::target::{Instance, ServiceAddress};

fn project() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        (
            "compose.yaml",
            "services:\n  web:\n    image: web:1\n    ports: ['8080:80']\n    depends_on: [api]\n    \
             environment: {API_URL: 'http://api:9000/v1', PAY: 'https://pay.example.org'}\n    \
             secrets: [key]\n  api:\n    image: api:1\n    expose: [9000]\n    \
             env_file: api.env\n    environment: {API_TOKEN: '$TOKEN'}\n    deploy: {replicas: 2}\n  \
             cache: {image: 'valkey/valkey:8', expose: [6379]}\n",
        ),
        ("api.env", "MODE=fast\n"),
        (
            "deploy.yaml",
            "application: app\nenvironments: {dev: {}}\ndatabases:\n  api:\n    \
             url: sqlite:{data}/api.db\n    used_by: [api]\n",
        ),
        (
            "api/openapi.yaml",
            "openapi: 3.1.0\npaths:\n  /things:\n    get: {operationId: list}\n    post: {}\n",
        ),
        ("web/openapi.json", "{\"paths\": 1}"),
        (
            "api/Cargo.lock",
            "[[package]]\nname = \"api\"\nversion = \"0.1.0\"\n\n[[package]]\nname = \"serde\"\n\
             version = \"1.0.1\"\nsource = \"registry\"\n",
        ),
        (
            "web/package-lock.json",
            r#"{"packages": {"": {"name": "web"}, "node_modules/a": {"version": "1.0.0"},
                "node_modules/a/node_modules/@b/c": {"version": "2.0.0"}}}"#,
        ),
        (
            "jobs/requirements.txt",
            "# jobs\nrequests==2.32.0 ; python_version > '3'\nflask>=3\n",
        ),
        (
            "old/yarn.lock",
            "# v1\n\n\"@b/c@^2\", \"@b/c@^3\":\n  version \"3.1.0\"\n  dependencies:\n    version \"9\"\n",
        ),
        (
            "tool/go.sum",
            "m.org/x v1.2.0 h1:a=\nm.org/x v1.2.0/go.mod h1:b=\n",
        ),
        ("tool/go.mod", "module t\nrequire m.org/x v1.2.0\n"),
        ("broken/Cargo.lock", "[[package"),
        ("node_modules/x/package-lock.json", "{}"),
        ("tls/site.crt", "x"),
    ] {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}

fn spec(folder: &Path) -> Spec {
    Spec::load(&folder.join("deploy.yaml"), "dev", "local", &|_| None).unwrap()
}

#[test]
fn components_come_from_both_files_with_roles_needs_and_ports() {
    let folder = project();
    let inventory = take(&spec(folder.path()), None).unwrap();
    let lines: Vec<String> = inventory
        .components()
        .iter()
        .map(|c| {
            format!(
                "{} {:?} {:?} {:?} {} {:?}",
                c.name, c.role, c.needs, c.ports, c.replicas, c.endpoints
            )
        })
        .collect();
    assert_eq!(
        lines,
        [
            "api Backend [\"api (database)\"] [9000] 2 Some(2)",
            "cache Cache [] [6379] 1 None",
            "web Frontend [\"api\"] [80] 1 None",
            "api (database) Database [] [] 1 None",
        ]
    );
}

#[test]
fn dependencies_of_every_ecosystem_are_counted() {
    let folder = project();
    let inventory = take(&spec(folder.path()), None).unwrap();
    let lines: Vec<String> = inventory
        .dependencies
        .iter()
        .map(|d| {
            let packages = d
                .packages
                .iter()
                .map(|one| format!("{} {}", one.name, one.version.as_deref().unwrap_or("any")));
            let packages: Vec<String> = packages.collect();
            format!(
                "{} {:?} {}: {}",
                d.file.display(),
                d.ecosystem,
                d.unpinned,
                packages.join(", ")
            )
        })
        .collect();
    assert_eq!(
        lines,
        [
            "api/Cargo.lock Cargo 0: serde 1.0.1",
            "jobs/requirements.txt PyPi 1: flask any, requests 2.32.0",
            "old/yarn.lock Npm 0: @b/c 3.1.0",
            "tool/go.sum Go 0: m.org/x v1.2.0",
            "web/package-lock.json Npm 0: @b/c 2.0.0, a 1.0.0",
        ]
    );
    let unread = inventory.unread.join("\n");
    assert!(
        unread.contains("broken/Cargo.lock: not a lock file of its kind"),
        "{unread}"
    );
    assert!(
        unread.contains("web/openapi.json: not an OpenAPI document"),
        "{unread}"
    );
    assert_eq!(inventory.certificates, [Path::new("tls/site.crt")]);
}

#[test]
fn the_network_is_mapped_from_dependencies_and_urls() {
    let folder = project();
    let inventory = take(&spec(folder.path()), None).unwrap();
    let lines: Vec<String> = inventory
        .edges
        .iter()
        .map(|e| {
            format!(
                "{} -> {} {:?} {} {}",
                e.from, e.to, e.port, e.outside, e.reason
            )
        })
        .collect();
    assert_eq!(
        lines,
        [
            "api -> api (database) None false databases.api.used_by",
            "web -> api Some(9000) false API_URL",
            "web -> api Some(9000) false depends_on",
            "web -> pay.example.org Some(443) true PAY",
        ]
    );
    assert_eq!(inventory.names[0].name, "pay.example.org");
}

#[test]
fn configuration_is_listed_by_name_only() {
    let folder = project();
    let inventory = take(&spec(folder.path()), None).unwrap();
    let lines: Vec<String> = inventory
        .configuration
        .iter()
        .map(|c| format!("{} {:?} {} {}", c.component, c.kind, c.name, c.origin))
        .collect();
    assert_eq!(
        lines,
        [
            "api Variable MODE compose.yaml",
            "api EnvironmentFile api.env compose.yaml",
            "api Secret API_TOKEN env:TOKEN",
            "web Variable API_URL compose.yaml",
            "web Variable PAY compose.yaml",
            "web Secret key compose.yaml",
        ]
    );
}

#[test]
fn what_runs_is_compared_with_what_is_declared() {
    let folder = project();
    let spec = spec(folder.path());
    assert_eq!(take(&spec, None).unwrap().differences, None);
    let instance = |service: &str, release: &str, running| Instance {
        id: format!("{service}-{release}"),
        service: service.to_owned(),
        release: release.parse().unwrap(),
        address: "127.0.0.1:1".parse().unwrap(),
        pid: None,
        started: chrono::DateTime::UNIX_EPOCH,
        running,
        restarts: 0,
        health: None,
    };
    let observed = Observed {
        instances: vec![
            instance("web", "1.0.0", true),
            instance("api", "1.0.0", true),
            instance("api", "1.1.0", true),
            instance("cache", "1.0.0", false),
            instance("old", "1.0.0", true),
        ],
        ..Observed::default()
    };
    let differences = take(&spec, Some(&observed)).unwrap().differences.unwrap();
    let lines: Vec<String> = differences
        .iter()
        .map(|d| format!("{}: {} / {}", d.component, d.declared, d.running))
        .collect();
    assert_eq!(
        lines,
        [
            "api: 2 instances / 1 instance of 1.0.0, 1 instance of 1.1.0",
            "cache: 1 instance / nothing",
            "old: nothing / 1 instance",
        ]
    );
}

#[test]
fn the_same_files_give_the_same_inventory() {
    let folder = project();
    let spec = spec(folder.path());
    let text = |inventory: Inventory| serde_json::to_string(&inventory).unwrap();
    assert_eq!(
        text(take(&spec, None).unwrap()),
        text(take(&spec, None).unwrap())
    );
}

#[tokio::test]
async fn endpoints_are_confirmed_by_the_running_service() {
    use axum::routing::get;
    let folder = project();
    let deploy = folder.path().join("deploy.yaml");
    let text = std::fs::read_to_string(&deploy).unwrap();
    std::fs::write(
        &deploy,
        format!("{text}services: {{api: {{openapi: /openapi.json}}}}\n"),
    )
    .unwrap();
    let spec = spec(folder.path());
    let document = serde_json::json!({"openapi": "3.1.0", "paths": {
        "/things": {"get": {}}, "/more": {"get": {}}}});
    let routes = axum::Router::new().route(
        "/openapi.json",
        get(move || async move { axum::Json(document) }),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = ServiceAddress {
        service: "api".to_owned(),
        address: listener.local_addr().unwrap(),
        routing: crate::spec::Routing::default(),
    };
    let server = std::future::IntoFuture::into_future(axum::serve(listener, routes));
    let mut inventory = take(&spec, None).unwrap();
    let (client, limit) = (HttpClient::new(), std::time::Duration::from_secs(10));
    let addresses = [address];
    tokio::select! {
        ended = server => panic!("the server ended: {ended:?}"),
        () = confirm_live(&mut inventory, &spec, &addresses, &client, limit) => {}
    }
    let lines: Vec<String> = inventory
        .endpoints
        .iter()
        .map(|e| {
            format!(
                "{} {} {:?} {}",
                e.method,
                e.path,
                e.live,
                e.declared.is_some()
            )
        })
        .collect();
    assert_eq!(
        lines,
        [
            "GET /more Some(true) false",
            "GET /things Some(true) true",
            "POST /things Some(false) true",
        ]
    );
}

#[test]
fn the_shop_is_mapped() {
    let shop = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/shop");
    let inventory = take(&spec(&shop), None).unwrap();
    let names: Vec<String> = inventory
        .components
        .iter()
        .map(|one| one.name.clone())
        .collect();
    assert_eq!(
        names,
        ["catalog", "orders", "storefront", "orders (database)"]
    );
    let edge = |from: &str, to: &str| {
        let mut edges = inventory.edges.iter();
        edges.any(|edge| edge.from == from && edge.to == to)
    };
    assert!(edge("storefront", "catalog") && edge("storefront", "orders"));
    assert!(edge("orders", "catalog") && edge("catalog", "orders (database)"));
    let declared = inventory.edges.len();
    assert_eq!(inventory.connections().len(), 5);
    assert!(declared > 5, "one connection is declared in several places");
    let cargo = &inventory.dependencies[0];
    assert_eq!(
        (cargo.ecosystem, cargo.file.as_path()),
        (Ecosystem::Cargo, Path::new("../../Cargo.lock"))
    );
    assert!(cargo.count > 100);
    assert_eq!(inventory.unread, Vec::<String>::new());
}
