//! Every artifact with its digest and permissions, and the manifest of the release.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use code_deploy_record::{Basis, Column, Digest, EvidenceRef, Report};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{artifacts_of, scratch};
use crate::phases::look::{bytes, counted, list};
use crate::section::{Outline, Section, Seen, Work, blocking, step as section_step};
use crate::step::StepError;
use crate::{Context, Step};

/// Returns the step.
pub(super) fn step() -> Option<Arc<dyn Step>> {
    let outline = Outline {
        verb: ("build", 3),
        section: "artifacts",
        title: "find every artifact, take its digest, write configuration and manifest",
        items: "2.3.4 2.3.5 2.3.6 2.5.1 2.5.2",
        undo: None,
        methods: (
            "size and permissions of each artifact",
            "the digests taken again",
        ),
        expected: Duration::from_secs(3),
    };
    section_step(&outline, Artifacts)
}

/// An artifact.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Artifact {
    pub path: PathBuf,
    pub services: Vec<String>,
    /// Nothing when it is missing.
    pub file: Option<ArtifactFile>,
}

/// An artifact's file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ArtifactFile {
    pub digest: Digest,
    pub bytes: u64,
    pub mode: u32,
}

struct Artifacts;

/// Returns the artifacts as the step found them.
pub(super) fn found(section: &Section<'_>) -> Vec<Artifact> {
    let result = section.result_of("build.artifacts");
    serde_json::from_value(result["artifacts"].clone()).unwrap_or_default()
}

/// Keeps what programs made of kustomizations and charts; returns a row for each.
async fn keep_rendered(context: &Context) -> Result<Vec<Vec<String>>, StepError> {
    let mut rows = Vec::new();
    for one in &context.spec.rendered {
        let source = one.source.display().to_string();
        let name = format!("manifests made of {source}");
        let text = one.text.as_bytes().to_vec();
        context.keep(&name, "application/yaml", text).await?;
        rows.push(vec![source, one.command.clone(), one.digest.to_string()]);
    }
    Ok(rows)
}

#[async_trait]
impl Work for Artifacts {
    async fn apply(&self, section: &Section<'_>) -> Result<Value, StepError> {
        let context = section.context;
        let artifacts = look(context).await?;
        let configurations = scratch::configurations(context);
        let manifest = json!({
            "application": context.spec.application,
            "release": context.to,
            "environment": context.spec.environment,
            "deployment_file": context.spec.digest,
            "artifacts": artifacts,
            "configuration": configurations,
        });
        let text = serde_json::to_vec_pretty(&manifest).map_err(code_deploy_record::Error::from)?;
        let digest = context
            .keep(
                "manifest of the release with its configuration",
                "application/json",
                text,
            )
            .await?;
        let made = keep_rendered(context).await?;
        let rows = artifacts.iter().map(row).collect();
        let columns = vec![
            Column::text("Artifact"),
            Column::text("Services"),
            Column::text("Size"),
            Column::text("Mode"),
            Column::text("SHA-256"),
        ];
        let mut report = Report::new().with_table("Artifacts", columns, rows);
        if !made.is_empty() {
            let columns = ["Made from", "Command", "SHA-256"].map(Column::text);
            report = report.with_table("Manifests that programs made", columns.into(), made);
        }
        let event = section.report("Artifact inventory", report).await?;
        settle(
            section,
            &artifacts,
            configurations.len(),
            &[event, EvidenceRef::File(digest)],
        )
        .await?;
        let missing: Vec<_> = artifacts
            .iter()
            .filter(|one| one.file.is_none())
            .map(|one| one.path.display().to_string())
            .collect();
        if !missing.is_empty() {
            let what = format!("artifacts are missing: {}", list(&missing));
            return Err(StepError::permanent(
                "CD0704",
                what,
                "Build them, or correct `build.artifacts`.",
            ));
        }
        Ok(json!({ "artifacts": artifacts, "manifest": digest }))
    }

    async fn inside(&self, section: &Section<'_>, _: &Value) -> Result<Seen, StepError> {
        let artifacts = found(section);
        for one in &artifacts {
            let now = tokio::fs::metadata(&one.path)
                .await
                .ok()
                .map(|found| found.len());
            if now != one.file.as_ref().map(|file| file.bytes) {
                return Ok(Seen::new(
                    false,
                    format!("{} has another size", one.path.display()),
                ));
            }
        }
        Ok(Seen::new(
            true,
            format!(
                "{} of the recorded size",
                counted(artifacts.len(), "artifact")
            ),
        ))
    }

