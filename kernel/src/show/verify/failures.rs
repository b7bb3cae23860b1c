//! What `verify` ends with, for what weighs most of what it found.

use super::Kind;
use super::endless::Endless;
use crate::failure::{Exit, Failure};

/// Files are not here, so that not all could be checked.
const NOT_HERE: &str = "CD0308";

/// Returns the failure for so many rows of a kind, with so many that weigh less.
pub(super) fn failure_of(
    kind: Kind,
    (count, others): (usize, usize),
    records: usize,
    endless: &Endless,
) -> Failure {
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
                "Compare with a copy kept elsewhere. Notebooks that were run or saved again are written as they \
                 were by `code-deploy notebooks --run RUN`.",
            )
        }
        Kind::Signature => {
            let what = match count {
                1 => {
                    "1 signature does not hold, or is of a key that it should not be of".to_owned()
                }
                more => format!(
                    "{more} signatures do not hold, or are of a key that they should not be of"
                ),
            };
            let rest = match others {
                0 => "apart from that what stands there follows from what stands before it",
                _ => "not all of the rest could be shown to be as it was written (listed above)",
            };
            let what = format!("{what}; {rest}");
            let next = "Ask whose key that is. Give each public key that may seal with `--key`, and that of a \
                        second person with `--witness`.";
            found(Exit::Untrusted, "CD0315", what, next)
        }
        Kind::Approval => {
            let what = match count {
                1 => "1 approval or waiver is not what the policy of the run wanted".to_owned(),
                more => {
                    format!("{more} approvals or waivers are not what the policy of the run wanted")
                }
            };
            let rest = match endless.is_any() {
                true => endless.covered(),
                false => "what stands there is as it was written".to_owned(),
            };
            let what = format!("{what}; {rest}");
            let next = "Ask those who approved, and those who run the deployment.";
            found(Exit::NotApproved, "CD0316", what, next)
        }
        Kind::NotHere => {
            let files = match count {
                1 => "1 file is".to_owned(),
                more => format!("{more} files are"),
            };
            let rest = match others {
                0 => "what is here is as it was written, the rest cannot be checked",
                _ => {
                    "not all of what is here could be shown to be as it was written (listed above), and the rest \
                     cannot be checked"
                }
            };
            let what = format!("{files} not here: {rest}");
            let next = "Put them back from a copy of the whole folder, and verify again. Notebooks and what is signed \
                        over them are written again from a record by `code-deploy notebooks --run RUN`.";
            found(Exit::NotHere, NOT_HERE, what, next)
        }
        Kind::Unread => {
            let what = match count {
                1 => "1 notebook was not checked in whole".to_owned(),
                more => format!("{more} notebooks were not checked in whole"),
            };
            let what = what
                + ": neither the record nor what was signed over the text is here. Nothing of what \
                   could be checked is other than it was written";
            let next = "Put the record, or the folder `seal` that was written with the notebooks, \
                        beside them, and verify again.";
            found(Exit::NotHere, NOT_HERE, what, next)
        }
        Kind::NotComparable | Kind::Added => {
            let files = match count {
                1 => "1 file".to_owned(),
                more => format!("{more} files"),
            };
            let what = match records {
                0 => format!(
                    "{files} cannot be compared with anything that was signed: another program wrote them, or somebody \
                     changed them. What was signed is as it was"
                ),
                _ => format!(
                    "the record is as it was written, but {files} cannot be compared with it: another program made \
                     them, or other runs were at hand. That does not say that they were changed"
                ),
            };
            let next = "Verify with the program that made them, or write them again: `code-deploy \
                        notebooks --help`.";
            found(Exit::NotComparable, "CD0312", what, next)
        }
    }
}

pub(super) fn found(exit: Exit, code: &str, what: String, next: &str) -> Failure {
    Failure::new(exit, code, what, "Nothing was changed.", next)
}
