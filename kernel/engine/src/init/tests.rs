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
    assert_eq!(spec.file.databases["db"].used_by, ["api"]);
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
