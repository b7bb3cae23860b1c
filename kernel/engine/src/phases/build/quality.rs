//! Every entry point started once, away from what runs, and journeys through them.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use code_deploy_record::{Basis, Column, Digest, EvidenceRef, Report};
use serde_json::{Value, json};

use super::artifacts::found;
use super::scratch::{self, Scratch};
use crate::Step;
use crate::phases::look::{counted, list};
use crate::section::{Outline, Section, Seen, Work, step as section_step};
use crate::step::StepError;

/// How long the second tool may take for one artifact.
const TOOL_LIMIT: Duration = Duration::from_secs(60);

/// Returns the step.
pub(super) fn step() -> Option<Arc<dyn Step>> {
    let outline = Outline {
        verb: ("build", 3),
        section: "quality",
        title: "start every entry point once, walk the critical paths, take the digests by a second tool",
        items: "2.5.3 2.5.4 2.5.5 2.5.6",
        undo: None,
        methods: (
            "no process of the trial is left",
            "the scratch data is gone",
        ),
        expected: Duration::from_secs(5),
    };
    section_step(&outline, Quality)
}

struct Quality;

#[async_trait]
impl Work for Quality {
    async fn apply(&self, section: &Section<'_>) -> Result<Value, StepError> {
        let context = section.context;
        let incomplete = scratch::incomplete(context);
        let tried = scratch::try_out(context).await?;
        let tools = second_tool(section).await;
        let table = |titles: &[&str]| titles.iter().copied().map(Column::text).collect::<Vec<_>>();
        let started = tried
            .started
            .iter()
            .map(|one| vec![one.service.clone(), one.answer.clone(), one.ended.clone()]);
        let walked = tried.walked.iter().map(|(journey, answer)| {
            vec![
                journey.clone(),
                match answer {
                    Ok(steps) => format!("{} as expected", counted(steps, "request")),
                    Err(what) => what.clone(),
                },
            ]
        });
        let digests = tools.iter().map(|(path, same, text)| {
            vec![
                path.clone(),
                text.clone(),
                if *same { "agrees" } else { "differs" }.to_owned(),
            ]
        });
        let mut report = Report::new()
            .with_table(
                "Entry points started away from what runs",
                table(&["Service", "Started", "Ended"]),
                started.collect(),
            )
            .with_table(
                "Critical paths through the built artifacts",
                table(&["Journey", "Answers"]),
                walked.collect(),
            )
            .with_table(
                "Digests by sha256sum",
                table(&["Artifact", "Digest", "Result"]),
                digests.collect(),
            );
        for one in tried.started.iter().filter(|one| !one.well) {
            let caption = format!("End of the log of {}", one.service);
            report = report.with_code(caption, "text", one.log.clone());
        }
        let event = section.report("Quality metrics", report).await?;
        settle(section, &incomplete, &tried, &tools, event).await?;
        let pids: Vec<_> = tried.started.iter().filter_map(|one| one.pid).collect();
        Ok(json!({ "pids": pids, "folder": tried.folder }))
    }

    async fn inside(&self, section: &Section<'_>, result: &Value) -> Result<Seen, StepError> {
        let folder = result["folder"].as_str().unwrap_or("no folder");
        let pids = result["pids"].as_array().cloned().unwrap_or_default();
        let left = pids.iter().filter_map(Value::as_u64).filter(|pid| {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            !folder.is_empty() && String::from_utf8_lossy(&environment).contains(folder)
        });
        let left: Vec<_> = left.collect();
        let _ = section;
        Ok(Seen::new(
            left.is_empty(),
            format!("{} processes ended; left: {}", pids.len(), list(&left)),
        ))
    }

    async fn outside(&self, _: &Section<'_>, result: &Value) -> Result<Seen, StepError> {
        let folder = result["folder"].as_str().unwrap_or_default();
        let there = !folder.is_empty() && std::path::Path::new(folder).exists();
        Ok(Seen::new(
            !there,
            format!(
                "the folder of the trial is {}",
                if there { "left" } else { "gone" }
            ),
        ))
    }
}

/// Takes every artifact's digest by `sha256sum`, a program that shares no line with this one.
async fn second_tool(section: &Section<'_>) -> Vec<(String, bool, String)> {
    let mut all = Vec::new();
    for artifact in found(section) {
        let Some(file) = artifact.file else { continue };
        let mut command = tokio::process::Command::new("sha256sum");
        command
            .arg("--")
            .arg(&artifact.path)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let Ok(Ok(output)) = tokio::time::timeout(TOOL_LIMIT, command.output()).await else {
            continue;
        };
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let Some(digest) = text
            .trim_start_matches('\\')
            .split_ascii_whitespace()
            .next()
        else {
            continue;
        };
        let same = digest
            .parse::<Digest>()
            .is_ok_and(|digest| digest == file.digest);
        all.push((artifact.path.display().to_string(), same, digest.to_owned()));
    }
    all
}

async fn settle(
    section: &Section<'_>,
    incomplete: &[String],
    tried: &Scratch,
    tools: &[(String, bool, String)],
    event: EvidenceRef,
) -> Result<(), StepError> {
    let (evidence, performed) = ([event], Basis::Performed);
    let services = section.context.spec.services.len();
    let text = format!(
        "configuration of {services} services; words that nothing replaces: {}",
        list(incomplete)
    );
    section
        .judge(
            "2.5.3",
            incomplete.is_empty(),
            Basis::Observed,
            text,
            &evidence,
        )
        .await?;
    match &tried.not_started {
        Some(why) => section.open("2.5.4", why.clone()).await?,
        None => {
            let bad: Vec<_> = tried
                .started
                .iter()
                .filter(|one| !one.well)
                .map(|one| format!("{}: {}", one.service, one.answer))
                .collect();
            let text = format!(
                "{} started on scratch addresses and ended; not well: {}",
                counted(tried.started.len(), "entry point"),
                list(&bad)
            );
            let holds = bad.is_empty() && tried.started.len() == services;
            section
                .judge("2.5.4", holds, performed, text, &evidence)
                .await?;
        }
    }
    match &tried.not_walked {
        Some(why) => section.open("2.5.5", why.clone()).await?,
        None => {
            let bad: Vec<_> = tried
                .walked
                .iter()
                .filter_map(|(name, answer)| {
                    answer.as_ref().err().map(|what| format!("{name}: {what}"))
                })
                .collect();
            let text = format!(
                "{} walked through the built artifacts; failed: {}",
                counted(tried.walked.len(), "critical path"),
                list(&bad)
            );
            section
                .judge("2.5.5", bad.is_empty(), performed, text, &evidence)
                .await?;
        }
    }
    let artifacts = found(section).len();
    if artifacts == 0 {
        return section
            .open("2.5.6", "there is no artifact to take the digest of")
            .await;
    }
    if tools.len() < artifacts {
        return section
            .open(
                "2.5.6",
                "there is no second tool on this machine that takes digests",
            )
            .await;
    }
    let other: Vec<_> = tools
        .iter()
        .filter(|one| !one.1)
        .map(|one| &one.0)
        .collect();
    let text = match other.is_empty() {
        true => format!(
            "sha256sum agrees with this program on {}",
            counted(artifacts, "artifact")
        ),
        false => format!("sha256sum does not agree on {}", list(other.iter())),
    };
    section
        .judge("2.5.6", other.is_empty(), performed, text, &evidence)
        .await
}
