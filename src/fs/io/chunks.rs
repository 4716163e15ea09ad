//! Single chunks and runs of them, between plain and stored.

use super::ContentError;
use super::file::{File, Live};
use crate::crypto::chunk::ChunkCipher;
use crate::format::Entry;

impl File {
    /// Reads the present chunks from `first` on, one for each chunk size of `out`, and opens them where
    /// they lie. What a chunk does not have is zero.
    pub(super) fn open_run(&self, cipher: &ChunkCipher, first: u64, out: &mut [u8]) -> Result<(), ContentError> {
        let chunk_size = self.geometry().chunk_size() as usize;
        let mut entries = vec![Entry::UNWRITTEN; out.len().div_ceil(chunk_size)];
        self.content.read(first, &mut entries, out)?;
        for ((index, entry), bytes) in (first..).zip(&entries).zip(out.chunks_mut(chunk_size)) {
            self.open_chunk(cipher, index, entry, bytes)?;
        }
        Ok(())
    }

    /// Opens one chunk in `bytes`, which may be shorter than it only behind the end of the file.
    pub(super) fn open_chunk(
        &self,
        cipher: &ChunkCipher,
        index: u64,
        entry: &Entry,
        bytes: &mut [u8],
    ) -> Result<(), ContentError> {
        let damaged = || ContentError::Chunk {
            node: self.node,
            chunk: index,
            offset: self.geometry().chunk_offset(index),
        };
        let len = entry.len() as usize;
        let sealed = bytes.get_mut(..len).ok_or_else(damaged)?;
        cipher.open(index, entry, sealed).map_err(|_| damaged())?;
        bytes[len..].fill(0);
        Ok(())
    }

    /// The plain bytes of one chunk of the file, as many as a chunk has; zeros where there are none.
    pub(super) fn plain_chunk(&self, live: &Live, cipher: &ChunkCipher, index: u64) -> Result<Vec<u8>, ContentError> {
        let geometry = self.geometry();
        let mut plain = vec![0; geometry.chunk_size() as usize];
        let there = index < geometry.chunks(live.head.size);
        if there && !live.head.is_absent(geometry.group_of(index)) {
            self.open_run(cipher, index, &mut plain)?;
            // A crash may have kept the chunk of an append and not the size: what lies behind the end is not content.
            plain[geometry.len_in(index, live.head.size) as usize..].fill(0);
        }
        Ok(plain)
    }
}
