//! The seal of the volume descriptor.

use hmac::Mac;

use super::{Tampered, VolumeKeys, head::hmac_of};
use crate::format::FormatError;
use crate::format::descriptor::{Descriptor, RawDescriptor, with_mac};

/// The bytes of the descriptor file.
///
/// # Errors
/// [`FormatError`] when the descriptor cannot be written.
pub fn seal_descriptor(descriptor: &Descriptor, keys: &VolumeKeys) -> Result<Vec<u8>, FormatError> {
    let maced = descriptor.to_maced()?;
    let mac = hmac_of(&keys.descriptor).chain_update(&maced).finalize();
    Ok(with_mac(&maced, &mac.into_bytes().into()))
}

/// Believes a descriptor.
///
/// # Errors
/// [`Tampered`] when it was edited by somebody without the volume key.
pub fn open_descriptor(raw: RawDescriptor, keys: &VolumeKeys) -> Result<Descriptor, Tampered> {
    let mac = hmac_of(&keys.descriptor).chain_update(&raw.maced);
    mac.verify_slice(&raw.mac).map_err(|_| Tampered)?;
    Ok(raw.descriptor)
}
