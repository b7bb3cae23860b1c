//! Files that are right.

use super::*;

fn load(path: &Path, environment: &str) -> Spec {
    match Spec::load(path, environment, "local", &|_| None) {
        Ok(spec) => spec,
        Err(error) => panic!("{:?}", error.problem()),
    }
}

#[test]
fn the_shop_loads_in_every_environment() {
    let path = of_repository("tests/shop/deploy.yaml");
    for environment in ["dev", "test", "staging", "prod"] {
        let spec = load(&path, environment);
        let names: Vec<&str> = spec.services.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["catalog", "orders", "storefront"]);
        assert_eq!(spec.journeys.len(), 3);
        let critical = local_limits(&spec)
            .into_iter()
            .find(|limit| limit.finding.severity == code_deploy_record::Severity::Critical);
        assert_eq!(critical, None);
    }
    let spec = load(&path, "dev");
    assert_eq!(
        spec.service("storefront").unwrap().owner.as_deref(),
        Some("team-web")
    );
    assert_eq!(spec.service("storefront").unwrap().published, Some(8080));
}

#[test]
fn the_shop_watches_a_canary_in_dev_for_seconds() {
    let spec = load(&of_repository("tests/shop/deploy.yaml"), "dev");
    let soak: u64 = spec
        .strategy
        .steps
        .iter()
        .map(|step| step.soak.get().as_secs())
        .sum();
    assert!((10..=20).contains(&soak), "{soak}");
    assert!(spec.strategy.rehearse_rollback);
    assert_eq!(spec.file.client.unwrap().rate, 100);
}

#[test]
fn each_environment_has_its_policy() {
    let project = Project::new();
    let environments = "dev: {}\n  test: {}\n  staging: {}\n  prod: {requires: [staging]}";
    project.write(FILE_NAME, DEPLOY.replace("dev: {}", environments));
    let path = project.path(FILE_NAME);
    let policy = |environment| load(&path, environment).policy;
    assert_eq!(policy("dev").kind, PolicyKind::Dev);
    assert_eq!(policy("dev").uncommitted, Reaction::Note);
    assert_eq!(policy("test").uncommitted, Reaction::Stop);
    assert_eq!(policy("staging").approval, ApprovalRule::Anybody);
    assert_eq!(policy("prod").approval, ApprovalRule::SomebodyElse);
    for (environment, images) in [
        ("dev", Reaction::Note),
        ("test", Reaction::Note),
        ("staging", Reaction::Stop),
        ("prod", Reaction::Stop),
    ] {
        assert_eq!(policy(environment).unpinned_images, images, "{environment}");
    }
    assert!(!policy("prod").waive_mandatory);
    assert!(policy("prod").roll_back_on_failure);
    assert_eq!(load(&path, "prod").requires, ["staging"]);
}

#[test]
fn an_environment_overrides_its_policy() {
    let project = Project::new();
    let deploy = DEPLOY.replace(
        "dev: {}",
        "dev: {overrides: {open: stop, approval: anybody, unpinned_images: stop}}",
    );
    project.write(FILE_NAME, deploy);
    let policy = project.load().unwrap().policy;
    assert_eq!(
        (policy.open, policy.approval, policy.unpinned_images),
        (Reaction::Stop, ApprovalRule::Anybody, Reaction::Stop)
    );
}

#[test]
fn the_same_files_have_the_same_digest_and_others_another() {
    let project = Project::new();
    let before = project.load().unwrap().digest;
    assert_eq!(project.load().unwrap().digest, before);
    project.write("compose.yaml", format!("{COMPOSE}# changed\n"));
    assert_ne!(project.load().unwrap().digest, before);
}

#[test]
fn the_documented_example_and_the_shop_hold_to_the_schema() {
    let schema = schema();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for path in ["templates/deploy.example.yaml", "tests/shop/deploy.yaml"] {
        let path = of_repository(path);
        let document = Document::read(&path, "deployment file").unwrap();
        let json = document.root.json();
        let errors: Vec<String> = validator
            .iter_errors(&json)
            .map(|error| format!("{} at {}", error, error.instance_path()))
            .collect();
        assert_eq!(errors, Vec::<String>::new(), "{}", path.display());
        DeployFile::read(&path).unwrap();
    }
    let wrong = serde_json::json!({"application": "x", "environments": {}, "servces": {}});
    assert!(!validator.is_valid(&wrong));
}

