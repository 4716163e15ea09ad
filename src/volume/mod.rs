//! A volume: descriptor, keyring, store and backing root, and the lock that keeps it to one mount.

mod create;
mod error;
mod lock;
mod moves;
mod open;
mod recover;
#[cfg(test)]
pub(crate) mod testing;

pub use create::{Creation, create};
pub use error::VolumeError;
pub use lock::{Holder, ReadLock, VolumeLock};
pub use open::{Opening, Volume, read_descriptor};
pub use recover::{pending, recover};
