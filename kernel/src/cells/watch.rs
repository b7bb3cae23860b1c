//! A command while it runs in a cell: its one display moves, and the stop button is listened to.

use std::sync::Arc;
use std::time::Duration;

use code_deploy_jupyter::{CellOutput, Interrupt, LiveDisplay};
use code_deploy_notebook_gen::{chart, sketch};
use code_deploy_record::RunId;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::face::CellFace;
use super::look::{Draw, Look, Steps, look};
use crate::apart::WHO_STOPS;
use crate::failure::{Exit, Failure};
use crate::project::Project;

/// How often the record is read for the display, and its chart drawn anew.
const LOOK: Duration = Duration::from_secs(2);
/// How often the time that is spent is shown anew.
const TICK: Duration = Duration::from_secs(1);
/// A command that has not ended so long after it was told to stop says what it waits for: a person takes that for at
/// once, and one that stops as fast has nothing to explain.
const SAYS_AFTER: Duration = WHO_STOPS.saturating_add(Duration::from_millis(200));

/// How long a command that is ended at once is waited for.
const GONE: Duration = Duration::from_millis(500);

/// What one cell has at hand while its command runs.
pub struct Watch<'a> {
    /// Takes note of what the command shows.
    pub face: &'a CellFace,
    /// Where it is shown.
    pub out: &'a CellOutput,
    /// The stop button.
    pub interrupt: &'a Interrupt,
    /// Asks the command to end at a safe point.
    pub token: &'a CancellationToken,
    /// Whether the command changes nothing: every moment is a safe point then.
    pub only_looks: bool,
    /// The steps of the command and what finds the project whose record tells of them.
    pub steps: Option<(Arc<FindProject>, Steps)>,
    /// What runs beside the cell.
    pub tasks: &'a TaskTracker,
}

/// Finds a project, where there is one by now. Blocks.
pub type FindProject = dyn Fn() -> Option<Project> + Send + Sync;

type Looking = AbortOnDropHandle<Option<Look>>;

impl Watch<'_> {
    /// Runs a command to its end, in a task of its own, so that the stop button holds whatever
    /// the command is busy with.
    pub async fn follow<F>(&self, work: F) -> Result<Exit, Failure>
    where
        F: Future<Output = Result<Exit, Failure>> + Send + 'static,
    {
        let mut work = AbortOnDropHandle::new(self.tasks.spawn(work));
        let (mut looks, mut ticks) = (every(LOOK), every(TICK));
        let mut run = None;
        let mut looking = self.begin_look(None, sketch);
        let mut live = None;
        // When a command that was asked to stop has to say why it goes on.
        let mut says_at = None;
        // When it said why.
        let mut said = None;
        let done = loop {
            // Cancel safe: work and look are tasks, the others only wait.
            tokio::select! {
                biased;
                () = self.interrupt.insisted() => break Err(interrupted_now()),
                () = self.interrupt.requested(), if self.only_looks => {
                    break Err(Failure::stopped_looking());
                }
                () = self.interrupt.requested(), if !self.token.is_cancelled() => {
                    self.token.cancel();
                    says_at = Some(Instant::now() + SAYS_AFTER);
                }
                done = &mut work => break joined(done),
                () = at(says_at) => {
                    says_at = None;
                    self.face.stop();
                    self.out.stdout(self.stopping()).await;
                    said = Some(Instant::now());
                }
                () = self.face.changed() => self.show(&mut live).await,
                seen = ended(&mut looking) => {
                    looking = None;
                    if let Some(seen) = seen {
                        run = Some(seen.run.clone());
                        self.face.look(seen);
                    }
                }
                _ = looks.tick(), if looking.is_none() => looking = self.begin_look(run.clone(), sketch),
                _ = ticks.tick() => self.face.tick(),
            }
        };
        if !work.is_finished() {
            work.abort();
            // What the command started ends with it, which is before the cell says that it ended. One
            // that does not let go of its thread is not waited for.
            tokio::time::timeout(GONE, &mut work).await.ok();
        }
        drop(work);
        // What was said of the present does not stay alone in the notebook.
        if let Some(said) = said {
            let later = said.elapsed().as_secs_f64();
            self.out
                .stdout(format!(
                    "The command that could not stop at once ended {later:.1} s later.\n"
                ))
                .await;
        }
        if live.is_some() {
            self.last_look(run).await;
        }
        self.face.settle();
        self.show(&mut live).await;
        done
    }

    fn stopping(&self) -> String {
        let what = self.face.under_way();
        let what = what.unwrap_or_else(|| "what it is busy with".to_owned());
        format!(
            "It cannot stop yet and waits for: {what}. The stop button once more ends it now.\n"
        )
    }

    fn begin_look(&self, before: Option<RunId>, draw: Draw) -> Option<Looking> {
        let (find, steps) = self.steps.clone()?;
        let look = move || look(&find()?, &steps, before.as_ref(), draw);
        let task = self.tasks.spawn_blocking(look);
        Some(AbortOnDropHandle::new(task))
    }

    /// What stays in the notebook shows the state at the end.
    async fn last_look(&self, before: Option<RunId>) {
        let Some(looking) = self.begin_look(before, chart) else {
            return;
        };
        // Either arm only waits; who insists does not wait for a chart.
        let seen = tokio::select! {
            seen = looking => seen.ok().flatten(),
            () = self.interrupt.insisted() => None,
        };
        if let Some(seen) = seen {
            self.face.look(seen);
        }
    }

    async fn show(&self, live: &mut Option<LiveDisplay>) {
        for last in self.face.ended() {
            match live.take() {
                Some(shown) => shown.update(last),
                None => drop(self.out.live_display(last).await),
            }
            // What was said between two runs stands between their displays.
            self.face.flush().await;
        }
        match (self.face.live(), &*live) {
            (None, _) => {}
            (Some(bundle), Some(live)) => live.update(bundle),
            (Some(bundle), None) => *live = Some(self.out.live_display(bundle).await),
        }
        self.face.flush().await;
    }
}

fn every(period: Duration) -> Interval {
    let mut ticks = interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Waits for that moment; for ever where there is none.
async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// Returns what was seen; waits for ever where nobody looks.
async fn ended(looking: &mut Option<Looking>) -> Option<Look> {
    match looking {
        Some(looking) => looking.await.ok().flatten(),
        None => std::future::pending().await,
    }
}

/// A panic goes on to whoever runs the cell.
fn joined(done: Result<Result<Exit, Failure>, tokio::task::JoinError>) -> Result<Exit, Failure> {
    match done.map_err(tokio::task::JoinError::try_into_panic) {
        Ok(done) => done,
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        Err(Err(_)) => Err(interrupted_now()),
    }
}

fn interrupted_now() -> Failure {
    Failure::new(
        Exit::Interrupted,
        crate::codes::ENDED_AT_ONCE,
        "interrupted twice: the command ended at once",
        "The record holds everything up to its last complete line.",
        "The cell run again goes on, `%resume` goes on to the end of the run, `%rollback` goes back.",
    )
}
