//! The record of a deployment run, for Rust cells of a notebook of `code-deploy`.
//!
//! A cell that names `code_deploy` has this crate without asking for it. It needs nothing but the standard
//! library: what it knows it gets from the program `code-deploy` itself.
//!
//! ```text
//! let run = code_deploy::run()?;                          // the last run of this project, also while it goes on
//! let p99 = run.latency(None, "1.1.0", 0.99);             // (seconds since its start, milliseconds)
//! let failed = run.error_rate(None, "1.1.0");             // (seconds since its start, share from 0 to 1)
//! let gates: Vec<_> = run.events_of("gate_evaluated").collect();
//!
//! let answer = code_deploy::ask("Go on? ");               // asks whoever runs the cell
//! code_deploy::display("text/html", "<b>half way</b>");    // shows something while the cell runs
//! code_deploy::svg(&picture)                              // shows a picture as the value of the cell
//! ```

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod display;
mod error;
mod input;
mod read;
mod run;
mod series;
mod svg;

pub use display::{clear_output, display, display_as, update_display};
pub use error::Error;
pub use input::{ask, ask_password};
pub use run::{Event, Run, Sample, run, run_named};
pub use svg::{Svg, svg};