#[test]
fn the_documented_example_loads_with_its_compose_file() {
    let project = Project::new();
    let example = std::fs::read_to_string(of_repository("templates/deploy.example.yaml")).unwrap();
    project.write(FILE_NAME, example);
    project.write(
        "compose.yaml",
        "services:\n  web: {image: w, ports: ['8080:8080'], depends_on: [api]}\n  \
         api: {image: a, expose: [8080]}\n",
    );
    project.write("migrations/0001_base.up.sql", "SELECT 1;");
    project.write("migrations/0002_more.up.sql", "SELECT 1;");
    project.write(
        "journeys/sign-in.yaml",
        "name: sign in\nservice: web\nsteps:\n  - {name: a, path: /, expect: {status: 200}}\n",
    );
    project.write(
        "k8s/web.yaml",
        "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: web}\n",
    );
    project.write("charts/cache/Chart.yaml", "apiVersion: v2\nname: cache\n");
    project.write("charts/cache-prod.yaml", "size: 2\n");
    for environment in ["dev", "test", "staging", "prod"] {
        load(&project.path(FILE_NAME), environment);
    }
}

#[test]
fn the_documented_example_names_every_key() {
    let example = std::fs::read_to_string(of_repository("templates/deploy.example.yaml")).unwrap();
    let mut keys = std::collections::BTreeSet::new();
    collect_keys(&schema(), &mut keys);
    let missing: Vec<&String> = keys
        .iter()
        .filter(|key| !example.contains(&format!("{key}:")))
        .collect();
    assert_eq!(missing, Vec::<&String>::new());
}

fn collect_keys(schema: &serde_json::Value, keys: &mut std::collections::BTreeSet<String>) {
    if let Some(object) = schema.as_object() {
        if let Some(properties) = object.get("properties").and_then(|p| p.as_object()) {
            keys.extend(properties.keys().cloned());
        }
        object.values().for_each(|value| collect_keys(value, keys));
    }
    for item in schema.as_array().into_iter().flatten() {
        collect_keys(item, keys);
    }
}

#[test]
fn every_code_is_listed_once() {
    let codes: std::collections::BTreeSet<&str> = CODES.iter().map(|(code, _)| *code).collect();
    assert_eq!(codes.len(), CODES.len());
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..proptest::prelude::ProptestConfig::default()
    })]

    /// Whatever a slip of the hand does to a file, the answer is a Spec or an error with a code
    /// from the table and a help.
    #[test]
    fn a_damaged_file_is_read_or_refused_with_a_code(
        at in 0_usize..4000,
        cut in 0_usize..40,
        put in "[ -~\n]{0,6}",
        compose in proptest::bool::ANY,
    ) {
        let project = Project::new();
        let name = if compose { "compose.yaml" } else { FILE_NAME };
        let text = std::fs::read_to_string(
            of_repository("tests/shop").join(name)
        ).unwrap();
        let at = at % text.len();
        let (before, after) = (&text[..at], &text[(at + cut).min(text.len())..]);
        for file in ["compose.yaml", FILE_NAME] {
            let whole = std::fs::read(of_repository("tests/shop").join(file)).unwrap();
            project.write(file, whole);
        }
        project.write(name, format!("{before}{put}{after}"));
        if let Err(error) = project.load() {
            assert!(CODES.iter().any(|(code, _)| *code == error.code));
            assert!(!error.what.is_empty() && !error.help.is_empty(), "{error:?}");
        }
    }
}

#[test]
fn files_are_compared_but_for_the_release_that_they_name() {
    let project = Project::new();
    let named = |release: &str| format!("release: \"{release}\"\n{DEPLOY}");
    project.write(FILE_NAME, named("1.0.0"));
    let then = project.load().unwrap().digest;
    project.write(FILE_NAME, named("1.1.0"));
    let now = project.load().unwrap();
    assert_ne!(then, now.digest);
    assert!(
        now.differs_by_release_only(&then, &["0.9.0", "1.0.0"])
            .unwrap()
    );
    assert!(!now.differs_by_release_only(&then, &["0.9.0"]).unwrap());
    project.write("compose.yaml", COMPOSE.replace("api:1", "api:2"));
    assert!(!now.differs_by_release_only(&then, &["1.0.0"]).unwrap());
}
