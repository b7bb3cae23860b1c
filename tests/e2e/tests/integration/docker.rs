//! The demonstration on a Docker engine: the same run, under the same client's eyes.

mod refusals;

use std::collections::BTreeMap;

use code_deploy_record::{RunOutcome, RunState, Verdict, verify_folder};
use serde_json::Value;

use crate::kit::{Place, Said};
use crate::stage;
use crate::steering::{Deploying, shares, with_strategy};

pub(crate) const CONTAINERS: [&str; 6] = [
    "shop-dev-catalog-1.1.0-1",
    "shop-dev-catalog-1.1.0-2",
    "shop-dev-orders-1.1.0-1",
    "shop-dev-orders-1.1.0-2",
    "shop-dev-storefront-1.1.0-1",
    "shop-dev-storefront-1.1.0-2",
];

/// Runs the client of the stage's engine and returns what it says, which must be a success.
#[track_caller]
pub(crate) fn docker(words: &[&str]) -> String {
    docker_at(&stage::docker(), words)
}

/// Runs the client of an engine and returns what it says, which must be a success.
#[track_caller]
pub(crate) fn docker_at(engine: &str, words: &[&str]) -> String {
    let mut command = std::process::Command::new("docker");
    let ran = command.args(words).env("DOCKER_HOST", engine);
    let ran = ran.output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "docker {words:?}: {said}");
    String::from_utf8(ran.stdout).unwrap().trim().to_owned()
}

/// Returns the containers of instances that run in `dev`, by name.
pub(crate) fn instances() -> Vec<String> {
    let standing = standing(&stage::docker(), "dev");
    standing.into_keys().collect()
}

/// Returns the containers of instances that run in an environment, by name, each with its number and when it was
/// started.
#[track_caller]
pub(crate) fn standing(engine: &str, environment: &str) -> BTreeMap<String, String> {
    let environment = format!("label=code-deploy.environment={environment}");
    let listed = docker_at(
        engine,
        &[
            "ps",
            "--quiet",
            "--filter",
            "label=code-deploy.part=instance",
            "--filter",
            "label=code-deploy.application=shop",
            "--filter",
            &environment,
        ],
    );
    let ids: Vec<&str> = listed.lines().collect();
    if ids.is_empty() {
        return BTreeMap::new();
    }
    let format = "{{.Name}} {{.Id}} {{.State.StartedAt}}";
    let seen = docker_at(
        engine,
        &[["inspect", "--format", format].as_slice(), &ids[..]].concat(),
    );
    let seen = seen.lines().map(|line| line.split_once(' ').unwrap());
    seen.map(|(name, rest)| (name.trim_start_matches('/').to_owned(), rest.to_owned()))
        .collect()
}

/// Returns the containers of a release, by name.
pub(crate) fn containers_of(release: &str) -> [String; 6] {
    CONTAINERS.map(|name| name.replace("1.1.0", release))
}

/// Returns where the last run stands, which must have ended so, with a record that verifies.
#[track_caller]
pub(crate) fn ended(place: &Place, said: &Said, outcome: RunOutcome) -> RunState {
    let (folder, state) = place.demo_runs().pop().unwrap();
    let end = state.finished.as_ref().map(|end| end.0);
    assert_eq!(end, Some(outcome), "{}\n{}", said.out, said.err);
    assert_eq!(verify_folder(&folder).unwrap().findings, []);
    state
}

