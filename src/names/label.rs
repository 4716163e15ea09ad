//! What is sealed into a stored name: the plain name and, after a rename over another file, whom it replaced.
//!
//! A stored name carries its node, so the new and the replaced file of a rename have *different* stored
//! names. The backing's rename therefore cannot replace the old one; it makes the new one appear, and the
//! old one is unlinked after. What makes this atomic is that the new name says, sealed, which *instance* of
//! the name it replaces: whoever finds both after a crash knows that the old one is gone.

use sha2::{Digest, Sha256};

use crate::format::NodeId;

/// One life of one name: distinct for each node and for each replacement, so that no chain of renames
/// comes back to an instance it has replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Instance(pub [u8; 16]);

/// The plain side of a stored name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The plain name: 1 to 255 bytes, no slash, no zero byte.
    pub plain: Box<[u8]>,
    /// The instance that this one replaced in a rename.
    pub replaces: Option<Instance>,
}

const SEPARATOR: u8 = 0;
/// Most bytes of a plain name.
const PLAIN_MAX: usize = crate::format::stored_name::PLAIN_MAX;

impl Label {
    /// A name that replaced nothing.
    #[must_use]
    pub fn new(plain: &[u8]) -> Self {
        Self {
            plain: plain.into(),
            replaces: None,
        }
    }

    /// Which instance of its name this is when `node` bears it.
    #[must_use]
    pub fn instance(&self, node: NodeId) -> Instance {
        let mut hash = Sha256::new();
        hash.update(b"kmsfs name instance");
        hash.update(node.0);
        if let Some(replaced) = self.replaces {
            hash.update(replaced.0);
        }
        let digest: [u8; 32] = hash.finalize().into();
        let mut short = [0; 16];
        short.copy_from_slice(&digest[..16]);
        Instance(short)
    }

    /// The bytes to seal.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.plain.to_vec();
        if let Some(replaced) = self.replaces {
            bytes.push(SEPARATOR);
            bytes.extend_from_slice(&replaced.0);
        }
        bytes
    }

    /// Reads what was sealed; `None` when it is not a label.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (plain, replaces) = match bytes.iter().position(|byte| *byte == SEPARATOR) {
            None => (bytes, None),
            Some(at) => {
                let instance = bytes.get(at + 1..)?.try_into().ok()?;
                (bytes.get(..at)?, Some(Instance(instance)))
            }
        };
        let fits = (1..=PLAIN_MAX).contains(&plain.len()) && !plain.contains(&b'/');
        let dots = matches!(plain, b"." | b"..");
        (fits && !dots).then(|| Self {
            plain: plain.into(),
            replaces,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bytes_and_back(plain in proptest::collection::vec(1u8..=255, 1..=255), replaces in any::<Option<[u8; 16]>>()) {
            prop_assume!(!plain.contains(&b'/') && plain != b"." && plain != b"..");
            let label = Label { plain: plain.into(), replaces: replaces.map(Instance) };
            prop_assert_eq!(Label::parse(&label.to_bytes()), Some(label));
        }

        #[test]
        fn any_bytes_are_refused_or_exact(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Some(label) = Label::parse(&bytes) {
                prop_assert_eq!(label.to_bytes(), bytes);
            }
        }
    }

    #[test]
    fn names_that_are_no_names_are_refused() {
        for bad in [&b""[..], b".", b"..", b"a/b", b"a\0short", b"\0aaaaaaaaaaaaaaaa"] {
            assert_eq!(Label::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_chain_of_replacements_never_comes_back() {
        let (a, b) = (NodeId([1; 16]), NodeId([2; 16]));
        let first = Label::new(b"x");
        let second = Label {
            replaces: Some(first.instance(a)),
            ..Label::new(b"x")
        };
        let third = Label {
            replaces: Some(second.instance(b)),
            ..Label::new(b"x")
        };
        assert_ne!(third.instance(a), first.instance(a));
    }
}
