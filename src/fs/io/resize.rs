//! Changing the size: truncation, extension, and what a write beyond the end leaves behind it.

use std::ops::Range;

use super::ContentError;
use super::file::{Edit, File, Live};
use super::growth::{Growth, HOLES_MAX, cut, grow};
use crate::crypto::chunk::ChunkCipher;
use crate::format::Entry;
use crate::format::head::{Body, INLINE_MAX};
use crate::store::Run;

impl File {
    /// Makes the content `size` bytes long: cut, or extended by a hole.
    ///
    /// # Errors
    /// [`ContentError`]; the file is then as it was before.
    pub fn resize(&self, size: u64) -> Result<(), ContentError> {
        let size = self.checked_size(size)?;
        let newborn = match size {
            0 => None,
            _ => self.newborn_ahead()?,
        };
        let mut live = self.exclusive()?;
        let before = match &*live {
            None if size == 0 => return Ok(()),
            Some(live) if live.head.size == size => return Ok(()),
            _ => self.next(&live, newborn)?,
        };
        if size == 0 || (before.head.body == Body::Inline && size <= INLINE_MAX as u64) {
            let mut plain = match size {
                0 => Vec::new(),
                _ => self.with_cipher(&before, |cipher| self.open_inline(&before, cipher))??,
            };
            plain.resize(size as usize, 0);
            return self.put_inline(&mut live, before, &plain);
        }
        if size < before.head.size {
            return self.cut_chunks(&mut live, before, size);
        }
        let before = self.leave_inline(&mut live, before)?;
        let growth = |now: &Live| self.growth(now, size, &(0..0));
        self.fill_first(&mut live, before, size, growth, |live, now| {
            let grown = self.grown(&now, size, &(0..0))?;
            let beside = self.with_cipher(&now, |cipher| grown.seal(cipher))?;
            self.put(live, grown.next, beside.edit())
        })
    }

    /// Cuts a body in chunks to `size` bytes, more than none: what remains of the last chunk is sealed anew
    /// at its own length, as one with the size, so that no later extension can show what was cut off.
    pub(super) fn cut_chunks(&self, live: &mut Option<Live>, before: Live, size: u64) -> Result<(), ContentError> {
        let geometry = self.geometry();
        let chunks = geometry.chunks(size);
        let len = u64::from(geometry.len_in(chunks - 1, size));
        let mut next = before.clone();
        next.head.size = size;
        next.head.absent = cut(geometry, &before.head.absent, chunks);
        let mut beside = Beside::default();
        let hole = before.head.is_absent(geometry.group_of(chunks - 1));
        if len < geometry.chunk_size() && !hole {
            let sealed = self.with_cipher(&before, |cipher| {
                let plain = self.plain_chunk(&before, cipher, chunks - 1)?;
                Ok::<_, ContentError>(seal_one(cipher, chunks - 1, &plain[..len as usize]))
            })??;
            beside.kept.push(sealed);
        }
        let mut edit = beside.edit();
        edit.together = true;
        self.put(live, next, edit)
    }

    /// What becomes of holes when the file grows to `size` and the chunks `written` are given data.
    pub(super) fn growth(&self, before: &Live, size: u64, written: &Range<u64>) -> Growth {
        let geometry = self.geometry();
        let old = geometry.chunks(before.head.size);
        grow(geometry, &before.head.absent, old, geometry.chunks(size), written)
    }

    /// What the file becomes then.
    pub(super) fn grown(&self, before: &Live, size: u64, written: &Range<u64>) -> Result<Grown, ContentError> {
        let growth = self.growth(before, size, written);
        let mut next = before.clone();
        next.head.size = size;
        next.head.absent = growth.absent;
        Ok(Grown {
            next,
            holes: growth.holes,
            kept: self.kept_end(before, size, written)?,
        })
    }

    /// The old last chunk, where it must be sealed anew although nothing is written to it, because it has bytes
    /// behind the old end (a crash can keep the chunk of an append and not the size), which an extension must
    /// not show.
    fn kept_end(&self, before: &Live, size: u64, written: &Range<u64>) -> Result<Option<(u64, Vec<u8>)>, ContentError> {
        let geometry = self.geometry();
        let Some(last) = geometry.chunks(before.head.size).checked_sub(1) else {
            return Ok(None);
        };
        let len = geometry.len_in(last, before.head.size) as usize;
        let whole = len as u64 == geometry.chunk_size();
        let absent = before.head.is_absent(geometry.group_of(last));
        if written.contains(&last) || size <= before.head.size || whole || absent {
            return Ok(None);
        }
        if self.entry(last)?.len() as usize <= len {
            return Ok(None);
        }
        let mut plain = self.with_cipher(before, |cipher| self.plain_chunk(before, cipher, last))??;
        plain.truncate(len);
        Ok(Some((last, plain)))
    }

    /// The tag entry of a present chunk.
    pub(super) fn entry(&self, chunk: u64) -> Result<Entry, ContentError> {
        let mut entry = [Entry::UNWRITTEN];
        self.content.read(chunk, &mut entry, &mut [])?;
        Ok(entry[0])
    }
}

/// What a growth makes of a file, decided and not yet sealed.
pub(super) struct Grown {
    pub next: Live,
    pub holes: Vec<Range<u64>>,
    kept: Option<(u64, Vec<u8>)>,
}

impl Grown {
    pub(super) fn seal(&self, cipher: &ChunkCipher) -> Beside {
        let is_short = |range: &Range<u64>| range.end - range.start <= HOLES_MAX;
        debug_assert!(self.holes.iter().all(is_short), "most of a long one was filled before");
        Beside {
            holes: self.holes.iter().map(|range| seal_holes(cipher, range)).collect(),
            kept: self
                .kept
                .iter()
                .map(|(chunk, plain)| seal_one(cipher, *chunk, plain))
                .collect(),
        }
    }
}

/// Sealed chunks that go with a change: holes, and chunks that keep most of what they had.
#[derive(Default)]
pub(super) struct Beside {
    pub holes: Vec<(u64, Vec<Entry>)>,
    pub kept: Vec<(u64, Entry, Vec<u8>)>,
}

impl Beside {
    pub(super) fn edit(&self) -> Edit<'_> {
        let holes = self.holes.iter().map(|(first, entries)| Run {
            first: *first,
            entries,
            data: &[],
        });
        let kept = self.kept.iter().map(|(first, entry, data)| Run {
            first: *first,
            entries: std::slice::from_ref(entry),
            data,
        });
        Edit {
            runs: holes.chain(kept).collect(),
            ..Edit::default()
        }
    }
}

/// Entries for a range of holes, and the chunk they begin with.
pub(super) fn seal_holes(cipher: &ChunkCipher, range: &Range<u64>) -> (u64, Vec<Entry>) {
    (
        range.start,
        cipher.seal_holes(range.start, (range.end - range.start) as usize),
    )
}

/// One chunk, sealed at its own length.
pub(super) fn seal_one(cipher: &ChunkCipher, chunk: u64, plain: &[u8]) -> (u64, Entry, Vec<u8>) {
    let mut data = vec![0; plain.len()];
    let mut entries = Vec::with_capacity(1);
    match plain {
        [] => entries = cipher.seal_holes(chunk, 1),
        plain => cipher.seal_run(chunk, plain.len(), plain, &mut data, &mut entries),
    }
    (chunk, entries[0], data)
}
