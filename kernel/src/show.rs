//! Commands that only read: status, record, runs, show, verify, doctor.

pub mod checkpoints;
pub mod doctor;
pub mod follow;
pub mod live;
pub mod notebook;
pub mod record;
pub mod runs;
pub mod status;
pub mod verify;
