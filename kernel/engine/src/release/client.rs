//! The outside client: a process of its own that sends requests from before the first change to
//! after the last, and outlives this program.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use code_deploy_record::{
    Check, ClientCounted, EventBody, PlannedStep, RunFolder, Source, Vantage,
};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::time::Instant;

use super::planned::{Draft, step_name};
use super::process::{self, Process};
use crate::load::{ClientConfig, ClientTotals};
use crate::plan::{Inputs, section_of};
use crate::section::blocking;
use crate::step::StepError;
use crate::target::Balancing;
use crate::{Context, Step, gate, load};

/// The client's name in the record.
const CLIENT: &str = "client";

/// How long the client may take until its first answer is counted.
const FIRST_ANSWER: Duration = Duration::from_secs(10);

/// How long its counts may lag behind: it writes them every second.
const LAG: Duration = Duration::from_secs(5);

/// How long it may take to end beyond the longest request.
const END: Duration = Duration::from_secs(10);

/// How much of its list of failures is read, in bytes.
const LISTED: u64 = 64 * 1024;

/// The pause between two looks.
const LOOK: Duration = Duration::from_millis(50);

enum Does {
    Start,
    Stop,
}

/// Starts or stops the outside client.
///
/// # Flow
/// Starting: writes the client's configuration, starts its process and waits for its first good
/// answer, or in a run that goes back for its first request; verified by the process table with the
/// start time and by counts that grow. Stopping:
/// asks the process to end, waits for the requests under way and journals the sums. Each is the
/// undo of the other.
///
/// # Guarantees
/// A client that runs is not started a second time; one that had to be started again has a new
/// name, so that no count is lost.
///
/// # Assumptions
/// The process is found again by its number together with its start time and its command line.
///
/// # Caveats
/// Requests in flight when the machine dies are in no count.
///
/// # Errors
/// `CD0465` to `CD0469`: no address, no good answer, unreadable files, no start, no end.
struct ClientStep {
    planned: PlannedStep,
    does: Does,
}

/// Returns the step that starts the client before the first change; nothing in a first deployment,
/// where nobody answers yet, or when the deployment file asks for none.
#[must_use]
pub fn start_step(inputs: &Inputs) -> Option<Arc<dyn Step>> {
    if inputs.initial || inputs.spec.file.client.is_none() {
        return None;
    }
    let draft = Draft::of_phase(4, "provision.outside-client", title(inputs));
    Some(starting(draft))
}

/// Returns the step that starts the client in a first deployment, after promotion.
pub(super) fn late_start_step(inputs: &Inputs) -> Option<Arc<dyn Step>> {
    if !inputs.initial || inputs.spec.file.client.is_none() {
        return None;
    }
    let promotion = step_name("release.promotion");
    Some(starting(
        Draft::new("release.outside-client", title(inputs)).after([&promotion]),
    ))
}

fn title(inputs: &Inputs) -> String {
    let rate = inputs
        .spec
        .file
        .client
        .as_ref()
        .map_or(0, |client| client.rate);
    format!("start the outside client, {rate} requests a second")
}

fn starting(draft: Draft) -> Arc<dyn Step> {
    let planned = draft
        .undo("stop the outside client and count its requests")
        .verified(
            "process table and start time",
            "the client's own counts grow",
        )
        .expected(Duration::from_secs(2))
        .build();
    Arc::new(ClientStep {
        planned,
        does: Does::Start,
    })
}

/// Returns the step that stops the client after the last change.
pub(super) fn stop_step(inputs: &Inputs) -> Option<Arc<dyn Step>> {
    inputs.spec.file.client.as_ref()?;
    let old = inputs
        .from
        .as_ref()
        .map(|_| step_name("finish.old-release"));
    let title = "stop the outside client and count its requests";
    let planned = Draft::of_phase(9, "finish.outside-client", title)
        .after(&old)
        .undo("start the outside client again")
        .verified("process table and start time", "the client's last counts")
        .expected(Duration::from_secs(2))
        .build();
    Some(Arc::new(ClientStep {
        planned,
        does: Does::Stop,
    }))
}

