//! Writing.

use std::cell::RefCell;

use super::ContentError;
use super::file::{File, Live};
use crate::crypto::chunk::ChunkCipher;
use crate::format::Entry;
use crate::format::head::{Body, INLINE_MAX};
use crate::store::Run;

thread_local! {
    /// Where a thread seals: kept from write to write, because a large buffer costs more than sealing it.
    static STORED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl File {
    /// Writes all of `data` at `offset`.
    ///
    /// # Errors
    /// [`ContentError`]; the file is then as it was before.
    pub fn write(&self, offset: u64, data: &[u8]) -> Result<(), ContentError> {
        let Some(last) = (data.len() as u64).checked_sub(1) else {
            return Ok(());
        };
        let end = self.checked_size(offset.saturating_add(last).saturating_add(1))?;
        let newborn = self.newborn_ahead()?;
        let mut live = self.exclusive()?;
        let next = self.next(&live, newborn)?;
        self.volume.keyring.note_written(next.head.data_key, data.len() as u64);
        let size = next.head.size.max(end);
        if next.head.body == Body::Inline && size <= INLINE_MAX as u64 {
            let mut plain = self.with_cipher(&next, |cipher| self.open_inline(&next, cipher))??;
            plain.resize(size as usize, 0);
            plain[offset as usize..end as usize].copy_from_slice(data);
            return self.put_inline(&mut live, next, &plain);
        }
        let before = self.leave_inline(&mut live, next)?;
        let written = self.geometry().chunk_at(offset)..self.geometry().chunks(end);
        let growth = |now: &Live| self.growth(now, size, &written);
        self.fill_first(&mut live, before, size, growth, |live, now| {
            self.write_chunks(live, now, offset, data)
        })
    }

    /// `size`, if a file can have it.
    pub(super) fn checked_size(&self, size: u64) -> Result<u64, ContentError> {
        if size > self.geometry().max_size() {
            return Err(ContentError::TooLarge { node: self.node, size });
        }
        Ok(size)
    }

    fn write_chunks(
        &self,
        live: &mut Option<Live>,
        before: Live,
        offset: u64,
        data: &[u8],
    ) -> Result<(), ContentError> {
        let geometry = self.geometry();
        let end = offset + data.len() as u64;
        let written = geometry.chunk_at(offset)..geometry.chunks(end);
        let size = before.head.size.max(end);
        let grown = self.grown(&before, size, &written)?;
        STORED.with_borrow_mut(|stored| {
            let mut entries = Vec::with_capacity((written.end - written.start) as usize);
            let beside = self.with_cipher(&before, |cipher| {
                self.seal_range(&before, cipher, offset, data, size, stored, &mut entries)?;
                Ok::<_, ContentError>(grown.seal(cipher))
            })??;
            let mut edit = beside.edit();
            edit.runs.push(Run {
                first: written.start,
                entries: &entries,
                data: stored,
            });
            self.put(live, grown.next, edit)
        })
    }

    /// Seals `data` at `offset` into `stored`, whole chunks of a file that will have `size` bytes: what the
    /// first and the last chunk have beside the data comes from the file as it was `before`.
    #[allow(clippy::too_many_arguments)] // Two buffers to fill, so that the large one is not allocated anew.
    fn seal_range(
        &self,
        before: &Live,
        cipher: &ChunkCipher,
        offset: u64,
        data: &[u8],
        size: u64,
        stored: &mut Vec<u8>,
        entries: &mut Vec<Entry>,
    ) -> Result<(), ContentError> {
        let geometry = self.geometry();
        let chunk_size = geometry.chunk_size();
        let end = offset + data.len() as u64;
        let chunks = geometry.chunk_at(offset)..geometry.chunks(end);
        let begin = geometry.plain_offset(chunks.start);
        let last_len = u64::from(geometry.len_in(chunks.end - 1, size));
        let total = (chunks.end - 1 - chunks.start) * chunk_size + last_len;
        stored.resize(total as usize, 0);
        let mut at = 0;
        let mut chunk = chunks.start;
        while chunk < chunks.end {
            let from = geometry.plain_offset(chunk);
            let whole = whole_chunks(chunk, offset, end, size, chunk_size);
            let len = match whole {
                0 => u64::from(geometry.len_in(chunk, size)) as usize,
                count => (total as usize - at).min((count * chunk_size) as usize),
            };
            let out = &mut stored[at..at + len];
            if whole > 0 {
                let plain = &data[(from - offset) as usize..][..len];
                cipher.seal_run(chunk, chunk_size as usize, plain, out, entries);
            } else {
                let mut plain = self.plain_chunk(before, cipher, chunk)?;
                let (start, stop) = (offset.max(from), end.min(from + chunk_size));
                let part = &data[(start - offset) as usize..(stop - offset) as usize];
                plain[(start - from) as usize..(stop - from) as usize].copy_from_slice(part);
                cipher.seal_run(chunk, chunk_size as usize, &plain[..len], out, entries);
            }
            at = (geometry.plain_offset(chunk) - begin) as usize + len;
            chunk += whole.max(1);
        }
        Ok(())
    }
}

/// How many chunks from `chunk` on the data `offset..end` covers as a whole, in a file of `size` bytes.
fn whole_chunks(chunk: u64, offset: u64, end: u64, size: u64, chunk_size: u64) -> u64 {
    let from = chunk * chunk_size;
    if from < offset {
        return 0;
    }
    let whole = (end - from) / chunk_size;
    // The last chunk of the file is whole when the data reach its end.
    let tail = end == size && !(end - from).is_multiple_of(chunk_size);
    whole + u64::from(tail)
}
