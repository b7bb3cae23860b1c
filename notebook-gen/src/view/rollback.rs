//! How to go back: while the run is under way, and after it has ended.
//!
//! The two are different things. While a run is under way, going back undoes its steps. After its
//! end, `rollback` is a run of its own that deploys the release before; it undoes nothing.

mod rehearsal;

use chrono::{DateTime, Utc};
use code_deploy_record::{Column, Direction, Outcome, PhaseNumber, Release, Report, RunOutcome};
use serde_json::Value;

use crate::facts::{Facts, Migration};
use crate::format::{clock, counted, duration, moment};
use crate::passed::{self, spent};
use crate::view::columns;

pub(crate) use rehearsal::rehearsed;
pub(super) use rehearsal::way_down;

use rehearsal::measured;

/// The phase that moves traffic.
const RELEASE: u8 = 6;

/// The step that takes backups and restores them into scratch files.
const BACKUP: &str = "migrate.backup";

/// Which of the two ways back is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// While the run is under way.
    During,
    /// After it has ended.
    After,
}

impl Way {
    /// Returns the word that names it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::During => "during",
            Self::After => "after",
        }
    }

    pub(super) fn of(word: &str) -> Option<Self> {
        [Self::During, Self::After]
            .into_iter()
            .find(|way| way.word() == word)
    }
}

/// Both ways back, or one of them.
pub(super) fn rollback(facts: &Facts, way: Option<Way>) -> Report {
    match way {
        Some(Way::During) => during(facts, Report::new()),
        Some(Way::After) => after(facts, Report::new()),
        None => {
            let report = Report::new().with_text("While the run is under way:");
            let report = during(facts, report).with_text("After the run has ended:");
            after(facts, report)
        }
    }
}

/// Returns how the run ended. One that needs a person goes on when somebody has decided.
fn ended(facts: &Facts) -> Option<(RunOutcome, DateTime<Utc>)> {
    let (outcome, _, time) = facts.state.finished.as_ref()?;
    (*outcome != RunOutcome::NeedsPerson).then_some((*outcome, *time))
}

fn during(facts: &Facts, report: Report) -> Report {
    let back = facts.started.from.as_ref().map_or_else(
        || "takes the first release away again".to_owned(),
        |from| format!("goes back to {from}"),
    );
    let report = match ended(facts) {
        None => {
            let report = report.with_text(format!(
                "The run is under way. `code-deploy rollback` {back}: it undoes the steps below, \
                 last first, each verified from inside and outside before the next begins. The run \
                 does the same by itself when a step or a gate fails after something was changed."
            ));
            undo(facts, report, "Undo, in order")
        }
        Some((RunOutcome::Succeeded, time)) => {
            let report = report.with_text(format!(
                "The run succeeded at {} UTC, and its steps are not undone any more. Up to then \
                 `code-deploy rollback`, or a step or a gate that failed, would have undone them, \
                 last first, each verified from inside and outside before the next began.",
                clock(time)
            ));
            undo(facts, report, "Undo up to the end of the run, in order")
        }
        Some((RunOutcome::RolledBack, _)) => {
            let now = facts.started.from.as_ref().map_or_else(
                || "The first release was taken away again.".to_owned(),
                |from| format!("Everything runs on {from} again."),
            );
            report.with_text(format!("{now} The run has gone back."))
        }
        Some(_) => report.with_text("The run was refused before it changed anything."),
    };
    carried_out(facts, measured(facts, report))
}

/// Returns whether `rollback` leads back from the run once it has succeeded.
pub(crate) fn leads_back(facts: &Facts) -> bool {
    let outcome = ended(facts).map(|(outcome, _)| outcome);
    let whole = matches!(outcome, None | Some(RunOutcome::Succeeded));
    whole && facts.started.from.is_some() && facts.started.reverts.is_none()
}

fn undo(facts: &Facts, report: Report, caption: &str) -> Report {
    let steps = facts.state.to_undo();
    if steps.is_empty() {
        return report.with_text("No step of this run has changed anything.");
    }
    let rows = steps.iter().enumerate().map(|(place, step)| {
        let planned = facts.state.planned(step);
        let text = planned.and_then(|planned| planned.undo.clone());
        let none = "changes nothing that has to be taken back";
        let took = facts.passed_last(step, Direction::Apply);
        vec![
            (place + 1).to_string(),
            step.to_string(),
            text.unwrap_or_else(|| none.to_owned()),
            took.map(|passed| duration(spent(&passed)))
                .unwrap_or_default(),
        ]
    });
    let mut titles = vec![Column::number("Order")];
    titles.extend(columns(["Step", "What its undo does"]));
    titles.push(Column::number("Spent forward"));
    report.with_table(caption, titles, rows.collect())
}

