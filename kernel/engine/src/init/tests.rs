#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use super::*;
use code_deploy_record::Role;

fn folder(compose: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("docker-compose.yml"), compose).unwrap();
    folder
}

const COMPOSE: &str = "\
name: My.Shop
services:
  web:
    image: nginx:1
    ports: ['8080:80']
    depends_on: [api]
    healthcheck: {test: [CMD, curl, -f, 'http://localhost/healthz?x=1']}
  api:
    image: api:1
    depends_on: [db]
    environment: {CACHE_URL: 'sqlite:///data/cache.db'}
  db: {image: 'postgres:16'}
  'yes': {image: valkey/valkey}
";

#[test]
fn what_init_writes_loads_and_holds_what_was_found() {
    let folder = folder(COMPOSE);
    std::fs::create_dir_all(folder.path().join("db/migrations")).unwrap();
    std::fs::write(folder.path().join("db/migrations/0001_a.up.sql"), "").unwrap();
    let text = init(folder.path(), &|_| None).unwrap();
    let path = write(folder.path(), &text).unwrap();
    for environment in ["dev", "test", "staging", "prod"] {
        Spec::load(&path, environment, "local", &|_| None).unwrap();
    }
    let spec = Spec::load(&path, "dev", "local", &|_| None).unwrap();
    assert_eq!(spec.application, "my-shop");
    let role = |name| spec.service(name).unwrap().role;
    assert_eq!(
        [role("web"), role("api"), role("db"), role("yes")],
        [Role::Frontend, Role::Backend, Role::Database, Role::Cache]
    );
    assert_eq!(spec.service("db").unwrap().port, 5432);
    let probes = &spec.service("web").unwrap().file.probes;
    assert_eq!(probes.readiness.as_deref(), Some("/healthz"));
    // A server is not among what a run migrates: it would be refused.
    assert!(!spec.file.databases.contains_key("db"));
    assert!(text.contains("by their own tools: the servers (db)."));
    assert_eq!(crate::spec::database_limits(&spec), []);
    assert_eq!(spec.file.databases["cache"].used_by, ["api"]);
    assert!(text.contains("migrations: db/migrations"));
    let validator = jsonschema::validator_for(&crate::spec::schema()).unwrap();
    let json: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
    assert!(validator.is_valid(&json));
}

#[test]
fn a_deployment_file_is_never_overwritten() {
    let folder = folder(COMPOSE);
    let path = folder.path().join(FILE_NAME);
    std::fs::write(&path, "mine").unwrap();
    assert_eq!(
        init(folder.path(), &|_| None).unwrap_err().problem().code,
        "CD0122"
    );
    assert_eq!(
        write(folder.path(), "other").unwrap_err().problem().code,
        "CD0122"
    );
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
}

#[test]
fn a_folder_without_a_compose_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let problem = init(folder.path(), &|_| None).unwrap_err().problem();
    assert_eq!(problem.code, "CD0102");
    assert!(
        problem.what.contains("docker-compose.yml"),
        "{}",
        problem.what
    );
}

#[test]
fn a_compose_file_that_is_not_right_is_refused_where_it_is_wrong() {
    let folder = folder("services:\n  web:\n    imaeg: w\n");
    let problem = init(folder.path(), &|_| None).unwrap_err().problem();
    assert_eq!(problem.code, "CD0107");
    assert!(
        problem.what.contains("docker-compose.yml:3:5"),
        "{}",
        problem.what
    );
    assert!(!folder.path().join(FILE_NAME).exists());
}

