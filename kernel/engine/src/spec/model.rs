//! The deployment file's types, and what is made of them for one environment and target.

mod database;
mod environment;
mod file;
mod journey;
mod load;
mod operation;
mod resolved;
mod service;
mod strategy;

pub use database::*;
pub use environment::*;
pub use file::*;
pub use journey::*;
pub use load::*;
pub use operation::*;
pub use resolved::*;
pub use service::*;
pub use strategy::*;
