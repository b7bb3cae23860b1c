//! The arrows between crates that must never appear, directly or through others.

use super::metadata;
use cargo_metadata::Metadata;
use std::collections::{BTreeMap, BTreeSet};

/// Crates of the workspace, each with those that it names, as any kind of dependency.
type Graph = BTreeMap<String, BTreeSet<String>>;

const EVERY: &str = "*";

/// From, to; [`EVERY`] is any crate of the workspace.
const FORBIDDEN: &[(&str, &str)] = &[
    ("code-deploy-cells", EVERY),
    ("code-deploy-record", EVERY),
    ("code-deploy-shop", EVERY),
    ("code-deploy-verify", EVERY),
    ("code-deploy-wire", EVERY),
    ("code-deploy-notebook-gen", "code-deploy-engine"),
    ("code-deploy-notebook-gen", "code-deploy-targets"),
    ("code-deploy-notebook-gen", "code-deploy-jupyter"),
    ("code-deploy-jupyter", "code-deploy-engine"),
    ("code-deploy-jupyter", "code-deploy-targets"),
    ("code-deploy-jupyter", "code-deploy-router"),
    ("code-deploy-router", "code-deploy-engine"),
    ("code-deploy-router", "code-deploy-targets"),
    ("code-deploy-engine", "code-deploy-targets"),
    ("code-deploy-fuzz", "code-deploy-jupyter"),
    ("code-deploy-benches", "code-deploy-jupyter"),
    (EVERY, "code-deploy"),
    (EVERY, "code-deploy-e2e"),
    (EVERY, "code-deploy-verify"),
];

#[test]
fn no_crate_knows_one_that_it_must_not_know() {
    let graph = graph(&metadata());
    assert!(
        graph.contains_key("code-deploy-record"),
        "the workspace was not read: {graph:?}"
    );
    assert_eq!(broken(&graph), Vec::<String>::new());
}

#[test]
fn every_crate_that_a_rule_names_exists() {
    let graph = graph(&metadata());
    let named = FORBIDDEN
        .iter()
        .flat_map(|(from, to)| [*from, *to])
        .filter(|name| *name != EVERY);
    let unknown: Vec<&str> = named.filter(|name| !graph.contains_key(*name)).collect();
    assert_eq!(
        unknown,
        Vec::<&str>::new(),
        "a rule about a crate that is gone checks nothing"
    );
}

#[test]
fn an_arrow_through_another_crate_is_found_with_its_way() {
    let graph = made_up(&[
        ("code-deploy-notebook-gen", &["helper"]),
        ("helper", &["code-deploy-engine"]),
        ("code-deploy-engine", &["code-deploy-record"]),
        ("code-deploy-record", &[]),
    ]);
    let way = "code-deploy-notebook-gen -> helper -> code-deploy-engine";
    assert_eq!(broken(&graph), [way]);
}

#[test]
fn a_crate_that_must_know_none_of_ours_may_know_no_new_one_either() {
    let graph = made_up(&[("code-deploy-record", &["brand-new"]), ("brand-new", &[])]);
    assert_eq!(broken(&graph), ["code-deploy-record -> brand-new"]);
}

fn made_up(crates: &[(&str, &[&str])]) -> Graph {
    let names = |list: &[&str]| list.iter().map(ToString::to_string).collect();
    crates
        .iter()
        .map(|(from, to)| ((*from).to_owned(), names(to)))
        .collect()
}

fn graph(metadata: &Metadata) -> Graph {
    let members = metadata.workspace_packages();
    let ours: BTreeSet<String> = members
        .iter()
        .map(|package| package.name.to_string())
        .collect();
    members
        .iter()
        .map(|package| {
            let named = package
                .dependencies
                .iter()
                .map(|dependency| dependency.name.clone());
            (
                package.name.to_string(),
                named.filter(|name| ours.contains(name)).collect(),
            )
        })
        .collect()
}

/// Returns the way of each forbidden arrow that is there.
fn broken(graph: &Graph) -> Vec<String> {
    let mut found = BTreeSet::new();
    for from in graph.keys() {
        for way in ways(graph, from) {
            let to = way.last().unwrap();
            let forbidden = FORBIDDEN.iter().any(|(rule_from, rule_to)| {
                [EVERY, from].contains(rule_from) && [EVERY, to.as_str()].contains(rule_to)
            });
            if forbidden {
                found.insert(way.join(" -> "));
            }
        }
    }
    found.into_iter().collect()
}

/// Returns a shortest way from a crate to every other that it reaches.
fn ways(graph: &Graph, from: &str) -> Vec<Vec<String>> {
    let mut seen = BTreeSet::from([from.to_owned()]);
    let mut ways: Vec<Vec<String>> = vec![vec![from.to_owned()]];
    let mut next = 0;
    while next < ways.len() {
        let way = ways[next].clone();
        next += 1;
        for to in graph.get(way.last().unwrap()).into_iter().flatten() {
            if seen.insert(to.clone()) {
                ways.push(way.iter().chain([to]).cloned().collect());
            }
        }
    }
    ways.split_off(1)
}
