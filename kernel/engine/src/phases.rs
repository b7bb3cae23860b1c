//! The steps of the phases, section by section.

pub mod build;
pub mod inventory;
pub(crate) mod look;
pub mod migrate;
pub mod planning;
pub(crate) mod policy;
pub mod preflight;
pub mod provision;
pub(crate) mod work;
