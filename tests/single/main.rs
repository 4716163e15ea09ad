//! Small data and single files, as scripts see them: chapters 2 and 3 of the KMS best-practice guide as they are
//! written, and what must not happen to files.
//!
//! - `place`: a directory with a key store, and the program
//! - `guide`: the two chapters
//! - `keys`: master keys of every kind
//! - `files`: outputs, inputs, signals, full disks

#![allow(clippy::unwrap_used, clippy::expect_used)] // A test fails by panicking.

mod files;
mod guide;
mod keys;
mod place;
