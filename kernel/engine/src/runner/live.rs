//! What runs beside a run for as long as its runner lives.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use code_deploy_record::{EventBody, LockHolder, RunLock, Severity};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::Context;
use crate::target::Hold;

/// The time between two questions to the target what happened on its own.
const LOOK: Duration = Duration::from_secs(1);

/// How old an event is, at least, that is told with its time.
const LATE: TimeDelta = TimeDelta::seconds(3);

/// A task that writes into the record, and what tells it to end when it has written.
type Telling = (CancellationToken, tokio::task::JoinHandle<()>);

/// The tasks beside a run. Each holds the run's lock, so that it is free only when all have
/// ended. Dropping this stops them without waiting.
pub(super) struct Live {
    pub(super) tracker: TaskTracker,
    pub(super) stop: CancellationToken,
    probing: Option<Telling>,
    watching: Option<Telling>,
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
            watching: None,
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

    /// Starts to renew the hold on the target. When another machine has taken it over, everything beside the
    /// run ends, and nothing more is changed from here.
    pub(super) fn keep_place(&self, context: &Context, holder: LockHolder) {
        let (context, stop) = (context.clone(), self.stop.clone());
        self.spawn(async move {
            loop {
                tokio::time::sleep(RunLock::LEASE / 3).await;
                match context.target.renew_hold(&holder).await {
                    Ok(Hold::Ours) => {}
                    Ok(Hold::Theirs(who)) => {
                        tracing::error!(who, "another machine has taken the target over");
                        context.may_act.taken_by.get_or_init(|| who);
                        stop.cancel();
                    }
                    Err(error) => tracing::warn!(%error, "the hold on the target was not renewed"),
                }
            }
        });
    }

    /// Starts to note what happens on its own in the target from `since` on: a target tells whoever
    /// asks for the first time also of what earlier runs, or earlier runners of this one, have noted.
    pub(super) fn watch(&mut self, context: &Context, since: DateTime<Utc>) {
        let (context, told) = (context.clone(), self.stop.child_token());
        let stop = told.clone();
        self.watching = Some(self.tell(told, async move {
            let pause = || tokio::time::sleep(LOOK);
            while stop.run_until_cancelled(pause()).await.is_some() {
                recover(&context, &stop).await;
                note_events(&context, since, &stop).await;
            }
        }));
    }

    /// Starts to probe the instances that run, once.
    pub(super) fn probe(&mut self, context: &Context) {
        if self.probing.is_some() {
            return;
        }
        let (context, told) = (context.clone(), self.stop.child_token());
        let stop = told.clone();
        self.probing = Some(self.tell(told, async move {
            crate::gate::probe::keep_probing(&context, stop).await;
        }));
    }

    /// Spawns a task that ends by itself when told, after what it is writing is written.
    fn tell(
        &self,
        told: CancellationToken,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> Telling {
        let lock = Arc::clone(&self.lock);
        let task = self.tracker.spawn(async move {
            task.await;
            drop(lock);
        });
        (told, task)
    }

    /// Stops the probes, and waits until what they are writing is written.
    pub(super) async fn stop_probing(&mut self) {
        stop(self.probing.take()).await;
    }

    /// Stops noting what happens in the target, and waits until what is being written is written.
    pub(super) async fn stop_watching(&mut self) {
        stop(self.watching.take()).await;
    }

    pub(super) async fn close(self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

async fn stop(telling: Option<Telling>) {
    if let Some((stop, task)) = telling {
        stop.cancel();
        if let Err(error) = task.await {
            tracing::error!(%error, "what runs beside the run broke off");
        }
    }
}

/// Brings back what of the target ended on its own, and notes it.
async fn recover(context: &Context, stop: &CancellationToken) {
    let text = match stop.run_until_cancelled(context.target.recover()).await {
        Some(Ok(Some(text))) => text,
        Some(Ok(None)) | None => return,
        Some(Err(error)) => {
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

async fn note_events(context: &Context, since: DateTime<Utc>, stop: &CancellationToken) {
    let events = match stop.run_until_cancelled(context.target.events()).await {
        Some(Ok(events)) => events,
        None => return,
        Some(Err(error)) => {
            tracing::debug!(%error, "the target does not say what happened");
            return;
        }
    };
    for event in events.into_iter().filter(|event| event.time >= since) {
        let service = event
            .service
            .map(|name| format!("{name}: "))
            .unwrap_or_default();
        // What happened while nobody looked is told late.
        let late = context.clock.now() - event.time > LATE;
        let when = event.time.format("at %H:%M:%S UTC: ");
        let when = if late {
            when.to_string()
        } else {
            String::new()
        };
        let text = format!("{when}{service}{}", event.text);
        let body = EventBody::Noted {
            severity: event.severity,
            text,
        };
        if let Err(error) = context.journal.append(context.target.name(), body).await {
            tracing::error!(%error, "an event of the target was not noted");
        }
    }
}