#[async_trait]
impl Step for ClientStep {
    fn planned(&self) -> &PlannedStep {
        &self.planned
    }

    fn intent(&self, context: &Context) -> Value {
        let rate = context.spec.file.client.as_ref().map(|client| client.rate);
        json!({ "requests_a_second": rate })
    }

    async fn apply(&self, context: &Context) -> Result<Value, StepError> {
        match self.does {
            Does::Start => start(context, &self.planned).await,
            Does::Stop => stop(context).await,
        }
    }

    async fn verify(&self, context: &Context) -> Result<Check, StepError> {
        process_check(context, matches!(self.does, Does::Start)).await
    }

    async fn cross_check(&self, context: &Context) -> Result<Check, StepError> {
        counts_check(context, matches!(self.does, Does::Start)).await
    }

    async fn undo(&self, context: &Context) -> Result<Value, StepError> {
        match self.does {
            Does::Start => stop(context).await,
            Does::Stop => start(context, &self.planned).await,
        }
    }

    async fn verify_undone(&self, context: &Context) -> Result<Check, StepError> {
        process_check(context, matches!(self.does, Does::Stop)).await
    }

    async fn cross_check_undone(&self, context: &Context) -> Result<Check, StepError> {
        counts_check(context, matches!(self.does, Does::Stop)).await
    }
}

fn config_path(run: &RunFolder, name: &str) -> PathBuf {
    run.path().join(format!("{name}.json"))
}

/// Returns the names of the clients of this run so far: a client that had to be started again has
/// a new one, so that no count is lost.
fn names(run: &RunFolder) -> Vec<String> {
    let name = |number: u32| format!("{CLIENT}-{number}");
    (1..)
        .map(name)
        .take_while(|name| config_path(run, name).exists())
        .collect()
}

/// Starts the client unless it runs already.
async fn start(context: &Context, planned: &PlannedStep) -> Result<Value, StepError> {
    if let Some(running) = running(&context.run).await? {
        return Ok(json!({ "pid": running.pid, "started": running.start_ticks }));
    }
    let Some(profile) = context.spec.file.client.clone() else {
        return Ok(Value::Null);
    };
    let urls = gate::base_urls(context).await?;
    let Some(url) = urls.get(&profile.service).cloned() else {
        let what = format!(
            "service {}, which the client asks, has no address",
            profile.service
        );
        return Err(StepError::permanent(
            "CD0465",
            what,
            "Name a service under `client`.",
        ));
    };
    let section = section_of(&planned.step);
    let report = load::description(&profile, Some(&url));
    let title = "What the outside client sends";
    context
        .report(planned.phase, section, title, report)
        .await?;
    context
        .target
        .sample_into(Some(context.run.samples_path()))
        .await?;
    let name = format!("{CLIENT}-{}", names(&context.run).len() + 1);
    let samples = context.run.samples_path();
    let mut config = ClientConfig::for_profile(&profile, &url, Source::Client, &samples, &name);
    if context.target.balancing() == Balancing::Connections {
        // A client that keeps its connections would stay with the release that it found first.
        config.close_connections();
    }
    let path = config_path(&context.run, &name);
    config.write(&path).map_err(|error| failed(&error))?;
    let logs = context.run.logs_path();
    let arguments = [
        "internal".into(),
        "client".into(),
        "--config".into(),
        path.into_os_string(),
    ];
    let started = process::spawn(&context.program, &arguments, &context.spec, &logs, &name)?;
    let client = CLIENT.to_owned();
    let body = EventBody::ClientStarted {
        client,
        rate: profile.rate,
        url,
    };
    context.journal.append("engine", body).await?;
    wait_first_answer(context, &config, &started).await?;
    Ok(json!({ "pid": started.pid, "started": started.start_ticks }))
}

