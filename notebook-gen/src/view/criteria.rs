//! What every finished run must show.
//!
//! A criterion counts as shown when what was measured says so and every item of the catalogue that
//! the criterion is about is met or cannot apply. An open or a waived item leaves it open.

use code_deploy_record::{Gate, Outcome, Report, Role, SCANS, Severity};

use crate::Result;
use crate::facts::Facts;
use crate::format::{count, counted, duration};
use crate::view::rollback::{going_back_now, rehearsed, way_down};
use crate::view::verdicts::Verdicts;
use crate::view::{columns, row};

/// One of the eight criteria of a finished run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Criterion {
    /// What must be shown.
    pub name: &'static str,
    /// Whether the record shows it; nothing when the record neither shows nor refutes it.
    pub shown: Option<bool>,
    /// Whether it can apply to this run.
    pub applies: bool,
    /// How it is shown, with its figures.
    pub how: String,
}

impl Criterion {
    fn new(name: &'static str, shown: Option<bool>, how: String) -> Self {
        let applies = true;
        Self {
            name,
            shown,
            applies,
            how,
        }
    }

    fn cannot_apply(name: &'static str, why: &str) -> Self {
        Self {
            applies: false,
            ..Self::new(name, None, why.to_owned())
        }
    }

    /// Returns the word that pages use.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self.shown {
            Some(true) => "shown",
            Some(false) => "not so",
            None if self.applies => "open",
            None => "not applicable",
        }
    }

    /// Adds what the verdicts of items say; a criterion is shown only when both say so.
    fn and(mut self, about: &str, verdicts: &Verdicts) -> Self {
        self.how
            .push_str(&format!("; items of {about}: {verdicts}"));
        self.shown = match (self.shown, verdicts.hold()) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (Some(true), Some(true)) => Some(true),
            _ => None,
        };
        self
    }
}

/// Returns the eight criteria of a finished run with how the record shows each.
///
/// # Errors
/// [`crate::Error::Record`] when the catalogue cannot be read.
pub fn criteria(facts: &Facts) -> Result<Vec<Criterion>> {
    let of = |groups: &[&str], items: &[&str]| Verdicts::named(facts, groups, items);
    let objectives = objectives(facts);
    let observability = gate(facts, "100 % observability", Gate::Monitoring);
    Ok(vec![
        components(facts),
        interruption(facts),
        health(facts),
        objectives.and("9.2, performance", &of(&["9.2"], &[])?),
        scans(facts)?,
        observability.and(
            "8.1, 8.2 and 8.3, metrics, logs and traces",
            &of(&["8.1", "8.2", "8.3"], &[])?,
        ),
        runbooks(facts)?,
        rehearsal(facts),
    ])
}

pub(super) fn report(facts: &Facts) -> Result<Report> {
    let criteria = criteria(facts)?;
    let rows = criteria
        .iter()
        .map(|one| row([one.name, one.word(), &one.how]));
    let counts = ["shown", "not so", "open", "not applicable"].map(|word| {
        let number = criteria.iter().filter(|one| one.word() == word).count();
        (word, number)
    });
    let counts = counts.iter().filter(|(word, n)| *n > 0 || *word == "shown");
    let counts: Vec<String> = counts.map(|(word, n)| format!("{n} {word}")).collect();
    let caption = format!(
        "What every finished run must show: of {}, {}",
        criteria.len(),
        counts.join(", ")
    );
    let titles = columns(["Criterion", "State", "How it is shown"]);
    let rule = "Shown is what was measured, and whose items in the catalogue are all met or cannot \
                apply. An item that is open or waived leaves a criterion open, as does an objective that too few \
                requests were measured of to show it, and a way down of migrations that was not run, if only on a \
                copy; a finding of medium severity or above makes the one on scans not so, whatever its items say.";
    Ok(Report::new()
        .with_table(caption, titles, rows.collect())
        .with_text(rule))
}

