//! The logs of pods as files that grow while the pods write.

use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::Duration;

use code_deploy_engine::target::{InstanceLog, TargetError};
use code_deploy_record::Release;
use futures::AsyncBufReadExt as _;
use futures::TryStreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::api::LogParams;
use tokio::io::AsyncWriteExt as _;

use super::KubernetesTarget;
use super::store::Known;
use crate::disk::{create_private, write_private};
use crate::failure::files;

/// How many lines of a log are taken over. Older ones stay with the cluster until the pod ends.
const LINES: i64 = 200_000;

/// The pause before a log that broke off is followed again.
const AGAIN: Duration = Duration::from_secs(1);

impl KubernetesTarget {
    /// Returns the logs of what runs of a release, or else those that were kept of it.
    pub(super) async fn logs_of(
        &self,
        service: &str,
        release: &Release,
    ) -> Result<Vec<InstanceLog>, TargetError> {
        let folder = self.logs_folder(service, release);
        let pods = self.pods_of(service, release).await?;
        let mut logs = Vec::new();
        for pod in pods.iter().filter(|pod| pod.running) {
            logs.push(InstanceLog {
                instance: pod.name.clone(),
                path: self.follow(pod, &folder).await?,
            });
        }
        if logs.is_empty() {
            return kept(&folder);
        }
        Ok(logs)
    }

    /// Takes over the logs of pods that are about to end, as far as they go.
    pub(super) async fn keep_logs_of(&self, service: &str, release: &Release, pods: &[Known]) {
        let folder = self.logs_folder(service, release);
        for pod in pods {
            if let Err(error) = self.take_over(pod, &folder).await {
                tracing::warn!(%error, pod = pod.name, "the log of a pod was not kept");
            }
        }
    }

    fn logs_folder(&self, service: &str, release: &Release) -> PathBuf {
        self.root.join("logs").join(service).join(release.as_str())
    }

    async fn take_over(&self, pod: &Known, folder: &Path) -> Result<PathBuf, TargetError> {
        self.forget(&pod.name);
        let params = LogParams {
            container: Some(pod.service.clone()),
            tail_lines: Some(LINES),
            ..LogParams::default()
        };
        let connection = self.cluster.connect().await?;
        let pods = connection.all::<Pod>();
        let read = || pods.logs(&pod.name, &params);
        let text = connection.ask("read a log", Some(&pod.service), read);
        let text = text.await?;
        let path = folder.join(format!("{}.log", pod.name));
        create_private(folder).map_err(files(Some(&pod.service), "create", folder))?;
        write_private(&path, self.settings.redactor.clean(&text).as_bytes()).map_err(files(
            Some(&pod.service),
            "write",
            &path,
        ))?;
        Ok(path)
    }

    /// Takes a log over as far as it goes, and has what comes written behind it.
    async fn follow(&self, pod: &Known, folder: &Path) -> Result<PathBuf, TargetError> {
        let path = folder.join(format!("{}.log", pod.name));
        if self.is_followed(&pod.name) {
            return Ok(path);
        }
        let path = self.take_over(pod, folder).await?;
        let length = std::fs::metadata(&path).map_or(0, |found| found.len());
        let connection = self.cluster.connect().await?;
        let (pods, pod_of) = (connection.all::<Pod>(), pod.clone());
        let (file, redactor) = (path.clone(), self.settings.redactor.clone());
        let task = self.tasks.spawn(async move {
            let mut seen = length;
            while let Err(error) = copy(&pods, &pod_of, &file, &redactor, &mut seen).await {
                tracing::debug!(%error, pod = pod_of.name, "a log broke off");
                tokio::time::sleep(AGAIN).await;
            }
        });
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = followed.insert(pod.name.clone(), task.abort_handle()) {
            before.abort();
        }
        Ok(path)
    }

    fn is_followed(&self, pod: &str) -> bool {
        let followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        followed.get(pod).is_some_and(|task| !task.is_finished())
    }

    fn forget(&self, pod: &str) {
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = followed.remove(pod) {
            task.abort();
        }
    }
}

/// Writes the lines that come behind what the file holds already. The whole log is read again
/// from its beginning each time, because a place in it has no name.
async fn copy(
    pods: &kube::Api<Pod>,
    pod: &Known,
    path: &Path,
    redactor: &code_deploy_record::Redactor,
    seen: &mut u64,
) -> Result<(), String> {
    let params = LogParams {
        container: Some(pod.service.clone()),
        follow: true,
        tail_lines: Some(LINES),
        ..LogParams::default()
    };
    let words = |error: &dyn std::fmt::Display| error.to_string();
    let stream = pods.log_stream(&pod.name, &params).await;
    let stream = stream.map_err(|error| words(&error))?;
    let mut options = tokio::fs::OpenOptions::new();
    let file = options.append(true).open(path).await;
    let mut file = file.map_err(|error| words(&error))?;
    let (mut lines, mut read) = (stream.lines(), 0);
    while let Some(line) = lines.try_next().await.map_err(|error| words(&error))? {
        let line = format!("{}\n", redactor.clean(&line));
        read += line.len() as u64;
        if read <= *seen {
            continue;
        }
        let written = file.write_all(line.as_bytes()).await;
        written.map_err(|error| words(&error))?;
        file.flush().await.map_err(|error| words(&error))?;
        *seen = read;
    }
    Ok(())
}

fn kept(folder: &Path) -> Result<Vec<InstanceLog>, TargetError> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(files(None, "read", folder)(error)),
    };
    let mut logs: Vec<InstanceLog> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let instance = path.file_stem()?.to_str()?.to_owned();
            let is_log = path.extension().is_some_and(|end| end == "log");
            is_log.then_some(InstanceLog { instance, path })
        })
        .collect();
    logs.sort_by(|one, other| one.instance.cmp(&other.instance));
    Ok(logs)
}
