//! `verify`: whether records, and notebooks made from them, are what was written, and who signed them.

mod alone;
mod endless;
mod failures;
mod foreign;
mod halves;
mod identity;
mod kept;
mod keys;
mod notebooks;
mod over;
mod paths;
mod records;
mod signers;
mod terminal;
mod twice;
mod unlike;
mod unrecorded;
mod unsigned;

use std::path::PathBuf;

use code_deploy_record::{Column, PublicKey, Report, RunFolder, Trust, VerifyReport, plain};

use crate::commands::VerifyArgs;
use crate::face::Face;
use crate::failure::{Exit, Failure};
use crate::project::Project;
use alone::Why;
use endless::Endless;
use failures::failure_of;
use notebooks::{Given, Notebooks};
use over::Over;
use paths::Subjects;
use terminal::Plain;

/// What a row of the table is about, from what weighs most to what weighs least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// Not what was written, or not of the run.
    Different,
    /// A signature that does not hold, or of a key that it should not be of.
    Signature,
    /// An approval or a waiver that is not signed as the policy wanted.
    Approval,
    /// Not there.
    NotHere,
    /// A notebook of which not all could be checked, because neither its record nor what was signed
    /// over it is there.
    Unread,
    /// Made by another program or beside other runs: its bytes tell nothing.
    NotComparable,
    /// Added by a person; nothing of what was made is missing or other.
    Added,
}

/// A row of the table.
struct Row {
    kind: Kind,
    /// The folder of the record or of the notebooks.
    record: String,
    /// The place in it.
    place: String,
    what: String,
}

/// A record that was checked.
struct Record {
    path: PathBuf,
    /// Whether notebooks can be made of it again.
    is_whole: bool,
    /// Whether it has no end, as far as that could be read.
    is_endless: bool,
    /// How many events at its beginning something covers that was signed.
    signed: u64,
    report: VerifyReport,
}

/// What was checked.
#[derive(Default)]
struct Checked {
    rows: Vec<Row>,
    records: Vec<Record>,
    /// What stands behind each record: a line for people.
    vouched: Vec<String>,
    /// Whether notebooks were held against nothing but what was signed over them.
    by_signature: bool,
    /// The given keys by which something of what was checked is signed.
    signed_by: Vec<PublicKey>,
}

/// Checks records, notebooks and folders of both, given by path or, for a run, by name; the last run
/// where nothing is given. Signatures are held against the public keys that are given. Nothing is
/// asked of a network.
///
/// # Errors
/// What was found, as what weighs most; each kind has a code and an exit code of its own.
pub fn verify(
    project: Option<&Project>,
    arguments: &VerifyArgs,
    face: &dyn Face,
) -> Result<Exit, Failure> {
    check_all(project, arguments, &Plain(face)).map_err(|failure| {
        let mut failure = without_circle(failure);
        failure.problem.what = plain(&failure.problem.what);
        failure
    })
}

/// Takes back the advice to verify, which errors of records give: that is what was done.
fn without_circle(mut failure: Failure) -> Failure {
    if failure.problem.next.contains("code-deploy verify") {
        failure.problem.state = "Nothing was changed.".to_owned();
        failure.problem.next =
            "Look at the path and the cause; compare with a copy kept elsewhere.".to_owned();
    }
    failure
}

fn check_all(
    project: Option<&Project>,
    arguments: &VerifyArgs,
    face: &dyn Face,
) -> Result<Exit, Failure> {
    let trust = keys::read(arguments)?;
    let kept = kept::read(arguments)?;
    let subjects = paths::read(project, arguments)?;
    kept::refuse_others(&kept, project, &subjects)?;
    let mut checked = Checked::default();
    for record in &subjects.records {
        records::check(record, &trust, face, &mut checked)?;
    }
    for notebooks in &subjects.notebooks {
        check_notebooks(project, &subjects, notebooks, &trust, face, &mut checked)?;
    }
    kept::hold_all(&kept, &trust, face, &mut checked)?;
    let others = twice::others(&checked.records)?;
    checked.rows.extend(others);
    let unused = keys::unused(&trust, &kept, &checked.signed_by);
    checked.rows.extend(unused);
    judge(checked, face)
}