fn after(facts: &Facts, report: Report) -> Report {
    let started = &facts.started;
    let (to, environment, target) = (&started.to, &started.environment, &started.target);
    match ended(facts) {
        Some((RunOutcome::RolledBack, _)) => {
            return report.with_text(
                "The run has gone back itself, so there is nothing to go back from: \
                 `code-deploy rollback` is refused (CD0418).",
            );
        }
        Some((RunOutcome::Refused, _)) => {
            return report.with_text(
                "The run changed nothing, so there is nothing to go back from: \
                 `code-deploy rollback` is refused (CD0418).",
            );
        }
        _ => {}
    }
    if let Some(reverted) = &started.reverts {
        return report.with_text(format!(
            "This run is itself the way back from run {reverted}, so `code-deploy rollback` is \
             refused once it has ended (CD0418). Another release is deployed by \
             `code-deploy {environment} {target} --to RELEASE`."
        ));
    }
    let Some(from) = &started.from else {
        return report.with_text(format!(
            "{to} is the first release: there is no earlier one, and `code-deploy rollback` is \
             refused once the run has ended (CD0418). `code-deploy {environment} {target} --stop` stops what was \
             deployed."
        ));
    };
    let once = match ended(facts) {
        Some(_) => "",
        None => "This applies once the run has succeeded. ",
    };
    let report = report.with_text(format!(
        "{once}`code-deploy rollback --reason \"WHY\"`, given in the project's folder, then begins a run of its own, with a record of its own. It \
         deploys {from} over {to}: it starts {from}, checks it, and moves all traffic to it at \
         once, without the steps of a canary or a rollout. It undoes no step of this run, so what \
         was provisioned stays."
    ));
    let report = match old_is_stopped(facts) {
        true => report.with_text(format!(
            "{from} does not run any more: this run stopped it (finish.old-release). Going back \
             takes as long as the phases before the release{} and starting and checking it{}. That \
             was not rehearsed; the rehearsed time is that of the traffic alone.",
            clause(before_release(facts), |took| format!(
                "01 to 05, {took} here"
            )),
            clause(starting(facts), |took| format!(
                "for {to} that took {took} here"
            ))
        )),
        false => report,
    };
    databases(facts, from, report)
}

/// Returns whether the run stopped the release before.
fn old_is_stopped(facts: &Facts) -> bool {
    facts.state.steps.iter().any(|(step, state)| {
        step.as_str() == "finish.old-release"
            && state.status == code_deploy_record::StepStatus::Done
    })
}

/// Returns a time in brackets; nothing where it is not known.
fn clause(took: u64, text: impl FnOnce(String) -> String) -> String {
    match took {
        0 => String::new(),
        took => format!(" ({})", text(duration(took))),
    }
}

/// Returns how much time was spent on the phases before the release in this run, in microseconds; 0 where it is not known.
fn before_release(facts: &Facts) -> u64 {
    let phases = facts.state.phases.iter();
    let phases = phases.filter(|(phase, _)| phase.get() < 6);
    let ended = phases.filter(|(_, phase)| phase.finished.is_some());
    ended.map(|(_, phase)| spent(&facts.passed_in(phase))).sum()
}

/// Returns how much time was spent on starting and checking the new release in this run, in microseconds; 0 where it is
/// not known.
fn starting(facts: &Facts) -> u64 {
    let steps = ["release.green.", "release.health.", "release.smoke"];
    let own = facts.steps.iter().filter(|step| {
        let is_own = |start: &&str| step.what.step.as_str().starts_with(start);
        step.what.direction == Direction::Apply && steps.iter().any(is_own)
    });
    // Services are started beside one another: what counts is from the first begin to the last end.
    let began = own.clone().map(|step| {
        let took = i64::try_from(step.what.duration_us).unwrap_or(i64::MAX);
        step.time - chrono::TimeDelta::microseconds(took)
    });
    match began.min().zip(own.map(|step| step.time).max()) {
        Some((began, ended)) => spent(&facts.passed(began, ended)),
        None => 0,
    }
}