#[test]
fn the_demonstration_upgrades_by_canary_is_taken_back_and_leaves_others_alone() {
    let place = Place::with_docker();
    let said = place.run(&["dev", "docker-desktop", "--demo"]);
    assert_eq!(said.code, Some(0), "{}\n{}", said.out, said.err);
    let state = ended(&place, &said, RunOutcome::Succeeded);
    let client = &state.clients["client"];
    assert!(client.sent >= 3_000, "{client:?}");
    assert_eq!(client.failed, 0, "{client:?}");
    assert!(client.releases["1.0.0"].answered > 0 && client.releases["1.1.0"].answered > 0);
    assert!(state.rehearsed.is_some(), "the rollback was rehearsed");
    assert_eq!(state.items.len(), 208, "every item has a verdict");
    assert_eq!(instances(), CONTAINERS);
    let label = |name: &str| format!("{{{{index .Config.Labels \"{name}\"}}}}");
    let seen = |label: &str| docker(&["inspect", "--format", label, CONTAINERS[0]]);
    let id = state.started.as_ref().unwrap().run.to_string();
    assert_eq!(seen(&label("code-deploy.run")), id);
    assert_eq!(seen(&label("com.docker.compose.project")), "shop-dev");
    assert_eq!(seen(&label("com.docker.compose.service")), "catalog");
    notebooks_tell_of_the_platform(&place, &state);

    let foreign = docker(&["create", "--name", "shop-dev-other", "shop:1.0.0", "probe"]);
    let back = place.run_in(&place.demo(), &["rollback", "--reason", "a drill"]);
    assert_eq!(back.code, Some(0), "{}\n{}", back.out, back.err);
    let state = ended(&place, &back, RunOutcome::Succeeded);
    assert_eq!(state.started.as_ref().unwrap().to.as_str(), "1.0.0");
    assert_eq!(state.clients["client"].failed, 0, "{:?}", state.clients);
    assert_eq!(instances(), containers_of("1.0.0"));

    let stopped = place.run(&["dev", "docker-desktop", "--demo", "--stop"]);
    assert_eq!(stopped.code, Some(0), "{}\n{}", stopped.out, stopped.err);
    let of_ours = [
        "ps",
        "--all",
        "--quiet",
        "--filter",
        "label=code-deploy.application=shop",
        "--filter",
        "label=code-deploy.environment=dev",
    ];
    assert_eq!(docker(&of_ours), "");
    let left = docker(&["inspect", "--format", "{{.Id}}", "shop-dev-other"]);
    assert_eq!(left, foreign);
    docker(&["rm", "shop-dev-other"]);
}

/// The eighteen notebooks of a run are those of its record, name what the platform has, and say nothing that holds for
/// processes of this machine only.
fn notebooks_tell_of_the_platform(place: &Place, state: &RunState) {
    let id = state.started.as_ref().unwrap().run.to_string();
    let folder = place.demo().join("deployments").join(&id);
    let words = ["verify", &id, "--notebooks", folder.to_str().unwrap()];
    let verified = place.run_in(&place.demo(), &words);
    assert_eq!(verified.code, Some(0), "{}\n{}", verified.out, verified.err);
    let mut pages = BTreeMap::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|kind| kind == "ipynb") {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            pages.insert(name, std::fs::read_to_string(&path).unwrap());
        }
    }
    assert_eq!(pages.len(), 18, "{:?}", pages.keys());
    let names = |page: &str, what: &str| {
        assert!(pages[page].contains(what), "`{what}` is not in {page}");
    };
    let version = docker(&["version", "--format", "{{.Server.Version}}"]);
    for page in ["01_Deployment_Plan", "04_Infrastructure_Setup"] {
        names(page, &format!("Docker {version} at "));
    }
    for image in images_of(state) {
        names("03_Build_Process", image["id"].as_str().unwrap());
    }
    for container in CONTAINERS {
        names("06_Application_Deployment", container);
    }
    for (name, page) in &pages {
        for words in [
            "local target",
            "ervices run as processes",
            "a process of this machine",
        ] {
            assert!(!page.contains(words), "`{words}` is in {name}");
        }
    }
}

/// Returns the images that a run made ready, one of each service.
pub(crate) fn images_of(state: &RunState) -> Vec<Value> {
    let step = &state.steps[&"build.images".parse().unwrap()];
    let images = step.result["images"].as_array().unwrap().iter();
    images.map(|one| one["image"].clone()).collect()
}

#[test]
fn a_fault_is_found_and_the_run_goes_back() {
    let place = Place::with_docker();
    place.lay_out_with_little_load();
    let said = place.run(&["dev", "docker-desktop", "--demo", "--demo-fault", "errors"]);
    assert_eq!(said.code, Some(3), "{}\n{}", said.out, said.err);
    let state = ended(&place, &said, RunOutcome::RolledBack);
    let stable = &state.clients["client"].releases["1.0.0"];
    assert_eq!(stable.failed, 0, "{:?}", state.clients);
    assert_eq!(instances(), containers_of("1.0.0"));
}