fn check_notebooks(
    project: Option<&Project>,
    subjects: &Subjects,
    notebooks: &Notebooks,
    trust: &Trust,
    face: &dyn Face,
    checked: &mut Checked,
) -> Result<(), Failure> {
    let record = notebooks.record(project, subjects)?;
    if record.is_none() && notebooks.is_unrecorded {
        checked.rows.push(unrecorded::row(notebooks));
    }
    checked
        .rows
        .extend(identity::misplaced_notebooks(notebooks)?);
    // A journal that is a link or a pipe stands there, and is not read.
    let why = match record.as_ref().is_some_and(stands) {
        true => Why::Damaged,
        false => Why::NotHere,
    };
    let Some(record) = record.filter(|record| checked.can_be_read(record)) else {
        let signed = crate::publish::read_signed(&notebooks.seal())?;
        if let Some(run) = signed.as_ref().and_then(identity::words_of) {
            let folder = notebooks.folder.display();
            face.text(&format!("{folder}: what was signed over them names {run}"));
        }
        let rows = alone::alone(notebooks, None, why, trust, face)?;
        checked.rows.extend(rows);
        checked.by_signature = true;
        checked
            .signed_by
            .extend(keys::of_notebooks(notebooks, trust)?);
        checked.vouched.extend(alone::asserted(notebooks, trust)?);
        return Ok(());
    };
    if checked.of(&record).is_none() {
        records::check(&record, trust, face, checked)?;
    }
    let rows = match checked
        .of(&record)
        .map(|known| why_alone(known, &record, notebooks))
    {
        Some(why) => match why? {
            Some(why) => {
                checked.note_cut(&record, notebooks)?;
                let rows = alone::alone(notebooks, Some(&record), why, trust, face)?;
                let keys = keys::of_notebooks(notebooks, trust)?;
                checked.signed_by.extend(keys);
                rows
            }
            None => {
                let given = Given::by(project, &record, notebooks)?;
                unsigned::compare_left(&given, notebooks, face)?
            }
        },
        None => Vec::new(),
    };
    checked.rows.extend(rows);
    Ok(())
}

/// Returns whether something has the name of a record's journal, whatever it is.
fn stands(record: &RunFolder) -> bool {
    std::fs::symlink_metadata(record.journal_path()).is_ok()
}

/// Says why notebooks are not held against what their record gives: it is not what was written, or
/// they were signed before the run went on.
fn why_alone(
    known: &Record,
    record: &RunFolder,
    notebooks: &Notebooks,
) -> Result<Option<Why>, Failure> {
    if !known.is_whole {
        return Ok(Some(Why::Damaged));
    }
    let Some(signed) = crate::publish::read_signed(&notebooks.seal())? else {
        return Ok(None);
    };
    let over = over::over(record, &signed, &known.report)?;
    let is_signed = over
        .keys(&known.report)
        .is_some_and(|keys| signed.broken(keys).is_empty());
    Ok(match over {
        Over::Earlier(events) if is_signed => Some(Why::Earlier {
            events,
            is_ended: known.report.sealed,
        }),
        // What the record gives now is less than what they were made of.
        Over::Later { .. } if is_signed => Some(Why::Damaged),
        _ => None,
    })
}

impl Checked {
    /// Returns whether the journal of a record is one, which is said where it is not: what was not read says nothing of
    /// notebooks.
    fn can_be_read(&mut self, record: &RunFolder) -> bool {
        let Some(unread) = records::unread(record) else {
            return true;
        };
        let is_said = |row: &Row| row.record == unread.record && row.place == unread.place;
        if !self.rows.iter().any(is_said) {
            self.rows.push(unread);
        }
        false
    }

