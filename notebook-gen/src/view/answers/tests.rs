#![allow(clippy::unwrap_used)]

use code_deploy_record::{GateCheck, Severity, Unshown};
use code_deploy_synthetic::{self as synthetic, Story};

use super::*;

fn facts(story: Story) -> Facts {
    let project = tempfile::tempdir().unwrap();
    Facts::read(&synthetic::run(project.path(), "run-1", story)).unwrap()
}

#[track_caller]
fn says(facts: &Facts, name: &str, words: &[&str]) {
    let text = answer(facts, name).unwrap();
    for words in words {
        assert!(text.contains(words), "{name}: no `{words}` in: {text}");
    }
    assert!(
        text.ends_with('.') && !text.contains(".."),
        "{name}: {text}"
    );
    assert!(!text.contains('\n'), "{name}: {text}");
}

#[test]
fn every_notebook_of_every_story_answers_its_own_question() {
    for story in [
        Story::Succeeded,
        Story::RolledBack,
        Story::Refused,
        Story::Initial,
        Story::Halted,
    ] {
        let facts = facts(story);
        let mut all = std::collections::BTreeSet::new();
        for name in crate::names() {
            says(&facts, name, &[]);
            let text = answer(&facts, name).unwrap();
            assert_ne!(text, crate::verdict(&facts), "{story:?} {name}");
            assert!(all.insert(text), "{story:?} {name}");
        }
    }
}

#[test]
fn the_answers_of_a_run_that_succeeded_hold_its_figures() {
    let facts = facts(Story::Succeeded);
    for (name, words) in [
        (
            "01_Deployment_Plan",
            "shop from 1.0.0 to 1.1.0 in dev on local by canary in 6 steps",
        ),
        ("02_Pre_Deployment_Validation", "Go: "),
        (
            "02_Pre_Deployment_Validation",
            "1 finding, the worst medium (hygiene/shell-script",
        ),
        ("03_Build_Process", "The phase ended well in 1.5 s with "),
        ("04_Infrastructure_Setup", "7 of 7 steps done and verified"),
        (
            "05_Database_Migration",
            "shop-db went to version 3 (2 migrations, 50.3 ms)",
        ),
        (
            "06_Application_Deployment",
            "1.1.0 has all traffic of 3 services",
        ),
        (
            "06_Application_Deployment",
            "the outside client saw 0 fail of",
        ),
        ("07_Monitoring_Setup", "The monitoring gate passed"),
        ("08_Validation_Results", "the baseline gate passed"),
        (
            "09_Operational_Handover",
            "runbooks of 3 services and 0 alerts, and 1 guide",
        ),
        (
            "Deployment_Execution_Log",
            "the record is complete, and no key seals it",
        ),
        (
            "System_Health_Dashboard",
            "6 of 6 probes of 1.1.0 passed when last asked",
        ),
        ("Performance_Validation", "2 load tests sent 12"),
        ("Security_Audit_Report", "1 finding, the worst medium"),
        ("Security_Audit_Report", "the security gate passed"),
        ("Monitoring_Configuration", "3 alert rules"),
        ("Operational_Runbooks", "3 contacts to call"),
        (
            "Rollback_Procedures",
            "There is a way back from 1.1.0 to 1.0.0. Rehearsal: traffic led back in 412 ms",
        ),
        (
            "Rollback_Procedures",
            "and 1.1.0 had 5 % of it; 0 failed of 21 requests in the seconds around it",
        ),
        ("Post_Deployment_Report", "Criteria of a finished run: "),
        (
            "Lessons_Learned",
            "The longest step was release.traffic.25 with 10.0 s spent",
        ),
    ] {
        says(&facts, name, &[words]);
    }
}

