//! Reading.

use super::ContentError;
use super::file::{File, Live};
use crate::crypto::chunk::ChunkCipher;
use crate::format::head::Body;

impl File {
    /// Reads up to `len` plain bytes from `offset` into `out`, whatever was in it: fewer only at the end of
    /// the file.
    ///
    /// # Errors
    /// [`ContentError`]; a chunk that does not open names itself, and no byte of it is given out.
    pub fn read(&self, offset: u64, len: usize, out: &mut Vec<u8>) -> Result<(), ContentError> {
        let read = self.with_live(|live| {
            let end = live.head.size.min(offset.saturating_add(len as u64));
            if offset >= end {
                out.clear();
                return Ok(());
            }
            self.with_cipher(live, |cipher| match live.head.body {
                Body::Inline => {
                    let plain = self.open_inline(live, cipher)?;
                    out.clear();
                    out.extend_from_slice(&plain[offset as usize..end as usize]);
                    Ok(())
                }
                Body::Chunked => self.read_chunks(live, cipher, offset, end, out),
            })?
        });
        let done = read.unwrap_or_else(|| {
            out.clear();
            Ok(())
        });
        if done.is_err() {
            out.clear();
        }
        done
    }

    /// Reads `offset..end`, which is within the file: the store reads each run of present chunks straight
    /// into `out`, and they are opened there.
    fn read_chunks(
        &self,
        live: &Live,
        cipher: &ChunkCipher,
        offset: u64,
        end: u64,
        out: &mut Vec<u8>,
    ) -> Result<(), ContentError> {
        let geometry = self.geometry();
        let chunks = geometry.chunk_at(offset)..geometry.chunks(end);
        let begin = geometry.plain_offset(chunks.start);
        // What is in `out` already is written over, so it is not cleared: that would cost as much as a copy.
        out.resize(((chunks.end - chunks.start) * geometry.chunk_size()) as usize, 0);
        let mut next = chunks.start;
        while next < chunks.end {
            let group = geometry.group_of(next);
            let stop = geometry.chunks_of(group).end.min(chunks.end);
            let from = (geometry.plain_offset(next) - begin) as usize;
            let to = (geometry.plain_offset(stop) - begin) as usize;
            match live.head.is_absent(group) {
                true => out[from..to].fill(0),
                false => self.open_run(cipher, next, &mut out[from..to])?,
            }
            next = stop;
        }
        out.truncate((end - begin) as usize);
        out.drain(..(offset - begin) as usize);
        Ok(())
    }
}
