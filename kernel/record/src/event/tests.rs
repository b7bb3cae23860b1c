//! What events say of themselves.

use super::*;

#[test]
fn a_baseline_that_nothing_was_compared_with_has_not_passed() {
    let check = |name: &str| GateCheck {
        name: name.to_owned(),
        measured: "1 ms".to_owned(),
        limit: "at most 2 ms".to_owned(),
        passed: true,
        used: None,
    };
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
