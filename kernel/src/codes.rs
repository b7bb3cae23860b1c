//! The stable codes of the faces that more than one place gives. Each code stands once in the
//! whole source; those that the engine gives too are in [`code_deploy_engine::code`].

/// This process cannot be started as it has to be.
pub const CANNOT_START: &str = "CD0002";
/// A file or folder cannot be written.
pub const CANNOT_WRITE: &str = "CD0003";
/// The notebooks of a run could not be made.
pub const NOTEBOOKS: &str = "CD0310";
/// The key that seals a record cannot be had.
pub const SEAL_KEY: &str = "CD0313";
/// An answer cannot be signed.
pub const CANNOT_SIGN: &str = "CD0314";
/// What a record gives is not signed, because the record is damaged.
pub const NOT_VOUCHED_FOR: &str = "CD0318";
/// The command was ended at once.
pub const ENDED_AT_ONCE: &str = "CD0407";
/// A command that changes nothing was stopped.
pub const STOPPED_LOOKING: &str = "CD0409";
/// No process works on the run.
pub const NOBODY_WORKS: &str = "CD0425";
/// The run that another process carries out, and that was joined, did not reach its new release.
pub const JOINED_RUN_ENDED: &str = "CD0428";
/// The process that carried a command of a cell out ended without saying how the command did.
pub const PROCESS_ENDED: &str = "CD0803";
