#![allow(clippy::unwrap_used)]

use code_deploy_record::{Gate, GateCheck, Unshown};
use code_deploy_synthetic::{self as synthetic, Story};

use super::objectives;
use crate::facts::Facts;
use crate::series::Bins;

fn check(name: &str, measured: &str, limit: &str, passed: bool) -> GateCheck {
    GateCheck::new(name, measured, limit, passed)
}

/// Returns what is said of a run whose baseline gate made these checks.
fn told(checks: Vec<GateCheck>) -> String {
    let project = tempfile::tempdir().unwrap();
    let run = synthetic::run(project.path(), "run-1", Story::Succeeded);
    let mut facts = Facts::read(&run).unwrap();
    let gates = facts.gates.iter_mut();
    for gate in gates.filter(|gate| gate.what.gate == Gate::Baseline) {
        gate.what.checks.clone_from(&checks);
    }
    let bins = Bins::read(&facts).unwrap();
    crate::report_to_text(&objectives(&facts, &bins))
}

fn line<'a>(text: &'a str, name: &str) -> &'a str {
    text.lines()
        .find(|line| line.trim_start().starts_with(name))
        .unwrap()
}

#[test]
fn a_budget_is_what_may_fail_of_the_requests_measured_and_what_did() {
    let text = told(vec![
        check(
            "orders are available (availability)",
            "99.950 % of 2000 (95 % confidence: 99.6 to 99.99 %)",
            "at least 99.9 %",
            true,
        ),
        check(
            "pages are available (availability)",
            "99.700 % of 1000 (95 % confidence: 99.1 to 99.9 %)",
            "at least 99.9 %",
            false,
        ),
    ]);
    let orders = line(&text, "orders are available");
    for words in [
        "99.9 % answered well",
        " met ",
        "2000",
        " 1 ",
        "2.00",
        "50 %",
    ] {
        assert!(orders.contains(words), "{words}\n{text}");
    }
    let pages = line(&text, "pages are available");
    assert!(pages.contains("more than all of it (300 %)"), "{text}");
    assert!(
        pages.contains("from its first traffic at 14:00:26 to "),
        "{text}"
    );
    assert!(text.find("pages are").unwrap() < text.find("orders are").unwrap());
    assert!(text.contains("Its window is the run's own"), "{text}");
    assert!(!text.contains("below one request"), "{text}");
}

#[test]
fn what_the_load_test_measured_is_told_with_its_event_and_exact_count() {
    let text = told(vec![check(
        "the shop is available (availability)",
        "100.000 % of 6000 (95 % confidence: 99.9 to 100.000 %)",
        "at least 99.99 %",
        true,
    )]);
    let shop = line(&text, "the shop is available");
    assert!(shop.contains("load test steady, 10.0 s until "), "{text}");
    assert!(shop.contains(" 0 %"), "{text}");
    assert!(text.contains("below one request"), "{text}");
}

#[test]
fn a_latency_objective_is_held_against_the_histogram_that_the_gate_read() {
    let project = tempfile::tempdir().unwrap();
    let run = synthetic::run(project.path(), "run-1", Story::Succeeded);
    let facts = Facts::read(&run).unwrap();
    let of_new = facts
        .loads
        .iter()
        .find(|one| one.what.release == facts.started.to);
    let latency = &of_new.unwrap().what.latency;
    let p99 = crate::format::ratio(latency.quantile_us(0.99).unwrap(), 1000);
    let text = told(vec![
        check(
            "pages (p99)",
            &format!("{p99:.1} ms"),
            "at most 500 ms",
            true,
        ),
        check("others (p99)", "0.1 ms", "at most 500 ms", true),
    ]);
    let pages = line(&text, "pages (p99)");
    assert!(pages.contains("99 % within 500 ms"), "{text}");
    assert!(pages.contains("60.00"), "{text}");
    assert!(
        text.contains("others (p99): no alert of the record watches it"),
        "{text}"
    );
}

#[test]
fn without_objectives_or_without_the_gate_the_reason_is_said() {
    let text = told(Vec::new());
    assert!(
        text.contains("names no objective of availability or latency"),
        "{text}"
    );
    let text = told(vec![check(
        "load is carried (throughput)",
        "200.0 a second",
        "at least 150 a second",
        true,
    )]);
    assert!(text.contains("a rate has no error budget"), "{text}");
    let text = told(vec![check(
        "up (availability)",
        "none",
        "at least 99 %",
        false,
    )]);
    assert!(
        text.contains("up (availability): nothing was measured of it."),
        "{text}"
    );
    assert!(
        line(&text, "up (availability)").contains("not known"),
        "{text}"
    );
    let project = tempfile::tempdir().unwrap();
    let run = synthetic::run(project.path(), "run-1", Story::Refused);
    let facts = Facts::read(&run).unwrap();
    let text = crate::report_to_text(&objectives(&facts, &Bins::default()));
    assert!(text.contains("which was not asked in this run"), "{text}");
}

#[test]
fn an_objective_that_few_requests_do_not_show_is_neither_met_nor_missed() {
    let mut few = check(
        "pages are available (availability)",
        "100.000 % of 500 (with 95 % confidence at least 99.403 %)",
        "at least 99.9 %",
        true,
    );
    few.unshown = Some(Unshown {
        requests: 500,
        enough: Some(2_995),
    });
    let met = check(
        "orders are available (availability)",
        "100.000 % of 3000 (with 95 % confidence at least 99.900 %)",
        "at least 99.9 %",
        true,
    );
    let text = told(vec![met.clone(), few]);
    let pages = line(&text, "pages are available");
    let words = "not shown by 500 requests; 2995 without a further miss would do";
    assert!(pages.contains(words), "{text}");
    assert!(
        line(&text, "orders are available").contains(" met "),
        "{text}"
    );
    assert!(text.find("pages are").unwrap() < text.find("orders are").unwrap());
    assert!(text.contains("Clopper"), "{text}");
    assert!(!told(vec![met]).contains("Clopper"));
}