    async fn outside(&self, section: &Section<'_>, _: &Value) -> Result<Seen, StepError> {
        let artifacts = found(section);
        for one in &artifacts {
            let path = one.path.clone();
            let again = blocking("reading an artifact", move || read(&path)).await?;
            if again != one.file {
                return Ok(Seen::new(
                    false,
                    format!("{} has changed", one.path.display()),
                ));
            }
        }
        Ok(Seen::new(
            true,
            format!(
                "{} of the recorded digest",
                counted(artifacts.len(), "artifact")
            ),
        ))
    }
}

async fn look(context: &Context) -> Result<Vec<Artifact>, StepError> {
    let mut by_path: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
    for service in &context.spec.services {
        for path in artifacts_of(context, service) {
            by_path.entry(path).or_default().push(service.name.clone());
        }
    }
    let mut all = Vec::new();
    for (path, services) in by_path {
        let of = path.clone();
        let file = blocking("reading an artifact", move || read(&of)).await?;
        all.push(Artifact {
            path,
            services,
            file,
        });
    }
    Ok(all)
}

fn read(path: &Path) -> Option<ArtifactFile> {
    let file = std::fs::File::open(path).ok()?;
    let metadata = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    let digest =
        Digest::of_reader(&mut std::io::BufReader::with_capacity(1024 * 1024, file)).ok()?;
    Some(ArtifactFile {
        digest,
        bytes: metadata.len(),
        mode: metadata.mode() & 0o7777,
    })
}

fn row(one: &Artifact) -> Vec<String> {
    let (size, mode, digest) = one.file.as_ref().map_or_else(
        || ("missing".to_owned(), String::new(), String::new()),
        |file| {
            (
                bytes(file.bytes),
                format!("{:o}", file.mode),
                file.digest.to_string(),
            )
        },
    );
    vec![
        one.path.display().to_string(),
        list(&one.services),
        size,
        mode,
        digest,
    ]
}

async fn settle(
    section: &Section<'_>,
    artifacts: &[Artifact],
    configurations: usize,
    evidence: &[EvidenceRef],
) -> Result<(), StepError> {
    let (seen, performed) = (Basis::Observed, Basis::Performed);
    let context = section.context;
    let text = format!(
        "configuration of {configurations} services for {} is written to the manifest",
        context.spec.environment
    );
    section
        .judge(
            "2.3.4",
            configurations == context.spec.services.len(),
            performed,
            text,
            evidence,
        )
        .await?;
    let (valid, text) = validated(context).await;
    section
        .judge("2.3.5", valid, performed, text, evidence)
        .await?;
    let undeclared: Vec<_> = context
        .spec
        .services
        .iter()
        .filter(|one| one.file.build.is_none())
        .map(|one| &one.name)
        .collect();
    let missing: Vec<_> = artifacts
        .iter()
        .filter(|one| one.file.is_none())
        .map(|one| one.path.display())
        .collect();
    if !undeclared.is_empty() {
        let text = format!("no artifact is declared for {}", list(undeclared.iter()));
        section.open("2.3.6", text).await?;
    } else {
        let text = format!(
            "{}; missing: {}",
            counted(artifacts.len(), "artifact"),
            list(&missing)
        );
        section
            .judge("2.3.6", missing.is_empty(), seen, text, evidence)
            .await?;
    }
    let empty: Vec<_> = artifacts
        .iter()
        .filter(|one| one.file.as_ref().is_none_or(|file| file.bytes == 0))
        .map(|one| one.path.display())
        .collect();
    let text = format!(
        "{} with digest; missing or empty: {}",
        counted(artifacts.len(), "artifact"),
        list(&empty)
    );
    section
        .judge("2.5.1", empty.is_empty(), seen, text, evidence)
        .await?;
    let open: Vec<_> = artifacts
        .iter()
        .filter(|one| {
            one.file
                .as_ref()
                .is_some_and(|file| file.mode & 0o6002 != 0)
        })
        .map(|one| one.path.display())
        .collect();
    let text = format!(
        "{}; writable by everybody or setuid: {}",
        counted(artifacts.len(), "artifact"),
        list(&open)
    );
    section
        .judge("2.5.2", open.is_empty(), seen, text, evidence)
        .await
}

/// Checks the deployment file against the schema that is generated from its types.
async fn validated(context: &Context) -> (bool, String) {
    let read = tokio::fs::read_to_string(&context.spec.path)
        .await
        .map_err(|error| error.to_string());
    let document = read
        .and_then(|text| serde_saphyr::from_str::<Value>(&text).map_err(|error| error.to_string()));
    let document = match document {
        Ok(document) => document,
        Err(why) => return (false, why),
    };
    match jsonschema::validator_for(&crate::spec::schema()) {
        Err(error) => (false, format!("the schema itself: {error}")),
        Ok(validator) => match validator.validate(&document) {
            Ok(()) => (true, "the deployment file is valid by its schema; the manifest of the release is written".to_owned()),
            Err(error) => (false, format!("{} at {}", error, error.instance_path())),
        },
    }
}
