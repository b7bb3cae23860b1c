//! Pages of a run: nine phase notebooks and nine deliverables, from templates, ready to be run or
//! executed from the record of a run; with the charts and tables that live cells show too.
//!
//! This crate knows the record and the templates. It starts nothing, asks no clock and no machine:
//! every figure comes from the record, and the same record gives the same bytes.
//!
//! - [`ready`] and [`executed`] make the notebooks, [`write()`] puts them on disk.
//! - [`chart()`] and [`view()`] make what `%chart` and `%record` show.
//! - [`report_to_markdown`] and [`report_to_text`] show a report the same way everywhere.

mod approval;
mod cell;
mod chart;
mod compare;
mod context;
mod document;
mod error;
mod expected;
mod facts;
pub mod format;
mod markdown;
mod narrow;
mod origin;
mod outcome;
mod page;
mod passed;
mod place;
mod proof;
mod reader;
mod repeated;
mod runbook;
mod series;
mod source;
mod statement;
mod stopped;
mod template;
mod trouble;
mod view;
mod write;

pub use approval::Approval;
pub use chart::{Chart, ChartKind, Picture, chart, sketch};
pub use compare::{Comparison, compare};
pub use document::{KERNEL, LANGUAGE, Language};
pub use error::{Error, Result};
pub use facts::{At, Facts, Halt, HealthNote, Kept, Migration, Rehearsal, Section, Shift, StepEnd};
pub use markdown::{escape, report_to_markdown, report_to_text};
pub use narrow::{lines_within, report_within};
pub use origin::{Origin, take_source};
pub use outcome::error_lines;
pub use page::{Page, ReadySettings, executed, handover, names, ready};
pub use place::{CellPlace, place_of};
pub use proof::{
    OutputCheck, check_outputs, is_as_written, outputs_head, outputs_origin, put_note, take_note,
};
pub use reader::notebook_to_text;
pub use repeated::{RepeatedKey, repeated_keys};
pub use series::{Bins, Key, Point, Quantiles, Series};
pub use statement::{PREDICATE, Statement, statement};
pub use template::{has_cell, sections};
pub use view::{
    Criterion, ItemLine, Material, SignedBy, Tally, VIEWS, View, Way, criteria, describe, items_of,
    opening, signed_at, tally, verdict, verdict_word, view, went_back_with,
};
pub use write::{CHARTS, files, into_files, is_page, others, remove_left, write, write_files};
