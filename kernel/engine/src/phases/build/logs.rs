//! The build commands, each run without a shell, with its log as evidence.

use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use code_deploy_record::{Basis, Column, EvidenceRef, Report};
use serde_json::{Value, json};
use tokio::process::Command;

use super::artifacts_of;
use crate::phases::work::{Outline, Section, Seen, Work, step as section_step};
use crate::spec::BuildFile;
use crate::step::StepError;
use crate::{Context, Progress, Step};

/// Lines of a build's log that a report shows.
const TAIL: usize = 40;

/// The end of a build's log that is kept as evidence, in bytes.
const KEPT: usize = 2 * 1024 * 1024;

/// The pause between two looks at a build that runs.
const LOOK: Duration = Duration::from_millis(200);

/// Returns the step.
pub(super) fn step() -> Option<Arc<dyn Step>> {
    let outline = Outline {
        verb: ("build", 3),
        section: "logs",
        title: "run the build commands and keep their logs",
        items: "2.3.1",
        undo: None,
        methods: ("every build ended well", "the artifacts are there"),
        expected: Duration::from_secs(30),
    };
    section_step(&outline, Logs)
}

struct Logs;

#[async_trait]
impl Work for Logs {
    async fn apply(&self, section: &Section<'_>) -> Result<Value, StepError> {
        let context = section.context;
        let (mut rows, mut built, mut report) = (Vec::new(), Vec::new(), Report::new());
        let mut evidence = Vec::new();
        let mut done: Vec<&Vec<String>> = Vec::new();
        for service in &context.spec.services {
            let Some(build) = service
                .file
                .build
                .as_ref()
                .filter(|build| !build.command.is_empty())
            else {
                continue;
            };
            if done.contains(&&build.command) {
                continue;
            }
            done.push(&build.command);
            let began = Instant::now();
            let log = run(context, &service.name, build).await?;
            let digest = context
                .keep(
                    &format!("build log of {}", service.name),
                    "text/plain",
                    log.clone(),
                )
                .await?;
            evidence.push(EvidenceRef::File(digest));
            rows.push(vec![
                service.name.clone(),
                build.command.join(" "),
                format!("{:.1}", began.elapsed().as_secs_f64()),
                digest.short(),
            ]);
            let text = String::from_utf8_lossy(&log).into_owned();
            let lines: Vec<_> = text.lines().collect();
            let tail = lines
                .get(lines.len().saturating_sub(TAIL)..)
                .unwrap_or_default()
                .join("\n");
            report = report.with_code(
                format!("End of the build log of {}", service.name),
                "text",
                tail,
            );
            built.push(service.name.clone());
        }
        let columns = vec![
            Column::text("Service"),
            Column::text("Command"),
            Column::number("Took (s)"),
            Column::text("Log"),
        ];
        if built.is_empty() {
            report = report.with_text("No service of the deployment file names a build command: its artifacts are used as they are found.");
        }
        let event = section
            .report("Build logs", report.with_table("Builds", columns, rows))
            .await?;
        evidence.push(event);
        if built.is_empty() {
            section
                .open(
                    "2.3.1",
                    "no build command is declared: artifacts were found, not compiled by this run",
                )
                .await?;
        } else {
            let text = format!("{} builds ended well: {}", built.len(), built.join(", "));
            section
                .judge("2.3.1", true, Basis::Performed, text, &evidence)
                .await?;
        }
        Ok(json!({ "built": built }))
    }

    async fn inside(&self, _: &Section<'_>, result: &Value) -> Result<Seen, StepError> {
        let built = result["built"].as_array();
        Ok(Seen::new(
            built.is_some(),
            format!("{} builds ended with status 0", built.map_or(0, Vec::len)),
        ))
    }

    async fn outside(&self, section: &Section<'_>, _: &Value) -> Result<Seen, StepError> {
        let mut there = 0;
        for service in &section.context.spec.services {
            for path in artifacts_of(section.context, service) {
                if let Err(error) = tokio::fs::metadata(&path).await {
                    return Ok(Seen::new(false, format!("{}: {error}", path.display())));
                }
                there += 1;
            }
        }
        Ok(Seen::new(true, format!("{there} artifacts are there")))
    }
}

/// Runs a build; returns its log.
async fn run(context: &Context, service: &str, build: &BuildFile) -> Result<Vec<u8>, StepError> {
    let Some((program, arguments)) = build.command.split_first() else {
        return Ok(Vec::new());
    };
    let path = context.run.logs_path().join(format!("build-{service}.log"));
    let failed = |what: String| {
        let what = format!("building {service}: {what}");
        StepError::permanent("CD0703", what, format!("Look at {}.", path.display()))
    };
    let log = std::fs::File::create(&path).map_err(|error| failed(format!("its log: {error}")))?;
    let errors = log
        .try_clone()
        .map_err(|error| failed(format!("its log: {error}")))?;
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(&context.spec.project)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(format!("`{program}` cannot be started: {error}")))?;
    let (began, limit) = (Instant::now(), build.limit.get());
    let status = loop {
        if let Some(status) = child
            .try_wait()
            .map_err(|error| failed(error.to_string()))?
        {
            break status;
        }
        context.safe_point()?;
        if began.elapsed() >= limit {
            return Err(failed(format!("it did not end within {}", build.limit)));
        }
        let what = format!("builds {service}");
        context.progress(Progress {
            what,
            elapsed: began.elapsed(),
            limit: Some(limit),
            share: None,
        });
        tokio::time::sleep(LOOK).await;
    };
    if !status.success() {
        return Err(failed(format!("it ended with {status}")));
    }
    let mut log = tokio::fs::read(&path)
        .await
        .map_err(|error| failed(error.to_string()))?;
    Ok(log.split_off(log.len().saturating_sub(KEPT)))
}
