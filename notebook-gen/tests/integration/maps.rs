//! Service map, network map and rollout: what was where when.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use code_deploy_notebook_gen::{Chart, ChartKind, Facts, chart};
use code_deploy_record::{
    Clock, Component, Digest, EventBody, InventoryTaken, Redactor, Role, RunFolder, RunId,
    RunStarted, RunsFolder,
};
use code_deploy_synthetic::{self as synthetic, Story};

use crate::charts::has_a_white_border;

const MAPS: [ChartKind; 3] = [ChartKind::Services, ChartKind::Network, ChartKind::Rollout];

struct Still;

impl Clock for Still {
    fn now(&self) -> DateTime<Utc> {
        synthetic::start()
    }
}

fn component(name: &str, role: Role, needs: &[&str]) -> Component {
    Component {
        name: name.to_owned(),
        role,
        owner: None,
        needs: needs.iter().map(|need| (*need).to_owned()).collect(),
        ports: vec![8080],
        replicas: 2,
        endpoints: None,
    }
}

/// Writes a run that has taken its inventory, if there are components, and nothing else.
fn run_of(project: &std::path::Path, components: Vec<Component>) -> RunFolder {
    let id: RunId = "run-1".parse().unwrap();
    let folder = RunsFolder::of_project(project).create_run(&id).unwrap();
    let clock = Arc::new(Still) as Arc<dyn Clock>;
    let mut journal = folder.create_journal(clock, Redactor::default()).unwrap();
    let started = RunStarted {
        run: id,
        application: "shop".to_owned(),
        environment: "dev".to_owned(),
        target: "local".to_owned(),
        strategy: "canary".to_owned(),
        initial: false,
        from: Some("1.0.0".parse().unwrap()),
        to: "1.1.0".parse().unwrap(),
        program: "0.1.0".to_owned(),
        host: "synthetic-host".to_owned(),
        user: "anna".to_owned(),
        deployment_file: Digest::of(b"deploy.yaml"),
        previous: None,
        planted_fault: None,
        reverts: None,
    };
    let mut say = |body| journal.append("engine", body).unwrap();
    say(EventBody::RunStarted(Box::new(started)));
    if !components.is_empty() {
        say(EventBody::InventoryTaken(InventoryTaken {
            evidence: Digest::of(b"inventory"),
            components,
        }));
    }
    folder
}

/// Returns what a chart draws, without the words that stand for it.
fn svg(chart: &Chart) -> &str {
    let svg = &chart.picture.as_ref().unwrap().svg;
    svg.split_once("</desc>").unwrap().1
}

#[test]
fn maps_say_in_figures_what_runs_where() {
    let project = crate::folder();
    let run = synthetic::run(project.path(), "run-1", Story::Succeeded);
    let sentence = |kind| chart(&run, kind).unwrap().sentence;
    assert_eq!(
        sentence(ChartKind::Services),
        "3 services and 1 store of data, with 3 connections between them; clients come in at storefront; 1.1.0 has \
         all traffic of 3 of 3 services."
    );
    assert_eq!(
        sentence(ChartKind::Network),
        "3 services, 0 of them with a known address; the record tells of no client outside; what runs: 3 instances \
         of 1.0.0, 3 instances of 1.1.0."
    );
    let services = chart(&run, ChartKind::Services).unwrap();
    for words in ["storefront", "shop-db", "database", "clients", "1 instance"] {
        assert!(svg(&services).contains(words), "{words}");
    }
}

#[test]
fn the_rollout_of_a_run_that_went_back_shows_the_way_back() {
    let project = crate::folder();
    let run = synthetic::run(project.path(), "run-1", Story::RolledBack);
    let rollout = chart(&run, ChartKind::Rollout).unwrap();
    assert_eq!(
        rollout.sentence,
        "3 instances of 1.1.0 started; traffic of 3 services was changed 4 times from 14:00:26 to 14:00:38 UTC, and \
         the way back began at 14:00:38 UTC; 3 instances of 1.1.0 stopped; at the end 1.0.0 has all traffic of 3 of 3 \
         services."
    );
    let drawn = svg(&rollout);
    // Each of three services has all its traffic there before the first change and after the last.
    assert!(drawn.matches(">\n1.0.0 100 %").count() >= 6, "{drawn}");
    for words in [
        "rollback begins",
        "stopped on purpose",
        "phase",
        "release 1.1.0",
    ] {
        assert!(drawn.contains(words), "{words}");
    }
    let notes = rollout.notes.concat();
    assert!(notes.contains("14:00:38 ✕ analysis gate failed"), "{notes}");
    assert!(notes.contains("Phases began (UTC): 01 14:00:00"), "{notes}");
    let network = chart(&run, ChartKind::Network).unwrap();
    assert!(
        network
            .sentence
            .contains("0 instances of 1.1.0 (3 stopped)")
    );
    assert!(svg(&network).matches(">\nstopped\n").count() == 4);
}

