//! The embedded key store behind the traits that the cloud answers too, and what only its emulator asks for.

mod admin;
mod call;
mod direct;
mod export;
mod import;
mod manage;
mod mount;
mod sign;

pub use direct::{TextKey, data_key_len};
pub use import::ImportParameters;
pub use manage::KeyFacts;
