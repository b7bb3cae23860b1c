//! Commands that only read: status, record, runs, verify, doctor.

pub mod doctor;
pub mod follow;
pub mod live;
pub mod record;
pub mod runs;
pub mod status;
pub mod verify;
