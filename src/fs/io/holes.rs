//! Holes: punching them, allocating over them, finding them.

use std::ops::Range;

use super::ContentError;
use super::file::{File, Live};
use super::growth::{Growth, with_absent};
use super::resize::{Beside, seal_holes, seal_one};
use crate::format::Entry;
use crate::format::head::Body;

/// What lseek(2) looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seek {
    /// SEEK_DATA.
    Data,
    /// SEEK_HOLE.
    Hole,
}

impl File {
    /// Makes `range`, as far as it lies within the file, read as zeros, and gives its place back
    /// (FALLOC_FL_PUNCH_HOLE; FALLOC_FL_ZERO_RANGE reads the same).
    ///
    /// # Errors
    /// [`ContentError`]; the file is then as it was before.
    pub fn punch(&self, range: Range<u64>) -> Result<(), ContentError> {
        let mut live = self.exclusive()?;
        let Some(before) = live.clone() else {
            return Ok(());
        };
        let size = before.head.size;
        let range = range.start..range.end.min(size);
        if range.is_empty() {
            return Ok(());
        }
        if before.head.body == Body::Inline {
            let mut plain = self.with_cipher(&before, |cipher| self.open_inline(&before, cipher))??;
            plain[range.start as usize..range.end as usize].fill(0);
            return self.put_inline(&mut live, before, &plain);
        }
        let growth = |now: &Live| self.punched(now, &range);
        self.fill_first(&mut live, before, size, growth, |live, now| {
            self.punch_chunks(live, now, &range)
        })
    }

    /// Extends the file to `end` bytes if it is shorter (fallocate(2) without FALLOC_FL_KEEP_SIZE). No space is
    /// set aside: what a chunk will take is known to the backing only when it is sealed.
    ///
    /// # Errors
    /// [`ContentError`]; the file is then as it was before.
    pub fn extend(&self, end: u64) -> Result<(), ContentError> {
        match end > self.size() {
            true => self.resize(end),
            false => Ok(()),
        }
    }

    /// The first offset from `offset` on where data, or a hole, begins (the end of the file counts as a
    /// hole). `None` when there is none, or `offset` is behind the end: ENXIO.
    ///
    /// # Errors
    /// [`ContentError`] when a hole is not authentic.
    pub fn seek(&self, offset: u64, what: Seek) -> Result<Option<u64>, ContentError> {
        self.with_live(|live| self.seek_in(live, offset, what))
            .unwrap_or(Ok(None))
    }

    fn seek_in(&self, live: &Live, offset: u64, what: Seek) -> Result<Option<u64>, ContentError> {
        let geometry = self.geometry();
        let size = live.head.size;
        if offset >= size {
            return Ok(None);
        }
        if live.head.body == Body::Inline {
            return Ok(Some(if what == Seek::Data { offset } else { size }));
        }
        let mut chunk = geometry.chunk_at(offset);
        while chunk < geometry.chunks(size) {
            let group = geometry.group_of(chunk);
            let absent = live.head.absent_until(group);
            let end = absent.unwrap_or(group + 1);
            let stop = geometry.chunks_of(end - 1).end.min(geometry.chunks(size));
            let found = match absent {
                Some(_) => (what == Seek::Hole).then_some(chunk),
                None => self.first_of(live, chunk..stop, what)?,
            };
            if let Some(found) = found {
                return Ok(Some(geometry.plain_offset(found).max(offset)));
            }
            chunk = stop;
        }
        Ok((what == Seek::Hole).then_some(size))
    }

    /// The first of the present `chunks` that is what is looked for. An entry that says "hole" is believed only when
    /// it opens: programs do not read a hole, so nobody would notice later.
    fn first_of(&self, live: &Live, chunks: Range<u64>, what: Seek) -> Result<Option<u64>, ContentError> {
        let mut entries = vec![Entry::UNWRITTEN; (chunks.end - chunks.start) as usize];
        self.content.read(chunks.start, &mut entries, &mut [])?;
        self.with_cipher(live, |cipher| {
            for (chunk, entry) in chunks.zip(&entries) {
                if entry.is_hole() {
                    self.open_chunk(cipher, chunk, entry, &mut [])?;
                }
                if entry.is_hole() == (what == Seek::Hole) {
                    return Ok(Some(chunk));
                }
            }
            Ok(None)
        })?
    }

    /// What becomes of absent runs when `range` is punched.
    fn punched(&self, before: &Live, range: &Range<u64>) -> Growth {
        let geometry = self.geometry();
        let chunks = geometry.chunks(before.head.size);
        let whole = whole_of(range, geometry.chunk_size(), before.head.size);
        with_absent(
            geometry,
            &before.head.absent,
            chunks,
            self.groups_within(&whole, chunks),
        )
    }

