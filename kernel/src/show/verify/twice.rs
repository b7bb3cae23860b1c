//! Two records of one run that are not the same.

use code_deploy_record::{Digest, RunFolder, origin};

use super::{Kind, Record, Row};
use crate::failure::Failure;

/// Says which of the records that were checked is another one of the same run than one before it. A copy from when
/// the run was not as far is none: the longer one goes on from it.
pub(super) fn others(records: &[Record]) -> Result<Vec<Row>, Failure> {
    let mut known: Vec<(String, &Record, Digest)> = Vec::new();
    let mut rows = Vec::new();
    for record in records.iter().filter(|one| one.report.broken.is_none()) {
        let started = RunFolder::at(&record.path).and_then(|folder| folder.started());
        let (Ok(started), Some(head)) = (started, record.report.head) else {
            continue;
        };
        let run = origin(&started);
        for (_, before, first) in known.iter().filter(|(name, ..)| *name == run) {
            if head != *first && !goes_on(before, head)? && !goes_on(record, *first)? {
                rows.push(other(before, record, *first, head));
            }
        }
        known.push((run, record, head));
    }
    Ok(rows)
}

/// Returns whether a record has a line with that digest.
fn goes_on(record: &Record, from: Digest) -> Result<bool, Failure> {
    let mut events = RunFolder::at(&record.path)?.events()?;
    while let Ok(Some(_)) = events.next_event() {
        if events.head() == from {
            return Ok(true);
        }
    }
    Ok(false)
}

fn other(before: &Record, record: &Record, first: Digest, head: Digest) -> Row {
    Row {
        kind: Kind::Different,
        record: record.path.display().to_string(),
        place: RunFolder::JOURNAL.to_owned(),
        what: format!(
            "another record of the same run than the one in {}: its head is {}, the head there {}. One of the two was \
             changed, or written anew",
            before.path.display(),
            head.short(),
            first.short()
        ),
    }
}
