//! What runs beside a run for as long as its runner lives.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use code_deploy_record::{EventBody, RunLock, Severity};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::Context;

/// The time between two questions to the target what happened on its own.
const LOOK: Duration = Duration::from_secs(1);

/// The tasks beside a run. Each holds the run's lock, so that it is free only when all have
/// ended. Dropping this stops them without waiting.
pub(super) struct Live {
    pub(super) tracker: TaskTracker,
    pub(super) stop: CancellationToken,
    probing: Option<(CancellationToken, tokio::task::JoinHandle<()>)>,
    lock: Arc<RunLock>,
    _guard: DropGuard,
}

impl Live {
    pub(super) fn new(lock: Arc<RunLock>) -> Self {
        let stop = CancellationToken::new();
        let guard = stop.clone().drop_guard();
        Self {
            tracker: TaskTracker::new(),
            stop,
            probing: None,
            lock,
            _guard: guard,
        }
    }

    /// Spawns a task that holds the lock and ends when the runner does.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let (lock, stop) = (Arc::clone(&self.lock), self.stop.clone());
        self.tracker.spawn(async move {
            stop.run_until_cancelled(task).await;
            drop(lock);
        });
    }

    /// Starts to renew the lease of the lock. When another process has taken the lock, everything
    /// beside the run ends.
    pub(super) fn keep_lock(&self, context: &Context) {
        let (context, fence, stop) = (context.clone(), self.lock.fence(), self.stop.clone());
        self.spawn(async move {
            loop {
                tokio::time::sleep(RunLock::LEASE / 3).await;
                let (fence, now) = (fence.clone(), context.clock.now());
                let renew = move || fence.renew(now);
                let renewed = context
                    .surroundings
                    .on_disk("renewing the lock", renew)
                    .await;
                match renewed {
                    Ok(()) => {}
                    Err(error) if error.problem.code == crate::code::FENCED_OFF => {
                        tracing::error!(%error, "this process does nothing more");
                        stop.cancel();
                    }
                    Err(error) => tracing::warn!(%error, "the lease of the lock was not renewed"),
                }
            }
        });
    }

    /// Starts to note what happens on its own in the target from `since` on: a target tells whoever
    /// asks for the first time also of what earlier runs, or earlier runners of this one, have noted.
    pub(super) fn watch(&self, context: &Context, since: DateTime<Utc>) {
        let context = context.clone();
        self.spawn(async move {
            loop {
                tokio::time::sleep(LOOK).await;
                recover(&context).await;
                note_events(&context, since).await;
            }
        });
    }

    /// Starts to probe the instances that run, once.
    pub(super) fn probe(&mut self, context: &Context) {
        if self.probing.is_some() {
            return;
        }
        let stop = self.stop.child_token();
        let (context, lock) = (context.clone(), Arc::clone(&self.lock));
        let told = stop.clone();
        // It ends by itself when told, after what it is writing is written.
        let task = self.tracker.spawn(async move {
            crate::gate::probe::keep_probing(&context, told).await;
            drop(lock);
        });
        self.probing = Some((stop, task));
    }

    /// Stops the probes, and waits until what they are writing is written.
    pub(super) async fn stop_probing(&mut self) {
        if let Some((stop, task)) = self.probing.take() {
            stop.cancel();
            if let Err(error) = task.await {
                tracing::error!(%error, "the probes broke off");
            }
        }
    }

    pub(super) async fn close(self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

/// Brings back what of the target ended on its own, and notes it.
async fn recover(context: &Context) {
    let text = match context.target.recover().await {
        Ok(Some(text)) => text,
        Ok(None) => return,
        Err(error) => {
            tracing::warn!(%error, "what of the target had ended could not be started again");
            return;
        }
    };
    let severity = Severity::High;
    let body = EventBody::Noted { severity, text };
    if let Err(error) = context.journal.append(context.target.name(), body).await {
        tracing::error!(%error, "a recovery of the target was not noted");
    }
}

async fn note_events(context: &Context, since: DateTime<Utc>) {
    let events = match context.target.events().await {
        Ok(events) => events,
        Err(error) => {
            tracing::debug!(%error, "the target does not say what happened");
            return;
        }
    };
    for event in events.into_iter().filter(|event| event.time >= since) {
        let service = event
            .service
            .map(|name| format!("{name}: "))
            .unwrap_or_default();
        let text = format!("{service}{}", event.text);
        let body = EventBody::Noted {
            severity: event.severity,
            text,
        };
        if let Err(error) = context.journal.append(context.target.name(), body).await {
            tracing::error!(%error, "an event of the target was not noted");
        }
    }
}
