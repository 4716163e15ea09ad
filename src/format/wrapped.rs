//! A data key as the KMS wrapped it, and the slot that holds one in a head or a descriptor.

use zerocopy::little_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::FormatError;

/// Most bytes of a master key's identifier.
pub const MASTER_KEY_MAX: usize = 64;
/// Most bytes of a wrapped key.
pub const BLOB_MAX: usize = 256;
/// Bytes of a slot.
pub const SLOT_LEN: usize = 328;

/// A wrapped key: the KMS's CiphertextBlob, decoded, and the master key that opens it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WrappedKey {
    /// The identifier of the master key (never an alias), at most [`MASTER_KEY_MAX`] bytes of ASCII.
    pub master_key: String,
    /// The blob, at most [`BLOB_MAX`] bytes.
    pub blob: Vec<u8>,
}

/// Room for one wrapped key, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Slot {
    /// 1 when a key is in the slot, 0 when not.
    used: u8,
    master_key_len: u8,
    blob_len: U16,
    reserved: [u8; 4],
    master_key: [u8; MASTER_KEY_MAX],
    blob: [u8; BLOB_MAX],
}

const _: () = assert!(size_of::<Slot>() == SLOT_LEN);

impl Slot {
    /// A slot without a key.
    pub const EMPTY: Self = Self {
        used: 0,
        master_key_len: 0,
        blob_len: U16::ZERO,
        reserved: [0; 4],
        master_key: [0; MASTER_KEY_MAX],
        blob: [0; BLOB_MAX],
    };

    /// A slot with `key` in it.
    ///
    /// # Errors
    /// [`FormatError::Field`] when the identifier or the blob is empty or too long, or the identifier is
    /// not printable ASCII.
    pub fn new(key: &WrappedKey) -> Result<Self, FormatError> {
        let name = key.master_key.as_bytes();
        let printable = name.iter().all(u8::is_ascii_graphic);
        if name.is_empty() || name.len() > MASTER_KEY_MAX || !printable {
            return Err(field("master key"));
        }
        if key.blob.is_empty() || key.blob.len() > BLOB_MAX {
            return Err(field("wrapped key"));
        }
        let mut slot = Self::EMPTY;
        slot.used = 1;
        slot.master_key_len = name.len() as u8;
        slot.blob_len = U16::new(key.blob.len() as u16);
        slot.master_key[..name.len()].copy_from_slice(name);
        slot.blob[..key.blob.len()].copy_from_slice(&key.blob);
        Ok(slot)
    }

    /// The key in the slot, if there is one.
    ///
    /// # Errors
    /// [`FormatError::Field`] when the slot is not one that [`Slot::new`] makes.
    pub fn get(&self) -> Result<Option<WrappedKey>, FormatError> {
        if self.used == 0 {
            return if *self == Self::EMPTY {
                Ok(None)
            } else {
                Err(field("wrapped key slot"))
            };
        }
        let name = self.master_key.get(..usize::from(self.master_key_len));
        let blob = self.blob.get(..usize::from(self.blob_len.get()));
        let (Some(name), Some(blob)) = (name, blob) else {
            return Err(field("wrapped key slot"));
        };
        let key = WrappedKey {
            master_key: String::from_utf8_lossy(name).into_owned(),
            blob: blob.to_vec(),
        };
        if Self::new(&key)? != *self {
            return Err(field("wrapped key slot"));
        }
        Ok(Some(key))
    }
}

fn field(field: &'static str) -> FormatError {
    FormatError::Field {
        what: "wrapped key",
        field,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn slot_and_back(name in "[!-~]{1,64}", blob in proptest::collection::vec(any::<u8>(), 1..=256)) {
            let key = WrappedKey { master_key: name, blob };
            prop_assert_eq!(Slot::new(&key).unwrap().get().unwrap(), Some(key));
        }

        #[test]
        fn any_bytes_are_refused_or_exact(bytes in proptest::collection::vec(any::<u8>(), SLOT_LEN)) {
            let slot = Slot::read_from_bytes(&bytes).unwrap();
            if let Ok(Some(key)) = slot.get() {
                prop_assert_eq!(Slot::new(&key).unwrap(), slot);
            }
        }
    }

    #[test]
    fn too_long_is_refused() {
        let long = WrappedKey {
            master_key: "k".repeat(65),
            blob: vec![1],
        };
        assert!(Slot::new(&long).is_err());
        let long = WrappedKey {
            master_key: "k".into(),
            blob: vec![1; 257],
        };
        assert!(Slot::new(&long).is_err());
    }
}
