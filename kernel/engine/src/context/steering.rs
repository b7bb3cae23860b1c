//! What a person asked of the run while a step was under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use code_deploy_record::{Problem, Steering};
use tokio::sync::watch;

use crate::step::{StepError, StepErrorKind};

/// What was asked, by whom and why.
pub type Asked = Option<(Steering, String, String)>;

/// A handle on what a person asked of the run. Cheap to clone; all clones see the same.
#[derive(Debug, Clone)]
pub struct Interruption {
    asked: watch::Sender<Asked>,
    closed: Arc<AtomicBool>,
}

impl Default for Interruption {
    fn default() -> Self {
        Self {
            asked: watch::Sender::new(None),
            closed: Arc::default(),
        }
    }
}

impl Interruption {
    /// Asks for something. A rollback is not replaced by a later pause.
    pub fn ask(&self, verb: Steering, by: &str, reason: &str) {
        self.asked.send_if_modified(|asked| {
            let rollback = matches!(asked, Some((Steering::Rollback, ..)));
            if rollback && verb != Steering::Rollback {
                return false;
            }
            *asked = Some((verb, by.to_owned(), reason.to_owned()));
            true
        });
    }

    /// Returns what is asked now.
    #[must_use]
    pub fn asked(&self) -> Asked {
        self.asked.borrow().clone()
    }

    /// Takes no more requests, because the run is ending; returns false when a rollback is asked
    /// for, which has to be carried out instead.
    #[must_use]
    pub fn close(&self) -> bool {
        let mut closes = false;
        self.asked.send_if_modified(|asked| {
            closes = !matches!(asked, Some((Steering::Rollback, ..)));
            self.closed.store(closes, Ordering::Release);
            false
        });
        closes
    }

    /// Returns whether the run is ending, so that nothing can be asked of it any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Forgets a request, because it is carried out; one that came meanwhile stays.
    pub fn carried_out(&self, done: &(Steering, String, String)) {
        self.asked.send_if_modified(|asked| {
            let same = asked.as_ref() == Some(done);
            if same {
                *asked = None;
            }
            same
        });
    }

    /// Waits until a pause or a rollback is asked for. Cancel safe.
    pub async fn stopped(&self) {
        let mut asked = self.asked.subscribe();
        let stops =
            |asked: &Asked| matches!(asked, Some((Steering::Pause | Steering::Rollback, ..)));
        if asked.wait_for(stops).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Forgets what was asked, because it is carried out.
    pub fn clear(&self) {
        self.asked.send_replace(None);
    }

    /// Waits until something is asked. Cancel safe.
    pub async fn wait(&self) -> (Steering, String, String) {
        let mut asked = self.asked.subscribe();
        loop {
            if let Some(asked) = asked.borrow_and_update().clone() {
                return asked;
            }
            if asked.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Returns an error when a pause or a rollback is asked for.
    ///
    /// # Errors
    /// [`StepErrorKind::Steered`].
    pub fn safe_point(&self) -> Result<(), StepError> {
        match self.asked() {
            Some((verb @ (Steering::Pause | Steering::Rollback), by, reason)) => {
                let word = if verb == Steering::Pause {
                    "pause"
                } else {
                    "rollback"
                };
                let problem = Problem {
                    code: crate::code::PAUSED.to_owned(),
                    what: format!("{by} asked for a {word}: {reason}"),
                    state: "The step stopped at a safe point.".to_owned(),
                    next: "`code-deploy resume` goes on, `code-deploy rollback` goes back."
                        .to_owned(),
                };
                Err(StepError {
                    problem,
                    kind: StepErrorKind::Steered,
                })
            }
            _ => Ok(()),
        }
    }
}
