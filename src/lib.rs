//! kmsfs: an encrypted directory whose keys a cloud KMS controls.
//!
//! The rooms of the house, from the ground up; who may import whom is held by `tests/tidy`,
//! and the way of a read, a write and an open is told in ARCHITECTURE.md.

pub mod cli;
pub mod cmd;
pub mod config;
pub mod control;
pub mod crypto;
pub mod format;
pub mod fs;
pub mod fuse;
pub mod keys;
pub mod kms;
pub mod names;
pub mod seal;
pub mod store;
pub mod sys;
pub mod volume;