fn components(facts: &Facts) -> Criterion {
    let name = "100 % of components deployed";
    let wanted = facts.state.components.iter();
    let wanted = wanted.filter(|c| matches!(c.role, Role::Frontend | Role::Backend));
    let wanted: Vec<&str> = wanted.map(|component| component.name.as_str()).collect();
    if wanted.is_empty() {
        return Criterion::new(name, None, "the inventory names no service".to_owned());
    }
    let Some(release) = facts.final_release() else {
        let how = "the run has not reached a release on which everything runs".to_owned();
        return Criterion::new(name, None, how);
    };
    let healthy = |service: &str| {
        let probes = facts.state.health.iter();
        let mut own = probes.filter(|((s, r, ..), _)| s == service && r == release);
        own.next().is_some_and(|(_, first)| *first) && own.all(|(_, healthy)| *healthy)
    };
    let serves = |service: &str| {
        let served = facts.state.traffic.get(service);
        served.is_some_and(|(served, _)| served.get(release) == Some(&100))
    };
    let missing: Vec<&str> = wanted
        .iter()
        .filter(|service| !healthy(service) || !serves(service))
        .copied()
        .collect();
    let mut how = format!(
        "{} of {} services were healthy on {release} when last seen, and all their traffic was \
         read back to go there",
        wanted.len() - missing.len(),
        wanted.len()
    );
    if !missing.is_empty() {
        how.push_str(&format!("; not seen so: {}", missing.join(", ")));
    }
    if *release != facts.started.to {
        let how = format!("{} is not deployed; {how}", facts.started.to);
        return Criterion::new(name, Some(false), how);
    }
    let looked_at = !facts.state.health.is_empty() && !facts.state.traffic.is_empty();
    Criterion::new(name, looked_at.then_some(missing.is_empty()), how)
}

/// The health gate, and what the probes of the release that stays said last.
fn health(facts: &Facts) -> Criterion {
    let mut criterion = gate(facts, "all health checks passing", Gate::Health);
    let Some(release) = facts.final_release() else {
        return criterion;
    };
    let own = facts.state.health.iter();
    let own: Vec<bool> = own
        .filter(|((_, of, ..), _)| of == release)
        .map(|(_, healthy)| *healthy)
        .collect();
    let passing = own.iter().filter(|passes| **passes).count();
    criterion.how.push_str(&format!(
        "; {passing} of {} probes of {release} passed when last asked",
        own.len()
    ));
    if passing < own.len() {
        criterion.shown = Some(false);
    }
    criterion
}

fn interruption(facts: &Facts) -> Criterion {
    let name = "no service interruption";
    let Some(client) = facts.state.clients.get("client") else {
        if facts.started.initial {
            return Criterion::cannot_apply(
                name,
                "no release ran before that could be interrupted",
            );
        }
        let how = "no client outside measured this run".to_owned();
        return Criterion::new(name, None, how);
    };
    let how = format!(
        "a client outside sent {} from {} to {} UTC: {} failed, longest gap between good answers {}",
        counted(client.sent, "request"),
        crate::format::clock(client.first),
        crate::format::clock(client.last),
        count(client.failed),
        duration(client.longest_gap_us)
    );
    Criterion::new(name, (client.sent > 0).then_some(client.failed == 0), how)
}

/// The last answer of a gate to each of its subjects. A gate that compared nothing leaves it open.
fn gate(facts: &Facts, name: &'static str, gate: Gate) -> Criterion {
    let answers = facts.last_answers(gate);
    if answers.is_empty() {
        let how = format!("the {} gate was not asked in this run", gate.word());
        return Criterion::new(name, None, how);
    }
    let of = |word: &str| {
        let own = answers.iter().filter(|one| one.what.word() == word);
        own.count()
    };
    let (passed, not_compared) = (of("passed"), of("not compared"));
    let mut how = format!(
        "{} gate: of the last answers to {}, {passed} passed",
        gate.word(),
        counted(answers.len() as u64, "subject"),
    );
    if not_compared > 0 {
        how.push_str(&format!(", {not_compared} had nothing to compare with"));
    }
    let first = answers.iter().find(|one| one.what.word() != "passed");
    if let Some(first) = first {
        how.push_str(&format!("; {}: {}", first.what.subject, first.what.reason));
    }
    let failed = answers.iter().any(|one| !one.what.passed);
    let shown = match (failed, passed == answers.len()) {
        (true, _) => Some(false),
        (false, true) => Some(true),
        (false, false) => None,
    };
    Criterion::new(name, shown, how)
}

/// The baseline gate. Its checks of objectives count even where no release was replaced that it
/// could compare with; whether that had to be is said by the catalogue's items. An objective that few
/// requests do not show leaves the criterion open.
fn objectives(facts: &Facts) -> Criterion {
    let mut criterion = gate(facts, "objectives met or exceeded", Gate::Baseline);
    let answers = facts.last_answers(Gate::Baseline);
    let mut checks = answers.iter().flat_map(|answer| &answer.what.checks);
    let number = checks.clone().count() as u64;
    let held = number > 0 && checks.all(|check| check.passed);
    if criterion.shown.is_none() && held {
        criterion.shown = Some(true);
        criterion.how.push_str(&format!(
            "; {} of objectives, all hold",
            counted(number, "check")
        ));
    }
    let checks = answers.iter().flat_map(|answer| &answer.what.checks);
    let few = checks.filter_map(|check| Some(format!("{} {}", check.name, check.unshown?)));
    let few: Vec<String> = few.collect();
    if !few.is_empty() {
        criterion.shown = criterion.shown.filter(|shown| !shown);
        criterion.how.push_str(&format!("; {}", few.join("; ")));
    }
    criterion
}

