//! `kmsfs kms serve` as programs see it: the real server, driven by both official SDKs, by good requests in great
//! numbers, and by requests that are none.

#![allow(clippy::unwrap_used, clippy::expect_used)] // A test fails by panicking.

mod command;
mod crowd;
mod faults;
mod hostile;
mod sdk;
mod served;
