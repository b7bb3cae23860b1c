//! What runs at the moment, as the target says when it is asked, in contrast to what a record says
//! of the past.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};
use code_deploy_engine::http::{HttpClient, Request};
use code_deploy_engine::target::{Observed, Shares};
use code_deploy_record::{Clock as _, Column, RunLock, RunStarted, RunState, SystemClock};
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::project::Project;
use crate::session::Session;

/// How long a service may take until it has answered a person who asks where a run stands.
const ANSWER: Duration = Duration::from_secs(2);

/// What runs, as it was when the target was asked.
#[derive(Debug)]
pub struct Live {
    /// When it was asked.
    pub time: DateTime<Utc>,
    /// What it said, or why it could not be asked.
    pub seen: Result<Seen, String>,
    /// The process that works on the application and environment, in words.
    pub worker: Option<String>,
}

/// Heading, columns and rows.
pub type Table = (String, Vec<Column>, Vec<Vec<String>>);

/// What the target said.
#[derive(Debug, Default)]
pub struct Seen {
    rows: Vec<Row>,
    traffic: BTreeMap<String, Shares>,
    /// What each service answered where users reach it.
    answers: BTreeMap<String, String>,
    stopped: Option<Stopped>,
}

#[derive(Debug, Serialize)]
struct Row {
    service: String,
    release: String,
    running: usize,
    instances: usize,
    /// How often its supervisors started one of them again.
    restarts: u32,
    percent: u16,
}

/// When everything was stopped on purpose, and by whom.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Stopped {
    time: DateTime<Utc>,
    by: String,
}

/// Asks the target what runs, for the last run of an environment and target.
pub async fn look(session: &Session, state: &RunState) -> Live {
    let time = SystemClock.now();
    let observed = session.target.observe().await;
    let stopped = std::fs::read(stopped_path(session)).ok();
    let stopped = stopped.and_then(|text| serde_json::from_slice::<Stopped>(&text).ok());
    let stopped = stopped.filter(|stopped| state.last.is_none_or(|last| stopped.time >= last));
    let spec = &session.spec;
    let holder = RunLock::holder_of(
        &session.project.runs(),
        &spec.application,
        &spec.environment,
    );
    let seen = match observed {
        Ok(observed) => Ok(Seen {
            rows: rows(&observed),
            traffic: observed.traffic.clone(),
            answers: ask(session, &observed).await,
            stopped,
        }),
        Err(error) => Err(error.to_string()),
    };
    Live {
        time,
        seen,
        worker: holder.ok().flatten().map(|holder| holder.to_string()),
    }
}

/// Asks each service that has traffic where users reach it, by the probe that says whether it may get requests, of
/// the release with the largest share. It is asked for that release on purpose: routers count such a request apart
/// from those of users, by which a release is judged.
async fn ask(session: &Session, observed: &Observed) -> BTreeMap<String, String> {
    let http = HttpClient::new();
    let asked = observed.addresses.iter().filter_map(|place| {
        let shares = observed.traffic.get(&place.service)?;
        let (release, _) = shares.iter().max_by_key(|(_, share)| **share)?;
        let services = session.spec.services.iter();
        let service = services
            .into_iter()
            .find(|service| service.name == place.service)?;
        let probes = &service.file.probes;
        let path = [&probes.readiness, &probes.liveness, &probes.startup];
        let path = path.into_iter().flatten().next()?;
        let base = observed.front_url(&place.service)?;
        let request = Request {
            secret_headers: session.target.reach(release),
            ..Request::get(format!("{base}{path}"), ANSWER)
        };
        let http = &http;
        Some(async move { (place.service.clone(), answer(http, &request).await) })
    });
    let mut answers = checked(observed);
    answers.extend(futures::future::join_all(asked).await);
    answers
}

