//! The Jupyter kernel protocol, apart from what a cell means.
//!
//! A program implements [`Cells`] (what a cell does, how it completes, what help it gives) and calls
//! [`serve`] with the connection file Jupyter wrote. Everything between - sockets, signatures, order of
//! outputs, live displays, prompts, interrupts, history, subshells, shutdown - is here, and nothing here
//! knows what the program is for.
//!
//! One place decides the order of what a cell says ([`CellOutput`] sends to the owner of iopub): outputs
//! come in the order they were sent, streams before the display that follows them, `idle` last.
//!
//! Messaging specification: <https://jupyter-client.readthedocs.io/en/latest/messaging.html>.

mod cells;
mod connection;
mod control;
mod error;
mod executor;
mod heartbeat;
mod history;
mod interrupt;
mod iopub;
pub mod kernelspec;
mod listener;
mod output;
mod parent_watch;
mod publisher;
mod router;
pub mod rust_cells;
mod serve;
mod shell;
mod stdin;
mod usage;
mod wire;
mod zmtp;

pub use cells::{
    Cell, CellError, Cells, Completion, CompletionMatch, IsComplete, KernelInfo, LanguageInfo,
    Link, MimeBundle,
};
pub use connection::ConnectionFile;
pub use error::{AskError, Error};
pub use interrupt::Interrupt;
pub use output::{CellOutput, LiveDisplay};
pub use serve::{Ended, ServeOptions, serve};

/// The version of the messaging protocol this kernel speaks.
pub const PROTOCOL_VERSION: &str = "5.5";
