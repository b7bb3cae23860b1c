//! The steps of the phases, section by section.

pub mod handover;
pub mod observe;
pub mod validate;
