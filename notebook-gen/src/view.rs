//! Views of a run: the tables that pages and live cells show alike, each a [`Report`] made from
//! the record alone.

mod acts;
mod answers;
mod approvals;
mod checkpoints;
mod criteria;
mod dora;
mod drift;
mod durations;
mod events;
mod items;
mod lessons;
mod lists;
mod matrices;
mod objectives;
mod others;
mod overview;
mod readiness;
mod rollback;
mod runbook;
mod steps;
mod verdicts;

use std::fmt;
use std::str::FromStr;

use code_deploy_record::{PhaseNumber, Report};

use crate::facts::Facts;
use crate::series::Bins;
use crate::{Error, Result};

pub(crate) use acts::who_acts;
pub(crate) use answers::answer;
pub use checkpoints::{SignedBy, signed_at};
pub use criteria::{Criterion, criteria};
pub use events::describe;
pub use items::{ItemLine, Tally, items_of, tally};
pub(crate) use lists::has_resources;
pub(crate) use matrices::has_rule;
pub(crate) use others::read_others;
pub(crate) use overview::fact_lines;
pub use overview::{opening, verdict, verdict_word};
pub use rollback::{Way, went_back_with};
pub(crate) use rollback::{going_back_now, leads_back, rehearsed, went_back_after};
pub(crate) use steps::{Checks, gates_table, steps_table};

/// What a view shows: the words after `record`, or `status`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum View {
    /// Where the run stands.
    Status,
    /// How the run began and ended.
    Run,
    /// The catalogue's items, of one notebook or all.
    Items(Option<PhaseNumber>),
    /// The catalogue's items on security, of all phases.
    Security,
    /// Findings.
    Findings,
    /// Waivers.
    Waivers,
    /// Gates with what each looked at.
    Gates,
    /// Steps with their checks, of one phase or all.
    Steps(Option<PhaseNumber>),
    /// The phases.
    Phases,
    /// How long each phase took, against earlier runs.
    Durations,
    /// Moves of traffic.
    Traffic,
    /// Health of every instance.
    Health,
    /// Resources that instances took.
    Resources,
    /// The outside client.
    Client,
    /// Load tests.
    Load,
    /// Latency of the new release and the one it replaces.
    Comparison,
    /// Migrations.
    Migrations,
    /// Approvals.
    Approvals,
    /// Checkpoints that were signed over the record.
    Checkpoints,
    /// Files of the evidence.
    Evidence,
    /// The journal as text, of one phase or all.
    Events(Option<PhaseNumber>),
    /// What every finished run must show.
    Criteria,
    /// The deployment readiness matrix.
    Readiness,
    /// The environment validation matrix.
    Environments,
    /// The operational metrics matrix.
    Metrics,
    /// Objectives with the error budget that the run spent.
    Objectives,
    /// The four DORA keys.
    Dora,
    /// The eight stages of the loop.
    Loop,
    /// How to go back: both ways, or one.
    Rollback(Option<Way>),
    /// The runbook of a service or of an alert, or a guide, by its name, as it was handed over.
    Runbook(String),
    /// What to learn from the run.
    Lessons,
    /// The components with what runs of each.
    Components,
    /// What a section of a phase had to say, without carrying it out.
    Section(PhaseNumber, &'static str),
}

/// The views' words with what each shows, for help and completion.
pub const VIEWS: [(&str, &str); 32] = [
    ("run", "how the run began and ended"),
    (
        "items",
        "the catalogue's items; a phase's number may follow",
    ),
    ("security", "the catalogue's items on security"),
    ("findings", "findings, the most serious first"),
    ("waivers", "items that a named person waived"),
    ("gates", "answers of gates, with what did not hold"),
    (
        "steps",
        "steps with their checks; a phase's number may follow",
    ),
    ("phases", "the nine phases with their times"),
    (
        "durations",
        "how long each phase took, against earlier runs of this environment and target",
    ),
    ("traffic", "moves of traffic, as read back"),
    ("health", "health of every instance"),
    ("resources", "the most that each instance's release took"),
    ("client", "the outside client's requests and failures"),
    ("load", "load tests"),
    (
        "comparison",
        "latency and failures of the new release and the one it replaces",
    ),
    ("migrations", "migrations, forward and back"),
    (
        "approvals",
        "who said go or no-go, why, with which key, and until when it counts",
    ),
    (
        "checkpoints",
        "what was signed over the record, when, and whether each extends the one before",
    ),
    ("evidence", "files kept as evidence, with their digests"),
    ("events", "the journal; a phase's number may follow"),
    ("criteria", "what every finished run must show"),
    (
        "readiness",
        "components against built, tested, scanned, deployed, verified",
    ),
    ("environments", "checks against environments"),
    ("metrics", "figures against their targets"),
    (
        "objectives",
        "objectives with the error budget that the run spent of them",
    ),
    ("dora", "the four DORA keys of the runs in this folder"),
    ("loop", "the eight stages of the delivery loop"),
    (
        "rollback",
        "how to go back; `during` the run or `after` its end may follow",
    ),
    (
        "runbook",
        "a runbook or guide as handed over; the name of its service or alert, or its own, follows",
    ),
    (
        "lessons",
        "what took longest, failed, was retried, nearly failed, drifted or was waived",
    ),
    ("components", "the components with what runs of each"),
    (
        "section",
        "what a section had to say; a phase's number and the section follow",
    ),
];

