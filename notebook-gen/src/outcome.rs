//! What a verb's cell shows of a run that is over or under way: reports, steps, gates, the error,
//! or why it was not reached.

use code_deploy_record::{
    Direction, Gate, Outcome, PhaseNumber, Problem, Report, RunOutcome, StepName,
};
use nbformat::v4::Output;

use crate::cell::{Command, phase_of, sections_of, verbs_of};
use crate::document::{error, shown};
use crate::facts::Facts;
use crate::format::{clock, counted};
use crate::markdown::{report_to_markdown, report_to_text};
use crate::view::{Checks, gates_table, steps_table, went_back_after};

/// What a cell shows.
pub(crate) enum Shown {
    Executed(Vec<Output>),
    NotReached(String),
}

/// How the verbs' cells of one notebook went.
pub(crate) struct Outcomes<'a> {
    facts: &'a Facts,
    cells: Vec<Option<(&'static str, Option<String>)>>,
}

/// Returns an error's name, value and lines, as kernel and pages show it.
#[must_use]
pub fn error_lines(problem: &Problem) -> (String, String, Vec<String>) {
    let mut lines = vec![format!("{}: {}", problem.code, problem.what)];
    if !problem.state.is_empty() {
        lines.push(format!("State now: {}", problem.state));
    }
    if !problem.next.is_empty() {
        lines.push(format!("What to do: {}", problem.next));
    }
    (problem.code.clone(), problem.what.clone(), lines)
}

fn verb_and_section(step: &StepName) -> (&str, &str) {
    let mut parts = step.as_str().split('.');
    (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    )
}

impl<'a> Outcomes<'a> {
    pub(crate) fn new(facts: &'a Facts, commands: &[Command]) -> Self {
        let cells = commands.iter().map(|command| match command {
            Command::Verb { verb, section } => Some((*verb, section.clone())),
            _ => None,
        });
        Self {
            facts,
            cells: cells.collect(),
        }
    }

    /// Returns the place of the cell that shows a section: its own, else the verb's whole cell,
    /// else the last of the phase in this notebook, so that nothing is left out.
    fn home(&self, phase: PhaseNumber, verb: Option<&str>, section: &str) -> Option<usize> {
        let verb = verb.or_else(|| {
            let mut verbs = verbs_of(phase).into_iter();
            verbs.find(|verb| sections_of(verb).contains(&section))
        });
        let cells = || {
            self.cells
                .iter()
                .enumerate()
                .filter_map(|(i, cell)| Some((i, cell.as_ref()?)))
        };
        let of_verb = |known: &str| verb.is_none_or(|verb| verb == known);
        let own = cells().find(|(_, (v, s))| of_verb(v) && s.as_deref() == Some(section));
        let whole =
            || cells().find(|(_, (v, s))| of_verb(v) && s.is_none() && phase_of(v) == Some(phase));
        let last = || cells().rfind(|(_, (v, _))| phase_of(v) == Some(phase));
        own.or_else(whole).or_else(last).map(|(place, _)| place)
    }

    /// Returns whether the cell at `place` is the section's own, whose heading names it already.
    fn is_own(&self, place: usize, section: &str) -> bool {
        let cell = self.cells.get(place).and_then(Option::as_ref);
        cell.is_some_and(|(_, own)| own.as_deref() == Some(section))
    }

    fn home_of_step(&self, step: &StepName) -> Option<usize> {
        let (verb, section) = verb_and_section(step);
        self.home(phase_of(verb)?, Some(verb), section)
    }

    fn home_of_gate(&self, place: usize) -> Option<usize> {
        let gate = self.facts.gates.get(place)?;
        let phase = gate.phase?;
        let verb_known = gate.step.as_ref().map(verb_and_section);
        match verb_known.filter(|(verb, _)| phase_of(verb) == Some(phase)) {
            Some((verb, section)) => self.home(phase, Some(verb), section),
            None => self.home(phase, None, section_of_gate(gate.what.gate)),
        }
    }

    /// Returns what the cell at `place` shows.
    pub(crate) fn of(&self, place: usize, verb: &str, section: Option<&str>) -> Shown {
        let Some(phase) = phase_of(verb) else {
            return Shown::Executed(Vec::new());
        };
        let report = self.report(place, phase);
        let failure = self
            .failure(phase)
            .filter(|(home, _)| *home == place)
            .map(|(_, error)| error);
        let begun = self.facts.state.phases.contains_key(&phase);
        if report.blocks.is_empty() && failure.is_none() {
            let whole_with_parts = section.is_none() && begun;
            if !whole_with_parts && !self.facts.state.phase_done(phase) {
                return Shown::NotReached(self.why_not(phase));
            }
        }
        let report = if section.is_none() {
            self.summary(verb, report)
        } else if report.blocks.is_empty() && failure.is_none() {
            Report::new().with_text(
                "Nothing to show: the phase was done, and the record holds no step and no report \
                 of this section.",
            )
        } else {
            report
        };
        let mut outputs = Vec::new();
        if !report.blocks.is_empty() {
            outputs.push(shown(report_to_markdown(&report), report_to_text(&report)));
        }
        outputs.extend(failure);
        Shown::Executed(outputs)
    }

