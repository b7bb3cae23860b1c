//! Objectives and streams of requests.

use super::super::error::code;
use super::super::model::{LoadProfile, LoadRequest, Objective};
use super::super::nearest::did_you_mean;
use super::super::placeholder::placeholders;
use super::{Check, Checked};

pub(super) fn check(check: &Check<'_>) -> Checked {
    for (index, objective) in check.file.objectives.iter().enumerate() {
        one_objective(check, objective, &index.to_string())?;
    }
    for (key, profile) in [("client", &check.file.client), ("load", &check.file.load)] {
        if let Some(profile) = profile {
            one_profile(check, profile, key)?;
        }
    }
    Ok(())
}

fn one_objective(check: &Check<'_>, objective: &Objective, index: &str) -> Checked {
    check.known(&objective.service, &["objectives", index, "service"])?;
    if let Some(share) = objective.availability {
        let path = ["objectives", index, "availability"];
        check.range(share, 0.0, 100.0, &path, "a share in percent")?;
    }
    if let Some(latency) = &objective.latency {
        let path = ["objectives", index, "latency", "percent"];
        check.range(latency.percent, 0.0, 100.0, &path, "a share in percent")?;
    }
    if let Some(rate) = objective.throughput {
        let path = ["objectives", index, "throughput"];
        check.range(rate, 0.0, 1e9, &path, "a number of requests a second")?;
    }
    let nothing = objective.availability.is_none()
        && objective.latency.is_none()
        && objective.throughput.is_none();
    if nothing {
        return Err(check.error(
            code::MISSING_KEY,
            &["objectives", index],
            format!("the objective `{}` promises nothing", objective.name),
            "Write `availability`, `latency` or `throughput`.",
        ));
    }
    Ok(())
}

fn one_profile(check: &Check<'_>, profile: &LoadProfile, key: &str) -> Checked {
    check.known(&profile.service, &[key, "service"])?;
    let rate = f64::from(profile.rate);
    check.range(
        rate,
        1.0,
        100_000.0,
        &[key, "rate"],
        "a number of requests a second",
    )?;
    for (part, span) in [("duration", profile.duration), ("timeout", profile.timeout)] {
        if span.get().is_zero() {
            let help = "Write a length of time such as 5s.";
            let what = format!("`{part}` must not be 0");
            return Err(check.error(code::OUT_OF_RANGE, &[key, part], what, help));
        }
    }
    for (index, request) in profile.requests.iter().enumerate() {
        let index = index.to_string();
        check.url_path(&request.path, &[key, "requests", &index, "path"])?;
        method(check, &request.method, &[key, "requests", &index, "method"])?;
    }
    for (index, request) in profile.requests.iter().enumerate() {
        texts(check, request, key, &index.to_string())?;
    }
    let weights: u64 = profile
        .requests
        .iter()
        .map(|one| u64::from(one.weight))
        .sum();
    if weights == 0 {
        return Err(check.error(
            code::MISSING_KEY,
            &[key, "requests"],
            "nothing would be requested",
            "Write at least one request with its `path` and a `weight` above 0.",
        ));
    }
    Ok(())
}

/// Checks that what stands in braces stands for something.
fn texts(check: &Check<'_>, request: &LoadRequest, key: &str, index: &str) -> Checked {
    const KNOWN: [&str; 2] = ["n", "uuid"];
    let mut all = vec![("path", &request.path)];
    all.extend(request.body.iter().map(|body| ("body", body)));
    all.extend(request.headers.values().map(|header| ("headers", header)));
    for (part, text) in all {
        if let Some(name) = placeholders(text).find(|name| !KNOWN.contains(name)) {
            let what = format!("`{{{name}}}` stands for nothing here");
            let help = did_you_mean(name, "placeholders", KNOWN.into_iter());
            let path = [key, "requests", index, part];
            return Err(check.error(code::UNKNOWN_NAME, &path, what, help));
        }
    }
    Ok(())
}

fn method(check: &Check<'_>, method: &str, path: &[&str]) -> Checked {
    if super::journey::METHODS.contains(&method) {
        return Ok(());
    }
    let what = format!("`{}` is not a method", super::shortened(method));
    let help = did_you_mean(method, "methods", super::journey::METHODS.into_iter());
    Err(check.error(code::WRONG_TYPE, path, what, help))
}
