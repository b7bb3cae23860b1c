//! The logs of instances as files that grow while the instances write.

use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::query_parameters::{LogsOptions, LogsOptionsBuilder};
use code_deploy_engine::target::{InstanceLog, TargetError};
use code_deploy_record::Release;
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use tokio::io::AsyncWriteExt as _;
use tokio::task::AbortHandle;

use super::DockerTarget;
use super::engine::Refusal;
use super::store::Known;
use crate::disk::create_private;
use crate::failure::files;

/// How many lines of a log are taken over, of each instance. Older ones stay with the engine until
/// the instance is stopped.
const LINES: &str = "200000";

/// How many lines of a log an error shows.
const SHOWN: usize = 10;

/// The lines that are read for that.
const LOOKED_AT: &str = "200";

/// How long a log may take to be taken over as far as it goes now.
const CATCH_UP: Duration = Duration::from_secs(10);

/// The pause between two looks at how far it has come.
const LOOK: Duration = Duration::from_millis(20);

impl DockerTarget {
    /// Returns the logs of what runs of a release, or else those that were kept of it.
    pub(super) async fn logs_of(
        &self,
        service: &str,
        release: &Release,
    ) -> Result<Vec<InstanceLog>, TargetError> {
        let instances = self.of_release(service, release).await?;
        if instances.is_empty() {
            return self.kept_logs(service, release);
        }
        let mut logs = Vec::new();
        for known in instances {
            logs.push(InstanceLog {
                path: self.follow(&known).await?,
                instance: known.name,
            });
        }
        Ok(logs)
    }

    /// Returns the last lines that an instance wrote, without what is secret.
    pub(super) async fn last_lines(&self, known: &Known) -> Vec<String> {
        let Ok(docker) = self.engine.docker().await else {
            return Vec::new();
        };
        let lines = docker.logs(&known.id, Some(options(false, LOOKED_AT)));
        let lines = lines.try_collect::<Vec<LogOutput>>().await;
        let lines = lines.unwrap_or_default();
        let lines: Vec<_> = lines
            .iter()
            .map(|line| line.to_string().trim_end().to_owned())
            .collect();
        // Before it is cut: what tells a secret of several lines stands in its first.
        let text = self.settings.redactor.clean(&lines.join("\n"));
        let lines: Vec<_> = text.lines().map(str::to_owned).collect();
        let from = lines.len().saturating_sub(SHOWN);
        lines.get(from..).unwrap_or_default().to_vec()
    }

