//! What a cell's command shows.

use code_deploy_record::PhaseNumber;

use crate::Result;
use crate::chart::ChartKind;
use crate::view::View;

/// The command of a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// Opens or joins the run.
    Open,
    /// Carries out a phase's verb, whole or one section.
    Verb {
        verb: &'static str,
        section: Option<String>,
    },
    /// Draws a chart.
    Chart(ChartKind),
    /// Shows a view.
    Record(View),
    /// Anything else, which a page leaves unexecuted: to be run when it is needed.
    Procedure,
}

/// The verbs with their phases and sections, in order.
const VERBS: [(&str, u8, &[&str]); 10] = [
    (
        "inventory",
        1,
        &["components", "dependencies", "infrastructure", "network"],
    ),
    ("plan", 1, &["scope", "steps", "risks", "rollback"]),
    (
        "preflight",
        2,
        &[
            "health",
            "resources",
            "dependencies",
            "security",
            "go-no-go",
        ],
    ),
    (
        "build",
        3,
        &[
            "source",
            "logs",
            "images",
            "artifacts",
            "security",
            "quality",
            "registry",
        ],
    ),
    (
        "provision",
        4,
        &[
            "outside-client",
            "resources",
            "network",
            "load-balancer",
            "hardening",
            "tls",
            "connectivity",
        ],
    ),
    (
        "migrate",
        5,
        &[
            "backup",
            "execution",
            "validation",
            "performance",
            "rollback",
        ],
    ),
    (
        "release",
        6,
        &[
            "green",
            "health",
            "smoke",
            "monitoring",
            "traffic",
            "rehearsal",
            "promotion",
        ],
    ),
    (
        "observe",
        7,
        &["metrics", "dashboards", "alerts", "logs", "traces"],
    ),
    (
        "validate",
        8,
        &[
            "functional",
            "performance",
            "security",
            "integration",
            "acceptance",
        ],
    ),
    (
        "handover",
        9,
        &[
            "runbooks",
            "contacts",
            "escalation",
            "maintenance",
            "known-issues",
            "notebooks",
        ],
    ),
];

impl Command {
    /// Reads the first line of a cell.
    ///
    /// # Errors
    /// [`crate::Error::UnknownView`] for a chart or view that is not known.
    pub(crate) fn parse(source: &str) -> Result<Self> {
        let first = source.lines().next().unwrap_or_default().trim();
        let Some(line) = first.strip_prefix('%') else {
            return Ok(Self::Procedure);
        };
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let rest = rest.trim();
        if let Some((verb, ..)) = VERBS.iter().find(|(verb, ..)| *verb == word) {
            let section = (!rest.is_empty()).then(|| rest.to_owned());
            return Ok(Self::Verb { verb, section });
        }
        Ok(match word {
            "code-deploy" => Self::Open,
            "chart" => Self::Chart(rest.parse()?),
            "status" => Self::Record(View::Status),
            "record" => Self::Record(rest.parse()?),
            _ => Self::Procedure,
        })
    }
}

/// Returns the phase of a verb.
pub(crate) fn phase_of(verb: &str) -> Option<PhaseNumber> {
    let found = VERBS.iter().find(|(known, ..)| *known == verb);
    found.and_then(|(_, phase, _)| PhaseNumber::new(*phase))
}

/// Returns the verbs of a phase.
pub(crate) fn verbs_of(phase: PhaseNumber) -> Vec<&'static str> {
    let of = VERBS.iter().filter(|(_, number, _)| *number == phase.get());
    of.map(|(verb, ..)| *verb).collect()
}

/// Returns the sections of a verb.
pub(crate) fn sections_of(verb: &str) -> &'static [&'static str] {
    let found = VERBS.iter().find(|(known, ..)| *known == verb);
    found.map_or(&[], |(.., sections)| *sections)
}

/// Returns the section of a phase with that name, if there is one.
pub(crate) fn known_section(phase: PhaseNumber, name: &str) -> Option<&'static str> {
    let of_phase = VERBS.iter().filter(|(_, number, _)| *number == phase.get());
    let mut sections = of_phase.flat_map(|(.., sections)| sections.iter().copied());
    sections.find(|section| *section == name)
}
