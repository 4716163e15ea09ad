//! STUB of the room `keys`.
#![allow(missing_docs)]
use crate::crypto::derive::VolumeKeys;
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("locked")]
    Locked,
}
pub struct Keyring;
impl Keyring {
    pub fn with_volume<T>(&self, f: impl FnOnce(&VolumeKeys) -> T) -> Result<T, KeyError> { Ok(f(&VolumeKeys)) }
}
