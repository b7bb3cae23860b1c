//! Journeys, each in a file of its own.

use std::collections::BTreeSet;
use std::path::Path;

use super::super::compose::Compose;
use super::super::document::Document;
use super::super::error::{SpecError, code};
use super::super::model::{DeployFile, Journey, JourneyStep};
use super::super::nearest::did_you_mean;
use super::super::placeholder::placeholders;
use super::Checked;

/// The methods of HTTP that a request may have.
pub(super) const METHODS: [&str; 7] = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"];

/// Reads the journeys of a deployment file.
pub(in super::super) fn journeys(
    document: &Document,
    file: &DeployFile,
    compose: &Compose,
    project: &Path,
) -> Result<Vec<Journey>, Box<SpecError>> {
    let mut names = BTreeSet::new();
    let mut journeys = Vec::new();
    for (index, path) in file.journeys.iter().enumerate() {
        let full = project.join(path);
        if !full.is_file() {
            return Err(document.error(
                code::UNREADABLE,
                &["journeys", &index.to_string()],
                format!("the journey `{}` does not exist", path.display()),
                "Write its path, relative to this file.",
            ));
        }
        let journey = read(&full, compose)?;
        if !names.insert(journey.name.clone()) {
            let what = format!("two journeys are called `{}`", journey.name);
            let help = "Give each its own name: reports tell them apart by it.";
            return Err(SpecError::of_file(code::JOURNEY, full, what, help));
        }
        journeys.push(journey);
    }
    Ok(journeys)
}

fn read(path: &Path, compose: &Compose) -> Result<Journey, Box<SpecError>> {
    let document = Document::read(path, "journey")?;
    let journey: Journey = document.typed()?;
    super::known(&document, compose, &journey.service, &["service"])?;
    if journey.steps.is_empty() {
        let what = format!("the journey `{}` has no steps", journey.name);
        let help = "Write at least one step with its `path` and what to `expect`.";
        return Err(document.error(code::JOURNEY, &["steps"], what, help));
    }
    let mut saved = BTreeSet::from(["uuid".to_owned()]);
    for (index, step) in journey.steps.iter().enumerate() {
        check_step(&document, step, &index.to_string(), &saved)?;
        saved.extend(step.save.keys().cloned());
    }
    Ok(journey)
}

fn check_step(
    document: &Document,
    step: &JourneyStep,
    index: &str,
    saved: &BTreeSet<String>,
) -> Checked {
    let refuse = |keys: &[&str], what: String, help: &str| {
        let path: Vec<&str> = ["steps", index].iter().chain(keys).copied().collect();
        Err(document.error(code::JOURNEY, &path, what, help))
    };
    if !METHODS.contains(&step.method.as_str()) {
        let help = did_you_mean(&step.method, "methods", METHODS.into_iter());
        return refuse(
            &["method"],
            format!("`{}` is not a method", step.method),
            &help,
        );
    }
    if !step.path.starts_with('/') {
        let help = "Write what follows the host and port, beginning with `/`.";
        return refuse(&["path"], format!("`{}` is not a path", step.path), help);
    }
    if !(100..=599).contains(&step.expect.status) {
        let what = format!("{} is not a status of HTTP", step.expect.status);
        return refuse(
            &["expect", "status"],
            what,
            "Write a number from 100 to 599.",
        );
    }
    let pointers = step.save.values().map(|pointer| ("save", pointer));
    let expected = step.expect.json.keys().map(|pointer| ("expect", pointer));
    for (key, pointer) in pointers.chain(expected) {
        if !pointer.is_empty() && !pointer.starts_with('/') {
            let what = format!("`{pointer}` is not a JSON pointer");
            return refuse(&[key], what, "Write it as `/items/0/id`.");
        }
    }
    let mut texts = vec![("path", &step.path)];
    texts.extend(step.body.iter().map(|body| ("body", body)));
    texts.extend(step.headers.values().map(|header| ("headers", header)));
    for (key, text) in texts {
        if let Some(name) = placeholders(text).find(|name| !saved.contains(*name)) {
            let what = format!("`{{{name}}}` was not saved by an earlier step");
            let help = did_you_mean(name, "values here", saved.iter().map(String::as_str));
            return refuse(&[key], what, &help);
        }
    }
    Ok(())
}
