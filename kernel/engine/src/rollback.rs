//! Going back: the undo of every step that may have acted, traffic first, each verified.

use std::time::Duration;

use code_deploy_record::{EventBody, Outcome, Problem, RunOutcome, Steering, StepName, Trigger};

use crate::plan::{section_of, verb_of};
use crate::runner::{Ended, Runner, back};
use crate::step::StepError;
use crate::surroundings::Sabotage;
use crate::{Error, Result};

/// How often an undo that failed is tried again as a whole.
const ROUNDS: u32 = 2;

/// The pause between two rounds.
const PAUSE: Duration = Duration::from_secs(2);

/// Returns steps that have to be undone in the order in which that is done: what is needed to
/// move traffic back first, then traffic, then the rest backwards, and the outside client last,
/// because it measures the others.
#[must_use]
pub fn in_undo_order(backwards: Vec<StepName>) -> Vec<StepName> {
    let rank = |name: &StepName| match (verb_of(name), section_of(name)) {
        ("finish", _) => 0,
        // In a first deployment nobody is left to answer it: it ends before the services do.
        ("release", "outside-client") => 0,
        ("release", "traffic" | "rehearsal" | "promotion") => 1,
        (_, "outside-client") => 3,
        _ => 2,
    };
    let mut ordered = backwards;
    ordered.sort_by_key(rank);
    ordered
}

impl Runner {
    /// Goes back to the release before: also in a run whose process died, that waits, that was
    /// going back already, or that needs a person.
    ///
    /// # Errors
    /// `CD0419` the run is ended. Any other error means that the record could not be written.
    pub async fn rollback(&mut self, by: &str, reason: &str) -> Result<Ended> {
        let state = self.state();
        if state.has_ended() {
            return Err(self.ended_already());
        }
        let (by_text, reason_text) = (by.to_owned(), reason.to_owned());
        let verb = Steering::Rollback;
        let body = EventBody::SteeringAsked {
            verb,
            by: by_text,
            reason: reason_text,
        };
        self.context()
            .journal
            .append(&format!("person:{by}"), body)
            .await?;
        self.go_back(Trigger::Person, &format!("{by}: {reason}"))
            .await
    }

    /// Takes the word of a person that what a step may have left behind is dealt with, so that the
    /// rollback goes on without undoing it. The last look at the target is made all the same.
    ///
    /// # Errors
    /// [`Error::Refused`], with nothing changed: `CD0470` the run does not need a person; `CD0471`
    /// the step has nothing to be undone. Any other error means that the record could not be
    /// written.
    pub async fn skip(&self, step: &StepName, by: &str, reason: &str) -> Result<()> {
        self.refuse_unless_needed("skipped")?;
        let left = self.state().to_undo();
        if !left.contains(step) {
            let names: Vec<_> = left.iter().map(ToString::to_string).collect();
            return Err(Error::refused(
                "CD0471",
                format!("step {step} has nothing left to be undone"),
                format!("Steps that have: {}.", words(&names)),
            ));
        }
        let body = EventBody::StepSkipped {
            step: step.clone(),
            by: by.to_owned(),
            reason: reason.to_owned(),
        };
        let journal = &self.context().journal;
        journal.append(&format!("person:{by}"), body).await?;
        Ok(())
    }

    /// Ends a run that needs a person as it stands: the person answers for what runs. Other runs
    /// can begin then.
    ///
    /// # Errors
    /// [`Error::Refused`] (`CD0470`) when the run does not need a person. Any other error means
    /// that the record could not be written.
    pub async fn abandon(&mut self, by: &str, reason: &str) -> Result<Ended> {
        self.refuse_unless_needed("abandoned")?;
        let left = in_undo_order(self.state().to_undo());
        let left: Vec<_> = left.iter().map(ToString::to_string).collect();
        let summary = format!(
            "{by} ended it as it stands: {reason}; steps that are not undone: {}",
            words(&left)
        );
        self.conclude(RunOutcome::Abandoned, summary.clone())
            .await?;
        Ok(Ended::Abandoned(summary))
    }

    fn refuse_unless_needed(&self, what: &str) -> Result<()> {
        let state = self.state();
        let outcome = state.finished.as_ref().map(|(outcome, ..)| *outcome);
        if outcome == Some(RunOutcome::NeedsPerson) {
            return Ok(());
        }
        let next = "`code-deploy status` shows where it stands.";
        Err(Error::refused(
            "CD0470",
            format!("nothing of the run can be {what}: it does not need a person"),
            next,
        ))
    }

    /// Undoes every step that may have acted, and ends the run.
    pub(crate) async fn go_back(&mut self, trigger: Trigger, reason: &str) -> Result<Ended> {
        let touched = self.touched();
        self.begin_going_back(trigger, reason).await?;
        let began = self.context().clock.now();
        let undone = self.undo_all().await;
        let undone = match undone {
            Ok(()) => self.look_back().await,
            Err(error) if crate::code::is_of_the_record(&error.problem.code) => {
                return Err(error.into());
            }
            Err(error) => Err(error.problem),
        };
        let took = (self.context().clock.now() - began)
            .num_microseconds()
            .unwrap_or(0);
        let duration_us = u64::try_from(took).unwrap_or(0);
        let outcome = if undone.is_ok() {
            Outcome::Done
        } else {
            Outcome::Failed
        };
        let body = EventBody::RollbackFinished {
            outcome,
            duration_us,
        };
        self.context().journal.append("engine", body).await?;
        match undone {
            Err(problem) => self.needs_person(problem).await,
            Ok(()) => self.gone_back(touched, reason).await,
        }
    }