#[test]
fn objectives_are_counted_with_the_one_nearest_to_its_limit() {
    let mut facts = facts(Story::Succeeded);
    let check = |name: &str, passed: bool, used: f64| GateCheck {
        used: Some(used),
        ..GateCheck::new(name, "12.5 ms", "at most 500 ms", passed)
    };
    let gates = facts.gates.iter_mut();
    for gate in gates.filter(|gate| gate.what.gate == Gate::Baseline) {
        gate.what.checks = vec![
            check("pages (p99)", true, 0.025),
            check("orders (p50)", false, 1.2),
            check("catalog: p99 latency while both served", true, 9.0),
        ];
    }
    let words = "1 of 2 objectives met, nearest to its limit \"orders (p50)\" (12.5 ms measured, at most 500 ms asked for)";
    says(&facts, "Performance_Validation", &[words]);
    let checks = facts
        .gates
        .iter_mut()
        .flat_map(|gate| &mut gate.what.checks);
    for check in checks.filter(|check| check.name == "pages (p99)") {
        check.unshown = Some(Unshown {
            requests: 200,
            enough: Some(299),
        });
    }
    says(
        &facts,
        "Performance_Validation",
        &["0 of 2 objectives met, 1 not shown (too few requests), nearest to its limit \"orders"],
    );
    for gate in &mut facts.gates {
        gate.what.checks.clear();
    }
    says(
        &facts,
        "Performance_Validation",
        &["No objective was measured"],
    );
}

#[test]
fn the_answers_of_a_run_that_went_back_say_so() {
    let facts = facts(Story::RolledBack);
    says(
        &facts,
        "Rollback_Procedures",
        &["The run has gone back in 3.6 s: 6 steps undone"],
    );
    says(
        &facts,
        "05_Database_Migration",
        &["and the migrations were taken back"],
    );
    says(
        &facts,
        "06_Application_Deployment",
        &["1.0.0 has all traffic", "saw 37 fail"],
    );
    says(
        &facts,
        "08_Validation_Results",
        &["the run did not come to it (rolled back)"],
    );
    says(
        &facts,
        "Lessons_Learned",
        &["1 answer of gates without a pass"],
    );
}

#[test]
fn the_answers_of_a_run_that_was_refused_say_what_was_not_done() {
    let facts = facts(Story::Refused);
    says(
        &facts,
        "02_Pre_Deployment_Validation",
        &["No go", "2 GiB are wanted"],
    );
    says(
        &facts,
        "05_Database_Migration",
        &["No database was migrated: the run did not come"],
    );
    says(
        &facts,
        "06_Application_Deployment",
        &["1.1.0 was not released"],
    );
    says(
        &facts,
        "Rollback_Procedures",
        &["refused before it changed anything"],
    );
    says(
        &facts,
        "Security_Audit_Report",
        &["No finding", "the security gate was not asked"],
    );
    says(
        &facts,
        "System_Health_Dashboard",
        &["No instance of 1.0.0 was probed"],
    );
    says(
        &facts,
        "Operational_Runbooks",
        &["No runbook", "no contact to call"],
    );
    says(
        &facts,
        "09_Operational_Handover",
        &["Nothing was handed over: the run did not come to it (refused)"],
    );
}

#[test]
fn a_first_release_has_no_way_back_and_a_plan_has_no_release_before() {
    let facts = facts(Story::Initial);
    says(
        &facts,
        "Rollback_Procedures",
        &["There is no way back: 1.1.0 is the first release"],
    );
    says(
        &facts,
        "01_Deployment_Plan",
        &["The plan takes shop to 1.1.0"],
    );
}

#[test]
fn the_worst_finding_is_named_first_and_versions_come_from_the_backup() {
    let mut facts = facts(Story::Succeeded);
    let mut worse = facts.findings.first().unwrap().clone();
    worse.what.severity = Severity::High;
    worse.what.rule = "security/probe".to_owned();
    facts.findings.push(worse);
    says(
        &facts,
        "Security_Audit_Report",
        &["2 findings, the worst high (security/probe"],
    );
    let step = "migrate.backup"
        .parse::<code_deploy_record::StepName>()
        .unwrap();
    let backup = facts.state.steps.get_mut(&step).unwrap();
    backup.result = serde_json::json!({"databases": {"shop-db": {"version": 1}}});
    says(
        &facts,
        "05_Database_Migration",
        &["shop-db went from version 1 to version 3"],
    );
}
