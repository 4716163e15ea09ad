//! Data keys in use: cache, pool of ready keys, keyring that locks and unlocks, and the watcher that has it do so.
//!
//! Knows identities, wrapped keys and the KMS; knows no file, no path and no byte of content.

mod ahead;
mod alarm;
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
mod watch;
mod watcher;

pub use error::KeyError;
pub use keyring::{FreshKey, Keyring};
pub use lock::{LAST_USES, Unlocked};
pub use pool::Claim;
pub use settings::{KeyringStatus, ReusePolicy, Settings};
pub use slot::FileKeySlot;
pub use watch::{CHECK_DEADLINE, LOCK_DEADLINE, Reason, WatchSettings};
pub use watcher::{Warden, WatchStatus, Watcher};

#[cfg(test)]
mod tests;
