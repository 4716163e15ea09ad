//! Alibaba Cloud KMS over its OpenAPI, version 2016-01-20: requests signed, sent, tried again, answers checked.
//!
//! Calls block, from any thread and many at a time; a small runtime of its own does the waiting. It keeps no key,
//! and it believes no answer that does not fit what was asked.

mod actions;
mod admin;
mod answer;
mod circuit;
mod client;
mod credentials;
mod endpoint;
mod http;
mod limiter;
mod retry;
mod service;
mod settings;
mod wire;

pub use client::AlibabaKms;
pub use endpoint::is_harmless;
pub use settings::{Network, Settings, Signature};

#[cfg(test)]
mod bad_input;
#[cfg(test)]
pub(crate) mod server;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tls_tests;
