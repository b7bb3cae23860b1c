//! The steps of the phases, section by section.

pub mod migrate;
pub(crate) mod work;