async fn wait_first_answer(
    context: &Context,
    config: &ClientConfig,
    process: &Process,
) -> Result<(), StepError> {
    let began = Instant::now();
    // What a run goes back from may give no good answer: that is then what the client is to count.
    let any = context.goes_back();
    let begun = |totals: &ClientTotals| totals.succeeded > 0 || (any && totals.sent > 0);
    while began.elapsed() < FIRST_ANSWER {
        if ClientTotals::read(&config.status_file).is_ok_and(|totals| begun(&totals)) {
            return Ok(());
        }
        if !process.is_alive() {
            break;
        }
        tokio::time::sleep(LOOK).await;
    }
    let why = failure_listed(&config.failures_file).await;
    let what = format!(
        "the outside client got no good answer within {} s (process {}, {}){}",
        FIRST_ANSWER.as_secs(),
        process.pid,
        if process.is_alive() {
            "running"
        } else {
            "ended"
        },
        why.map_or_else(String::new, |why| format!(": {why}"))
    );
    let next = format!("Look at its log in {}.", context.run.logs_path().display());
    Err(StepError::permanent("CD0466", what, next))
}

/// Returns why one of the first requests failed, as the client has listed it.
async fn failure_listed(path: &Path) -> Option<String> {
    let mut text = Vec::new();
    let file = tokio::fs::File::open(path).await.ok()?;
    file.take(LISTED).read_to_end(&mut text).await.ok()?;
    let text = String::from_utf8_lossy(&text);
    // What stands behind the last line end may be half a line.
    let (whole, _) = text.rsplit_once('\n')?;
    let line: Value = serde_json::from_str(whole.lines().last()?).ok()?;
    let told = ["detail", "cause"]
        .iter()
        .find_map(|key| line.get(key)?.as_str());
    told.map(str::to_owned)
}

/// Returns the client that runs now, if one does: the process that its status file names, when its
/// command line is that of this run's client. One that was only just started has no status file yet,
/// and whoever started it may be dead: it is looked for among all processes.
async fn running(run: &RunFolder) -> Result<Option<Process>, StepError> {
    for name in names(run).into_iter().rev() {
        let config = config_path(run, &name);
        let Ok(read) = ClientConfig::read(&config) else {
            continue;
        };
        let process = match ClientTotals::read(&read.status_file) {
            Ok(totals) if totals.ended.is_some() => None,
            Ok(totals) => Process::running(totals.pid, &config),
            Err(_) => {
                let find = move || Process::find(&config);
                blocking("looking for the outside client", find).await?
            }
        };
        if process.is_some() {
            return Ok(process);
        }
    }
    Ok(None)
}

/// Asks the client to stop, waits for the requests under way, and journals its sums.
async fn stop(context: &Context) -> Result<Value, StepError> {
    if let Some(process) = running(&context.run).await? {
        let longest = context
            .spec
            .file
            .client
            .as_ref()
            .map(|client| client.timeout.get());
        let limit = longest.unwrap_or_default() + END;
        process.end(limit).await?;
    }
    count(context, false).await?;
    Ok(json!({ "sent": totals(context).await?.map(|totals| totals.sent) }))
}

/// Ends the outside client of a run that no process carries out any more and that cannot be taken
/// back, without an entry in its record. Returns whether there was one.
///
/// # Errors
/// `CD0469` when it did not end, nor when made to.
pub async fn end_outside_client(run: &RunFolder) -> Result<bool, StepError> {
    let Some(process) = running(run).await? else {
        return Ok(false);
    };
    process.end(END).await?;
    Ok(true)
}

/// Journals the client's sums at a point of the run; nothing when there is no client.
pub(super) async fn mark(context: &Context) -> Result<(), StepError> {
    if running(&context.run).await?.is_none() {
        return Ok(());
    }
    count(context, true).await
}

async fn count(context: &Context, goes_on: bool) -> Result<(), StepError> {
    let Some(counted) = counted(context, goes_on) else {
        return Ok(());
    };
    context
        .journal
        .append("client", EventBody::ClientCounted(counted))
        .await?;
    Ok(())
}

