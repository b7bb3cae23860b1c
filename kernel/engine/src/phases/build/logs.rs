//! The build commands, each run without a shell, with its log as evidence.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use code_deploy_record::{Basis, Column, EvidenceRef, Report};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::process::Command;

use super::artifacts_of;
use crate::section::{Outline, Section, Seen, Work, blocking, step as section_step};
use crate::spec::BuildFile;
use crate::step::StepError;
use crate::{Context, Progress, Step, left};

/// Lines of a build's log that a report shows.
const TAIL: usize = 40;

/// The end of a build's log that is kept as evidence, in bytes.
const KEPT: u64 = 2 * 1024 * 1024;

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
        methods: ("every build ended well", "what was built is there"),
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
        let mut failure = None;
        for service in &context.spec.services {
            let declared = service.file.build.as_ref();
            let Some(build) = declared.filter(|build| !build.command.is_empty()) else {
                continue;
            };
            if done.contains(&&build.command) {
                continue;
            }
            done.push(&build.command);
            let began = Instant::now();
            let (log, ended) = run(context, &service.name, build).await?;
            let name = format!("build log of {}", service.name);
            let digest = context.keep(&name, "text/plain", log.clone()).await?;
            evidence.push(EvidenceRef::File(digest));
            rows.push(vec![
                service.name.clone(),
                build.command.join(" "),
                format!("{:.1}", began.elapsed().as_secs_f64()),
                ended.clone().err().unwrap_or_else(|| "well".to_owned()),
                digest.short(),
            ]);
            let caption = format!("End of the build log of {}", service.name);
            let end = context.redactor.clean(&tail(&log));
            report = report.with_code(caption, "text", end);
            if let Err(what) = ended {
                failure = Some(format!("building {}: {what}", service.name));
                break;
            }
            built.push(service.name.clone());
        }
        let columns = vec![
            Column::text("Service"),
            Column::text("Command"),
            Column::number("Took (s)"),
            Column::text("Ended"),
            Column::text("Log"),
        ];
        if done.is_empty() {
            report = report.with_text("No service of the deployment file names a build command: its artifacts are used as they are found.");
        }
        let event = section
            .report("Build logs", report.with_table("Builds", columns, rows))
            .await?;
        evidence.push(event);
        if let Some(what) = failure {
            section
                .judge("2.3.1", false, Basis::Performed, what.clone(), &evidence)
                .await?;
            let next = "The end of its log stands in section `logs`. Nothing was changed.";
            return Err(StepError::permanent("CD0703", what, next));
        }
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
        let services = section.context.spec.services.iter();
        let built = services.filter(|one| {
            let build = one.file.build.as_ref();
            build.is_some_and(|build| !build.command.is_empty())
        });
        for service in built {
            for path in artifacts_of(section.context, service) {
                if let Err(error) = tokio::fs::metadata(&path).await {
                    return Ok(Seen::new(false, format!("{}: {error}", path.display())));
                }
                there += 1;
            }
        }
        Ok(Seen::new(
            true,
            format!("{there} artifacts of builds are there"),
        ))
    }
}

/// Returns the last lines of a log.
pub(super) fn tail(log: &[u8]) -> String {
    let text = String::from_utf8_lossy(log);
    let lines: Vec<_> = text.lines().collect();
    let end = lines.get(lines.len().saturating_sub(TAIL)..);
    end.unwrap_or_default().join("\n")
}

/// A build that is under way, with all that it starts: ended when it is dropped.
struct Build {
    child: tokio::process::Child,
}

impl Build {
    fn start(build: &BuildFile, context: &Context, log: std::fs::File) -> std::io::Result<Self> {
        let errors = log.try_clone()?;
        let (program, arguments) = build
            .command
            .split_first()
            .ok_or_else(|| std::io::Error::other("the command is empty"))?;
        let mut command = Command::new(program);
        left::mark(&mut command, &context.run);
        command.args(arguments).current_dir(&context.spec.project);
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        // A group of its own, so that the compilers that a build starts end with it.
        let child = command.process_group(0).kill_on_drop(true).spawn()?;
        Ok(Self { child })
    }
}

impl Drop for Build {
    fn drop(&mut self) {
        // No id: it was waited for, and its number may mean another process by now.
        let id = self.child.id().and_then(|id| i32::try_from(id).ok());
        if let Some(id) = id
            && let Err(error) = killpg(Pid::from_raw(id), Signal::SIGKILL)
        {
            tracing::warn!(id, %error, "the processes of a build could not be ended");
        }
    }
}

/// Runs a build; returns the end of its log, and why it did not end well.
async fn run(
    context: &Context,
    service: &str,
    build: &BuildFile,
) -> Result<(Vec<u8>, Result<(), String>), StepError> {
    let path = context.run.logs_path().join(format!("build-{service}.log"));
    let failed = |what: String| {
        let what = format!("building {service}: {}: {what}", path.display());
        StepError::permanent("CD0706", what, "Look at the path and its permissions.")
    };
    let create = path.clone();
    let log = blocking("creating the log of a build", move || private(&create)).await?;
    let log = log.map_err(|error| failed(error.to_string()))?;
    let ended = match Build::start(build, context, log) {
        Ok(running) => wait(context, service, build, running).await?,
        Err(error) => Err(format!(
            "`{}` cannot be started: {error}",
            build.command.join(" ")
        )),
    };
    let read = path.clone();
    let log = blocking("reading the log of a build", move || end_of(&read)).await?;
    Ok((log.map_err(|error| failed(error.to_string()))?, ended))
}

async fn wait(
    context: &Context,
    service: &str,
    build: &BuildFile,
    mut running: Build,
) -> Result<Result<(), String>, StepError> {
    let (began, limit) = (Instant::now(), build.limit.get());
    loop {
        match running.child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(Ok(())),
            Ok(Some(status)) => return Ok(Err(format!("it ended with {status}"))),
            Ok(None) => {}
            Err(error) => return Ok(Err(error.to_string())),
        }
        context.safe_point()?;
        if began.elapsed() >= limit {
            let limit = build.limit;
            return Ok(Err(format!(
                "it did not end within {limit} and was made to"
            )));
        }
        context.progress(Progress {
            what: format!("builds {service}"),
            elapsed: began.elapsed(),
            limit: Some(limit),
            share: None,
        });
        tokio::time::sleep(LOOK).await;
    }
}

fn private(path: &Path) -> std::io::Result<std::fs::File> {
    let mut options = std::fs::OpenOptions::new();
    options.create(true).write(true).truncate(true).mode(0o600);
    options.open(path)
}

/// Returns the end of a log, however long it is.
pub(super) fn end_of(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = std::fs::File::open(path)?;
    let long = file.metadata()?.len();
    file.seek(SeekFrom::Start(long.saturating_sub(KEPT)))?;
    let mut end = Vec::new();
    file.take(KEPT).read_to_end(&mut end)?;
    Ok(end)
}
