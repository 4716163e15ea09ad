//! A tag entry: what it takes, beside its key, to open one chunk.

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of a nonce (RFC 8452, section 4).
pub const NONCE_LEN: usize = 12;
/// Bytes of an authentication tag (RFC 8452, section 4).
pub const TAG_LEN: usize = 16;
/// Bytes of a tag entry.
pub const ENTRY_LEN: usize = 32;

/// Nonce, tag and plain length of one chunk.
///
/// The length needs no protection of its own: the AEAD's tag is over exactly so many bytes. A length of
/// zero is a **hole**: its tag, over nothing but the associated data, says that somebody who had the key
/// left this chunk empty, so a chunk that was zeroed or cut off can not pass for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Entry {
    /// A fresh random nonce for every seal.
    pub nonce: [u8; NONCE_LEN],
    /// The tag over the stored bytes and the associated data.
    pub tag: [u8; TAG_LEN],
    len: U32,
}

impl Entry {
    /// An entry of a chunk of `len` plain bytes.
    #[must_use]
    pub fn new(nonce: [u8; NONCE_LEN], tag: [u8; TAG_LEN], len: u32) -> Self {
        Self {
            nonce,
            tag,
            len: U32::new(len),
        }
    }

    /// The entry of a chunk that was never written. It opens nothing.
    pub const UNWRITTEN: Self = Self {
        nonce: [0; NONCE_LEN],
        tag: [0; TAG_LEN],
        len: U32::ZERO,
    };

    /// Plain (and stored) bytes of the chunk; zero for a hole.
    #[must_use]
    #[allow(clippy::len_without_is_empty)] // An empty chunk is a hole: `is_hole`.
    pub fn len(&self) -> u32 {
        self.len.get()
    }

    /// Whether this says that the chunk is a hole.
    #[must_use]
    pub fn is_hole(&self) -> bool {
        self.len() == 0
    }
}

const _: () = assert!(size_of::<Entry>() == ENTRY_LEN);
