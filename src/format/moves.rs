//! `kmsfs.moves`: renames that belong together, written down before the first of them, so that whoever mounts
//! after a crash can do the rest. It needs no key, as the journal does not.

use xxhash_rust::xxh3::xxh3_128;

use super::ids::NodeId;

/// The name of the file, in the backing's root.
pub const FILE_NAME: &str = "kmsfs.moves";
/// Most bytes of the file.
pub const LEN_MAX: usize = 4096;
/// Most moves in it.
pub const MOVES_MAX: usize = 4;
const MAGIC: &[u8; 8] = b"kmsfs\0m\x01";
const CHECKSUM_LEN: usize = 16;
const NAME_MAX: usize = 255;

/// One rename within the backing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// The directory that the entry leaves, and the one that it comes to; that of the root is in the descriptor.
    pub from: NodeId,
    /// See there.
    pub to: NodeId,
    /// The entry's name there and here.
    pub old: String,
    /// See there.
    pub new: String,
}

/// The content of the file.
#[must_use]
pub fn to_bytes(moves: &[Move]) -> Vec<u8> {
    let mut bytes = vec![0; CHECKSUM_LEN];
    bytes.extend(MAGIC);
    for Move { from, to, old, new } in moves {
        bytes.extend(from.0);
        bytes.extend(to.0);
        for name in [old, new] {
            // A name has 255 bytes at most.
            #[allow(clippy::cast_possible_truncation)]
            bytes.push(name.len() as u8);
            bytes.extend(name.as_bytes());
        }
    }
    let checksum = xxh3_128(&bytes[CHECKSUM_LEN..]).to_le_bytes();
    bytes[..CHECKSUM_LEN].copy_from_slice(&checksum);
    bytes
}

/// The moves in the file; `None` when it is not whole, which means that none of them has begun.
#[must_use]
pub fn parse(bytes: &[u8]) -> Option<Vec<Move>> {
    let (checksum, covered) = bytes.split_first_chunk::<CHECKSUM_LEN>()?;
    if u128::from_le_bytes(*checksum) != xxh3_128(covered) {
        return None;
    }
    let mut rest = covered.strip_prefix(MAGIC)?;
    let mut moves = Vec::new();
    while !rest.is_empty() && moves.len() < MOVES_MAX {
        let (from, to);
        (from, rest) = rest.split_first_chunk::<16>()?;
        (to, rest) = rest.split_first_chunk::<16>()?;
        let (old, new);
        (old, rest) = name(rest)?;
        (new, rest) = name(rest)?;
        moves.push(Move {
            from: NodeId(*from),
            to: NodeId(*to),
            old,
            new,
        });
    }
    rest.is_empty().then_some(moves)
}

/// A name, and what follows it. Nothing that leads out of its directory is one.
fn name(bytes: &[u8]) -> Option<(String, &[u8])> {
    let (len, rest) = bytes.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(*len))?;
    let name = String::from_utf8(name.to_vec()).ok()?;
    let sound = (1..=NAME_MAX).contains(&name.len()) && !name.contains(['/', '\0']) && name != "." && name != "..";
    sound.then_some((name, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    prop_compose! {
        fn moves()(moves in proptest::collection::vec((any::<[u8; 16]>(), any::<[u8; 16]>(), "[a-z]{1,255}", "[a-z.]{3,255}"), 0..=4)) -> Vec<Move> {
            let one = |(from, to, old, new)| Move { from: NodeId(from), to: NodeId(to), old, new };
            moves.into_iter().map(one).collect()
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn bytes_and_back(moves in moves()) {
            let bytes = to_bytes(&moves);
            prop_assert!(bytes.len() <= LEN_MAX);
            prop_assert_eq!(parse(&bytes), Some(moves));
        }

        #[test]
        fn cut_or_changed_it_is_none(moves in moves(), at in any::<prop::sample::Index>(), bit in 0..8u8) {
            let bytes = to_bytes(&moves);
            let at = at.index(bytes.len());
            prop_assert_eq!(parse(&bytes[..at]), None);
            let mut changed = bytes;
            changed[at] ^= 1 << bit;
            prop_assert_eq!(parse(&changed), None);
        }

        #[test]
        fn any_bytes_with_a_fitting_checksum_are_refused_or_exact(mut bytes in proptest::collection::vec(any::<u8>(), 24..400)) {
            bytes[16..24].copy_from_slice(MAGIC);
            let checksum = xxh3_128(&bytes[16..]).to_le_bytes();
            bytes[..16].copy_from_slice(&checksum);
            if let Some(moves) = parse(&bytes) {
                prop_assert_eq!(to_bytes(&moves), bytes);
            }
        }
    }

    #[test]
    fn a_name_that_leads_elsewhere_is_none() {
        for bad in ["", ".", "..", "a/b"] {
            let one = Move {
                from: NodeId([1; 16]),
                to: NodeId([2; 16]),
                old: bad.into(),
                new: "x".into(),
            };
            assert_eq!(parse(&to_bytes(&[one])), None, "{bad}");
        }
    }
}
