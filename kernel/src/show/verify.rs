//! `verify`: whether records, and notebooks made from them, are what was written, and who signed them.

mod notebooks;
mod paths;
mod records;

use code_deploy_record::{Column, PublicKey, Report, RunFolder, Trust};

use crate::commands::VerifyArgs;
use crate::face::Face;
use crate::failure::{Exit, Failure};
use crate::project::Project;
use notebooks::{Given, Notebooks};

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

/// What was checked.
#[derive(Default)]
struct Checked {
    rows: Vec<Row>,
    records: usize,
    /// Records without an end.
    unsealed: usize,
    /// Notebooks of which nothing but the outputs could be checked.
    unread: usize,
    /// What stands behind each record: a line for people.
    vouched: Vec<String>,
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
    let trust = trust(arguments)?;
    let subjects = paths::read(project, arguments)?;
    let mut checked = Checked::default();
    for record in &subjects.records {
        records::check(record, &trust, face, &mut checked)?;
    }
    for notebooks in &subjects.notebooks {
        check_notebooks(
            project,
            &subjects.records,
            notebooks,
            &trust,
            face,
            &mut checked,
        )?;
    }
    judge(checked, face)
}

/// Reads the public keys that are given.
fn trust(arguments: &VerifyArgs) -> Result<Trust, Failure> {
    let mut keys = Vec::new();
    for path in &arguments.key {
        let next = "Give a public key: PEM, an OpenSSH `.pub` file, or the key of a signed note.";
        let text = std::fs::read_to_string(path).map_err(|error| {
            Failure::usage(format!("{} cannot be read: {error}", path.display()), next)
        })?;
        let key = PublicKey::parse(&text)
            .map_err(|error| Failure::usage(format!("{}: {error}", path.display()), next))?;
        keys.push(key);
    }
    Ok(Trust { keys })
}

fn check_notebooks(
    project: Option<&Project>,
    records: &[RunFolder],
    notebooks: &Notebooks,
    trust: &Trust,
    face: &dyn Face,
    checked: &mut Checked,
) -> Result<(), Failure> {
    let record = notebooks.record(project, records)?;
    if let Some(record) = &record
        && !records.iter().any(|known| known.path() == record.path())
    {
        records::check(record, trust, face, checked)?;
    }
    let rows = match &record {
        Some(record) => {
            notebooks::compare(&Given::by(project, record, notebooks)?, notebooks, face)?
        }
        None => {
            let alone = notebooks::alone(notebooks, trust, face)?;
            checked.unread += alone.unread;
            alone.rows
        }
    };
    checked.rows.extend(rows);
    Ok(())
}

/// Says what came out, as what weighs most.
fn judge(checked: Checked, face: &dyn Face) -> Result<Exit, Failure> {
    let Checked {
        mut rows,
        records,
        unsealed,
        unread,
        vouched,
    } = checked;
    rows.sort_by_key(|row| row.kind);
    let number = |kind: Kind| rows.iter().filter(|row| row.kind == kind).count();
    let weighty = [
        Kind::Different,
        Kind::Signature,
        Kind::Approval,
        Kind::NotHere,
        Kind::NotComparable,
    ]
    .map(|kind| (kind, number(kind)));
    let added = rows.split_off(rows.len() - number(Kind::Added));
    if !rows.is_empty() {
        face.report("What does not verify", &findings(rows));
    }
    if !added.is_empty() {
        face.report(
            "Added since by a person, beside what was made",
            &findings(added),
        );
    }
    let mut failed = weighty.into_iter().filter(|(_, count)| *count > 0);
    match failed.next() {
        // A record without an end weighs more than files that are not here.
        Some((kind, _)) if unsealed > 0 && kind > Kind::Approval => Err(endless(unsealed, records)),
        Some((kind, count)) => Err(failure_of(kind, count)),
        None if unsealed > 0 => Err(endless(unsealed, records)),
        None => {
            face.text(&match unread {
                0 => "Everything is as it was written.".to_owned(),
                unread => format!(
                    "Nothing is other than it was written. Of {unread} notebooks only the outputs were \
                     checked, because neither their record nor what was signed over them is here."
                ),
            });
            vouched.iter().for_each(|line| face.text(line));
            Ok(Exit::Done)
        }
    }
}

fn endless(unsealed: usize, records: usize) -> Failure {
    let what = format!(
        "{unsealed} of {records} records are not sealed: what stands there is as it was written, but \
         their end is missing"
    );
    let next = "A run that is not ended is sealed when it ends. When it has ended, lines were cut \
                off: compare with a copy kept elsewhere.";
    found(Exit::Endless, "CD0307", what, next)
}

fn failure_of(kind: Kind, count: usize) -> Failure {
    match kind {
        Kind::Different => {
            let code = code_deploy_engine::code::BROKEN_RECORD;
            let what = match count {
                1 => "1 place does not verify".to_owned(),
                more => format!("{more} places do not verify"),
            };
            found(
                Exit::Changed,
                code,
                what,
                "Compare with a copy kept elsewhere.",
            )
        }
        Kind::Signature => {
            let what = format!(
                "{count} signatures do not hold, or are of a key that they should not be of; apart from \
                 that what stands there follows from what stands before it"
            );
            let next =
                "Ask whose key that is. Give each public key that may have signed with `--key`.";
            found(Exit::Untrusted, "CD0315", what, next)
        }
        Kind::Approval => {
            let what = format!(
                "{count} approvals or waivers are not what the policy of the run wanted; what stands \
                 there is as it was written"
            );
            let next = "Ask those who approved, and those who run the deployment.";
            found(Exit::NotApproved, "CD0316", what, next)
        }
        Kind::NotHere => {
            let files = match count {
                1 => "1 file is".to_owned(),
                more => format!("{more} files are"),
            };
            let what = format!(
                "{files} not here: what is here is as it was written, the rest cannot be checked"
            );
            let next = "Put them back from a copy of the whole folder, and verify again.";
            found(Exit::NotHere, "CD0308", what, next)
        }
        Kind::NotComparable | Kind::Added => {
            let what = format!(
                "the record is as it was written, but {count} notebooks and charts cannot be compared \
                 with it: another program made them, or other runs were at hand. That does not say \
                 that they were changed"
            );
            let next = "Verify with the program that made them, or write them again: `code-deploy \
                        notebooks --help`.";
            found(Exit::NotComparable, "CD0312", what, next)
        }
    }
}

fn found(exit: Exit, code: &str, what: String, next: &str) -> Failure {
    Failure::new(exit, code, what, "Nothing was changed.", next)
}

/// Returns a table for each record, whose folder is then said once.
fn findings(rows: Vec<Row>) -> Report {
    let mut of_record: Vec<(String, Vec<Vec<String>>)> = Vec::new();
    for row in rows {
        let line = vec![row.place, row.what];
        match of_record.iter_mut().find(|(name, _)| *name == row.record) {
            Some((_, lines)) => lines.push(line),
            None => of_record.push((row.record, vec![line])),
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
