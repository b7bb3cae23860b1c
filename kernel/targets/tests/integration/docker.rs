//! The Docker target with a real engine: what it makes there, watches, changes and leaves behind.

mod containers;
mod engine;
mod foreign;
mod health;
mod images;
mod keys;
mod ports;
mod traffic;
mod upgrading;
mod versions;
