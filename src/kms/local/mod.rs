//! The embedded key store: a small real KMS in one file, for volumes without a cloud account.
//!
//! Its master keys are sealed under a root key that lies in a second file or comes from a passphrase. What it
//! cannot notice at opening is its whole file put back to an older one that was once true.

mod asymmetric;
mod document;
mod files;
mod imported;
mod master_key;
mod permit;
mod ring;
mod root;
mod rules;
mod service;
mod store;
mod wrapping;

pub use asymmetric::EncryptAlgorithm;
pub use master_key::Origin;
pub use permit::{Operation, permitted};
pub use root::Root;
pub use service::{ImportParameters, KeyFacts, TextKey, data_key_len};
pub use store::LocalStore;
pub use wrapping::WrapAlgorithm;

#[cfg(test)]
mod tests;
