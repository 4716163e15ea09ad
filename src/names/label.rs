//! What is sealed into a stored name: the plain name and, if it took another's place, whose.
//!
//! A stored name carries its node, so two entries of one plain name have *different* stored names, and no call
//! of the backing puts one in the place of the other. A rename makes the new one appear, and the old one is
//! unlinked after; a name that was removed and made anew is two entries too. A crash may leave both. So the new
//! name says, sealed, which *instances* of the name it replaces: whoever finds both knows which one is gone.

use sha2::{Digest, Sha256};

use crate::format::NodeId;

/// One life of one name: distinct for each node and for each replacement, so that no chain of renames
/// comes back to an instance it has replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Instance(pub [u8; 16]);

/// Whom an entry replaces: the first of a line, and all that have followed it before this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Line {
    /// The instance with which the line began.
    pub first: Instance,
    /// Which one after the first this is: 1 for the next.
    pub count: u32,
}

/// The plain side of a stored name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The plain name: 1 to 255 bytes, no slash, no zero byte.
    pub plain: Box<[u8]>,
    /// Whom this one replaces.
    pub replaces: Option<Line>,
}

const SEPARATOR: u8 = 0;
/// Bytes of an instance.
const INSTANCE_LEN: usize = 16;
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
        hash.update(self.line_bytes());
        let digest: [u8; 32] = hash.finalize().into();
        let mut short = [0; INSTANCE_LEN];
        short.copy_from_slice(&digest[..INSTANCE_LEN]);
        Instance(short)
    }

    /// Whom an entry replaces that takes the place of this one, which `node` bears.
    #[must_use]
    pub fn next(&self, node: NodeId) -> Line {
        let further = self.replaces.and_then(|line| {
            let count = line.count.checked_add(1)?;
            Some(Line { count, ..line })
        });
        further.unwrap_or_else(|| Line {
            first: self.instance(node),
            count: 1,
        })
    }

    /// Whether an entry that replaces `line` is in the place of this one, which `node` bears.
    #[must_use]
    pub fn is_before(&self, node: NodeId, line: Line) -> bool {
        let earlier = |own: Line| own.first == line.first && own.count < line.count;
        self.replaces.is_some_and(earlier) || self.instance(node) == line.first
    }

    /// The bytes to seal.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.plain.to_vec();
        if self.replaces.is_some() {
            bytes.push(SEPARATOR);
            bytes.extend(self.line_bytes());
        }
        bytes
    }

    /// The line as it is sealed and hashed: a count of 1 is left out.
    fn line_bytes(&self) -> Vec<u8> {
        let Some(line) = self.replaces else {
            return Vec::new();
        };
        let mut bytes = line.first.0.to_vec();
        if line.count > 1 {
            bytes.extend(line.count.to_le_bytes());
        }
        bytes
    }

    /// Reads what was sealed; `None` when it is not a label.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (plain, replaces) = match bytes.iter().position(|byte| *byte == SEPARATOR) {
            None => (bytes, None),
            Some(at) => (bytes.get(..at)?, Some(parse_line(bytes.get(at + 1..)?)?)),
        };
        let fits = (1..=PLAIN_MAX).contains(&plain.len()) && !plain.contains(&b'/');
        let dots = matches!(plain, b"." | b"..");
        (fits && !dots).then(|| Self {
            plain: plain.into(),
            replaces,
        })
    }
}

fn parse_line(bytes: &[u8]) -> Option<Line> {
    let (first, rest) = bytes.split_first_chunk::<INSTANCE_LEN>()?;
    let count = match rest {
        [] => 1,
        rest => u32::from_le_bytes(rest.try_into().ok()?),
    };
    let first = Instance(*first);
    (rest.is_empty() || count > 1).then_some(Line { first, count })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bytes_and_back(plain in proptest::collection::vec(1u8..=255, 1..=255), replaces in any::<Option<([u8; 16], u32)>>()) {
            prop_assume!(!plain.contains(&b'/') && plain != b"." && plain != b"..");
            let line = |(first, count): ([u8; 16], u32)| Line { first: Instance(first), count: count.max(1) };
            let label = Label { plain: plain.into(), replaces: replaces.map(line) };
            prop_assert_eq!(Label::parse(&label.to_bytes()), Some(label));
        }

        #[test]
        fn any_bytes_are_refused_or_exact(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Some(label) = Label::parse(&bytes) {
                prop_assert_eq!(label.to_bytes(), bytes);
            }
        }

        #[test]
        fn lines_are_refused_or_exact(line in proptest::collection::vec(any::<u8>(), 0..24)) {
            let bytes = [b"x\0", &line[..]].concat();
            if let Some(label) = Label::parse(&bytes) {
                prop_assert_eq!(label.to_bytes(), bytes);
            }
        }
    }

    #[test]
    fn names_that_are_no_names_are_refused() {
        for bad in [
            &b""[..],
            b".",
            b"..",
            b"a/b",
            b"a\0short",
            b"\0aaaaaaaaaaaaaaaa",
            b"a\0aaaaaaaaaaaaaaaa\x01\0\0\0",
        ] {
            assert_eq!(Label::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn each_of_a_line_is_before_all_that_follow_and_no_other() {
        let nodes = [1, 2, 1, 3, 3].map(|n| NodeId([n; 16]));
        let mut line = vec![Label::new(b"x")];
        for node in nodes {
            let last = line.last().unwrap();
            let replaces = Some(last.next(node));
            line.push(Label {
                replaces,
                ..Label::new(b"x")
            });
        }
        let borne: Vec<_> = line.iter().zip(nodes).collect();
        for (at, (label, node)) in borne.iter().enumerate() {
            for (other, (follower, _)) in borne.iter().enumerate() {
                let before = follower.replaces.is_some_and(|line| label.is_before(*node, line));
                assert_eq!(before, at < other, "{at} {other}");
            }
        }
        assert!(!Label::new(b"x").is_before(NodeId([9; 16]), line[1].replaces.unwrap()));
    }
}