/// Says which share of traffic the release had when the run went back last: its sections tell only what they found
/// before. Nothing where it did not go back, or had moved no traffic.
#[must_use]
pub fn went_back_with(facts: &Facts) -> Option<String> {
    let back = facts.rollbacks.last()?;
    let mut before = facts.shifts.iter().rev();
    let shift = before.find(|shift| shift.seq < back.seq)?;
    let to = &facts.started.to;
    let share = shift.what.served.get(to).copied().unwrap_or(0);
    Some(format!(
        "When the run went back at {} UTC (event {}), {to} had {share} % of traffic (event {}).",
        clock(back.time),
        back.seq,
        shift.seq
    ))
}

/// Returns the same sentence for what a section of a phase reported with an event, where it was before that: only the
/// section on traffic tells of shares.
pub(crate) fn went_back_after(
    facts: &Facts,
    phase: PhaseNumber,
    section: &str,
    event: u64,
) -> Option<String> {
    let tells = phase.get() == RELEASE && section == "traffic";
    let later = facts.rollbacks.last().is_some_and(|back| back.seq > event);
    (tells && later).then(|| went_back_with(facts)).flatten()
}

/// Returns a time that was not measured as such: seconds, without their fractions.
fn about(took: u64) -> String {
    match took.saturating_add(500_000) / 1_000_000 {
        0 => "1 s".to_owned(),
        seconds @ 1..60 => format!("{seconds} s"),
        seconds => duration(seconds * 1_000_000),
    }
}

/// Returns, as a clause, what going back takes after a run that has succeeded: by then it is more than the
/// traffic that was rehearsed. Empty where it is no more than that, or where there is no way back.
pub(crate) fn going_back_now(facts: &Facts) -> String {
    let succeeded = matches!(ended(facts), Some((RunOutcome::Succeeded, _)));
    let possible = facts.started.from.is_some() && facts.started.reverts.is_none();
    if !succeeded || !possible {
        return String::new();
    }
    let again = match old_is_stopped(facts) {
        true => starting(facts),
        false => 0,
    };
    match before_release(facts) + again {
        0 => "; going back now is a run of its own, which was not rehearsed".to_owned(),
        took => format!(
            "; going back now is a run of its own, which was not rehearsed: about {}, by what its phases and starting \
             took here",
            about(took)
        ),
    }
}

fn databases(facts: &Facts, from: &Release, report: Report) -> Report {
    let forward: Vec<(DateTime<Utc>, &Migration)> = facts
        .migrations
        .iter()
        .filter(|one| one.what.direction == Direction::Apply)
        .map(|one| (one.time, &one.what))
        .collect();
    let Some((first, _)) = forward.first() else {
        return backups(
            facts,
            report.with_text("This run carried out no migration."),
        );
    };
    let mut names: Vec<&str> = forward
        .iter()
        .map(|(_, one)| one.database.as_str())
        .collect();
    names.sort_unstable();
    names.dedup();
    let versions = names.iter().map(|name| {
        let own = forward.iter().filter(|(_, one)| one.database == *name);
        let version = own.map(|(_, one)| one.version).max().unwrap_or_default();
        format!("database {name} at version {version}")
    });
    let versions: Vec<String> = versions.collect();
    let mut text = format!(
        "Migrations are not taken back: {} stays as it is, and {from} has to work with it.",
        versions.join(", ")
    );
    if let Some(until) = had_traffic_until(facts, from).filter(|until| until > first) {
        text.push_str(&format!(
            " In this run {from} had traffic on the migrated data from {} to {} UTC.",
            clock(*first),
            clock(until)
        ));
    }
    backups(facts, report.with_text(text))
}

/// Returns when the last traffic was taken from a release.
fn had_traffic_until(facts: &Facts, release: &Release) -> Option<DateTime<Utc>> {
    let has = |served: &std::collections::BTreeMap<Release, u16>| {
        served.get(release).is_some_and(|share| *share > 0)
    };
    let last = facts
        .shifts
        .iter()
        .rposition(|shift| has(&shift.what.served))?;
    facts.shifts.get(last + 1).map(|shift| shift.time)
}