    /// Says that a record was cut at its end, where notebooks were signed over more of it, and that is not said yet.
    fn note_cut(&mut self, record: &RunFolder, notebooks: &Notebooks) -> Result<(), Failure> {
        let (Some(known), Some(signed)) = (
            self.of(record),
            crate::publish::read_signed(&notebooks.seal())?,
        ) else {
            return Ok(());
        };
        let over = over::over(record, &signed, &known.report)?;
        let keys = over.keys(&known.report);
        let (Over::Later { signed, here }, true) = (
            over,
            keys.is_some_and(|keys| signed.broken(keys).is_empty()),
        ) else {
            return Ok(());
        };
        let row = Row {
            kind: Kind::Different,
            record: known.path.display().to_string(),
            place: RunFolder::JOURNAL.to_owned(),
            what: over::cut(signed, here),
        };
        let is_said = |other: &Row| other.record == row.record && other.what == row.what;
        if !self.rows.iter().any(is_said) {
            self.rows.push(row);
        }
        Ok(())
    }

    /// Returns what is known of a record, once it was checked.
    fn of(&self, record: &RunFolder) -> Option<&Record> {
        self.records
            .iter()
            .find(|known| paths::is_same(&known.path, record.path()))
    }
}

/// Says what came out, as what weighs most.
fn judge(checked: Checked, face: &dyn Face) -> Result<Exit, Failure> {
    let Checked {
        mut rows,
        records,
        vouched,
        by_signature,
        ..
    } = checked;
    let endless = Endless::of(&records);
    let records = records.len();
    rows.sort_by_key(|row| row.kind);
    let number = |kind: Kind| rows.iter().filter(|row| row.kind == kind).count();
    let weighty = [
        Kind::Different,
        Kind::Signature,
        Kind::Approval,
        Kind::NotHere,
        Kind::Unread,
        Kind::NotComparable,
    ]
    .map(|kind| (kind, number(kind)));
    let added = rows.split_off(rows.len() - number(Kind::Added));
    if !rows.is_empty() {
        face.report("What does not verify", &findings(rows));
    }
    let is_added = !added.is_empty();
    if is_added {
        face.report(
            "Added since by a person, beside what was made",
            &findings(added),
        );
    }
    let mut failed = weighty.into_iter().filter(|(_, count)| *count > 0);
    let first = failed.next();
    let is_done = first.is_none() && !endless.is_any();
    // Who stands for a record says something only where it and its signatures hold.
    if !is_done && first.is_none_or(|(kind, _)| kind >= Kind::Approval) {
        vouched.iter().for_each(|line| face.text(line));
    }
    match first {
        // A record without an end weighs more than files that are not here.
        Some((kind, _)) if endless.is_any() && kind > Kind::Approval => Err(endless.failure()),
        Some((kind, count)) => {
            let others: usize = failed.map(|(_, count)| count).sum();
            Err(failure_of(kind, (count, others), records, &endless))
        }
        None if endless.is_any() => Err(endless.failure()),
        None => {
            let added = if is_added {
                ", but for what was added (listed above)"
            } else {
                ""
            };
            face.text(&match by_signature {
                true => format!(
                    "What is here is as it was signed{added}. Whether it is what happened, only the record tells."
                ),
                false => format!("Everything that was checked is as it was written{added}."),
            });
            vouched.iter().for_each(|line| face.text(line));
            Ok(Exit::Done)
        }
    }
}

/// Returns a table for each record, whose folder is then said once.
fn findings(rows: Vec<Row>) -> Report {
    let mut of_record: Vec<(String, Vec<Vec<String>>)> = Vec::new();
    for row in rows {
        let line = vec![plain(&row.place), plain(&row.what)];
        let record = plain(&row.record);
        match of_record.iter_mut().find(|(name, _)| *name == record) {
            Some((_, lines)) => lines.push(line),
            None => of_record.push((record, vec![line])),
        }
    }
    let mut report = Report::new();
    for (record, lines) in of_record {
        let columns = ["Where", "What"].map(Column::text).to_vec();
        report = report.with_table(record, columns, lines);
    }
    report
}

#[cfg(test)]
mod tests;
