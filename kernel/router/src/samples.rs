//! Writes what was measured, each second.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use code_deploy_record::{Sample, SampleWriter, Source};

use crate::clock::unix_us;
use crate::control::Drained;
use crate::error::Error;
use crate::handover::Successor;
use crate::shared::Shared;
use crate::sync::lock;

const SECOND_US: u64 = 1_000_000;

/// Where samples go.
#[derive(Debug, Default)]
enum Sink {
    #[default]
    Nowhere,
    File(SampleWriter),
    /// To the router that goes on, which writes them.
    Successor(Successor),
}

/// Where samples go, if anywhere.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    sink: Arc<Mutex<Sink>>,
    problem: Mutex<Option<String>>,
}

impl Recorder {
    /// Ends what is being written, with what was measured so far, and begins anew.
    pub(crate) async fn install(&self, shared: &Shared, writer: Option<SampleWriter>) {
        self.write(take(shared, second_now())).await;
        *lock(&self.sink) = writer.map_or(Sink::Nowhere, Sink::File);
        *lock(&self.problem) = None;
    }

    /// From now on the router that goes on gets what is measured, and nobody writes here any more.
    pub(crate) fn hand_to(&self, successor: Successor) {
        *lock(&self.sink) = Sink::Successor(successor);
    }

    /// Tells the router that goes on what became of what was begun here.
    pub(crate) async fn part(&self, drained: Drained) {
        self.tell(move |successor| successor.end(drained)).await;
        // That closes the connection, which is the end for whoever listens.
        *lock(&self.sink) = Sink::Nowhere;
    }

    async fn tell(
        &self,
        what: impl FnOnce(&mut Successor) -> std::io::Result<()> + Send + 'static,
    ) {
        let sink = Arc::clone(&self.sink);
        let told = tokio::task::spawn_blocking(move || match &mut *lock(&sink) {
            Sink::Successor(successor) => what(successor),
            _ => Ok(()),
        });
        match told.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the next router was not told"),
            Err(error) => tracing::error!(%error, "telling the next router broke off"),
        }
    }

    /// Notes that samples cannot be written where they should be.
    pub(crate) fn fail(&self, problem: &Error) {
        tracing::error!(%problem, "samples cannot be written");
        *lock(&self.problem) = Some(problem.to_string());
    }

    /// Returns why the last samples could not be written.
    pub(crate) fn problem(&self) -> Option<String> {
        lock(&self.problem).clone()
    }

    /// Writes samples, if there is a place for them.
    pub(crate) async fn write(&self, samples: Vec<Sample>) {
        let sink = Arc::clone(&self.sink);
        let written = tokio::task::spawn_blocking(move || match &mut *lock(&sink) {
            Sink::File(writer) => writer.append(&samples).map_err(|error| describe(&error)),
            Sink::Successor(successor) => {
                successor.send(samples).map_err(|error| error.to_string())
            }
            Sink::Nowhere => Ok(()),
        });
        let problem = match written.await {
            Ok(Ok(())) => None,
            Ok(Err(problem)) => Some(problem),
            Err(error) => Some(error.to_string()),
        };
        if let Some(problem) = &problem {
            tracing::error!(problem, "samples could not be written");
        }
        *lock(&self.problem) = problem;
    }

    /// Each second: writes samples and closes connections that were unused for too long. Ends when
    /// the router stops hard, after writing the last second.
    pub(crate) async fn run(self: Arc<Self>, shared: Arc<Shared>) {
        loop {
            let rest = SECOND_US - unix_us() % SECOND_US;
            // Cancel safe: both arms only wait.
            let last = tokio::select! {
                () = tokio::time::sleep(Duration::from_micros(rest)) => false,
                () = shared.hard.cancelled() => true,
            };
            // Woken at the end of the second that was measured.
            let second = if last { second_now() } else { second_now() - 1 };
            self.write(take(&shared, second)).await;
            if shared.handed.is_cancelled() {
                let counts = shared.tallies.counts();
                self.tell(move |successor| successor.count(counts)).await;
            }
            sweep(&shared);
            if last {
                return;
            }
        }
    }
}

/// Opens the samples file of that name in a folder.
///
/// # Errors
/// [`Error::Refused`] with code `cannot-record` when the folder cannot be written to.
pub(crate) async fn open(dir: &Path, name: &str) -> Result<SampleWriter, Error> {
    let (dir, name): (PathBuf, String) = (dir.to_owned(), name.to_owned());
    let opened = tokio::task::spawn_blocking(move || SampleWriter::open(&dir, &name)).await;
    match opened {
        Ok(Ok(writer)) => Ok(writer),
        Ok(Err(error)) => Err(Error::refused("cannot-record", describe(&error))),
        Err(error) => Err(Error::refused("cannot-record", error.to_string())),
    }
}

fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn second_now() -> i64 {
    i64::try_from(unix_us() / SECOND_US).unwrap_or(i64::MAX)
}

/// Takes the second of every release: with requests, or with a place in the table.
fn take(shared: &Shared, second: i64) -> Vec<Sample> {
    let mut samples = shared.tallies.take_samples(second);
    // Shares and health are told by the router that serves by them.
    if shared.handed.is_cancelled() {
        return samples;
    }
    let live = shared.table.with_all(|services| {
        let mut live = Vec::new();
        for (service, releases) in services {
            for (release, weight) in releases.weights() {
                let backends = releases.backends(&release).unwrap_or_default();
                let in_flight: usize = backends.iter().map(|backend| backend.in_flight()).sum();
                let healthy = backends
                    .iter()
                    .filter(|backend| backend.is_healthy())
                    .count();
                live.push((service.clone(), release, weight, in_flight, healthy));
            }
        }
        live
    });
    for (service, release, weight, in_flight, healthy) in live {
        let known = samples
            .iter()
            .position(|s| s.service == service && s.release == release);
        let index = known.unwrap_or_else(|| {
            samples.push(Sample::empty(second, &service, &release, Source::Router));
            samples.len() - 1
        });
        let Some(sample) = samples.get_mut(index) else {
            continue;
        };
        sample
            .figures
            .insert("weight_percent".to_owned(), f64::from(weight));
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^53")]
        sample
            .figures
            .insert("in_flight".to_owned(), in_flight as f64);
        #[expect(clippy::cast_precision_loss, reason = "at most 64")]
        sample
            .figures
            .insert("healthy_instances".to_owned(), healthy as f64);
    }
    samples
}

/// Closes unused connections. Runs each second, so one may be kept up to a second longer than its
/// limit, but is not used for a request after it.
fn sweep(shared: &Shared) {
    let now = Instant::now();
    let backends = shared.table.with_all(|services| {
        services
            .values()
            .flat_map(|s| s.all_backends().cloned())
            .collect::<Vec<_>>()
    });
    for backend in backends {
        backend.pool.sweep(backend.idle_limit(), now);
    }
}