/// Returns what the target's own health check found, by service that has one and traffic, of the release with the largest
/// share.
fn checked(observed: &Observed) -> BTreeMap<String, String> {
    let found = observed.traffic.iter().filter_map(|(service, shares)| {
        let (release, _) = shares.iter().max_by_key(|(_, share)| **share)?;
        let own = observed.instances.iter();
        let own = own.filter(|one| one.service == *service && one.release == *release);
        let known: Vec<_> = own.filter_map(|one| one.health.as_ref()).collect();
        let ill = known.iter().find(|health| !health.passed);
        let text = match ill {
            _ if known.is_empty() => return None,
            None => format!("healthy by the health check of {} instances", known.len()),
            Some(health) => health.detail.clone(),
        };
        Some((service.clone(), text))
    });
    found.collect()
}

async fn answer(http: &HttpClient, request: &Request) -> String {
    match http.send(request).await {
        Ok(answer) => {
            let took = answer.elapsed.as_secs_f64() * 1e3;
            format!("{} in {took:.1} ms", answer.status.as_u16())
        }
        Err(error) => error.to_string(),
    }
}

fn rows(observed: &Observed) -> Vec<Row> {
    let mut counts: BTreeMap<(String, String), (usize, usize, u32)> = BTreeMap::new();
    for instance in &observed.instances {
        let key = (instance.service.clone(), instance.release.to_string());
        let (running, all, restarts) = counts.entry(key).or_default();
        *running += usize::from(instance.running);
        *all += 1;
        *restarts += instance.restarts;
    }
    let rows = counts.into_iter();
    rows.map(|((service, release), (running, instances, restarts))| {
        let shares = observed.traffic.get(&service).into_iter().flatten();
        let mut share = shares.filter(|(of, _)| of.as_str() == release);
        let percent = share.next().map_or(0, |(_, percent)| *percent);
        Row {
            service,
            release,
            running,
            instances,
            restarts,
            percent,
        }
    })
    .collect()
}

impl Seen {
    /// Returns what a target says that serves so and of which nothing else is known.
    #[cfg(test)]
    pub fn serving(traffic: BTreeMap<String, Shares>) -> Self {
        Self {
            traffic,
            ..Self::default()
        }
    }
}

impl Live {
    /// Says in a few words what runs.
    pub fn in_words(&self) -> String {
        let seen = match &self.seen {
            Ok(seen) => seen,
            Err(why) => return format!("cannot be asked: {why}"),
        };
        let running: usize = seen.rows.iter().map(|row| row.running).sum();
        match (&seen.stopped, running) {
            (Some(stopped), 0) => {
                format!("stopped at {} by {}", utc(stopped.time), stopped.by)
            }
            (None, 0) => "nothing runs".to_owned(),
            (_, 1) => "1 instance runs".to_owned(),
            (_, more) => format!("{more} instances run"),
        }
    }

    /// Returns what there is to say where the target cannot be asked, because of what the deployment file says now.
    pub fn unasked(project: &Project, started: &RunStarted, failure: &Failure) -> Self {
        let holder =
            RunLock::holder_of(&project.runs(), &started.application, &started.environment);
        let why = format!(
            "the deployment file cannot be used: {}",
            failure.problem.what
        );
        Self {
            time: SystemClock.now(),
            seen: Err(why),
            worker: holder.ok().flatten().map(|holder| holder.to_string()),
        }
    }

    /// Says what is served of each service whose traffic is not as the run has set it last.
    pub fn led_elsewhere(&self, state: &RunState) -> Vec<String> {
        let shares = |shares: &Shares| {
            let served = shares.iter().filter(|(_, share)| **share > 0);
            let served: Vec<_> = served
                .map(|(release, share)| format!("{release} {share} %"))
                .collect();
            served.join(", ")
        };
        let Ok(seen) = &self.seen else {
            return Vec::new();
        };
        let set = state.traffic.iter().map(|(service, (set, _))| {
            let now = seen.traffic.get(service).map(shares).unwrap_or_default();
            (service, shares(set), now)
        });
        let elsewhere = set.filter(|(_, set, now)| set != now);
        elsewhere
            .map(|(service, _, now)| match now.is_empty() {
                true => format!("{service} by nobody"),
                false => format!("{service} by {now}"),
            })
            .collect()
    }