#[test]
fn blue_green_and_rolling_lose_no_request() {
    let place = Place::with_docker();
    place.lay_out_upgrade();
    with_strategy(&place, "blue-green", "{ percent: 100, soak: 3s }");
    let said = place.run_in(&place.demo(), &["dev", "docker-desktop"]);
    assert_eq!(said.code, Some(0), "{}\n{}", said.out, said.err);
    let state = ended(&place, &said, RunOutcome::Succeeded);
    assert_eq!(state.clients["client"].failed, 0, "{:?}", state.clients);
    assert_eq!(shares(&place), [100, 0, 100]);
    let back = place.run_in(&place.demo(), &["rollback", "--reason", "a drill"]);
    assert_eq!(back.code, Some(0), "{}\n{}", back.out, back.err);
    let state = ended(&place, &back, RunOutcome::Succeeded);
    assert_eq!(state.clients["client"].failed, 0, "{:?}", state.clients);

    let steps = "{ percent: 50, soak: 3s }, { percent: 100, soak: 3s }";
    with_strategy(&place, "rolling", steps);
    let said = place.run_in(&place.demo(), &["dev", "docker-desktop"]);
    assert_eq!(said.code, Some(0), "{}\n{}", said.out, said.err);
    let state = ended(&place, &said, RunOutcome::Succeeded);
    assert_eq!(state.clients["client"].failed, 0, "{:?}", state.clients);
    assert_eq!(shares(&place), [50, 0, 50, 100]);
    assert_eq!(instances(), CONTAINERS);
    let stopped = place.run(&["dev", "docker-desktop", "--demo", "--stop"]);
    assert_eq!(stopped.code, Some(0), "{}\n{}", stopped.out, stopped.err);
}

#[test]
fn what_keeps_a_run_from_changing_anything_is_told_and_a_killed_run_is_resumed() {
    let mut place = Place::with_docker();
    place.lay_out_upgrade();
    a_foreign_container_keeps_its_name(&place);
    a_router_keeps_its_port(&mut place);
    an_image_that_cannot_be_built_ends_the_run(&place);

    let mut first = Deploying::begin_in(&place, &place.demo(), &["dev", "docker-desktop"]);
    first.until("traffic of storefront: 1.0.0 95 %");
    first.kill();
    let resumed = place.run_in(&place.demo(), &["resume"]);
    assert_eq!(resumed.code, Some(0), "{}\n{}", resumed.out, resumed.err);
    let state = ended(&place, &resumed, RunOutcome::Succeeded);
    assert_eq!(state.clients["client"].failed, 0, "{:?}", state.clients);
    assert_eq!(instances(), CONTAINERS);
    let stopped = place.run(&["dev", "docker-desktop", "--demo", "--stop"]);
    assert_eq!(stopped.code, Some(0), "{}\n{}", stopped.out, stopped.err);
}

/// The name of one that the run would start is refused before it begins.
fn a_foreign_container_keeps_its_name(place: &Place) {
    let name = CONTAINERS[1];
    let foreign = docker(&["create", "--name", name, "shop:1.1.0", "probe"]);
    let runs = place.demo_runs().len();
    let said = place.run_in(&place.demo(), &["dev", "docker-desktop"]);
    assert_eq!(said.code, Some(1), "{}\n{}", said.out, said.err);
    let reason = format!("there is a container {name} that was not made for shop-dev");
    for words in ["CD0526", &reason, "Nothing was changed", "docker rename"] {
        assert!(said.err.contains(words), "`{words}` is not in {}", said.err);
    }
    assert_eq!(place.demo_runs().len(), runs, "no run has begun");
    assert_eq!(instances(), containers_of("1.0.0"));
    let words = ["plan", "--environment", "dev", "--target", "docker-desktop"];
    let planned = place.run_in(&place.demo(), &words);
    assert_eq!(planned.code, Some(1), "{}\n{}", planned.out, planned.err);
    assert!(planned.err.contains(&reason), "{}", planned.err);
    assert_eq!(docker(&["inspect", "--format", "{{.Id}}", name]), foreign);
    docker(&["rm", name]);
}

/// Another port than that of the router that runs is refused before a run begins.
fn a_router_keeps_its_port(place: &mut Place) {
    let format = "{{ (index (index .HostConfig.PortBindings \"8080/tcp\") 0).HostPort }}";
    let router = "shop-dev-storefront-router";
    let before = docker(&["inspect", "--format", format, router]);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let other = free.local_addr().unwrap().port();
    drop(free);
    let runs = place.demo_runs().len();
    place.set("SHOP_PORT", other.to_string());
    let said = place.run_in(&place.demo(), &["dev", "docker-desktop"]);
    let asks = format!("published at 127.0.0.1:{before}, and the deployment asks for port {other}");
    said.refused(1, "CD0515", &[&asks, "--stop", "Nothing was changed"]);
    assert_eq!(place.demo_runs().len(), runs, "no run has begun");
    place.set("SHOP_PORT", before);
}