impl View {
    /// Returns the view's word.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Run => "run",
            Self::Items(_) => "items",
            Self::Security => "security",
            Self::Findings => "findings",
            Self::Waivers => "waivers",
            Self::Gates => "gates",
            Self::Steps(_) => "steps",
            Self::Phases => "phases",
            Self::Durations => "durations",
            Self::Traffic => "traffic",
            Self::Health => "health",
            Self::Resources => "resources",
            Self::Client => "client",
            Self::Load => "load",
            Self::Comparison => "comparison",
            Self::Migrations => "migrations",
            Self::Approvals => "approvals",
            Self::Checkpoints => "checkpoints",
            Self::Evidence => "evidence",
            Self::Events(_) => "events",
            Self::Criteria => "criteria",
            Self::Readiness => "readiness",
            Self::Environments => "environments",
            Self::Metrics => "metrics",
            Self::Objectives => "objectives",
            Self::Dora => "dora",
            Self::Loop => "loop",
            Self::Rollback(_) => "rollback",
            Self::Runbook(_) => "runbook",
            Self::Lessons => "lessons",
            Self::Components => "components",
            Self::Section(..) => "section",
        }
    }
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())?;
        if let Self::Items(Some(phase)) | Self::Steps(Some(phase)) | Self::Events(Some(phase)) =
            self
        {
            write!(f, " {phase}")?;
        }
        if let Self::Runbook(name) = self {
            write!(f, " {name}")?;
        }
        if let Self::Rollback(Some(way)) = self {
            write!(f, " {}", way.word())?;
        }
        if let Self::Section(phase, section) = self {
            write!(f, " {phase} {section}")?;
        }
        Ok(())
    }
}

impl FromStr for View {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut words = text.split_whitespace();
        let word = words.next().unwrap_or("run");
        let number = words.next();
        let phase = number
            .and_then(|n| n.parse().ok())
            .and_then(PhaseNumber::new);
        let unknown = || Error::UnknownView {
            command: format!("record {}", crate::format::cut(text, 80)),
            expected: format!("the views are {}", VIEWS.map(|(word, _)| word).join(", ")),
        };
        let takes_phase = matches!(word, "items" | "steps" | "events");
        if word == "section" {
            let section = words.next().unwrap_or_default();
            let found = phase.and_then(|phase| crate::cell::known_section(phase, section));
            let alone = words.next().is_none();
            let found = phase.zip(found).filter(|_| alone);
            return found
                .map(|(phase, section)| Self::Section(phase, section))
                .ok_or_else(unknown);
        }
        if word == "runbook" {
            let name: Vec<&str> = number.into_iter().chain(words).collect();
            let name = name.join(" ");
            let fits = (1..=120).contains(&name.chars().count());
            return fits.then_some(Self::Runbook(name)).ok_or_else(unknown);
        }
        if word == "rollback" {
            let way = number.map(|word| Way::of(word).ok_or_else(unknown));
            let way = way.transpose()?;
            let alone = words.next().is_none();
            return alone.then_some(Self::Rollback(way)).ok_or_else(unknown);
        }
        if words.next().is_some() || (number.is_some() && (phase.is_none() || !takes_phase)) {
            return Err(unknown());
        }
        Ok(match word {
            "status" => Self::Status,
            "run" => Self::Run,
            "items" => Self::Items(phase),
            "security" => Self::Security,
            "findings" => Self::Findings,
            "waivers" => Self::Waivers,
            "gates" => Self::Gates,
            "steps" => Self::Steps(phase),
            "phases" => Self::Phases,
            "durations" => Self::Durations,
            "traffic" => Self::Traffic,
            "health" => Self::Health,
            "resources" => Self::Resources,
            "client" => Self::Client,
            "load" => Self::Load,
            "comparison" => Self::Comparison,
            "migrations" => Self::Migrations,
            "approvals" => Self::Approvals,
            "checkpoints" => Self::Checkpoints,
            "evidence" => Self::Evidence,
            "events" => Self::Events(phase),
            "criteria" => Self::Criteria,
            "readiness" => Self::Readiness,
            "environments" => Self::Environments,
            "metrics" => Self::Metrics,
            "objectives" => Self::Objectives,
            "dora" => Self::Dora,
            "loop" => Self::Loop,
            "lessons" => Self::Lessons,
            "components" => Self::Components,
            _ => return Err(unknown()),
        })
    }
}

