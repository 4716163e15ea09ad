//! Small files: the whole content sealed as one chunk behind the head, in page 0.

use zerocopy::{FromBytes, IntoBytes};

use super::ContentError;
use super::file::{Edit, File, Live};
use super::resize::seal_one;
use crate::crypto::chunk::ChunkCipher;
use crate::format::Entry;
use crate::format::head::{Body, INLINE_ENTRY_OFFSET, INLINE_MAX, INLINE_OFFSET};
use crate::store::Run;

impl File {
    /// The content of a file whose body is inline.
    pub(super) fn open_inline(&self, live: &Live, cipher: &ChunkCipher) -> Result<Vec<u8>, ContentError> {
        let damaged = || ContentError::Chunk {
            node: self.node,
            chunk: 0,
            offset: INLINE_OFFSET as u64,
        };
        // A file that is only now being born has nothing stored.
        let Some(page) = self.content.head()? else {
            return Ok(Vec::new());
        };
        let entry = page.get(INLINE_ENTRY_OFFSET..INLINE_OFFSET).ok_or_else(damaged)?;
        let entry = Entry::read_from_bytes(entry).map_err(|_| damaged())?;
        let sealed = page[INLINE_OFFSET..].get(..entry.len() as usize);
        let mut plain = sealed.ok_or_else(damaged)?.to_vec();
        cipher.open(0, &entry, &mut plain).map_err(|_| damaged())?;
        if plain.len() as u64 != live.head.size {
            return Err(damaged());
        }
        Ok(plain)
    }

    /// Makes `plain` the content of the file, inline.
    pub(super) fn put_inline(&self, live: &mut Option<Live>, mut next: Live, plain: &[u8]) -> Result<(), ContentError> {
        next.head.size = plain.len() as u64;
        next.head.body = Body::Inline;
        next.head.absent.clear();
        let mut page = self.sealed_head(&next)?;
        page.resize(INLINE_OFFSET + plain.len(), 0);
        let mut entries = Vec::with_capacity(1);
        self.with_cipher(&next, |cipher| {
            let stored = &mut page[INLINE_OFFSET..];
            match plain {
                [] => entries = cipher.seal_holes(0, 1),
                plain => cipher.seal_run(0, INLINE_MAX, plain, stored, &mut entries),
            }
        })?;
        page[INLINE_ENTRY_OFFSET..INLINE_OFFSET].copy_from_slice(entries.as_bytes());
        let edit = Edit {
            page: Some(page),
            together: true,
            ..Edit::default()
        };
        self.put(live, next, edit)
    }

    /// The file as one whose body is in chunks, before a change that page 0 has no room for. What was inline
    /// becomes chunk 0, as one with the head; an empty body needs nothing.
    pub(super) fn leave_inline(&self, live: &mut Option<Live>, before: Live) -> Result<Live, ContentError> {
        if before.head.body == Body::Chunked {
            return Ok(before);
        }
        let mut next = before;
        if next.head.size == 0 {
            next.head.body = Body::Chunked;
            return Ok(next);
        }
        let (chunk, entry, data) = self.with_cipher(&next, |cipher| {
            let plain = self.open_inline(&next, cipher)?;
            Ok::<_, ContentError>(seal_one(cipher, 0, &plain))
        })??;
        next.head.body = Body::Chunked;
        let edit = Edit {
            runs: vec![Run {
                first: chunk,
                entries: std::slice::from_ref(&entry),
                data: &data,
            }],
            together: true,
            ..Edit::default()
        };
        self.put(live, next.clone(), edit)?;
        Ok(next)
    }
}
