//! The folders within that of a record, and what stands in them.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;

use super::VerifyReport;
use crate::disk::EntryKind;
use crate::{Error, Result, RunFolder, SealFolder};

pub(super) const SAMPLES: &str = "samples";
pub(super) const EVIDENCE: &str = "evidence";

/// The folders whose files the journal names, or that hold what was signed over it.
pub(super) const OWN: [&str; 3] = [SAMPLES, EVIDENCE, SealFolder::NAME];

/// What is said of what stands where a folder is written.
pub(super) const NO_FOLDER: &str =
    "it is a link, a file or a device, and no folder: nothing in it was read";

/// Says which of a record's own folders are none. What lies behind them is no part of the record, and is not read.
pub(super) fn unread(run: &RunFolder, report: &mut VerifyReport) -> Result<BTreeSet<&'static str>> {
    let mut unread = BTreeSet::new();
    for name in OWN {
        let found = kind(run, &run.path().join(name))?;
        if found.is_some_and(|found| found != EntryKind::Folder) {
            report.changed(format!("{name}/"), NO_FOLDER);
            unread.insert(name);
        }
    }
    Ok(unread)
}

/// Returns what stands at a path; nothing where nothing does.
pub(super) fn kind(run: &RunFolder, path: &Path) -> Result<Option<EntryKind>> {
    match run.disk().kind(path) {
        Ok(kind) => Ok(Some(kind)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", path)(error)),
    }
}
