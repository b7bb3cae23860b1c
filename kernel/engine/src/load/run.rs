//! The client's loop: what is due is sent, what is settled is counted, each second is written.

use std::time::Duration;

use code_deploy_record::{Clock as _, SystemClock};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::files::Files;
use super::ledger::{Batch, Ledger};
use super::mix::Mix;
use super::outcome::{Cause, Outcome};
use super::sender::{Sender, not_sent};
use super::totals::{ClientTotals, EndReason};
use super::{ClientConfig, LoadError};

/// Results of this many seconds may wait for a slow disk; each is small.
const WAITING: usize = 64;

const SECOND: Duration = Duration::from_secs(1);

/// Sends requests until `stop` is cancelled or a limit of `config` is reached, waits for those that
/// are under way, and returns the totals, which are then also in the status file.
///
/// # Errors
/// [`LoadError::Setting`] before anything is sent; [`LoadError::Io`], [`LoadError::Samples`] and
/// [`LoadError::DiskStalled`] when results could not be written, in which case sending stopped.
///
/// # Cancel safety
/// Dropping the future drops the requests under way and loses the seconds not yet written.
pub async fn run_client(
    config: ClientConfig,
    stop: CancellationToken,
) -> Result<ClientTotals, LoadError> {
    config.check()?;
    let mut run = Run::begin(&config).await?;
    let outcome = run.send_all(&stop).await;
    run.finish(outcome).await
}

/// Runs a client as a process does: it also stops on SIGTERM and SIGINT.
///
/// # Errors
/// Those of [`run_client`], and [`LoadError::Signals`].
pub async fn run_client_until_signal(config: ClientConfig) -> Result<ClientTotals, LoadError> {
    let listen = |kind| signal(kind).map_err(|source| LoadError::Signals { source });
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    let stop = CancellationToken::new();
    let mut client = std::pin::pin!(run_client(config, stop.clone()));
    loop {
        tokio::select! {
            totals = &mut client => return totals,
            // Cancel safe: a signal is kept until it is received.
            _ = terminate.recv() => stop.cancel(),
            _ = interrupt.recv() => stop.cancel(),
        }
    }
}

struct Run {
    schedule: Schedule,
    mix: Mix,
    sender: Sender,
    max_in_flight: usize,
    in_flight: JoinSet<Outcome>,
    ledger: Ledger,
    batches: mpsc::Sender<Batch>,
    writer: JoinHandle<Result<(), LoadError>>,
}

impl Run {
    async fn begin(config: &ClientConfig) -> Result<Self, LoadError> {
        let mix = Mix::new(config)?;
        let sender = Sender::new(config).await?;
        let files = Files::open(config)?;
        let (batches, queue) = mpsc::channel(WAITING);
        let writer = tokio::task::spawn_blocking(move || files.write_all(queue));
        let (began, at) = (Instant::now(), SystemClock.now());
        Ok(Self {
            schedule: Schedule::new(config, began),
            mix,
            sender,
            max_in_flight: config.max_in_flight,
            in_flight: JoinSet::new(),
            ledger: Ledger::new(&config.service, config.source, began, at),
            batches,
            writer,
        })
    }

    async fn send_all(&mut self, stop: &CancellationToken) -> Result<EndReason, LoadError> {
        let mut write_at = Instant::now() + SECOND;
        loop {
            let due = match self.schedule.next_due() {
                Ok(due) => due,
                Err(ended) => return Ok(ended),
            };
            tokio::select! {
                biased;
                // All arms are cancel safe.
                () = stop.cancelled() => return Ok(EndReason::Stopped),
                () = sleep_until(write_at) => {
                    write_at = self.write(write_at)?;
                }
                () = sleep_until(due) => self.send_due(stop)?,
                Some(settled) = self.in_flight.join_next() => self.settle(settled),
            }
        }
    }