    fn report(&self, place: usize, phase: PhaseNumber) -> Report {
        let mut report = Report::new();
        let here = |home: Option<usize>| home == Some(place);
        for section in &self.facts.sections {
            let home = self.home(phase, None, &section.what.name);
            if section.phase == Some(phase) && here(home) {
                if !self.is_own(place, &section.what.name) {
                    report = report.with_text(format!("{}:", section.what.title));
                }
                report
                    .blocks
                    .extend(section.what.report.blocks.iter().cloned());
                let name = section.what.name.as_str();
                if let Some(text) = went_back_after(self.facts, phase, name, section.seq) {
                    report = report.with_text(text);
                }
            }
        }
        let wanted = |step: &StepName| {
            phase_of(verb_and_section(step).0) == Some(phase) && here(self.home_of_step(step))
        };
        let steps = steps_table(self.facts, "Steps", wanted);
        report
            .blocks
            .extend(steps.into_iter().flat_map(|steps| steps.blocks));
        let gates = self.facts.gates.iter().enumerate();
        let gates = gates
            .filter(|(index, gate)| gate.phase == Some(phase) && here(self.home_of_gate(*index)));
        let gates = gates_table("Gates", gates.map(|(_, gate)| gate), Checks::All);
        report
            .blocks
            .extend(gates.into_iter().flat_map(|gates| gates.blocks));
        report
    }

    /// Puts a line about all steps of a verb before what its whole cell shows itself.
    fn summary(&self, verb: &str, rest: Report) -> Report {
        let steps = self.facts.state.steps.iter();
        let steps: Vec<_> = steps
            .filter(|(name, _)| verb_and_section(name).0 == verb)
            .collect();
        let done = steps
            .iter()
            .filter(|(_, step)| step.status == code_deploy_record::StepStatus::Done);
        let number = u64::try_from(steps.len()).unwrap_or(u64::MAX);
        let text = format!(
            "{} of {verb} begun, {} done; each is shown with its section.",
            counted(number, "step"),
            done.count()
        );
        let mut report = Report::new().with_text(text);
        report.blocks.extend(rest.blocks);
        report
    }

    /// Returns the error of a phase that failed, and the cell that shows it.
    fn failure(&self, phase: PhaseNumber) -> Option<(usize, Output)> {
        let state = self.facts.state.phases.get(&phase)?;
        let (_, outcome) = state.finished?;
        if outcome == Outcome::Done {
            return None;
        }
        let failed = self.facts.steps.iter().rev().find(|step| {
            let of_phase = phase_of(verb_and_section(&step.what.step).0) == Some(phase);
            let forward = step.what.direction == Direction::Apply;
            of_phase && forward && step.what.outcome != Outcome::Done
        });
        if let Some(step) = failed {
            let home = self.home_of_step(&step.what.step)?;
            let (name, value, lines) = match &step.what.problem {
                Some(problem) => error_lines(problem),
                None => plain(&state.reason),
            };
            return Some((home, error(name, value, lines)));
        }
        let gate = self.facts.gates.iter().enumerate().rev();
        let gate = gate.filter(|(_, gate)| gate.phase == Some(phase) && !gate.what.passed);
        let home = gate
            .map(|(index, _)| self.home_of_gate(index))
            .next()
            .flatten();
        let reached = |place: &usize| !self.report(*place, phase).blocks.is_empty();
        let of_phase = |place: &usize| {
            let cell = self.cells.get(*place).and_then(Option::as_ref);
            cell.is_some_and(|(verb, _)| phase_of(verb) == Some(phase))
        };
        let last = || (0..self.cells.len()).rev().filter(of_phase).find(reached);
        let first = || (0..self.cells.len()).find(of_phase);
        let home = home.or_else(last).or_else(first)?;
        let (name, value, lines) = plain(&state.reason);
        Some((home, error(name, value, lines)))
    }

    fn why_not(&self, phase: PhaseNumber) -> String {
        if let Some(state) = self.facts.state.phases.get(&phase) {
            let Some((time, _)) = state.finished else {
                return "Not run yet: the phase is under way.".to_owned();
            };
            let (time, reason) = (clock(time), sentence(&state.reason));
            return format!(
                "Not reached: the phase ended at {time} UTC before this section. {reason}"
            );
        }
        let Some((outcome, summary, time)) = &self.facts.state.finished else {
            return "Not run yet: the run has not come to this phase.".to_owned();
        };
        let what = match outcome {
            RunOutcome::RolledBack => "was rolled back",
            RunOutcome::Refused => "was refused",
            RunOutcome::Succeeded => "ended",
            RunOutcome::Abandoned => "was abandoned",
            _ => "stopped and needs a person",
        };
        format!(
            "Not reached: the run {what} at {} UTC. {}",
            clock(*time),
            sentence(summary)
        )
    }
}

fn sentence(text: &str) -> String {
    let text = text.trim();
    if text.is_empty() || text.ends_with('.') {
        return text.to_owned();
    }
    format!("{text}.")
}

fn plain(reason: &str) -> (String, String, Vec<String>) {
    let value = if reason.is_empty() {
        "the phase did not end well".to_owned()
    } else {
        reason.to_owned()
    };
    (
        "PhaseFailed".to_owned(),
        value.clone(),
        vec![format!("PhaseFailed: {value}")],
    )
}

/// The section to which a gate belongs when no step was under way.
fn section_of_gate(gate: Gate) -> &'static str {
    match gate {
        Gate::Health => "health",
        Gate::Smoke => "smoke",
        Gate::Analysis => "traffic",
        Gate::Monitoring => "monitoring",
        Gate::Security => "security",
        Gate::Baseline => "performance",
        Gate::Approval => "go-no-go",
    }
}
