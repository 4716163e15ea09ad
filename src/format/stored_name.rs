//! Stored names: what a directory entry of the backing is called, and what can be read from it without a key.
//!
//! ```text
//! short   base64url( node 16 ‖ flags 1 ‖ sealed 16 + n )                    n ≤ 158 plain bytes
//! long    kmsfs.long.base64url( node 16 ‖ flags 1 ‖ SHA-256(sealed)[..16] ) and beside it
//!         kmsfs.long.….name, a file with the sealed bytes
//! ```
//!
//! The alphabet of base64url has no dot, so everything that begins with `kmsfs.` is kmsfs's own.

use data_encoding::BASE64URL_NOPAD;

use super::entry::TAG_LEN;
use super::ids::NodeId;

/// The beginning of every entry of the backing that is not a short stored name.
pub const RESERVED_PREFIX: &str = "kmsfs.";
/// The beginning of a long stored name.
pub const LONG_PREFIX: &str = "kmsfs.long.";
/// The end of the name of the side file of a long stored name.
pub const SIDE_SUFFIX: &str = ".name";
/// Most bytes of a plain name (NAME_MAX of Linux).
pub const PLAIN_MAX: usize = 255;
/// Most bytes of a plain name whose stored name is short, so at most 255 bytes itself.
pub const SHORT_MAX: usize = 158;
/// Bytes of the digest in a long stored name.
pub const DIGEST_LEN: usize = 16;
const FIXED_LEN: usize = 17;

/// What a stored name says of its node, authenticated with the name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct NameFlags(u8);

impl NameFlags {
    /// Nothing is known of the content.
    pub const NONE: Self = Self(0);
    /// The content has been committed once: a file without a head was emptied by somebody else.
    pub const BORN: Self = Self(1);

    /// Whether [`NameFlags::BORN`] is set.
    #[must_use]
    pub fn is_born(self) -> bool {
        self == Self::BORN
    }

    /// The flags as the byte that stands in the name.
    #[must_use]
    pub fn byte(self) -> u8 {
        self.0
    }

    /// The flags of a byte, if format 1 knows them all.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        (byte <= 1).then_some(Self(byte))
    }
}

/// What a stored name carries for the sealed part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sealed {
    /// The sealed name itself, tag first.
    Short(Vec<u8>),
    /// A digest of the sealed name, which lies in the side file.
    Long([u8; DIGEST_LEN]),
}

/// A well-formed stored name that nobody has authenticated yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawName {
    /// The node it names.
    pub node: NodeId,
    /// What it says of the node.
    pub flags: NameFlags,
    /// The sealed plain name, or where to find it.
    pub sealed: Sealed,
}

impl RawName {
    /// Reads a stored name; `None` when it is not one.
    #[must_use]
    pub fn parse(stored: &[u8]) -> Option<Self> {
        let (text, long) = match stored.strip_prefix(LONG_PREFIX.as_bytes()) {
            Some(rest) => (rest, true),
            None => (stored, false),
        };
        if text.len() > PLAIN_MAX {
            return None;
        }
        let bytes = BASE64URL_NOPAD.decode(text).ok()?;
        let (fixed, rest) = bytes.split_first_chunk::<FIXED_LEN>()?;
        let (node, flags) = fixed.split_first_chunk::<16>()?;
        let sealed = if long {
            Sealed::Long(rest.try_into().ok()?)
        } else if rest.len() > TAG_LEN {
            Sealed::Short(rest.to_vec())
        } else {
            return None;
        };
        Some(Self {
            node: NodeId(*node),
            flags: NameFlags::from_byte(flags[0])?,
            sealed,
        })
    }

    /// The stored name, at most 255 bytes of ASCII.
    #[must_use]
    pub fn text(&self) -> String {
        let (prefix, sealed): (_, &[u8]) = match &self.sealed {
            Sealed::Short(sealed) => ("", sealed),
            Sealed::Long(digest) => (LONG_PREFIX, digest),
        };
        let mut bytes = Vec::with_capacity(FIXED_LEN + sealed.len());
        bytes.extend_from_slice(&self.node.0);
        bytes.push(self.flags.byte());
        bytes.extend_from_slice(sealed);
        format!("{prefix}{}", BASE64URL_NOPAD.encode(&bytes))
    }
}

/// The name of the side file of the long stored name `stored`.
#[must_use]
pub fn side_file(stored: &str) -> String {
    format!("{stored}{SIDE_SUFFIX}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_and_back(node in any::<[u8; 16]>(), born in any::<bool>(), sealed in proptest::collection::vec(any::<u8>(), 17..=174)) {
            let flags = if born { NameFlags::BORN } else { NameFlags::NONE };
            let name = RawName { node: NodeId(node), flags, sealed: Sealed::Short(sealed) };
            let text = name.text();
            prop_assert!(text.len() <= 255);
            prop_assert_eq!(RawName::parse(text.as_bytes()), Some(name));
        }

        #[test]
        fn long_and_back(node in any::<[u8; 16]>(), digest in any::<[u8; 16]>()) {
            let name = RawName { node: NodeId(node), flags: NameFlags::NONE, sealed: Sealed::Long(digest) };
            let text = name.text();
            prop_assert!(side_file(&text).len() <= 255);
            prop_assert_eq!(RawName::parse(text.as_bytes()), Some(name));
            prop_assert_eq!(RawName::parse(side_file(&text).as_bytes()), None);
        }

        #[test]
        fn any_bytes_are_refused_or_exact(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Some(name) = RawName::parse(&bytes) {
                prop_assert_eq!(name.text().into_bytes(), bytes);
            }
        }
    }
}
