//! Small values that hang on a node: symlink targets, names and values of extended attributes.
//!
//! A sealed value is `nonce 12 ‖ tag 16 ‖ bytes`. It is bound to its purpose, its node and a context (for
//! the value of an attribute, the attribute's plain name). Names of attributes must be found again, so they
//! are sealed with a fixed nonce, which RFC 8452 allows (section 9); everything else with a random one.

use super::VolumeKeys;
use super::aead::{Cipher, Tampered};
use crate::format::NodeId;
use crate::format::entry::{NONCE_LEN, TAG_LEN};
use crate::format::ids::random_bytes;

/// Bytes by which a sealed value is longer than the plain one.
pub const OVERHEAD: usize = NONCE_LEN + TAG_LEN;

/// What a value is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The target of a symbolic link.
    SymlinkTarget,
    /// The name of an extended attribute.
    XattrName,
    /// The value of an extended attribute; the context is its plain name.
    XattrValue,
}

impl Purpose {
    fn label(self) -> &'static [u8; 8] {
        match self {
            Self::SymlinkTarget => b"link\0\0\0\x01",
            Self::XattrName => b"xname\0\0\x01",
            Self::XattrValue => b"xvalue\0\x01",
        }
    }
}

/// Seals `plain` for `purpose` on `node`.
#[must_use]
pub fn seal_value(keys: &VolumeKeys, purpose: Purpose, node: NodeId, context: &[u8], plain: &[u8]) -> Vec<u8> {
    let nonce = match purpose {
        Purpose::XattrName => [0; NONCE_LEN],
        Purpose::SymlinkTarget | Purpose::XattrValue => random_bytes(),
    };
    let mut sealed = vec![0; OVERHEAD + plain.len()];
    let tag = Cipher::new(&keys.values).seal(&nonce, &ad(purpose, node, context), plain, &mut sealed[OVERHEAD..]);
    sealed[..NONCE_LEN].copy_from_slice(&nonce);
    sealed[NONCE_LEN..OVERHEAD].copy_from_slice(&tag);
    sealed
}

/// Opens what [`seal_value`] made for the same purpose, node and context.
///
/// # Errors
/// [`Tampered`] when it is anything else.
pub fn open_value(
    keys: &VolumeKeys,
    purpose: Purpose,
    node: NodeId,
    context: &[u8],
    sealed: &[u8],
) -> Result<Vec<u8>, Tampered> {
    let (nonce, rest) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(Tampered)?;
    let (tag, bytes) = rest.split_first_chunk::<TAG_LEN>().ok_or(Tampered)?;
    let mut plain = bytes.to_vec();
    Cipher::new(&keys.values).open(nonce, &ad(purpose, node, context), &mut plain, tag)?;
    Ok(plain)
}

fn ad(purpose: Purpose, node: NodeId, context: &[u8]) -> Vec<u8> {
    [purpose.label(), &node.0[..], context].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{Key, volume_keys};
    use crate::format::VolumeId;

    #[test]
    fn opens_only_for_its_purpose_node_and_context() {
        let keys = volume_keys(&Key::from_slice(&[7; 32]).unwrap(), VolumeId([1; 16]));
        let (one, two) = (NodeId([1; 16]), NodeId([2; 16]));
        let sealed = seal_value(&keys, Purpose::XattrValue, one, b"user.a", b"value");
        let open = |purpose, node, context: &[u8], sealed: &[u8]| open_value(&keys, purpose, node, context, sealed);
        assert_eq!(open(Purpose::XattrValue, one, b"user.a", &sealed).unwrap(), b"value");
        assert!(open(Purpose::XattrValue, two, b"user.a", &sealed).is_err());
        assert!(open(Purpose::XattrValue, one, b"user.b", &sealed).is_err());
        assert!(open(Purpose::SymlinkTarget, one, b"user.a", &sealed).is_err());
        for cut in 0..sealed.len() {
            assert!(open(Purpose::XattrValue, one, b"user.a", &sealed[..cut]).is_err());
        }
        let name = |node| seal_value(&keys, Purpose::XattrName, node, b"", b"user.a");
        assert_eq!(name(one), name(one));
        assert_ne!(name(one), name(two));
    }
}
