//! The embedded key store behind the traits that the cloud answers too, and what only its emulator asks for.

mod admin;
mod call;
mod direct;
mod manage;
mod mount;
mod sign;

pub use direct::{TextKey, data_key_len};
pub use manage::KeyFacts;