#[test]
fn init_writes_a_file_for_the_shop_that_loads() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/shop");
    std::fs::copy(
        shop.join("compose.yaml"),
        folder.path().join("compose.yaml"),
    )
    .unwrap();
    std::fs::create_dir(folder.path().join("migrations")).unwrap();
    for entry in std::fs::read_dir(shop.join("migrations")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap();
        std::fs::copy(&path, folder.path().join("migrations").join(name)).unwrap();
    }
    let text = init(folder.path(), &|_| None).unwrap();
    insta::assert_snapshot!(text, @r#"
    # How this project is deployed. What the Compose file says is not repeated here.
    # Lengths of time are a whole number with a unit: 500ms, 10s, 5m, 1h.
    # Secrets are references, never values: env:NAME or file:PATH.
    application: shop
    # The release to deploy when the command line names none.
    release: "1.0.0"
    compose: compose.yaml

    # What the Compose file cannot say of each service.
    services:
      catalog:
        # Guessed from name, image and port.
        role: backend
        # From the health check of the Compose file.
        probes: { startup: /readyz, readiness: /readyz, liveness: /readyz }
        # metrics: /metrics
        # log_marker: /log-marker
        # openapi: /openapi.json
        # How it is started as a process of this machine, for the target `local`:
        # process:
        #   command: [path/to/program, --port, "{port}"]
      orders:
        # Guessed from name, image and port.
        role: backend
        # From the health check of the Compose file.
        probes: { startup: /readyz, readiness: /readyz, liveness: /readyz }
        # metrics: /metrics
        # log_marker: /log-marker
        # openapi: /openapi.json
        # How it is started as a process of this machine, for the target `local`:
        # process:
        #   command: [path/to/program, --port, "{port}"]
        #   environment:
        #     CATALOG_URL: "{address:catalog}"
      storefront:
        # Guessed from name, image and port.
        role: frontend
        # From the health check of the Compose file.
        probes: { startup: /readyz, readiness: /readyz, liveness: /readyz }
        # metrics: /metrics
        # log_marker: /log-marker
        # openapi: /openapi.json
        # How it is started as a process of this machine, for the target `local`:
        # process:
        #   command: [path/to/program, --port, "{port}"]
        #   environment:
        #     CATALOG_URL: "{address:catalog}"

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

    # Databases that a run migrates: SQLite files.
    databases:
      shop:
        url: "sqlite:{data}/shop.db"
        used_by: [catalog, orders]
        migrations: migrations
        # The last migration of each release.
        # release_migrations: { 1.0.0: 1 }

    # What the application promises; measured in every run.
    objectives:
      - { name: availability, service: storefront, availability: 99.9 }
      - { name: speed, service: storefront, latency: { percent: 99, below: 500ms } }

    # The outside client, which sends from before the first change to after the last.
    client:
      service: storefront
      # Requests a second: enough for each share of traffic to be judged while it is watched.
      rate: 50
      duration: 2h
      # What users ask for, in place of this.
      requests:
        - path: /readyz

    # The load test.
    load:
      service: storefront
      rate: 50
      duration: 10s
      requests:
        - path: /readyz

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
    "#);
}

#[test]
fn the_release_is_the_tag_on_which_the_projects_own_images_agree() {
    let release = |images: [&str; 3]| {
        let [web, api, db] = images;
        let compose = format!(
            "services:\n  web: {{image: '{web}', ports: ['8080:80']}}\n  \
             api: {{image: '{api}', ports: ['81:81']}}\n  db: {{image: '{db}'}}\n"
        );
        let text = init(folder(&compose).path(), &|_| None).unwrap();
        let line = text.lines().find(|line| line.starts_with("release:"));
        line.unwrap().to_owned()
    };
    let db = "postgres:16";
    assert_eq!(
        release(["r.example:5000/web:2.0", "api:2.0", db]),
        "release: \"2.0\""
    );
    assert_eq!(release(["nginx:1.25", "api:2.0", db]), "release: \"2.0\"");
    assert_eq!(
        release(["python:3.12", "node:22", db]),
        "release: \"1.0.0\""
    );
    for other in ["api:2.1", "api", "api:latest"] {
        assert_eq!(
            release(["web:2.0", other, db]),
            "release: \"1.0.0\"",
            "{other}"
        );
    }
}