    /// Returns whether the stable release of each service that the run has set has all of its traffic.
    pub fn all_is_stable(&self, state: &RunState) -> bool {
        let Ok(seen) = &self.seen else {
            return false;
        };
        let mut set = state.traffic.iter();
        set.all(|(service, (_, stable))| {
            let served = seen.traffic.get(service).into_iter().flatten();
            let mut served = served.filter(|(_, share)| **share > 0).peekable();
            served.peek().is_some() && served.all(|(release, _)| release == stable)
        })
    }

    /// Says what each service answered; nothing where none was asked.
    pub fn answers(&self) -> Option<String> {
        let answers = &self.seen.as_ref().ok()?.answers;
        let answers = answers.iter();
        let answers: Vec<_> = answers.map(|(of, said)| format!("{of} {said}")).collect();
        (!answers.is_empty()).then(|| answers.join(", "))
    }

    /// Returns what runs as a table: heading, columns, rows; nothing when nothing is there, and an
    /// error when the target could not be asked.
    pub fn table(&self) -> Result<Option<Table>, ()> {
        let seen = self.seen.as_ref().map_err(drop)?;
        let rows: Vec<_> = seen.rows.iter().map(Row::cells).collect();
        if rows.is_empty() {
            return Ok(None);
        }
        let columns = vec![
            Column::text("Service"),
            Column::text("Release"),
            Column::text("Instances that run"),
            Column::number("Restarts"),
            Column::number("Share of traffic (%)"),
        ];
        let title = format!("What runs, asked at {}", utc(self.time));
        Ok(Some((title, columns, rows)))
    }

    /// Returns what runs for machines.
    pub fn as_value(&self) -> serde_json::Value {
        let seen = self.seen.as_ref().ok();
        serde_json::json!({
            "asked": self.time,
            "in_words": self.in_words(),
            "services": seen.map(|seen| &seen.rows),
            "answers": seen.map(|seen| &seen.answers),
            "stopped": seen.and_then(|seen| seen.stopped.as_ref()),
            "worker": self.worker,
        })
    }
}

impl Row {
    fn cells(&self) -> Vec<String> {
        vec![
            self.service.clone(),
            self.release.clone(),
            format!("{} of {}", self.running, self.instances),
            self.restarts.to_string(),
            self.percent.to_string(),
        ]
    }
}

/// Returns a time as a person reads it.
pub fn utc(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

fn stopped_path(session: &Session) -> PathBuf {
    let (environment, target) = (&session.spec.environment, &session.spec.target);
    let folder = session.project.runs().path().join("stopped");
    folder.join(format!("{environment}-{target}.json"))
}

/// Takes note that everything of the session's environment and target was stopped on purpose. The
/// record of the run that deployed it is sealed by then.
///
/// # Errors
/// When that cannot be written.
pub fn note_stop(session: &Session) -> Result<(), Failure> {
    let path = stopped_path(session);
    let stopped = Stopped {
        time: SystemClock.now(),
        by: session.machine.user.clone(),
    };
    let text = serde_json::to_vec(&stopped).map_err(code_deploy_record::Error::from)?;
    write(&path, &text).map_err(|error| {
        Failure::new(
            crate::failure::Exit::Refused,
            crate::codes::CANNOT_WRITE,
            format!("{} cannot be written: {error}", path.display()),
            "Everything is stopped.",
            "Make the folder writable; `code-deploy status` says that nothing runs all the same.",
        )
    })
}

fn write(path: &std::path::Path, text: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(std::path::Path::new("."));
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let new = path.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&new)?;
    file.write_all(text)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    std::fs::File::open(folder)?.sync_all()
}
