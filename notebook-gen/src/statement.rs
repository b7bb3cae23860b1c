//! What is stated of a run: an in-toto statement over its notebooks, its journal and the artifacts
//! that were deployed, by digest.

use code_deploy_record::{Digest, RunFolder, StepName, origin};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::facts::Facts;
use crate::page::Page;
use crate::{Error, Result};

/// What kind of statement it is.
pub const PREDICATE: &str = "urn:code-deploy:change-record:v1";

/// The step whose result names the artifacts of a release.
const ARTIFACTS: &str = "build.artifacts";

/// A statement, and the list of files for `sha256sum --check`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The statement as canonical JSON (RFC 8785).
    pub text: Vec<u8>,
    /// A line for each notebook and chart: digest and path within the notebooks' folder.
    pub sums: String,
}

#[derive(Deserialize)]
struct Artifact {
    path: String,
    services: Vec<String>,
    file: Option<ArtifactFile>,
}

#[derive(Deserialize)]
struct ArtifactFile {
    digest: Digest,
}

/// Makes the statement over a run and the notebooks made from it. The same record and notebooks give
/// the same bytes.
///
/// # Errors
/// [`Error::Record`] when the record cannot be read; [`Error::Notebook`] when a notebook is not as
/// this program makes them.
pub fn statement(run: &RunFolder, pages: &[Page]) -> Result<Statement> {
    let facts = Facts::read(run)?;
    let opened = run.disk().read(&run.journal_path());
    let journal = opened
        .and_then(|mut file| Digest::of_reader(&mut file))
        .map_err(code_deploy_record::Error::io("read", &run.journal_path()))?;
    let (mut subjects, mut sums) = (Vec::new(), String::new());
    for (path, content) in crate::write::files(pages) {
        let digest = Digest::of(&content);
        sums.push_str(&format!("{digest}  {}\n", path.display()));
        subjects.push(subject(&path.display().to_string(), &digest));
    }
    subjects.push(subject(RunFolder::JOURNAL, &journal));
    subjects.extend(artifacts(&facts));
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subjects,
        "predicateType": PREDICATE,
        "predicate": predicate(&facts, pages)?,
    });
    let text = serde_json_canonicalizer::to_vec(&statement).map_err(|error| Error::Notebook {
        notebook: "statement".to_owned(),
        what: error.to_string(),
    })?;
    Ok(Statement { text, sums })
}

fn subject(name: &str, digest: &Digest) -> Value {
    json!({ "name": name, "digest": { "sha256": digest } })
}

fn artifacts(facts: &Facts) -> Vec<Value> {
    let step: Option<StepName> = ARTIFACTS.parse().ok();
    let step = step.and_then(|step| facts.state.steps.get(&step));
    let found = step.and_then(|step| step.result.get("artifacts")).cloned();
    let found: Vec<Artifact> = found
        .and_then(|found| serde_json::from_value(found).ok())
        .unwrap_or_default();
    let named = found.into_iter().filter_map(|artifact| {
        let services = artifact.services.join(",");
        let name = format!("artifact:{services}:{}", artifact.path);
        Some(subject(&name, &artifact.file?.digest))
    });
    named.collect()
}

fn predicate(facts: &Facts, pages: &[Page]) -> Result<Value> {
    let (started, state) = (&facts.started, &facts.state);
    let criteria: Vec<Value> = crate::view::criteria(facts)?
        .iter()
        .map(|one| json!({ "criterion": one.name, "verdict": one.word(), "how": one.how }))
        .collect();
    let approvals: Vec<Value> = state
        .approvals
        .iter()
        .map(|(gate, (plan, by, go))| json!({ "gate": gate, "plan": plan, "by": by, "go": go }))
        .collect();
    let outcome = state.finished.as_ref();
    Ok(json!({
        "run": started.run,
        "application": started.application,
        "environment": started.environment,
        "target": started.target,
        "from": started.from,
        "to": started.to,
        "started": state.since,
        "finished": outcome.map(|(.., time)| time),
        "outcome": outcome.map(|(outcome, ..)| outcome),
        "previous": started.previous,
        "plan": state.plan.as_ref().map(|plan| plan.digest),
        "record": { "origin": origin(started), "size": facts.tree.size, "root": facts.tree.root },
        "outputs": crate::proof::outputs_head(pages)?,
        // Whoever knows one half of the key then knows the other one.
        "key": state.key,
        "criteria": criteria,
        "approvals": approvals,
    }))
}