/// Adds up the clients of this run, if it had to be started more than once.
fn counted(context: &Context, goes_on: bool) -> Option<ClientCounted> {
    let all = all_totals(context);
    let first = all.first()?.started_at;
    let last = all.last()?.updated_at;
    let mut counted = ClientCounted {
        client: CLIENT.to_owned(),
        first,
        last,
        sent: 0,
        failed: 0,
        causes: std::collections::BTreeMap::new(),
        releases: std::collections::BTreeMap::new(),
        longest_gap_us: 0,
        goes_on,
    };
    for totals in all {
        counted.sent += totals.sent;
        counted.failed += totals.failed;
        counted.longest_gap_us = counted.longest_gap_us.max(totals.longest_gap_us);
        for (cause, number) in totals.failed_by_cause {
            *counted.causes.entry(cause).or_default() += number;
        }
        for (release, sums) in totals.by_release {
            let count = counted.releases.entry(release).or_default();
            count.answered += sums.count;
            count.failed += sums.failed;
        }
    }
    Some(counted)
}

fn all_totals(context: &Context) -> Vec<ClientTotals> {
    let configs = names(&context.run)
        .into_iter()
        .map(|name| config_path(&context.run, &name));
    let configs = configs.filter_map(|path| ClientConfig::read(&path).ok());
    configs
        .filter_map(|config| ClientTotals::read(&config.status_file).ok())
        .collect()
}

/// Returns the totals of the client that runs or ran last.
pub(super) async fn totals(context: &Context) -> Result<Option<ClientTotals>, StepError> {
    Ok(all_totals(context).pop())
}

/// Returns the client's totals as drawn up after a point in time, waiting for them; nothing when
/// no client runs.
pub(super) async fn totals_after(
    context: &Context,
    time: DateTime<Utc>,
) -> Result<Option<ClientTotals>, StepError> {
    let began = Instant::now();
    loop {
        if running(&context.run).await?.is_none() {
            return Ok(None);
        }
        let totals = totals(context).await?;
        let is_later = totals
            .as_ref()
            .is_some_and(|totals| totals.updated_at > time);
        if is_later || began.elapsed() >= LAG {
            return Ok(totals);
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn process_check(context: &Context, wanted: bool) -> Result<Check, StepError> {
    let running = running(&context.run).await?;
    let detail = match &running {
        Some(process) => format!("process {} runs", process.pid),
        None => "no process of this run's client runs".to_owned(),
    };
    let method = "process table and start time".to_owned();
    let passed = running.is_some() == wanted;
    Ok(Check {
        vantage: Vantage::Inside,
        method,
        passed,
        detail,
    })
}

async fn counts_check(context: &Context, wanted: bool) -> Result<Check, StepError> {
    let (began, any) = (Instant::now(), context.goes_back());
    let before = totals(context).await?;
    loop {
        let now = totals(context).await?;
        let count = |totals: &Option<ClientTotals>| {
            let totals = totals.as_ref();
            totals.map_or(0, |t| if any { t.sent } else { t.answered })
        };
        let grew = count(&now) > count(&before);
        let ended = now.as_ref().is_none_or(|totals| totals.ended.is_some());
        let dead = !wanted && running(&context.run).await?.is_none();
        if (wanted && grew) || ended || dead || began.elapsed() >= LAG {
            let detail = match &now {
                Some(t) => format!(
                    "{} requests sent, {} answered, {} failed",
                    t.sent, t.answered, t.failed
                ),
                None => "it never sent a request".to_owned(),
            };
            let passed = if wanted { grew } else { ended || dead };
            let method = "the client's own counts".to_owned();
            return Ok(Check {
                vantage: Vantage::Outside,
                method,
                passed,
                detail,
            });
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn failed(error: &crate::load::LoadError) -> StepError {
    StepError::permanent(
        "CD0467",
        crate::error::with_sources(error),
        "Look at the run's folder.",
    )
}
