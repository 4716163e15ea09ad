//! What space of a stored file is certain: what the backing can not refuse any more. Pure decisions, no I/O.
//!
//! A chunk in the journal must find room in its place at the next checkpoint, or at recovery: when nobody is left
//! who could be told that there is none.

use std::collections::HashMap;

use super::reach::Extent;
use crate::format::geometry::GROUP;
use crate::format::journal::Run;
use crate::format::{Geometry, PAGE};

/// The space that is certain.
#[derive(Debug, Default)]
pub struct Reserved {
    groups: HashMap<u64, Group>,
    /// The latest chunk that has a part of its place only, and how many bytes of it.
    part: Option<(u64, u64)>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Group {
    /// All of its tag page.
    tags: bool,
    /// Chunks that have all of their place, a bit for each.
    whole: u128,
}

const _: () = assert!(GROUP <= u128::BITS as u64);

impl Reserved {
    /// Whether all of `run`, its entries too, finds room.
    #[must_use]
    pub fn covers(&self, geometry: Geometry, run: &Run<'_>) -> bool {
        chunks(run).all(|(chunk, len)| self.has_tags(geometry, chunk) && self.room(geometry, chunk) >= len)
    }

    fn has_tags(&self, geometry: Geometry, chunk: u64) -> bool {
        match geometry.group_of(chunk) {
            // In page 0, which is made before anything goes to the journal.
            0 => true,
            group => self.groups.get(&group).is_some_and(|group| group.tags),
        }
    }

    fn room(&self, geometry: Geometry, chunk: u64) -> u64 {
        let (group, bit) = bit(geometry, chunk);
        match self.part {
            _ if self.groups.get(&group).is_some_and(|group| group.whole & bit != 0) => geometry.chunk_size(),
            Some((part, len)) if part == chunk => len,
            _ => 0,
        }
    }

    /// `run` was reserved by [`super::place::reserve`].
    pub fn reserved(&mut self, geometry: Geometry, run: &Run<'_>) {
        for (chunk, len) in chunks(run) {
            self.groups.entry(geometry.group_of(chunk)).or_default().tags = true;
            self.has(geometry, chunk, rounded(len));
        }
    }

    /// `run` was written to its place.
    pub fn written(&mut self, geometry: Geometry, run: &Run<'_>) {
        for (chunk, len) in chunks(run) {
            self.has(geometry, chunk, len);
        }
    }

    fn has(&mut self, geometry: Geometry, chunk: u64, len: u64) {
        if len == geometry.chunk_size() {
            let (group, bit) = bit(geometry, chunk);
            self.groups.entry(group).or_default().whole |= bit;
        } else if len > self.room(geometry, chunk) {
            self.part = Some((chunk, len));
        }
    }

    /// The holes of `run` have been said: the next checkpoint may give back what lies in their places.
    pub fn given_back(&mut self, geometry: Geometry, run: &Run<'_>) {
        for (chunk, _) in chunks(run).filter(|(_, len)| *len == 0) {
            let (group, bit) = bit(geometry, chunk);
            if let Some(group) = self.groups.get_mut(&group) {
                group.whole &= !bit;
            }
            self.part = self.part.filter(|(part, _)| *part != chunk);
        }
    }

    /// The file has this extent now: the next checkpoint may give back the groups that are absent.
    pub fn keep(&mut self, geometry: Geometry, extent: &Extent) {
        self.groups.retain(|group, _| !extent.is_absent(*group));
        self.part = self
            .part
            .filter(|(chunk, _)| !extent.is_absent(geometry.group_of(*chunk)));
    }

    /// The stored file was cut.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Bytes that are reserved for so many: whole pages, so that a file which grows by little is not asked for each time.
#[must_use]
pub fn rounded(len: u64) -> u64 {
    len.next_multiple_of(PAGE as u64)
}

fn chunks(run: &Run<'_>) -> impl Iterator<Item = (u64, u64)> {
    (run.first..).zip(run.entries.iter().map(|entry| u64::from(entry.len())))
}

fn bit(geometry: Geometry, chunk: u64) -> (u64, u128) {
    let group = geometry.group_of(chunk);
    (group, 1 << (chunk - geometry.chunks_of(group).start))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Entry;
    use crate::format::head::GroupRun;

    fn geometry() -> Geometry {
        Geometry::new(65536).unwrap()
    }

    fn entry(len: u32) -> Entry {
        Entry::new([1; 12], [2; 16], len)
    }

    /// Acknowledged syncs on a full disk, and then a volume that no recovery could mount: a chunk counted as reserved as
    /// a whole when only its first 5000 bytes had been written.
    #[test]
    fn regression_a_part_of_a_chunk_is_not_all_of_it() {
        let (short, long) = ([entry(5000)], [entry(60000)]);
        let run = |entries| Run {
            first: 0,
            entries,
            data: &[1],
        };
        let mut reserved = Reserved::default();
        reserved.written(geometry(), &run(&short));
        assert!(reserved.covers(geometry(), &run(&short)) && !reserved.covers(geometry(), &run(&long)));
        reserved.reserved(geometry(), &run(&long));
        assert!(reserved.covers(geometry(), &run(&long)));
    }

    #[test]
    fn holes_need_their_tags_and_give_back_the_rest() {
        let (full, hole) = ([entry(65536)], [entry(0)]);
        let run = |entries| Run {
            first: 64,
            entries,
            data: &[],
        };
        let mut reserved = Reserved::default();
        assert!(!reserved.covers(geometry(), &run(&hole)), "the tag page is not there");
        reserved.reserved(geometry(), &run(&full));
        assert!(reserved.covers(geometry(), &run(&hole)) && reserved.covers(geometry(), &run(&full)));
        reserved.given_back(geometry(), &run(&hole));
        assert!(!reserved.covers(geometry(), &run(&full)) && reserved.covers(geometry(), &run(&hole)));
    }

    #[test]
    fn what_is_absent_is_not_reserved() {
        let full = [entry(65536)];
        let run = Run {
            first: 64,
            entries: &full,
            data: &[],
        };
        let mut reserved = Reserved::default();
        reserved.reserved(geometry(), &run);
        let absent = vec![GroupRun { first: 1, count: 1 }];
        reserved.keep(geometry(), &Extent::Chunked { size: 1 << 30, absent });
        assert!(!reserved.covers(geometry(), &run));
    }
}
