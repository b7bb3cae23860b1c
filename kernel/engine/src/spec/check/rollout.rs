//! Strategies: steps that grow, numbers within their range.

use super::super::error::code;
use super::super::model::{AnalysisPolicy, HealthPolicy, Strategy, StrategyKind};
use super::{Check, Checked};

pub(super) fn check(check: &Check<'_>) -> Checked {
    strategy(check, &check.file.strategy, &["strategy"])?;
    for (name, environment) in &check.file.environments {
        if let Some(found) = &environment.strategy {
            strategy(check, found, &["environments", name, "strategy"])?;
        }
    }
    let sampling = check.file.monitoring.trace_sampling;
    let path = ["monitoring", "trace_sampling"];
    check.range(sampling, 0.0, 100.0, &path, "a share in percent")
}

fn strategy(check: &Check<'_>, strategy: &Strategy, path: &[&str]) -> Checked {
    let at = |keys: &[&str]| -> Vec<String> {
        let all = path.iter().chain(keys);
        all.map(|key| (*key).to_owned()).collect()
    };
    if strategy.kind != StrategyKind::BlueGreen {
        steps(check, strategy, &at(&["steps"]))?;
    }
    health(check, &strategy.health, &at(&["health"]))?;
    analysis(check, &strategy.analysis, &at(&["analysis"]))
}

fn steps(check: &Check<'_>, strategy: &Strategy, path: &[String]) -> Checked {
    let help = "Write shares that grow up to 100, such as 5, 25, 50, 100, each with its `soak`.";
    let refuse = |last: &[&str], what: String| {
        let keys: Vec<&str> = path
            .iter()
            .map(String::as_str)
            .chain(last.iter().copied())
            .collect();
        Err(check.error(code::TRAFFIC_STEPS, &keys, what, help))
    };
    let mut before = 0;
    for (index, step) in strategy.steps.iter().enumerate() {
        let index = index.to_string();
        let at = [index.as_str(), "percent"];
        if !(1..=100).contains(&step.percent) {
            return refuse(&at, format!("{} is not a share in percent", step.percent));
        }
        if step.percent <= before {
            let what = format!("the share must grow, but {} follows {before}", step.percent);
            return refuse(&at, what);
        }
        before = step.percent;
    }
    match strategy.steps.len().checked_sub(1) {
        Some(last) if before != 100 => {
            let last = last.to_string();
            let what = format!("the last step moves {before} % of the traffic, not 100 %");
            refuse(&[&last, "percent"], what)
        }
        None => refuse(&[], "there are no steps".to_owned()),
        Some(_) => Ok(()),
    }
}

fn keys<'a>(path: &'a [String], last: &'a str) -> Vec<&'a str> {
    path.iter().map(String::as_str).chain([last]).collect()
}

fn health(check: &Check<'_>, health: &HealthPolicy, path: &[String]) -> Checked {
    for (key, span) in [
        ("interval", health.interval),
        ("timeout", health.timeout),
        ("deadline", health.deadline),
    ] {
        if span.get().is_zero() {
            let what = format!("`{key}` must not be 0");
            let help = "Write a length of time such as 500ms or 10s.";
            return Err(check.error(code::OUT_OF_RANGE, &keys(path, key), what, help));
        }
    }
    let passes = f64::from(health.passes);
    check.range(
        passes,
        1.0,
        1000.0,
        &keys(path, "passes"),
        "a number of passes",
    )
}

fn analysis(check: &Check<'_>, analysis: &AnalysisPolicy, path: &[String]) -> Checked {
    let margin = analysis.error_share_margin;
    let at = keys(path, "error_share_margin");
    check.range(margin, 0.0, 100.0, &at, "a difference in percentage points")?;
    for (key, ratio) in [
        ("p99_ratio", analysis.p99_ratio),
        ("p50_ratio", analysis.p50_ratio),
    ] {
        check.range(
            ratio,
            1.0,
            1000.0,
            &keys(path, key),
            "a ratio that can be accepted",
        )?;
    }
    Ok(())
}
