//! User journeys: requests one after the other, each with what its answer must be.

use std::collections::BTreeMap;
use std::time::Duration;

use code_deploy_record::Secret;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Context;
use crate::http::{Request, Response};
use crate::phases::look;
use crate::spec::{Expectation, Journey, JourneyStep};
use crate::surroundings::Client;

/// How long a step of a journey may take that names no limit of its own.
const STEP_LIMIT: Duration = Duration::from_secs(10);

/// How much of a wrong answer is shown.
const SHOWN: usize = 200;

/// What became of a journey.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JourneyResult {
    /// The journey.
    pub name: String,
    /// Its steps as far as they were made: the first that fails is the last.
    pub steps: Vec<JourneyStepResult>,
    /// Whether all steps were made and passed.
    pub passed: bool,
}

impl JourneyResult {
    /// Returns how many requests were answered as they should be, or the first that was not.
    ///
    /// # Errors
    /// The step and what is not as expected of its answer.
    pub fn outcome(&self) -> Result<usize, String> {
        match self.steps.iter().find(|step| !step.passed) {
            Some(step) => Err(format!("{}: {}", step.name, step.detail)),
            None => Ok(self.steps.len()),
        }
    }
}

/// What became of a step of a journey.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JourneyStepResult {
    /// What the user does.
    pub name: String,
    /// Method and path, as sent.
    pub request: String,
    /// The status; nothing when there was no answer.
    pub status: Option<u16>,
    /// From sending to the end of the answer.
    pub elapsed: Duration,
    /// Whether the answer is as expected.
    pub passed: bool,
    /// What is not as expected, or what was seen.
    pub detail: String,
}

/// Makes a journey against `base_url` (`http://127.0.0.1:8080`). The headers of `reach` go with
/// every request (see [`Target::reach`](crate::Target::reach)). What is reported is cleaned of
/// known secrets.
pub async fn run(
    context: &Context,
    journey: &Journey,
    base_url: &str,
    reach: &[(String, Secret)],
) -> JourneyResult {
    let client = context.surroundings.outside.client();
    let mut result = walk(client.as_ref(), journey, base_url, reach).await;
    for step in &mut result.steps {
        step.request = context.redactor.clean(&step.request);
        step.detail = context.redactor.clean(&step.detail);
    }
    result
}

async fn walk(
    client: &dyn Client,
    journey: &Journey,
    base_url: &str,
    reach: &[(String, Secret)],
) -> JourneyResult {
    let mut saved = BTreeMap::new();
    let mut steps = Vec::new();
    for step in &journey.steps {
        let result = make(client, step, (base_url, reach), &mut saved).await;
        let passed = result.passed;
        steps.push(result);
        // What follows builds on this step, so its answers would say nothing.
        if !passed {
            break;
        }
    }
    let passed = steps.len() == journey.steps.len() && steps.iter().all(|step| step.passed);
    JourneyResult {
        name: journey.name.clone(),
        steps,
        passed,
    }
}

async fn make(
    client: &dyn Client,
    step: &JourneyStep,
    (base_url, reach): (&str, &[(String, Secret)]),
    saved: &mut BTreeMap<String, String>,
) -> JourneyStepResult {
    let path = fill(&step.path, saved);
    let headers = step
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), fill(value, saved)));
    let request = Request {
        method: step.method.clone(),
        url: format!("{}{path}", base_url.trim_end_matches('/')),
        headers: headers.collect(),
        secret_headers: reach.to_vec(),
        body: step
            .body
            .as_ref()
            .map(|body| fill(body, saved).into_bytes())
            .unwrap_or_default(),
        timeout: step
            .expect
            .within
            .map_or(STEP_LIMIT, |within| within.get() + STEP_LIMIT),
    };
    let mut result = JourneyStepResult {
        name: step.name.clone(),
        request: format!("{} {path}", step.method),
        status: None,
        elapsed: Duration::ZERO,
        passed: false,
        detail: String::new(),
    };
    match client.send(&request).await {
        Err(error) => result.detail = error.to_string(),
        Ok(answer) => {
            let mut wrong = unexpected(&step.expect, &answer);
            // What stands in an answer of another kind would be named once for each thing that is not in it.
            if answer.status.as_u16() == step.expect.status {
                wrong.extend(save(step, &answer, saved));
            }
            result.status = Some(answer.status.as_u16());
            result.elapsed = answer.elapsed;
            result.passed = wrong.is_empty();
            result.detail = match wrong.is_empty() {
                true => format!("{}, {} bytes", answer.status, answer.body.len()),
                false => wrong.join("; "),
            };
        }
    }
    result
}

/// Replaces `{NAME}` by what was saved under that name and each `{uuid}` by a new UUID. Braces
/// around anything else, as in a JSON body, are left alone.
fn fill(text: &str, saved: &BTreeMap<String, String>) -> String {
    let mut filled = text.to_owned();
    for (name, value) in saved {
        filled = filled.replace(&format!("{{{name}}}"), value);
    }
    while filled.contains("{uuid}") {
        filled = filled.replacen("{uuid}", &crate::phases::look::fresh_id().to_string(), 1);
    }
    filled
}

fn unexpected(expect: &Expectation, answer: &Response) -> Vec<String> {
    if answer.status.as_u16() != expect.status {
        let (status, wanted) = (answer.status, expect.status);
        return vec![match shown(answer) {
            Some(shown) => format!("status {status} instead of {wanted}: {shown}"),
            None => format!("status {status} instead of {wanted}"),
        }];
    }
    let mut wrong = Vec::new();
    let text = answer.text();
    for part in expect
        .contains
        .iter()
        .filter(|part| !text.contains(part.as_str()))
    {
        wrong.push(format!("the answer does not hold `{part}`"));
    }
    let json = answer.json();
    for (pointer, value) in &expect.json {
        match json.as_ref().and_then(|json| json.pointer(pointer)) {
            Some(found) if found == value => {}
            Some(found) => wrong.push(format!("{pointer} is {found} instead of {value}")),
            None => wrong.push(format!("{pointer} is not in the answer")),
        }
    }
    if let Some(within) = expect.within.filter(|within| answer.elapsed > within.get()) {
        wrong.push(format!(
            "it took {:?}, more than {:?}",
            answer.elapsed,
            within.get()
        ));
    }
    wrong
}

/// Returns the beginning of an answer on one line; nothing of a page, whose markup says nothing to a person.
fn shown(answer: &Response) -> Option<String> {
    let text = answer.text();
    let is_page = text.trim_start().starts_with('<');
    let words: Vec<_> = text.split_whitespace().collect();
    (!is_page && !words.is_empty()).then(|| look::cut(&words.join(" "), SHOWN))
}

fn save(
    step: &JourneyStep,
    answer: &Response,
    saved: &mut BTreeMap<String, String>,
) -> Vec<String> {
    let json = answer.json().unwrap_or_default();
    let mut missing = Vec::new();
    for (name, pointer) in &step.save {
        let value = match json.pointer(pointer) {
            Some(Value::String(text)) => text.clone(),
            Some(value @ (Value::Number(_) | Value::Bool(_))) => value.to_string(),
            _ => {
                missing.push(format!(
                    "{pointer}, to be saved as {name}, is not in the answer"
                ));
                continue;
            }
        };
        saved.insert(name.clone(), value);
    }
    missing
}

#[cfg(test)]
mod tests;