    async fn begin_going_back(&self, trigger: Trigger, reason: &str) -> Result<()> {
        let context = self.context();
        if self.state().rollback.is_none() {
            let reason = reason.to_owned();
            let body = EventBody::RollbackStarted { trigger, reason };
            context.journal.append("engine", body).await?;
        }
        // A rollback is not stopped half way: pausing it would leave neither release whole.
        context.interruption.clear();
        Ok(())
    }

    async fn undo_all(&self) -> Result<(), StepError> {
        let mut round = 1;
        loop {
            let Err(error) = self.undo_round().await else {
                return Ok(());
            };
            if round == ROUNDS {
                return Err(error);
            }
            round += 1;
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn undo_round(&self) -> Result<(), StepError> {
        let surroundings = &self.context().surroundings;
        let mut left = in_undo_order(self.state().to_undo());
        if surroundings.sabotaged(Sabotage::UndoesOnlyDone) {
            left.retain(|name| self.state().step_done(name));
        }
        if surroundings.sabotaged(Sabotage::ForgetsAStep) {
            left.pop();
        }
        for name in left {
            let Some(step) = self.plan().step(&name) else {
                let what = format!("step {name} has to be undone, but this plan does not have it");
                let next = "Use the program and the deployment file that began the run.";
                return Err(StepError::permanent("CD0436", what, next));
            };
            back(self.context(), step).await?;
        }
        Ok(())
    }

    /// Looks at the target once more: everything has to be as before the run.
    async fn look_back(&self) -> Result<(), Problem> {
        let looked = match &self.context().from {
            Some(from) => self.all_on(from).await,
            None => self.nothing_runs().await,
        };
        looked.map_err(|what| Problem {
            code: "CD0434".to_owned(),
            what: format!("every step was undone, but not everything is as before: {what}"),
            state: "Every step is undone.".to_owned(),
            next: String::new(),
        })
    }

    async fn nothing_runs(&self) -> Result<(), String> {
        let observed = self.look().await?;
        let running = observed
            .instances
            .iter()
            .filter(|instance| instance.running)
            .count();
        if running == 0 {
            Ok(())
        } else {
            Err(format!("{running} instances still run"))
        }
    }

    async fn gone_back(&mut self, touched: bool, reason: &str) -> Result<Ended> {
        let to = match &self.context().from {
            Some(from) => format!("everything is on release {from}"),
            None => "nothing runs".to_owned(),
        };
        if touched {
            let as_before = if self.context().from.is_none() {
                ", as before the run"
            } else {
                ""
            };
            self.conclude(RunOutcome::RolledBack, format!("{to}{as_before}: {reason}"))
                .await?;
            return Ok(Ended::RolledBack(reason.to_owned()));
        }
        self.conclude(RunOutcome::Refused, format!("{to}, as before: {reason}"))
            .await?;
        let by_person = matches!(self.state().rollback, Some((Trigger::Person, _)));
        let next = match by_person {
            true => "Deploy again when it is wanted.",
            false => "Mend the cause and deploy again.",
        };
        Ok(Ended::Refused(Problem {
            code: "CD0435".to_owned(),
            what: reason.to_owned(),
            state: format!("{to}; what was prepared is taken back."),
            next: next.to_owned(),
        }))
    }

    /// Says loudly that neither release could be reached whole, and what a person can do.
    async fn needs_person(&mut self, problem: Problem) -> Result<Ended> {
        let problem = self.person_text(&problem);
        self.conclude(RunOutcome::NeedsPerson, problem.what.clone())
            .await?;
        Ok(Ended::NeedsPerson(problem))
    }

    fn person_text(&self, cause: &Problem) -> Problem {
        let run = self.run_id().map(|run| run.to_string()).unwrap_or_default();
        let left = in_undo_order(self.state().to_undo());
        let left: Vec<_> = left.iter().map(ToString::to_string).collect();
        let stuck = self.stuck_step();
        let skip = stuck.as_ref().map_or_else(String::new, |step| {
            format!(
                "If you have dealt with {step} by hand, `code-deploy skip {step} --run {run} --reason \
                 TEXT` goes on without it. "
            )
        });
        let stuck = stuck.unwrap_or_else(|| "the last look".to_owned());
        let left = words(&left);
        Problem {
            code: "CD0433".to_owned(),
            what: format!(
                "the rollback could not be completed: it stopped at {stuck}, after trying it {ROUNDS} \
                 times: {}",
                cause.what
            ),
            state: format!(
                "Run {run} is not ended, and no other run can begin. Steps still to be undone: \
                 {left}."
            ),
            next: format!(
                "Look at what runs with `code-deploy status --run {run}` and at the logs in {}; mend the \
                 cause; then `code-deploy retry --run {run}` goes on from there. {skip}`code-deploy \
                 abandon --run {run} --reason TEXT` ends the run as it stands. {}",
                self.context().run.logs_path().display(),
                cause.next
            ),
        }
    }
}

fn words(names: &[String]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

    use super::*;

    fn ordered(names: &[&str]) -> Vec<String> {
        let steps = names.iter().map(|name| name.parse().unwrap()).collect();
        let ordered = in_undo_order(steps);
        ordered.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_client_outlives_every_change_where_a_release_stays_and_none_where_nothing_stays() {
        let upgrade = [
            "release.promotion",
            "release.green.web",
            "provision.outside-client",
        ];
        assert_eq!(ordered(&upgrade), upgrade);
        assert_eq!(
            ordered(&[
                "release.promotion",
                "release.outside-client",
                "release.green.web"
            ]),
            [
                "release.outside-client",
                "release.promotion",
                "release.green.web"
            ]
        );
    }
}
