//! Data keys in use: cache, pool of ready keys, keyring that locks and unlocks.
//!
//! Knows identities, wrapped keys and the KMS; knows no file, no path and no byte of content.

mod ahead;
mod cache;
mod error;
mod flight;
mod keyring;
mod lock;
mod pool;
mod reuse;
mod settings;
mod slot;
mod source;
mod sweeper;

pub use error::KeyError;
pub use keyring::{FreshKey, Keyring};
pub use lock::Unlocked;
pub use settings::{KeyringStatus, ReusePolicy, Settings};
pub use slot::FileKeySlot;

#[cfg(test)]
mod tests;
