//! Which chunks a crash could leave a reference to: pure decisions, no I/O.
//!
//! A chunk that no head refers to which recovery could find is **fresh**: it may be written in its place
//! at once, because whatever a crash makes of it, nobody will read it. Every other chunk goes through the
//! journal.

use crate::format::Geometry;
use crate::format::geometry::FIRST_GROUP;
use crate::format::head::{Body, ENTRIES_OFFSET, GroupRun, INLINE_OFFSET, RawHead};

/// What of a head decides which chunks it refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extent {
    /// No head: an empty file.
    Unborn,
    /// The body stands in page 0, over the place of the first group's entries.
    Inline,
    /// The chunks of so many bytes, without those of the absent groups.
    Chunked {
        /// Plain bytes of the file.
        size: u64,
        /// Groups that are not there, in order.
        absent: Vec<GroupRun>,
    },
    /// A head that is not well-formed: it may refer to anything.
    Unknown,
}

impl Extent {
    /// The extent of the head that stands at the beginning of `page`.
    #[must_use]
    pub fn of(page: &[u8]) -> Self {
        match RawHead::parse(page) {
            Ok(None) => Self::Unborn,
            Err(_) => Self::Unknown,
            Ok(Some(RawHead { head, .. })) => match head.body {
                // Nothing lies over the entries then.
                Body::Inline if head.size == 0 => Self::Chunked {
                    size: 0,
                    absent: Vec::new(),
                },
                Body::Inline => Self::Inline,
                Body::Chunked => Self::Chunked {
                    size: head.size,
                    absent: head.absent,
                },
            },
        }
    }

    /// Whether it refers to the place of `chunk` or of its entry.
    #[must_use]
    pub fn refers_to(&self, geometry: Geometry, chunk: u64) -> bool {
        match self {
            Self::Unborn => false,
            Self::Inline => chunk < FIRST_GROUP,
            Self::Chunked { size, absent } => {
                chunk < geometry.chunks(*size) && !among(absent, geometry.group_of(chunk))
            }
            Self::Unknown => true,
        }
    }

    /// Whether `group` is in an absent run.
    #[must_use]
    pub fn is_absent(&self, group: u64) -> bool {
        matches!(self, Self::Chunked { absent, .. } if among(absent, group))
    }

    /// Whether a chunk that was journaled *before* a cut to this extent is void: what it said is gone, and
    /// its place may have been written anew since.
    #[must_use]
    pub fn voids(&self, geometry: Geometry, chunk: u64) -> bool {
        match self {
            Self::Inline => true,
            _ => !self.refers_to(geometry, chunk),
        }
    }
}

/// Bytes of the image of the head that stands at the beginning of `page`: up to the entries for a body in
/// chunks, as far as the body reaches for an inline one, everything if it is not well-formed. So an inline
/// body that is copied to its place never runs over entries that lie behind it.
#[must_use]
pub fn image_len(page: &[u8]) -> usize {
    match RawHead::parse(page) {
        Ok(None) => 0,
        Err(_) => page.len(),
        Ok(Some(RawHead { head, .. })) => match head.body {
            // At most `INLINE_MAX`, as the parser has seen.
            Body::Inline => INLINE_OFFSET + head.size as usize,
            Body::Chunked => ENTRIES_OFFSET,
        },
    }
}

fn among(absent: &[GroupRun], group: u64) -> bool {
    let after = absent.partition_point(|run| u64::from(run.first) <= group);
    after > 0 && group < absent[after - 1].end()
}

/// All heads that recovery could find.
#[derive(Debug)]
pub struct Reach {
    durable: Extent,
    waiting: Vec<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    /// Counts the heads of the file.
    version: u64,
    /// Commits that are on their way to append it.
    commits: usize,
    /// The record it was appended in.
    sequence: Option<u64>,
    extent: Extent,
}

impl Reach {
    /// The reach of a file whose durable head has this extent.
    #[must_use]
    pub fn new(durable: Extent) -> Self {
        Self {
            durable,
            waiting: Vec::new(),
        }
    }

