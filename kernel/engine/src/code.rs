//! The stable codes that more than one place of the program gives or asks for. Each code stands
//! once in the whole source, here or where it alone is given, so that no two errors share one.

/// A record does not verify.
pub const BROKEN_RECORD: &str = "CD0301";
/// There is no such run, or none yet.
pub const NO_SUCH_RUN: &str = "CD0302";
/// A folder is not the record of a run.
pub const NOT_A_RECORD: &str = "CD0303";
/// The record cannot be written or read.
pub const NO_RECORD: &str = "CD0300";
/// Another process has taken the lock under which this one worked.
pub const FENCED_OFF: &str = "CD0320";
/// Work beside the run was cut off.
pub const CUT_OFF: &str = "CD0306";
/// The run stands at a safe point, because somebody asked for that.
pub const PAUSED: &str = "CD0401";
/// Another process works on this application and environment.
pub const LOCKED: &str = "CD0410";
/// The release is deployed already.
pub const DEPLOYED_ALREADY: &str = "CD0411";
/// Another run is not ended.
pub const OTHER_RUN: &str = "CD0412";
/// A record is damaged or foreign.
pub const DAMAGED: &str = "CD0413";
/// There is nothing to go on with.
pub const NOTHING_TO_STEER: &str = "CD0417";
/// There is nothing to go back from.
pub const NOTHING_TO_GO_BACK: &str = "CD0418";
/// An earlier phase is not done.
pub const PHASE_NOT_DONE: &str = "CD0420";
/// There is no such verb or section.
pub const NO_SUCH_SECTION: &str = "CD0421";
/// The run is going back.
pub const GOING_BACK: &str = "CD0423";
/// No release is named, or none that can be one.
pub const NO_RELEASE: &str = "CD0424";
/// A phase stops by the policy of its environment.
pub const STOPPED_BY_POLICY: &str = "CD0432";
/// A person said no-go, or nobody answered.
pub const NOT_APPROVED: &str = "CD0454";
/// Another machine works on this application and environment.
pub const HELD_ELSEWHERE: &str = "CD0440";
/// A database could not be read or written.
pub const DATABASE: &str = "CD0601";
/// A defect of this program.
pub const DEFECT: &str = "CD0790";

/// Returns whether a code says that the record cannot be relied on or that this process may not
/// write it any more: the run then stops where it is, and nothing is undone from here.
#[must_use]
pub fn is_of_the_record(code: &str) -> bool {
    code.starts_with("CD030") || code == FENCED_OFF
}
