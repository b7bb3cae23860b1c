//! What the benchmarks share with tests: the long life of a kernel.

mod error;
pub mod life;
pub mod recorded;

pub use error::Error;