#[test]
fn a_first_rollout_begins_without_traffic() {
    let project = crate::folder();
    let run = synthetic::run(project.path(), "run-1", Story::Initial);
    let rollout = chart(&run, ChartKind::Rollout).unwrap();
    assert!(!rollout.notes.concat().contains("Before the first change"));
    assert!(!svg(&rollout).contains("1.0.0"));
    assert!(
        rollout.sentence.contains("changed 1 time "),
        "{}",
        rollout.sentence
    );
}

#[test]
fn services_that_call_each_other_in_a_circle_are_drawn_and_told() {
    let project = crate::folder();
    let components = vec![
        component("first", Role::Backend, &["second", "first"]),
        component("second", Role::Backend, &["third", "unknown"]),
        component("third", Role::Backend, &["first", "store"]),
        component("store", Role::Database, &[]),
    ];
    let run = run_of(project.path(), components);
    let map = chart(&run, ChartKind::Services).unwrap();
    for name in ["first", "second", "third", "store"] {
        assert!(svg(&map).contains(&format!(">\n{name}\n")), "{name}");
    }
    let notes = map.notes.concat();
    assert!(notes.contains("call each other in a circle"), "{notes}");
    assert!(!notes.contains("Not drawn"), "{notes}");
    let said = "1.0.0 ran before, and this run moved no traffic.";
    assert!(map.sentence.ends_with(said), "{}", map.sentence);
}

#[test]
fn of_many_services_those_without_room_are_counted_and_the_picture_stays_readable() {
    let project = crate::folder();
    let names: Vec<String> = (1..=60).map(|number| format!("part-{number}")).collect();
    let needs: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut components = vec![component("gateway", Role::Frontend, &needs)];
    let parts = names
        .iter()
        .map(|name| component(name, Role::Backend, &["store"]));
    components.extend(parts);
    components.push(component("store", Role::Database, &[]));
    let run = run_of(project.path(), components);
    let services = chart(&run, ChartKind::Services).unwrap();
    let notes = services.notes.concat();
    let said = "Not drawn for want of room: 52 components (part-9, part-10, part-11 and 49 more)";
    assert!(notes.contains(said), "{notes}");
    assert!(
        services
            .sentence
            .contains(", 52 of them not drawn, with 120 connections")
    );
    let network = chart(&run, ChartKind::Network).unwrap();
    let notes = network.notes.concat();
    assert!(
        notes.contains("Not drawn for want of room: 51 components"),
        "{notes}"
    );
    for chart in [services, network] {
        let picture = chart.picture.unwrap();
        assert!(picture.height < 1_000, "{}: {}", chart.kind, picture.height);
        assert!(has_a_white_border(&picture.png), "{}", chart.kind);
    }
}

#[test]
fn names_that_are_too_long_for_a_box_keep_both_ends() {
    let project = crate::folder();
    let long = format!("{}-of-the-shop", "very-".repeat(20));
    let components = vec![
        component(&long, Role::Frontend, &["store"]),
        component("store", Role::Cache, &[]),
    ];
    let run = run_of(project.path(), components);
    for kind in [ChartKind::Services, ChartKind::Network] {
        let map = chart(&run, kind).unwrap();
        assert!(
            svg(&map).contains('…') && !svg(&map).contains(&long),
            "{kind}"
        );
        assert!(has_a_white_border(&map.picture.unwrap().png), "{kind}");
    }
}

#[test]
fn where_nothing_is_known_a_sentence_stands_in_place_of_a_map() {
    let project = crate::folder();
    let run = run_of(project.path(), Vec::new());
    for kind in MAPS {
        let map = chart(&run, kind).unwrap();
        assert!(map.picture.is_none(), "{kind}");
        assert!(map.sentence.starts_with("No chart: "), "{}", map.sentence);
    }
    let project = crate::folder();
    let run = synthetic::run(project.path(), "run-1", Story::Refused);
    let rollout = chart(&run, ChartKind::Rollout).unwrap();
    assert_eq!(
        rollout.sentence,
        "No chart: this run started no instance and moved no traffic."
    );
}

#[test]
fn the_network_map_of_the_record_shown_has_its_addresses() {
    let shown = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../notebooks/record");
    let run = RunFolder::at(&shown).unwrap();
    let facts = Facts::read(&run).unwrap();
    let network = chart(&run, ChartKind::Network).unwrap();
    let url = facts.asked.unwrap();
    assert!(
        network.sentence.contains(&format!("at {url};")),
        "{}",
        network.sentence
    );
    let (_, host) = url.split_once("://").unwrap();
    assert!(svg(&network).contains(host), "{host}");
    let drawn = format!(">\n{host}\n");
    assert_eq!(
        svg(&network).matches(&drawn).count(),
        1,
        "one address, one box"
    );
    let mut looked_for = 0;
    for state in facts.state.steps.values() {
        for one in state.result["instances"].as_array().into_iter().flatten() {
            let address = one["address"].as_str().unwrap();
            assert!(svg(&network).contains(address), "{address}");
            looked_for += 1;
        }
    }
    assert!(looked_for >= 3, "{looked_for}");
}
