//! What the report, the lessons and the first lines of all notebooks answer.

use code_deploy_notebook_gen::{executed, names};
use code_deploy_record::RunFolder;
use code_deploy_synthetic::{self as synthetic, Story};

use crate::pages::{page, pages_of};
use crate::text_of;

#[test]
fn every_notebook_answers_first_and_tells_of_the_run_behind_it() {
    for story in [Story::Succeeded, Story::RolledBack, Story::Refused] {
        let (_project, pages) = pages_of(story);
        let mut answers = std::collections::BTreeSet::new();
        for name in names() {
            let text = text_of(page(&pages, name));
            let (before, _) = text.split_once("\nThe run: shop 1.1.0 ").unwrap();
            let answer = before.lines().rfind(|line| line.starts_with("**")).unwrap();
            assert!(answer.ends_with(".**"), "{name}: {answer}");
            assert!(answers.insert(answer.to_owned()), "{name}: {answer}");
        }
    }
}

#[test]
fn the_report_holds_phases_against_earlier_runs_or_says_why_not() {
    let project = crate::folder();
    let begin = synthetic::start() - chrono::TimeDelta::hours(3);
    let before = synthetic::run_of(project.path(), "run-1", Story::Succeeded, 90.0, begin);
    let run = synthetic::run(project.path(), "run-2", Story::Succeeded);
    let report = |others: &[RunFolder]| {
        let pages = executed(&run, others).unwrap();
        text_of(page(&pages, "Post_Deployment_Report"))
    };
    let alone = report(&[]);
    assert!(alone.contains("Durations are not compared: no record of a run of dev on local"));
    let compared = report(&[before]);
    assert!(compared.contains("Time spent on each phase, against earlier runs of dev on local"));
    assert!(
        compared.contains("From 1 earlier run: run-1."),
        "{compared}"
    );
    assert!(compared.contains("(+0 %)"), "{compared}");
}

#[test]
fn the_report_of_a_real_run_holds_budgets_with_what_they_were_measured_over() {
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../notebooks/record");
    let run = RunFolder::at(std::path::Path::new(shipped)).unwrap();
    let pages = executed(&run, &[]).unwrap();
    let text = text_of(page(&pages, "Post_Deployment_Report"));
    let (_, budgets) = text
        .split_once("**Error budgets of the objectives**")
        .unwrap();
    let line = |start: &str| {
        let found = budgets.lines().find(|line| line.starts_with(start));
        found.unwrap_or_else(|| panic!("no line `{start}` in\n{budgets}"))
    };
    let driven = line("| storefront is available (availability) |");
    assert!(driven.contains("load test validation, "), "{driven}");
    let routed = line("| orders are available (availability) |");
    assert!(
        routed.contains("requests to 1.1.0 from its first traffic at "),
        "{routed}"
    );
    let slow = line("| pages are fast (p99) |");
    assert!(slow.contains("99 % within 500 ms"), "{slow}");
    assert!(!slow.contains("not known"), "{slow}");
    assert!(budgets.contains("a rate has no error budget"), "{budgets}");
}

#[test]
fn a_run_without_objectives_has_no_budget_and_the_report_says_so() {
    let (_project, pages) = pages_of(Story::Succeeded);
    let text = text_of(page(&pages, "Post_Deployment_Report"));
    assert!(text.contains("No error budget: the deployment file names no objective"));
    let (_project, pages) = pages_of(Story::Refused);
    let text = text_of(page(&pages, "Performance_Validation"));
    assert!(text.contains("No error budget: objectives are measured for the baseline gate"));
}

#[test]
fn a_real_run_without_an_approval_says_what_the_policy_asks_for() {
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../notebooks/record");
    let run = RunFolder::at(std::path::Path::new(shipped)).unwrap();
    let pages = executed(&run, &[]).unwrap();
    let text = text_of(page(&pages, "02_Pre_Deployment_Validation"));
    let said = "No approval was given in this run: the policy of dev asks for no approval (event ";
    assert!(text.contains(said), "{text}");
}

#[test]
fn a_figure_of_the_first_table_names_the_event_that_tells_it() {
    let project = crate::folder();
    let run = synthetic::run(project.path(), "run-1", Story::Succeeded);
    let kinds: Vec<String> = std::fs::read_to_string(run.journal_path())
        .unwrap()
        .lines()
        .map(|line| {
            let event: serde_json::Value = serde_json::from_str(line).unwrap();
            event["kind"].as_str().unwrap().to_owned()
        })
        .collect();
    let pages = executed(&run, &[]).unwrap();
    let text = text_of(page(&pages, "Post_Deployment_Report"));
    for (fact, kind) in [
        ("Run", "run_started"),
        ("Outcome", "run_finished"),
        ("Live", "traffic_shifted"),
        ("Outside client", "client_counted"),
        ("Rollback rehearsal", "rollback_rehearsed"),
    ] {
        let start = format!("| {fact} |");
        let line = text.lines().find(|line| line.starts_with(&start)).unwrap();
        let (_, source) = line.rsplit_once("| event").unwrap();
        let source = source.trim_start_matches('s').trim_end_matches(" |");
        for event in source.split(", ") {
            let event: usize = event.trim().parse().unwrap();
            assert_eq!(kinds[event], kind, "{line}");
        }
    }
}
