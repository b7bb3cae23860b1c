//! The steps of the phases, section by section.