    fn punch_chunks(&self, live: &mut Option<Live>, before: Live, range: &Range<u64>) -> Result<(), ContentError> {
        let geometry = self.geometry();
        let chunks = geometry.chunks(before.head.size);
        let whole = whole_of(range, geometry.chunk_size(), before.head.size);
        let groups = self.groups_within(&whole, chunks);
        let growth = self.punched(&before, range);
        let mut next = before.clone();
        next.head.absent = growth.absent;
        let in_groups = match groups.is_empty() {
            true => whole.start..whole.start,
            false => geometry.chunks_of(groups.start).start..geometry.chunks_of(groups.end - 1).end.min(chunks),
        };
        let singly = [whole.start..in_groups.start, in_groups.end.max(whole.start)..whole.end];
        let mut holes: Vec<Range<u64>> = growth.holes;
        for part in singly {
            holes.extend(self.present(&before, part));
        }
        let edges = edges_of(range, &whole, geometry.chunk_size());
        let sealed = self.with_cipher(&before, |cipher| {
            let mut kept = Vec::new();
            for part in edges {
                let chunk = geometry.chunk_at(part.start);
                if before.head.is_absent(geometry.group_of(chunk)) {
                    continue;
                }
                let from = geometry.plain_offset(chunk);
                let mut plain = self.plain_chunk(&before, cipher, chunk)?;
                plain[(part.start - from) as usize..(part.end - from) as usize].fill(0);
                plain.truncate(geometry.len_in(chunk, before.head.size) as usize);
                kept.push(seal_one(cipher, chunk, &plain));
            }
            let holes = holes.iter().map(|range| seal_holes(cipher, range)).collect();
            Ok::<_, ContentError>(Beside { holes, kept })
        })??;
        let mut edit = sealed.edit();
        edit.together = true;
        self.put(live, next, edit)
    }

    /// The groups whose every chunk, of a file of `chunks`, lies in `whole`.
    fn groups_within(&self, whole: &Range<u64>, chunks: u64) -> Range<u64> {
        if whole.is_empty() {
            return 0..0;
        }
        let geometry = self.geometry();
        let first = geometry.group_of(whole.start);
        let first = first + u64::from(geometry.chunks_of(first).start < whole.start);
        let last = geometry.group_of(whole.end - 1);
        let covers_last = geometry.chunks_of(last).end.min(chunks) <= whole.end;
        first..(last + u64::from(covers_last)).max(first)
    }

    /// The parts of `chunks` that are not in absent groups, which need no entries.
    fn present(&self, live: &Live, chunks: Range<u64>) -> Vec<Range<u64>> {
        let geometry = self.geometry();
        let mut parts = Vec::new();
        let mut next = chunks.start;
        while next < chunks.end {
            let group = geometry.group_of(next);
            let stop = geometry.chunks_of(group).end.min(chunks.end);
            if !live.head.is_absent(group) {
                parts.push(next..stop);
            }
            next = stop;
        }
        parts
    }
}

/// The chunks of which `range`, within a file of `size`, covers every byte.
fn whole_of(range: &Range<u64>, chunk_size: u64, size: u64) -> Range<u64> {
    let first = range.start.div_ceil(chunk_size);
    let end = match range.end == size {
        true => size.div_ceil(chunk_size),
        false => range.end / chunk_size,
    };
    first..end.max(first)
}

/// What is left of `range` before and behind the `whole` chunks, each part within one chunk.
fn edges_of(range: &Range<u64>, whole: &Range<u64>, chunk_size: u64) -> Vec<Range<u64>> {
    let within = |offset: u64| offset / chunk_size;
    if whole.is_empty() && within(range.start) == within(range.end - 1) {
        return vec![range.clone()];
    }
    let front = range.start..whole.start * chunk_size;
    let back = (whole.end * chunk_size).max(front.end)..range.end;
    [front, back].into_iter().filter(|part| !part.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn edges_and_whole_chunks_are_the_range(start in 0u64..40_000, len in 1u64..40_000, rest in 0u64..9000) {
            let range = start..start + len;
            let size = range.end + rest;
            let whole = whole_of(&range, 4096, size);
            let mut bytes: Vec<Range<u64>> = edges_of(&range, &whole, 4096);
            for part in &bytes {
                prop_assert_eq!(part.start / 4096, (part.end - 1) / 4096);
            }
            if !whole.is_empty() {
                bytes.push(whole.start * 4096..(whole.end * 4096).min(size));
            }
            bytes.sort_by_key(|part| part.start);
            let mut at = range.start;
            for part in bytes {
                prop_assert_eq!(part.start, at);
                at = part.end;
            }
            prop_assert_eq!(at, range.end);
        }
    }
}