/// The backups, as the step that took them names them.
fn backups(facts: &Facts, report: Report) -> Report {
    let step = facts.state.steps.iter();
    let result = step
        .filter(|(name, _)| name.as_str() == BACKUP)
        .find_map(|(_, step)| step.result.get("databases")?.as_object());
    let text = |value: &Value, key: &str| match value.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => "not recorded".to_owned(),
    };
    let (mut rows, mut commands) = (Vec::new(), Vec::new());
    for (name, database) in result.into_iter().flatten() {
        let Some(backup) = database.get("backup").filter(|backup| backup.is_object()) else {
            continue;
        };
        let taken: Option<DateTime<Utc>> = text(backup, "taken").parse().ok();
        commands.extend(restoring(backup));
        rows.push(vec![
            name.clone(),
            text(database, "version"),
            taken.map_or_else(|| "not recorded".to_owned(), moment),
            text(backup, "path"),
            text(backup, "digest"),
        ]);
    }
    if rows.is_empty() {
        return report.with_text("The record names no backup of a database.");
    }
    let titles = columns(["Database", "Version", "Taken", "Path", "SHA-256"]);
    let report = report
        .with_text(
            "No command of this program restores a database. Where the earlier release cannot work \
             with the data, it is done by hand: stop the services that use the database, compare \
             the backup's digest, put it in the database's place, start them again. What was \
             written since the backup is lost.",
        )
        .with_table("Backups of this run", titles, rows);
    match commands.is_empty() {
        true => report,
        false => report.with_code(
            "Comparing the digest and putting the backup in its place, on the machine of the run, \
             while no service uses the database",
            "sh",
            commands.join("\n"),
        )
        .with_text(restored(facts)),
    }
}

/// Says what the commands print that put a backup in its place, and what of it was tried.
fn restored(facts: &Facts) -> String {
    let mut steps = facts.state.steps.keys();
    let backup = steps.find(|name| name.as_str() == BACKUP);
    let took = backup.and_then(|name| facts.passed_last(name, Direction::Apply));
    let tried = match took {
        Some(passed) => format!(
            "This run did not put a backup in its place; taking the backups and restoring them into scratch files took \
             {} ({BACKUP}).",
            passed::in_words(&passed)
        ),
        None => "This run did not try it.".to_owned(),
    };
    format!(
        "Expected of each: the backup's path with `OK` behind it, and nothing else. Where the digest is another, \
         nothing is put in its place. {tried}"
    )
}

/// Returns the command that puts the backup of an SQLite database in its place; nothing where the record does
/// not say where that is. What the database wrote ahead beside its file would be taken for its own.
fn restoring(backup: &Value) -> Option<String> {
    let text = |key: &str| backup.get(key).and_then(Value::as_str);
    let (digest, path, of) = (text("digest")?, text("path")?, text("of")?);
    let quoted = |text: &str| {
        shlex::try_quote(text)
            .map(std::borrow::Cow::into_owned)
            .ok()
    };
    let listed = quoted(&format!("{digest}  {path}"))?;
    let (log, index) = (quoted(&format!("{of}-wal"))?, quoted(&format!("{of}-shm"))?);
    let (path, of) = (quoted(path)?, quoted(of)?);
    Some(format!(
        "echo {listed} | sha256sum --check && rm -f {log} {index} && cp {path} {of}"
    ))
}

fn carried_out(facts: &Facts, mut report: Report) -> Report {
    for (began, end) in facts.rollbacks.iter().zip(
        facts
            .rollback_ends
            .iter()
            .map(Some)
            .chain(std::iter::repeat(None)),
    ) {
        let (trigger, reason) = &began.what;
        let trigger = format!("{trigger:?}").to_lowercase();
        let end = match end {
            Some(end) if end.what.0 == Outcome::Done => {
                format!(
                    "done at {} UTC after {}",
                    clock(end.time),
                    passed::in_words(&facts.passed_going_back(end))
                )
            }
            Some(end) => format!("not brought to its end: failed at {} UTC", clock(end.time)),
            None => "still under way".to_owned(),
        };
        let undone = facts
            .steps
            .iter()
            .filter(|step| step.what.direction == Direction::Undo);
        let undone = u64::try_from(undone.count()).unwrap_or(u64::MAX);
        report = report.with_text(format!(
            "This run went back at {} UTC (set off by {trigger}): {reason} It was {end}; {} undone.",
            clock(began.time),
            counted(undone, "step")
        ));
    }
    report
}