/// The builder's words are told, and what ran runs.
fn an_image_that_cannot_be_built_ends_the_run(place: &Place) {
    let compose = place.demo().join("compose.yaml");
    let before = std::fs::read_to_string(&compose).unwrap();
    build_catalog(place, "", "FROM shop:1.1.0\nCOPY nowhere /nowhere\n");
    let said = place.run_in(&place.demo(), &["dev", "docker-desktop"]);
    let text = format!("{}\n{}", said.out, said.err);
    assert_eq!(said.code, Some(1), "{text}");
    for words in [
        "CD0529",
        "catalog 1.1.0 was not built",
        "nowhere",
        "image-catalog.log",
    ] {
        assert!(text.contains(words), "`{words}` is not in {text}");
    }
    assert_eq!(instances(), containers_of("1.0.0"));
    std::fs::write(&compose, before).unwrap();
}

/// Has the image of the catalog built here, under that name if any, from that Dockerfile.
pub(crate) fn build_catalog(place: &Place, name: &str, dockerfile: &str) {
    let path = place.demo().join("compose.yaml");
    let file = std::fs::read_to_string(&path).unwrap();
    let image =
        "    image: shop:${CODE_DEPLOY_RELEASE:-1.0.0}\n    command: [\"shop\", \"catalog\"]\n";
    assert!(file.contains(image), "{file}");
    let build = "    build:\n      context: .\n      dockerfile: catalog.Dockerfile\n    command: [\"shop\", \"catalog\"]\n";
    let named = match name {
        "" => String::new(),
        name => format!("    image: {name}\n"),
    };
    std::fs::write(path, file.replacen(image, &(named + build), 1)).unwrap();
    place.write("code-deploy-demo/catalog.Dockerfile", dockerfile);
}

#[test]
fn an_image_is_built_kept_by_its_digest_and_what_is_gone_back_to_is_not_built_anew() {
    let place = Place::with_docker();
    place.lay_out_upgrade();
    build_catalog(
        &place,
        "",
        "FROM shop:1.1.0 AS base\nFROM base\nCOPY deploy.yaml /built-from.yaml\n",
    );
    let said = place.run_in(&place.demo(), &["dev", "docker-desktop"]);
    assert_eq!(said.code, Some(0), "{}\n{}", said.out, said.err);
    let state = ended(&place, &said, RunOutcome::Succeeded);
    assert_eq!(state.clients["client"].failed, 0, "{:?}", state.clients);
    let met = |item: &str| {
        let item = item.parse().unwrap();
        matches!(state.items[&item].verdict, Verdict::Met { .. })
    };
    assert!(met("2.2.1") && met("2.2.6"), "{:?}", state.items);
    let images = &state.steps[&"build.images".parse().unwrap()].result["images"];
    let catalog = images.as_array().unwrap().iter();
    let catalog = catalog
        .map(|one| &one["image"])
        .find(|one| one["service"] == "catalog");
    let built = catalog.unwrap()["id"].as_str().unwrap();
    let runs = |name: &str| docker(&["inspect", "--format", "{{.Image}}", name]);
    assert_eq!(runs(CONTAINERS[0]), built);
    assert_eq!(runs(CONTAINERS[1]), built);
    let version = "{{index .Config.Labels \"org.opencontainers.image.version\"}}";
    let named = [
        "image",
        "inspect",
        "--format",
        version,
        "shop-dev-catalog:1.1.0",
    ];
    assert_eq!(docker(&named), "1.1.0");

    // The Dockerfile, which now says something else, is not what 1.0.0 was made of.
    let before = runs_before(&place);
    let back = place.run_in(&place.demo(), &["rollback", "--reason", "a drill"]);
    assert_eq!(back.code, Some(0), "{}\n{}", back.out, back.err);
    ended(&place, &back, RunOutcome::Succeeded);
    assert_eq!(runs("shop-dev-catalog-1.0.0-1"), before);
    let stopped = place.run(&["dev", "docker-desktop", "--demo", "--stop"]);
    assert_eq!(stopped.code, Some(0), "{}\n{}", stopped.out, stopped.err);
}

/// Returns the digest of the catalog's image in the first run.
fn runs_before(place: &Place) -> String {
    let (_, first) = place.demo_runs().swap_remove(0);
    let images = first.steps[&"build.images".parse().unwrap()].result["images"].clone();
    let images = images.as_array().unwrap().iter();
    let mut catalog = images.filter(|one| one["image"]["service"] == "catalog");
    let id = &catalog.next().unwrap()["image"]["id"];
    id.as_str().unwrap().to_owned()
}