    /// Has a file follow what an instance writes, and returns it when it holds all that was written
    /// so far.
    async fn follow(&self, known: &Known) -> Result<PathBuf, TargetError> {
        let folder = self.running_logs();
        let path = folder.join(format!("{}@{}.jsonl", known.name, std::process::id()));
        let service = Some(known.service.as_str());
        create_private(&folder).map_err(files(service, "create", &folder))?;
        let unread = |refusal: Refusal| {
            refusal.into_error(service, &format!("give the log of {}", known.name))
        };
        let docker = self.engine.docker().await.map_err(unread)?;
        if self.is_followed(&known.id) {
            return Ok(path);
        }
        let file = tokio::fs::File::create(&path).await;
        let mut file = file.map_err(files(service, "write", &path))?;
        let present = docker.logs(&known.id, Some(options(false, LINES)));
        let wanted = length(present)
            .await
            .map_err(|error| unread(error.into()))?;
        let mut lines = Box::pin(docker.logs(&known.id, Some(options(true, LINES))));
        let task = self.tasks.spawn(async move {
            while let Some(Ok(line)) = lines.next().await {
                let written = file.write_all(&line.into_bytes()).await;
                if written.is_err() || file.flush().await.is_err() {
                    return;
                }
            }
        });
        self.is_following(&known.id, task.abort_handle());
        let until = tokio::time::Instant::now() + CATCH_UP;
        while tokio::time::Instant::now() < until {
            let there = tokio::fs::metadata(&path)
                .await
                .map_or(0, |file| file.len());
            if there >= wanted {
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(path)
    }

    fn is_following(&self, id: &str, task: AbortHandle) {
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        followed.insert(id.to_owned(), task);
    }

    fn is_followed(&self, id: &str) -> bool {
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        followed.retain(|_, task| !task.is_finished());
        followed.contains_key(id)
    }

    /// Keeps the log of an instance that has ended beside those of the others.
    pub(super) async fn keep_log(&self, known: &Known) -> Result<(), TargetError> {
        let service = Some(known.service.as_str());
        let logs = self.root.join("logs");
        create_private(&logs).map_err(files(service, "create", &logs))?;
        let run = known.run.as_ref().map_or("unknown", |run| run.as_str());
        let name = format!("{run}--{}", known.name);
        // An instance may be started and stopped more than once in a run; each log is kept.
        let kept = (1_u32..)
            .map(|time| match time {
                1 => logs.join(format!("{name}.jsonl")),
                _ => logs.join(format!("{name}~{time}.jsonl")),
            })
            .find(|path| !path.exists());
        let Some(kept) = kept else { return Ok(()) };
        let action = format!("give the log of {}", known.name);
        let docker = self.engine.docker().await;
        let docker = docker.map_err(|refusal| refusal.into_error(service, &action))?;
        let mut lines = docker.logs(&known.id, Some(options(false, LINES)));
        let file = tokio::fs::File::create(&kept).await;
        let mut file = file.map_err(files(service, "write", &kept))?;
        loop {
            let line = match lines.next().await {
                None => break,
                Some(Ok(line)) => line,
                // A container that was never started has none; a driver may give none back.
                Some(Err(error)) => {
                    tracing::warn!(%error, instance = known.name, "its log cannot be kept");
                    break;
                }
            };
            let written = file.write_all(&line.into_bytes()).await;
            written.map_err(files(service, "write", &kept))?;
        }
        let flushed = file.flush().await;
        flushed.map_err(files(service, "write", &kept))?;
        self.end_following(known)
    }

    /// Removes what followed the log of an instance that is gone, of any process.
    fn end_following(&self, known: &Known) -> Result<(), TargetError> {
        let folder = self.running_logs();
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        let prefix = format!("{}@", known.name);
        let own = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix));
        for entry in own {
            match std::fs::remove_file(entry.path()) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(files(None, "remove", &entry.path())(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn running_logs(&self) -> PathBuf {
        self.root.join("logs").join("running")
    }

    fn kept_logs(&self, service: &str, release: &Release) -> Result<Vec<InstanceLog>, TargetError> {
        let folder = self.root.join("logs");
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(files(Some(service), "list", &folder)(error)),
        };
        let mut kept: Vec<_> = entries
            .flatten()
            .filter_map(|entry| {
                let instance = self.kept_of(&entry.path(), service, release)?;
                Some(InstanceLog {
                    instance,
                    path: entry.path(),
                })
            })
            .collect();
        kept.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(kept)
    }

    /// Returns the instance whose kept log a file is, if it is of that release of that service.
    fn kept_of(&self, path: &Path, service: &str, release: &Release) -> Option<String> {
        let name = path.file_name()?.to_str()?;
        let (_, instance) = name.strip_suffix(".jsonl")?.split_once("--")?;
        let instance = instance.split_once('~').map_or(instance, |(id, _)| id);
        let index: u32 = instance.rsplit_once('-')?.1.parse().ok()?;
        (self.names.instance(service, release, index) == instance).then(|| instance.to_owned())
    }
}

fn options(follow: bool, tail: &str) -> LogsOptions {
    LogsOptionsBuilder::default()
        .follow(follow)
        .stdout(true)
        .stderr(true)
        .tail(tail)
        .build()
}

async fn length(
    lines: impl Stream<Item = Result<LogOutput, bollard::errors::Error>>,
) -> Result<u64, bollard::errors::Error> {
    lines
        .try_fold(0, |sum, line| async move {
            Ok(sum + line.into_bytes().len() as u64)
        })
        .await
}
