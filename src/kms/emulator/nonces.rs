//! Nonces that were used, for as long as a request that repeats one would still be in time.

use std::collections::{BTreeSet, HashSet};

use sha2::{Digest, Sha256};

/// Seconds by which a request's time may differ from ours, either way (reference, §2.5).
pub(super) const SKEW: i64 = 15 * 60;
/// Most nonces that are remembered: a thousand requests a second for the whole window, in about 200 MB.
const MOST: usize = 2_000_000;

type Mark = [u8; 16];

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Not yet seen, and remembered from now on.
    New,
    /// Used before.
    Used,
    /// No room to remember it.
    Full,
}

/// The memory.
#[derive(Default)]
pub(super) struct Nonces {
    known: HashSet<Mark>,
    /// By the time until which each is kept.
    by_end: BTreeSet<(i64, Mark)>,
}

impl Nonces {
    /// Looks at the nonce of a request that claims to be of `time`, and remembers it.
    pub(super) fn meet(&mut self, access_key: &str, nonce: &str, time: i64, now: i64) -> Seen {
        while let Some((end, mark)) = self.by_end.first().copied().filter(|(end, _)| *end < now) {
            self.by_end.remove(&(end, mark));
            self.known.remove(&mark);
        }
        // A line's end stands between the two: no header and no access key holds one.
        let digest = Sha256::digest(format!("{access_key}\n{nonce}"));
        let mut mark: Mark = [0; 16];
        mark.copy_from_slice(&digest[..16]);
        if self.known.contains(&mark) {
            return Seen::Used;
        }
        if self.known.len() >= MOST {
            return Seen::Full;
        }
        self.known.insert(mark);
        self.by_end.insert((time.saturating_add(SKEW), mark));
        Seen::New
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembered_until_the_request_is_too_old() {
        let mut nonces = Nonces::default();
        assert_eq!(nonces.meet("a", "1", 1000, 1000), Seen::New);
        assert_eq!(nonces.meet("a", "1", 1000, 1001), Seen::Used);
        assert_eq!(nonces.meet("b", "1", 1000, 1001), Seen::New);
        assert_eq!(nonces.meet("a", "1", 1000, 1000 + SKEW), Seen::Used);
        assert_eq!(nonces.meet("a", "1", 1000, 1000 + SKEW + 1), Seen::New);
        assert_eq!(nonces.known.len(), nonces.by_end.len());
    }

    /// A request from a clock that is ahead stays in time for longer.
    #[test]
    fn clock_ahead() {
        let mut nonces = Nonces::default();
        assert_eq!(nonces.meet("a", "1", 1000 + SKEW, 1000), Seen::New);
        assert_eq!(nonces.meet("a", "1", 1000 + SKEW, 1000 + 2 * SKEW), Seen::Used);
    }
}
