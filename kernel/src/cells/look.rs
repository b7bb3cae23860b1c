//! What the record of the present run says while a command works on it.

use std::time::Duration;

use code_deploy_notebook_gen::{self as notebook_gen, Chart, ChartKind};
use code_deploy_record::{PlannedStep, RunFolder, RunId, RunOutcome, RunState};

use crate::commands::{Command, RunArgs, VerbArgs};
use crate::html;
use crate::magic::as_magics;
use crate::project::Project;
use crate::show::status::standing;

/// What the record says at one moment.
#[derive(Debug, Clone)]
pub struct Look {
    /// The run.
    pub run: RunId,
    /// Whether it has ended.
    pub is_ended: bool,
    /// What it deploys, and where to.
    pub what: String,
    /// Where the run stands, and how many of its steps are done.
    pub stands: String,
    /// Whether the run has gone back to what was before it, which was nothing: no release serves.
    pub nothing_serves: bool,
    /// How long the plan expects of the command, where it is one of a phase.
    pub expected: Option<Duration>,
    /// The chart of latency, where there is something to draw.
    pub chart: Option<Picture>,
}

/// Draws a chart of a run.
pub type Draw = fn(&RunFolder, ChartKind) -> notebook_gen::Result<Chart>;

/// A chart as a page shows it.
#[derive(Debug, Clone)]
pub struct Picture {
    png: String,
    alternative: String,
    width: u32,
    height: u32,
}

/// The steps of a command.
#[derive(Debug, Clone)]
pub struct Steps {
    /// What their names begin with; nothing where the command goes on with whatever is left of the run, of which the
    /// plan says no time.
    prefix: Option<String>,
    /// Whether a chart is drawn of them: traffic goes to the release meanwhile.
    chart: bool,
}

impl Steps {
    /// Returns the steps of a command of a phase, or of one that carries a run on as a whole.
    pub fn of(command: &Command) -> Option<Self> {
        let whole = match command {
            Command::Resume(_)
            | Command::Rollback(_)
            | Command::Retry(_)
            | Command::Skip(_)
            | Command::Abandon(_) => true,
            Command::Open(arguments) => deploys_demonstration(arguments),
            _ => false,
        };
        if whole {
            let (prefix, chart) = (None, true);
            return Some(Self { prefix, chart });
        }
        let (verb, arguments, chart) = verb_of(command)?;
        let section = arguments.section.as_ref();
        let prefix = match section {
            Some(section) => format!("{verb}.{section}"),
            None => verb.to_owned(),
        };
        let prefix = Some(prefix);
        Some(Self { prefix, chart })
    }

    fn include(&self, step: &PlannedStep) -> bool {
        let prefix = self.prefix.as_deref();
        let rest = prefix.and_then(|prefix| step.step.as_str().strip_prefix(prefix));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }
}

/// Returns whether the demonstration is deployed: in a cell, nothing else carries a run from its begin to its end.
pub fn deploys_demonstration(arguments: &RunArgs) -> bool {
    arguments.demo && !arguments.stop
}

fn verb_of(command: &Command) -> Option<(&'static str, &VerbArgs, bool)> {
    Some(match command {
        Command::Inventory(arguments) => ("inventory", arguments, false),
        Command::Plan(arguments) => ("plan", &arguments.verb, false),
        Command::Preflight(arguments) => ("preflight", arguments, false),
        Command::Build(arguments) => ("build", arguments, false),
        Command::Provision(arguments) => ("provision", arguments, true),
        Command::Migrate(arguments) => ("migrate", arguments, true),
        Command::Release(arguments) => ("release", arguments, true),
        Command::Observe(arguments) => ("observe", arguments, false),
        Command::Validate(arguments) => ("validate", arguments, true),
        Command::Handover(arguments) => ("handover", arguments, false),
        _ => return None,
    })
}

/// Reads the run that is worked on: the project's last one, where it is not ended or is the one
/// that was seen before; nothing where it cannot be read now. Blocks.
pub fn look(project: &Project, steps: &Steps, before: Option<&RunId>, draw: Draw) -> Option<Look> {
    let run = project.run(None).ok()?;
    let state = run.state().ok()?;
    let started = state.started.as_ref()?;
    let id = started.run.clone();
    if state.finished.is_some() && before != Some(&id) {
        return None;
    }
    let chart = steps.chart.then(|| draw(&run, ChartKind::Latency).ok());
    Some(Look {
        run: id,
        is_ended: state.finished.is_some(),
        what: format!(
            "{} to {} on {}",
            started.to, started.environment, started.target
        ),
        stands: as_magics(&stands(&state)),
        nothing_serves: started.from.is_none() && has_gone_back(&state),
        expected: expected(&state, steps),
        // A chart that cannot be drawn while files are being written is drawn the next time.
        chart: chart.flatten().as_ref().and_then(Picture::of),
    })
}

fn has_gone_back(state: &RunState) -> bool {
    let outcome = state.finished.as_ref().map(|(outcome, ..)| outcome);
    outcome == Some(&RunOutcome::RolledBack)
}

fn stands(state: &RunState) -> String {
    let planned = state.plan.iter().flat_map(|plan| &plan.steps);
    let all = planned.clone().count();
    let done = planned.filter(|step| state.step_done(&step.step)).count();
    format!("{}; {done} of {all} steps done", standing(state))
}

fn expected(state: &RunState, steps: &Steps) -> Option<Duration> {
    let planned = state.plan.iter().flat_map(|plan| &plan.steps);
    let milliseconds = planned
        .filter(|step| steps.include(step))
        .map(|step| step.expected_ms)
        .sum();
    (milliseconds > 0).then(|| Duration::from_millis(milliseconds))
}

impl Picture {
    fn of(chart: &Chart) -> Option<Self> {
        let picture = chart.picture.as_ref()?;
        Some(Self {
            png: picture.png_base64(),
            alternative: chart.alternative(),
            width: picture.width,
            height: picture.height,
        })
    }

    /// Returns the picture as an element.
    pub fn html(&self) -> String {
        format!(
            "<img src=\"data:image/png;base64,{}\" width=\"{}\" height=\"{}\" alt=\"{}\">",
            self.png,
            self.width,
            self.height,
            html::escape(&self.alternative)
        )
    }
}
