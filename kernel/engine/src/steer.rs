//! Steering a run that is alive from another process: a Unix socket beside the run.
//!
//! # Flow
//! The runner listens on a socket in a private folder and writes its path and a random token
//! into the file `control` of the run's folder, private too. Whoever can read that file can
//! steer the run; [`ask`] does.
//!
//! # Caveats
//! The socket knows the system's user, not the person: who asks is what they say of themselves.

mod client;
mod consent;
mod message;
mod server;

pub use client::{SteerError, ask};
pub use consent::waivers;
pub use message::{Asking, Told};
pub(crate) use server::{Server, carry_out};
