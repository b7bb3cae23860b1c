//! The deployment file, read and checked.

mod error;
mod model;

pub use error::SpecError;
pub use model::*;
