//! The embedded key store behind Alibaba Cloud KMS's own wire protocol (RPC API 2016-01-20), for development and tests.
//!
//! A request comes in by `server`, becomes a `Received` (`wire`), says who it claims to be from (`claim`), is believed
//! or not (`gate`), runs as one of `actions`, and goes out as an `Answer`. `faults` stand in the way where a test
//! wants them. Only `server` knows HTTP's library; everything else is plain functions.

mod access_keys;
mod actions;
mod admin;
mod answer;
mod claim;
mod counters;
mod faults;
mod gate;
mod long_line;
mod nonces;
mod refusal;
mod server;
mod service;
mod wire;

pub use access_keys::{AccessKeyError, AccessKeys};
pub use server::Listeners;
pub use service::Emulator;
pub use wire::Received;

#[cfg(test)]
mod tests;
