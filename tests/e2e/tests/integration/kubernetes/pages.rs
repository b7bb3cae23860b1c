//! What the notebooks of a run in a cluster say of it.

use std::path::{Path, PathBuf};

use code_deploy_record::RunState;

use super::cluster::Namespace;
use crate::kit::Place;

/// What is true of a run on this machine alone.
const LOCAL: [&str; 4] = [
    "local target",
    "services run as processes",
    "has a supervisor of its own",
    "every address is loopback",
];

/// Returns the notebooks of a run.
#[track_caller]
fn notebooks(folder: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder).unwrap();
    let paths = files.map(|file| file.unwrap().path());
    let is_notebook = |path: &PathBuf| path.extension().is_some_and(|end| end == "ipynb");
    paths.filter(is_notebook).collect()
}

/// Asserts that all notebooks of an upgrade from 1.0.0 to 1.1.0 are there and are verified, that they name what the
/// cluster has, and that none says what is true elsewhere.
#[track_caller]
pub fn tell_of_the_cluster(place: &Place, state: &RunState, namespace: &Namespace) {
    let run = state.started.as_ref().unwrap().run.to_string();
    let folder = place.demo().join("deployments").join(&run);
    let all = notebooks(&folder);
    assert_eq!(all.len(), 18, "{all:?}");
    let verified = place.run_in(&place.demo(), &["verify", &run]);
    assert_eq!(verified.code, Some(0), "{}\n{}", verified.out, verified.err);
    for notebook in &all {
        let text = std::fs::read_to_string(notebook).unwrap();
        for words in LOCAL {
            assert!(!text.contains(words), "{words}: {}", notebook.display());
        }
    }
    names(&folder, namespace);
}

/// Asserts that what the cluster has is named on the page that is to tell it.
#[track_caller]
fn names(folder: &Path, namespace: &Namespace) {
    let page = |name: &str| {
        let path = folder.join(name).with_extension("ipynb");
        std::fs::read_to_string(path).unwrap()
    };
    let plan = page("01_Deployment_Plan");
    let row = "{.metadata.name}{\" | \"}{.status.nodeInfo.kubeletVersion}";
    let rows = format!("jsonpath={{range .items[*]}}{row}{{\"\\n\"}}{{end}}");
    let nodes = namespace.kubectl(&["get", "nodes", "--output", &rows]);
    assert_ne!(nodes, "");
    for node in nodes.lines() {
        assert!(plan.contains(&format!("| {node} |")), "{node}: {plan}");
    }
    let own = format!("namespace {}", namespace.name);
    for (page, words) in [
        ("01_Deployment_Plan", own.as_str()),
        ("04_Infrastructure_Setup", own.as_str()),
        ("01_Deployment_Plan", "| Deployment | storefront-1-0-0 |"),
        ("06_Application_Deployment", "| storefront-1-1-0-"),
        ("Deployment_Execution_Log", "Deployment storefront-1-1-0"),
        ("Deployment_Execution_Log", "NetworkPolicy storefront"),
    ]
    .map(|(name, words)| (page(name), words))
    {
        assert!(page.contains(words), "{words}: {page}");
    }
    // Which pod is where, and what it runs, whatever the image's name has come to mean.
    let mut pods = plan
        .lines()
        .filter(|line| line.contains("| storefront-1-0-0-"));
    let pod = pods.find(|line| line.contains("sha256:"));
    let pod = pod.unwrap_or_else(|| panic!("no pod has the digest of its image: {plan}"));
    let is_there = |node: &str| {
        let name = node.split(" | ").next().unwrap_or_default();
        pod.contains(&format!("| {name} |"))
    };
    assert!(nodes.lines().any(is_there), "{pod}");
}
