//! Plain names, sealed into stored ones: bound to the directory that they are in and the node that they name.
//!
//! The nonce is fixed: AES-GCM-SIV is then deterministic encryption (RFC 8452, section 9), and the node's
//! random identity in the associated data already makes every name of every node different.

use sha2::{Digest, Sha256};

use super::VolumeKeys;
use super::aead::{Cipher, Tampered};
use crate::format::NodeId;
use crate::format::entry::{NONCE_LEN, TAG_LEN};
use crate::format::stored_name::{DIGEST_LEN, NameFlags, PLAIN_MAX, RawName, SHORT_MAX, Sealed};

const LABEL: &[u8; 8] = b"name\0\0\0\x01";
const NONCE: [u8; NONCE_LEN] = [0; NONCE_LEN];
/// Most bytes that are sealed into one name: a plain name, a zero byte and whom it replaces
/// (`names::Label`, which also says what a plain name may be).
const LABEL_MAX: usize = PLAIN_MAX + 1 + 16 + 4;

/// A stored name, ready to be given to the backing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredName {
    /// The name of the entry, at most 255 bytes.
    pub text: String,
    /// For a long name, what its side file holds.
    pub side: Option<Vec<u8>>,
}

/// Seals the name `plain` that the directory `parent` has for `node`.
#[must_use]
pub fn seal_name(keys: &VolumeKeys, parent: NodeId, node: NodeId, flags: NameFlags, plain: &[u8]) -> StoredName {
    let mut sealed = vec![0; TAG_LEN + plain.len()];
    let (tag, bytes) = sealed.split_at_mut(TAG_LEN);
    let made = Cipher::new(&keys.names).seal(&NONCE, &ad(parent, node, flags), plain, bytes);
    tag.copy_from_slice(&made);
    let long = plain.len() > SHORT_MAX;
    let name = RawName {
        node,
        flags,
        sealed: match long {
            true => Sealed::Long(digest(&sealed)),
            false => Sealed::Short(sealed.clone()),
        },
    };
    StoredName {
        text: name.text(),
        side: long.then_some(sealed),
    }
}

/// Opens a stored name of the directory `parent`; `side` is the content of the side file of a long one.
///
/// # Errors
/// [`Tampered`] when nobody with the key has given this name to this node in this directory.
pub fn open_name(keys: &VolumeKeys, parent: NodeId, name: &RawName, side: Option<&[u8]>) -> Result<Vec<u8>, Tampered> {
    let sealed = match (&name.sealed, side) {
        (Sealed::Short(sealed), _) => sealed,
        (Sealed::Long(expected), Some(side)) if digest(side) == *expected => side,
        (Sealed::Long(_), _) => return Err(Tampered),
    };
    let (tag, bytes) = sealed.split_first_chunk::<TAG_LEN>().ok_or(Tampered)?;
    if bytes.is_empty() || bytes.len() > LABEL_MAX {
        return Err(Tampered);
    }
    let mut plain = bytes.to_vec();
    Cipher::new(&keys.names).open(&NONCE, &ad(parent, name.node, name.flags), &mut plain, tag)?;
    Ok(plain)
}

fn ad(parent: NodeId, node: NodeId, flags: NameFlags) -> [u8; 41] {
    let mut ad = [0; 41];
    ad[..8].copy_from_slice(LABEL);
    ad[8..24].copy_from_slice(&parent.0);
    ad[24..40].copy_from_slice(&node.0);
    ad[40] = flags.byte();
    ad
}

fn digest(sealed: &[u8]) -> [u8; DIGEST_LEN] {
    let mut digest = [0; DIGEST_LEN];
    digest.copy_from_slice(&Sha256::digest(sealed)[..DIGEST_LEN]);
    digest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{Key, volume_keys};
    use crate::format::VolumeId;
    use proptest::prelude::*;

    fn keys() -> VolumeKeys {
        volume_keys(&Key::from_slice(&[7; 32]).unwrap(), VolumeId([1; 16]))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn name_and_back(plain in proptest::collection::vec(any::<u8>().prop_filter("", |b| *b != 0 && *b != b'/'), 3..=255), born in any::<bool>()) {
            let (parent, node) = (NodeId([1; 16]), NodeId([2; 16]));
            let flags = if born { NameFlags::BORN } else { NameFlags::NONE };
            let stored = seal_name(&keys(), parent, node, flags, &plain);
            prop_assert!(stored.text.len() <= 255);
            prop_assert_eq!(stored.side.is_some(), plain.len() > SHORT_MAX);
            let raw = RawName::parse(stored.text.as_bytes()).unwrap();
            prop_assert_eq!(open_name(&keys(), parent, &raw, stored.side.as_deref()), Ok(plain));
            prop_assert_eq!(open_name(&keys(), node, &raw, stored.side.as_deref()), Err(Tampered));
            let other = RawName { node: NodeId([3; 16]), ..raw.clone() };
            prop_assert_eq!(open_name(&keys(), parent, &other, stored.side.as_deref()), Err(Tampered));
            let flags = if born { NameFlags::NONE } else { NameFlags::BORN };
            let other = RawName { flags, ..raw };
            prop_assert_eq!(open_name(&keys(), parent, &other, stored.side.as_deref()), Err(Tampered));
        }
    }

    #[test]
    fn a_long_name_needs_its_own_side_file() {
        let (parent, node) = (NodeId([1; 16]), NodeId([2; 16]));
        let one = seal_name(&keys(), parent, node, NameFlags::NONE, &[b'a'; 200]);
        let two = seal_name(&keys(), parent, node, NameFlags::NONE, &[b'b'; 200]);
        let raw = RawName::parse(one.text.as_bytes()).unwrap();
        assert_eq!(open_name(&keys(), parent, &raw, None), Err(Tampered));
        assert_eq!(open_name(&keys(), parent, &raw, two.side.as_deref()), Err(Tampered));
        assert_eq!(open_name(&keys(), parent, &raw, Some(&[])), Err(Tampered));
    }
}
