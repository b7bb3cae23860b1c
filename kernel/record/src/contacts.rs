//! The form of the table of contacts: the handover writes it into the record, and pages read it back from there.

/// The columns from left to right: a contact's name, what they answer for, how they are reached, and their services.
pub const COLUMNS: [&str; 4] = ["name", "answers for", "reached by", "services"];

/// The services of a contact who answers for all of them.
pub const ALL_SERVICES: &str = "all";