    /// Whether recovery is sure to find a head.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        self.durable != Extent::Unborn
    }

    /// Whether recovery could find a head at all.
    #[must_use]
    pub fn is_born(&self) -> bool {
        self.durable != Extent::Unborn || !self.waiting.is_empty()
    }

    /// Whether a head that recovery could find refers to `chunk`.
    #[must_use]
    pub fn refers_to(&self, geometry: Geometry, chunk: u64) -> bool {
        self.durable.refers_to(geometry, chunk)
            || self.waiting.iter().any(|head| head.extent.refers_to(geometry, chunk))
    }

    /// Whether `chunk` would be fresh if only the journal were synced up to the record that this returns.
    #[must_use]
    pub fn freed_by(&self, geometry: Geometry, chunk: u64) -> Option<u64> {
        let last = self.waiting.last()?;
        let sequence = last.sequence?;
        (!last.extent.refers_to(geometry, chunk)).then_some(sequence)
    }

    /// A commit is about to make a head durable: from now on its chunks are no longer fresh. Without this a
    /// writer could tear a chunk in its place between the sync that made it durable and the record that
    /// makes it count. Whoever announces it says later that it was [`Reach::appended`], or withdraws.
    pub fn announce(&mut self, version: u64, extent: Extent) {
        self.announced(version, extent).commits += 1;
    }

    /// The head was appended to the journal.
    pub fn appended(&mut self, version: u64, extent: Extent, sequence: u64) {
        let head = self.announced(version, extent);
        head.commits = head.commits.saturating_sub(1);
        head.sequence.get_or_insert(sequence);
    }

    fn announced(&mut self, version: u64, extent: Extent) -> &mut Waiting {
        let at = self.waiting.partition_point(|head| head.version < version);
        if self.waiting.get(at).is_none_or(|head| head.version != version) {
            let head = Waiting {
                version,
                commits: 0,
                sequence: None,
                extent,
            };
            self.waiting.insert(at, head);
        }
        &mut self.waiting[at]
    }

    /// A commit will not append the head: a newer one was, or it failed. Another commit of the same head may still.
    pub fn withdraw(&mut self, version: u64) {
        self.waiting.retain_mut(|head| {
            if head.version == version {
                head.commits = head.commits.saturating_sub(1);
            }
            head.version != version || head.commits > 0 || head.sequence.is_some()
        });
    }

    /// The journal is durable up to the record `synced`. Says whether this made the first head durable.
    pub fn settle(&mut self, synced: u64) -> bool {
        let durable = |head: &Waiting| head.sequence.is_some_and(|sequence| sequence <= synced);
        let Some(last) = self.waiting.iter().rposition(durable) else {
            return false;
        };
        let version = self.waiting[last].version;
        let extent = self.waiting.remove(last).extent;
        let first = self.durable == Extent::Unborn && extent != Extent::Unborn;
        self.durable = extent;
        // Those before it can not be found any more, unless a commit may still append them: then it sees
        // that a newer one was, and withdraws.
        self.waiting
            .retain(|head| head.version > version || (head.sequence.is_none() && head.commits > 0));
        first
    }

    /// Whether a head is on its way.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn geometry() -> Geometry {
        Geometry::new(4096).unwrap()
    }

    fn chunked(chunks: u64) -> Extent {
        Extent::Chunked {
            size: chunks * 4096,
            absent: Vec::new(),
        }
    }

    #[test]
    fn a_chunk_is_fresh_when_no_possible_head_refers_to_it() {
        let g = geometry();
        let mut reach = Reach::new(chunked(10));
        assert!(reach.refers_to(g, 9) && !reach.refers_to(g, 10));
        // Cut to 5, not yet durable: both states are possible.
        reach.announce(1, chunked(5));
        reach.appended(1, chunked(5), 7);
        assert!(reach.refers_to(g, 9));
        assert_eq!(reach.freed_by(g, 9), Some(7));
        assert_eq!(reach.freed_by(g, 4), None);
        assert!(!reach.settle(6));
        assert!(reach.refers_to(g, 9));
        assert!(!reach.settle(7));
        assert!(!reach.refers_to(g, 9) && reach.refers_to(g, 4));
    }

    #[test]
    fn a_head_counts_from_the_beginning_of_its_commit() {
        let g = geometry();
        let mut reach = Reach::new(Extent::Unborn);
        assert!(!reach.is_born());
        reach.announce(1, chunked(3));
        assert!(reach.is_born() && reach.refers_to(g, 2));
        assert!(!reach.settle(100), "it was not appended yet");
        reach.appended(1, chunked(3), 101);
        assert!(reach.settle(101), "the first head became durable");
        assert!(!reach.is_waiting());
    }

    /// A commit that failed left its announcement behind: its chunks were never fresh again, and the file was kept open
    /// for ever. Of two commits of one head the other may still append it.
    #[test]
    fn regression_who_fails_withdraws_and_only_he() {
        let g = geometry();
        let mut reach = Reach::new(chunked(1));
        reach.announce(1, chunked(3));
        reach.announce(1, chunked(3));
        reach.withdraw(1);
        assert!(reach.refers_to(g, 2), "the other commit is on its way");
        reach.withdraw(1);
        assert!(!reach.refers_to(g, 2) && !reach.is_waiting());
        reach.announce(2, chunked(4));
        reach.appended(2, chunked(4), 9);
        reach.withdraw(2);
        assert!(reach.refers_to(g, 3), "it is in the journal");
    }

    #[test]
    fn an_inline_body_lies_over_the_first_entries() {
        let g = geometry();
        assert!(Extent::Inline.refers_to(g, 63) && !Extent::Inline.refers_to(g, 64));
        assert!(Extent::Inline.voids(g, 0));
        assert!(Extent::Unknown.refers_to(g, u64::MAX >> 20));
    }

    proptest! {
        #[test]
        fn what_is_not_referred_to_is_void(chunks in 0u64..2000, first in 0u32..9, count in 1u32..4, chunk in 0u64..2000) {
            let extent = Extent::Chunked { size: chunks * 4096, absent: vec![GroupRun { first, count }] };
            let group = geometry().group_of(chunk);
            let there = chunk < chunks && !(u64::from(first)..u64::from(first + count)).contains(&group);
            prop_assert_eq!(extent.refers_to(geometry(), chunk), there);
            prop_assert_eq!(extent.voids(geometry(), chunk), !there);
        }
    }
}