    /// Sends everything that is due by now; more than one when the client itself was late.
    fn send_due(&mut self, stop: &CancellationToken) -> Result<(), LoadError> {
        let now = Instant::now();
        while !stop.is_cancelled() {
            let Some(due) = self.schedule.take_due(now) else {
                return Ok(());
            };
            while let Some(settled) = self.in_flight.try_join_next() {
                self.settle(settled);
            }
            let prepared = self.mix.next()?;
            self.ledger.due(due);
            if self.in_flight.len() >= self.max_in_flight {
                self.ledger
                    .settle(not_sent(&prepared, due, Some(Cause::Saturated)));
                continue;
            }
            self.ledger.sending(self.in_flight.len() + 1);
            self.in_flight
                .spawn(self.sender.clone().send(prepared, due));
        }
        Ok(())
    }

    fn settle(&mut self, settled: Result<Outcome, tokio::task::JoinError>) {
        match settled {
            Ok(outcome) => self.ledger.settle(outcome),
            // Only a defect of the client itself leads here; the totals then show the request as
            // due and not settled.
            Err(error) => tracing::error!(%error, "a request of the client was lost"),
        }
    }

    /// Hands what is settled to the writer, and returns when to do so next.
    fn write(&mut self, due: Instant) -> Result<Instant, LoadError> {
        let now = Instant::now();
        let next_due = self.schedule.next_due().unwrap_or(now);
        let batch = self.ledger.batch(now, next_due, self.in_flight.len());
        match self.batches.try_send(batch) {
            Ok(()) => Ok((due + SECOND).max(now)),
            Err(mpsc::error::TrySendError::Full(_)) => {
                Err(LoadError::DiskStalled { seconds: WAITING })
            }
            Err(mpsc::error::TrySendError::Closed(_)) => Err(LoadError::WriterLost),
        }
    }

    /// Waits for what is under way, which the timeout bounds, and for the last write.
    async fn finish(
        mut self,
        ended: Result<EndReason, LoadError>,
    ) -> Result<ClientTotals, LoadError> {
        let reason = match ended {
            Ok(reason) => reason,
            // A writer that failed knows the reason better than the one that found it gone.
            Err(LoadError::WriterLost) => return Err(self.writer_error().await),
            Err(error) => return Err(error),
        };
        let mut write_at = Instant::now() + SECOND;
        while !self.in_flight.is_empty() {
            tokio::select! {
                Some(settled) = self.in_flight.join_next() => self.settle(settled),
                () = sleep_until(write_at) => {
                    write_at = self.write(write_at)?;
                }
            }
        }
        let last = self.ledger.last_batch(Instant::now(), reason);
        let totals = last.totals.clone();
        let Self {
            batches, writer, ..
        } = self;
        if batches.send(last).await.is_ok() {
            drop(batches);
        }
        match writer.await {
            Ok(written) => written.map(|()| totals),
            Err(_lost) => Err(LoadError::WriterLost),
        }
    }

    async fn writer_error(self) -> LoadError {
        drop(self.batches);
        match self.writer.await {
            Ok(Err(error)) => error,
            _ => LoadError::WriterLost,
        }
    }
}

/// When requests are due: number `i` at `i / rate` after the start.
struct Schedule {
    began: Instant,
    rate: u64,
    next: u64,
    until: Instant,
    most: u64,
}

impl Schedule {
    fn new(config: &ClientConfig, began: Instant) -> Self {
        Self {
            began,
            rate: config.rate.into(),
            next: 0,
            until: began + config.max_duration.get(),
            most: config.max_requests.unwrap_or(u64::MAX),
        }
    }

    /// Returns when the next request is due, or why there is none.
    fn next_due(&self) -> Result<Instant, EndReason> {
        if self.next >= self.most {
            return Err(EndReason::MaxRequests);
        }
        let due = self.began + self.offset();
        if due >= self.until {
            return Err(EndReason::MaxDuration);
        }
        Ok(due)
    }

    fn take_due(&mut self, now: Instant) -> Option<Instant> {
        let due = self.next_due().ok().filter(|due| *due <= now)?;
        self.next += 1;
        Some(due)
    }

    /// Computed from the number of the request, so that rounding does not add up.
    fn offset(&self) -> Duration {
        let (seconds, rest) = (self.next / self.rate, self.next % self.rate);
        Duration::from_secs(seconds) + Duration::from_nanos(rest * 1_000_000_000 / self.rate)
    }
}
