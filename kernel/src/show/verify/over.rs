//! What part of a record a statement was signed over.

use code_deploy_record::{PublicKeys, RunFolder, SignedStatement, TreeHead, VerifyReport};

use crate::failure::Failure;

/// What a statement was signed over. A run that is exported, or whose notebooks are written, before its
/// end has a statement over what stood in its journal then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    /// The record as it is here.
    All,
    /// So many events at the beginning of the record; root and size of its tree were those then.
    Earlier(u64),
    /// More leaves than the record has, all of which can be read.
    Later {
        /// The leaves of the tree that was signed.
        signed: u64,
        /// The leaves that are here.
        here: u64,
    },
    /// More than could be read: the journal cannot be followed as far.
    Unread,
    /// Nothing that this record is or was.
    Another,
}

impl Over {
    /// Returns the key that the journal named last where the statement was signed; nothing where that
    /// could not be read.
    pub(super) fn keys(self, report: &VerifyReport) -> Option<&PublicKeys> {
        let mut keys = report.seal.keys.iter();
        let named = match self {
            Self::All | Self::Later { .. } | Self::Another => keys.next_back(),
            Self::Earlier(events) => keys.rfind(|(event, _)| *event < events),
            Self::Unread => None,
        };
        named.map(|(_, keys)| keys)
    }
}

/// Finds out what part of a record a statement was signed over.
pub(super) fn over(
    record: &RunFolder,
    signed: &SignedStatement,
    report: &VerifyReport,
) -> Result<Over, Failure> {
    let Some(named) = signed.tree() else {
        return Ok(Over::Another);
    };
    if report.seal.tree == Some(named) && report.broken.is_none() {
        return Ok(Over::All);
    }
    let here = report.seal.tree.map_or(0, |tree| tree.size);
    if named.size > here {
        return Ok(match report.broken {
            Some(_) => Over::Unread,
            None => Over::Later {
                signed: named.size,
                here,
            },
        });
    }
    let events = reached(record, &named)?;
    Ok(events.map_or(Over::Another, Over::Earlier))
}

/// Says that a record has less than what was signed of it.
pub(super) fn cut(signed: u64, here: u64) -> String {
    format!(
        "cut at its end, or an early copy: its key signed notebooks over {signed} leaves of this record's tree, and {here} are \
         here"
    )
}

/// Returns how many events at the beginning of a record have that tree; nothing where it never had it.
pub(super) fn reached(record: &RunFolder, named: &TreeHead) -> Result<Option<u64>, Failure> {
    let mut events = record.events()?;
    while let Ok(Some(event)) = events.next_event() {
        let tree = events.tree();
        if tree == *named {
            return Ok(Some(event.seq + 1));
        }
        if tree.size >= named.size {
            break;
        }
    }
    Ok(None)
}
