//! A Jupyter client down to its bytes, for measuring kernels and for attacking them.
//!
//! It shares no code with the kernel, blocks, and speaks ZMTP itself: what it measures is the kernel and not a
//! library between, and it can say what no library would.

mod client;
mod error;
mod kernel;
mod socket;

pub use client::{Channel, Client, Message, Ran, request, signature};
pub use error::Error;
pub use kernel::{Interrupts, Kernel, Ports, Spec};
pub use socket::{Kind, Socket, frame, greeting, ready};
