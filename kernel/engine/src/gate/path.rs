//! One critical path against one release: the requests of a journey, each with what its answer
//! must be.

use std::collections::BTreeMap;
use std::time::Duration;

use code_deploy_record::Secret;

use crate::http::{HttpClient, Request, Response};
use crate::spec::{Expectation, Journey, JourneyStep};

/// How long one request of a path may take when it names no limit of its own.
const LIMIT: Duration = Duration::from_secs(10);

/// Walks a journey; returns how many requests were answered as they should be, or what was not.
pub(crate) async fn walk(
    client: &HttpClient,
    journey: &Journey,
    base_url: &str,
    reach: &[(String, Secret)],
    uuid: &str,
) -> Result<usize, String> {
    let mut saved = BTreeMap::from([("uuid".to_owned(), uuid.to_owned())]);
    for step in &journey.steps {
        let request = request(step, base_url, reach, &saved);
        let answer = client.send(&request).await;
        let answer = answer.map_err(|error| format!("{}: {error}", step.name))?;
        check(&step.expect, &answer).map_err(|what| format!("{}: {what}", step.name))?;
        save(step, &answer, &mut saved).map_err(|what| format!("{}: {what}", step.name))?;
    }
    Ok(journey.steps.len())
}

fn request(
    step: &JourneyStep,
    base_url: &str,
    reach: &[(String, Secret)],
    saved: &BTreeMap<String, String>,
) -> Request {
    let fill = |text: &str| {
        saved.iter().fold(text.to_owned(), |text, (name, value)| {
            text.replace(&format!("{{{name}}}"), value)
        })
    };
    let limit = step
        .expect
        .within
        .map_or(LIMIT, |within| within.get().max(LIMIT));
    let mut request = Request::get(format!("{base_url}{}", fill(&step.path)), limit);
    request.method.clone_from(&step.method);
    request.headers = step
        .headers
        .iter()
        .map(|(k, v)| (k.clone(), fill(v)))
        .collect();
    request.secret_headers = reach.to_vec();
    request.body = step
        .body
        .as_deref()
        .map(fill)
        .unwrap_or_default()
        .into_bytes();
    request
}

fn check(expect: &Expectation, answer: &Response) -> Result<(), String> {
    let status = answer.status.as_u16();
    if status != expect.status {
        return Err(format!("answered {status}, expected {}", expect.status));
    }
    let text = answer.text();
    if let Some(missing) = expect
        .contains
        .iter()
        .find(|part| !text.contains(part.as_str()))
    {
        return Err(format!("the body does not hold `{missing}`"));
    }
    let json = answer.json().unwrap_or_default();
    for (pointer, wanted) in &expect.json {
        let found = json.pointer(pointer);
        if found != Some(wanted) {
            let found = found.map_or_else(|| "nothing".to_owned(), ToString::to_string);
            return Err(format!("{pointer} is {found}, expected {wanted}"));
        }
    }
    match expect.within {
        Some(within) if answer.elapsed > within.get() => Err(format!(
            "took {} ms, at most {within}",
            answer.elapsed.as_millis()
        )),
        _ => Ok(()),
    }
}

fn save(
    step: &JourneyStep,
    answer: &Response,
    saved: &mut BTreeMap<String, String>,
) -> Result<(), String> {
    let json = answer.json().unwrap_or_default();
    for (name, pointer) in &step.save {
        let value = json
            .pointer(pointer)
            .ok_or_else(|| format!("there is no {pointer} to save"))?;
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        saved.insert(name.clone(), text);
    }
    Ok(())
}
