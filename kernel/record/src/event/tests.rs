//! What events say of themselves.
#![allow(clippy::unwrap_used)]

use super::*;

#[test]
fn a_baseline_that_nothing_was_compared_with_has_not_passed() {
    let check = |name: &str| GateCheck::new(name, "1 ms", "at most 2 ms", true);
    let gate = |gate, passed, compared| GateEvaluated {
        gate,
        subject: "shop 1.1.0".to_owned(),
        passed,
        since: DateTime::UNIX_EPOCH,
        checks: vec![check("pages are fast (p99)")],
        compared,
        reason: String::new(),
    };
    let word = |which, passed, compared| gate(which, passed, compared).word();
    assert_eq!(word(Gate::Baseline, true, false), "not compared");
    assert_eq!(word(Gate::Baseline, true, true), "passed");
    assert_eq!(word(Gate::Baseline, false, false), "did not pass");
    assert_eq!(word(Gate::Health, true, false), "passed");
}

#[test]
fn a_sample_that_is_too_small_is_neither_met_nor_missed() {
    let name = "shop is available (availability)";
    let check = |passed, unshown| GateCheck {
        unshown,
        ..GateCheck::new(name, "100.000 % of 500", "at least 99.9 %", passed)
    };
    let few = |requests, enough| Some(Unshown { requests, enough });
    assert_eq!(check(true, None).standing(), "met");
    assert_eq!(check(false, None).standing(), "not met");
    assert_eq!(
        check(true, few(500, Some(2_995))).standing(),
        "not shown by 500 requests; 2995 without a further miss would do"
    );
    assert_eq!(
        check(true, few(1, None)).standing(),
        "not shown by 1 request; no number of them would do, because no miss is allowed"
    );
    assert!(check(true, None).is_met());
    let mut none = check(false, None);
    assert!(none.is_measured());
    none.measured = GateCheck::NOT_MEASURED.to_owned();
    assert!(!none.is_measured());
    assert!(!check(true, few(500, Some(2_995))).is_met());
}

#[test]
fn a_check_of_an_older_record_has_no_small_sample() {
    let old = r#"{"name":"a","measured":"b","limit":"c","passed":true}"#;
    let check: GateCheck = serde_json::from_str(old).unwrap();
    assert_eq!((check.used, check.unshown), (None, None));
    assert_eq!(serde_json::to_string(&check).unwrap(), old);
}