/// What a view may look at: the run, its samples, and the other runs that were given.
#[derive(Debug, Clone, Copy)]
pub struct Material<'a> {
    /// The run.
    pub facts: &'a Facts,
    /// Its samples.
    pub bins: &'a Bins,
    /// Earlier runs of the same application with which it is compared, in order of time.
    pub others: &'a [Facts],
}

impl Material<'_> {
    /// Makes the report of a view.
    ///
    /// # Errors
    /// [`Error::Record`] when the journal or the catalogue cannot be read.
    pub fn report(&self, view: &View) -> Result<Report> {
        let facts = self.facts;
        Ok(match view {
            View::Status => overview::status(facts),
            View::Run => overview::run(facts),
            View::Items(phase) => items::items(facts, *phase)?,
            View::Security => items::security(facts)?,
            View::Findings => lists::findings(facts),
            View::Waivers => approvals::waivers(facts),
            View::Gates => steps::gates(facts),
            View::Steps(phase) => steps::steps(facts, *phase),
            View::Phases => overview::phases(facts),
            View::Durations => durations::durations(facts, self.others),
            View::Traffic => lists::traffic(facts),
            View::Health => lists::health(facts),
            View::Resources => lists::resources(self.bins),
            View::Client => lists::client(facts),
            View::Load => lists::load(facts),
            View::Comparison => lists::comparison(facts, self.bins),
            View::Migrations => lists::migrations(facts),
            View::Approvals => approvals::approvals(facts),
            View::Checkpoints => checkpoints::checkpoints(facts)?,
            View::Evidence => lists::evidence(facts),
            View::Events(phase) => events::events(facts, *phase)?,
            View::Criteria => criteria::report(facts)?,
            View::Readiness => readiness::readiness(facts)?,
            View::Environments => matrices::environments(facts, self.others),
            View::Metrics => matrices::metrics(facts),
            View::Objectives => objectives::objectives(facts, self.bins),
            View::Dora => dora::dora(facts, self.others),
            View::Loop => matrices::delivery_loop(facts),
            View::Rollback(way) => rollback::rollback(facts, *way),
            View::Runbook(name) => runbook::runbook(facts, name),
            View::Lessons => lessons::lessons(facts, self.others),
            View::Components => matrices::components(facts),
            View::Section(phase, section) => steps::section(facts, *phase, section),
        })
    }
}

/// Makes the report of a view of a run as its record stands now.
///
/// # Errors
/// [`Error::Record`] when a record cannot be read.
pub fn view(
    run: &code_deploy_record::RunFolder,
    others: &[code_deploy_record::RunFolder],
    view: View,
) -> Result<Report> {
    let facts = Facts::read(run)?;
    let bins = if matches!(view, View::Resources | View::Comparison | View::Objectives) {
        Bins::read(&facts)?
    } else {
        Bins::default()
    };
    let others = read_others(&facts, others)?;
    let material = Material {
        facts: &facts,
        bins: &bins,
        others: &others,
    };
    material.report(&view)
}

/// Returns a row of a table.
pub(crate) fn row<const N: usize>(entries: [&str; N]) -> Vec<String> {
    entries.into_iter().map(str::to_owned).collect()
}

/// Returns columns of text.
pub(crate) fn columns<const N: usize>(titles: [&str; N]) -> Vec<code_deploy_record::Column> {
    titles
        .into_iter()
        .map(code_deploy_record::Column::text)
        .collect()
}