/// The security gate, the verdicts of all items about scans, and the findings.
fn scans(facts: &Facts) -> Result<Criterion> {
    let items = Verdicts::named(facts, SCANS.0, SCANS.1)?;
    let mut criterion = gate(facts, "all scans clean", Gate::Security).and("scans", &items);
    let severities = [
        ("critical", Severity::Critical),
        ("high", Severity::High),
        ("medium", Severity::Medium),
    ];
    let counts = severities.map(|(word, severity)| {
        let of = facts.findings.iter();
        let number = of.filter(|one| one.what.severity == severity).count();
        (word, number)
    });
    let texts = counts.map(|(word, number)| format!("{number} {word}"));
    criterion
        .how
        .push_str(&format!("; findings: {}", texts.join(", ")));
    if counts.iter().any(|(_, number)| *number > 0) {
        criterion.shown = Some(false);
    }
    Ok(criterion)
}

fn runbooks(facts: &Facts) -> Result<Criterion> {
    let items = Verdicts::named(facts, &["10.1", "10.2"], &[])?;
    let how = format!("all items of 10.1 and 10.2, the documentation: {items}");
    Ok(Criterion::new("runbooks complete", items.hold(), how))
}

fn rehearsal(facts: &Facts) -> Criterion {
    let name = "rollback verified";
    match facts.state.rehearsed.zip(rehearsed(facts)) {
        Some(((_, failed, answered), how)) => {
            let down = way_down(facts);
            let rest = match facts.state.rollback_outcome {
                Some(Outcome::Done) => "later the run went back and undid its other steps, too",
                _ => "the undo of the other steps was not rehearsed",
            };
            let now = going_back_now(facts);
            let how = format!("rehearsed: {how}; {down}; {rest}{now}");
            let shown = match (failed, answered) {
                // No request shows how users fared.
                (0, 0) => None,
                (0, _) => down.was_run().then_some(true),
                _ => Some(false),
            };
            Criterion::new(name, shown, how)
        }
        None if facts.started.from.is_none() => {
            Criterion::cannot_apply(name, "no release ran before to go back to")
        }
        None => Criterion::new(name, None, "the rehearsal was not reached".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use code_deploy_synthetic::{self as synthetic, Story};

    use super::*;

    /// Returns what is said of the rollback of a run of which something is otherwise.
    fn rollback(story: Story, change: impl FnOnce(&mut Facts)) -> Criterion {
        let project = tempfile::tempdir().unwrap();
        let run = synthetic::run(project.path(), "run-1", story);
        let mut facts = Facts::read(&run).unwrap();
        change(&mut facts);
        rehearsal(&facts)
    }

    #[track_caller]
    fn says(criterion: &Criterion, word: &str, texts: &[&str]) {
        assert_eq!(criterion.word(), word, "{}", criterion.how);
        for text in texts {
            assert!(criterion.how.contains(text), "{text}: {}", criterion.how);
        }
    }

    #[test]
    fn a_rollback_is_verified_only_as_far_as_it_was_rehearsed() {
        let whole = rollback(Story::Succeeded, |_| {});
        let texts = [
            "rehearsed: traffic led back in 412 ms while both releases ran",
            "0 failed of 21 requests in the seconds around it",
            "the migrations of shop-db were taken back on a copy",
            "the undo of the other steps was not rehearsed",
            "going back now is a run of its own, which was not rehearsed",
        ];
        says(&whole, "shown", &texts);
        let untried = rollback(Story::Succeeded, |facts| {
            let steps = &mut facts.state.steps;
            steps.retain(|name, _| name.as_str() != "migrate.rollback");
        });
        let not_run = ["the way down of the migrations of shop-db was not run"];
        says(&untried, "open", &not_run);
        let without = rollback(Story::Succeeded, |facts| facts.migrations.clear());
        says(&without, "shown", &["no migration was carried out"]);
    }

    #[test]
    fn a_rehearsal_that_no_request_saw_leaves_the_rollback_open_and_one_that_failed_some_breaks_it()
    {
        let of = |failed, answered| {
            rollback(Story::Succeeded, |facts| {
                facts.state.rehearsed = Some((412_000, failed, answered));
            })
        };
        says(&of(0, 0), "open", &[]);
        says(&of(1, 20), "not so", &[]);
    }

    #[test]
    fn a_run_that_went_back_did_what_it_had_not_rehearsed() {
        let back = rollback(Story::RolledBack, |_| {});
        let texts = [
            "the migrations of shop-db were taken back in this run",
            "later the run went back and undid its other steps, too",
        ];
        says(&back, "shown", &texts);
    }
}
