//! STUB of the room `keys`.
#![allow(missing_docs)]
use crate::crypto::{Key, VolumeKeys, volume_keys};
use crate::format::VolumeId;
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("locked")]
    Locked,
}
pub struct Keyring(VolumeKeys);
impl Keyring {
    pub fn stub() -> Self { Self(volume_keys(&Key::from_slice(&[7; 32]).unwrap(), VolumeId([1; 16]))) }
    pub fn with_volume<T>(&self, f: impl FnOnce(&VolumeKeys) -> T) -> Result<T, KeyError> { Ok(f(&self.0)) }
}
