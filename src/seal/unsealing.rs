//! A sealed file becomes a plain one, every byte of it authenticated before it is written.

use std::fs::File;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use zerocopy::FromBytes;

use super::backing::stored_name;
use super::{Backing, SealError, Watch};
use crate::crypto::chunk::ChunkCipher;
use crate::crypto::file_keys;
use crate::crypto::head::{check_commitment, open_head};
use crate::format::head::{Body, Head, INLINE_ENTRY_OFFSET, INLINE_OFFSET, RawHead};
use crate::format::{Entry, Geometry, PAGE};
use crate::kms::{EncryptionContext, Kms};
use crate::store::{PosixFile, StoredFile, read_run};

/// Plain bytes that are opened at a time, unless a chunk has more.
const BATCH: u64 = 1 << 20;

/// Unseals `sealed`, which lies at the canonical path `path`, into the empty file `plain`. `backing` is the volume in
/// whose directory it lies; without one, the file vouches for itself by its data key.
///
/// # Errors
/// [`SealError`]; then `plain` is of no use.
pub fn unseal(
    path: &Path,
    sealed: OwnedFd,
    plain: &File,
    backing: Option<&Backing>,
    kms: &dyn Kms,
    watch: Watch<'_>,
) -> Result<(), SealError> {
    let file = PosixFile::new(sealed);
    let mut page = vec![0; PAGE];
    let have = file.read_at(&mut page, 0).map_err(SealError::input("reading it"))?;
    page.truncate(have);
    let Some(raw) = RawHead::parse(&page)? else {
        return check_empty(path, backing);
    };
    Unsealing::begin(path, file, &raw, backing, kms)?.run(&page, plain, watch)
}

/// A stored file without a head is an empty file, where somebody with the volume's key has named it so.
fn check_empty(path: &Path, backing: Option<&Backing>) -> Result<(), SealError> {
    let (Some(backing), Some(name)) = (backing, stored_name(path)) else {
        return Err(SealError::Empty);
    };
    if name.flags.is_born() {
        return Err(SealError::Emptied);
    }
    backing.check_settled(name.node)?;
    match backing.plain_name(path)? {
        Some(_) => Ok(()),
        None => Err(SealError::Empty),
    }
}

/// A sealed file whose head is believed.
struct Unsealing {
    file: PosixFile,
    head: Head,
    geometry: Geometry,
    cipher: ChunkCipher,
    /// Nobody had reason to leave anything behind its end.
    exact: bool,
}

impl Unsealing {
    fn begin(
        path: &Path,
        file: PosixFile,
        raw: &RawHead,
        backing: Option<&Backing>,
        kms: &dyn Kms,
    ) -> Result<Self, SealError> {
        let head = &raw.head;
        let wrapped = head.wrapped.get()?.ok_or(SealError::Head)?;
        if let Some(backing) = backing {
            check_volume(path, raw, backing)?;
            backing.check_master_key(&wrapped.master_key)?;
            backing.check_settled(head.node)?;
        }
        let key = kms.decrypt(&wrapped, &EncryptionContext::data_key(head.volume, head.data_key))?;
        let keys = file_keys(&key, head.volume, head.node);
        check_commitment(raw, &keys).map_err(|_| SealError::Head)?;
        Ok(Self {
            file,
            geometry: Geometry::new(head.chunk_size).ok_or(SealError::Head)?,
            cipher: ChunkCipher::new(&keys, head.node),
            exact: backing.is_none(),
            head: head.clone(),
        })
    }

    fn run(&self, page: &[u8], plain: &File, watch: Watch<'_>) -> Result<(), SealError> {
        match self.head.body {
            Body::Inline => self.open_inline(page, plain)?,
            Body::Chunked => self.open_chunks(plain, watch)?,
        }
        if self.exact {
            self.check_end()?;
        }
        plain.set_len(self.head.size).map_err(SealError::Output)
    }

    fn open_inline(&self, page: &[u8], plain: &File) -> Result<(), SealError> {
        let damaged = || self.damaged(0, INLINE_OFFSET as u64);
        let entry = page.get(INLINE_ENTRY_OFFSET..INLINE_OFFSET).ok_or_else(damaged)?;
        let entry = Entry::read_from_bytes(entry).map_err(|_| damaged())?;
        let sealed = page[INLINE_OFFSET..].get(..entry.len() as usize);
        let mut bytes = sealed.ok_or_else(damaged)?.to_vec();
        self.cipher.open(0, &entry, &mut bytes).map_err(|_| damaged())?;
        if bytes.len() as u64 != self.head.size {
            return Err(damaged());
        }
        plain.write_all_at(&bytes, 0).map_err(SealError::Output)
    }

    fn open_chunks(&self, plain: &File, watch: Watch<'_>) -> Result<(), SealError> {
        let end = self.geometry.chunks(self.head.size);
        let most = (BATCH / self.geometry.chunk_size()).max(1);
        let mut buffer = Vec::new();
        let mut next = 0;
        while next < end {
            let group = self.geometry.group_of(next);
            let group_end = self.geometry.chunks_of(group).end.min(end);
            let absent = self.head.is_absent(group);
            let chunks = match absent {
                true => next..group_end,
                false => next..group_end.min(next + most),
            };
            next = chunks.end;
            let bytes =
                self.geometry.plain_offset(chunks.end).min(self.head.size) - self.geometry.plain_offset(chunks.start);
            if !absent {
                self.open_run(chunks, &mut buffer, plain)?;
            }
            if watch(bytes).is_break() {
                return Err(SealError::Interrupted);
            }
        }
        Ok(())
    }

    /// Opens chunks of one group that is stored, and writes those that are no holes.
    fn open_run(&self, chunks: Range<u64>, buffer: &mut Vec<u8>, plain: &File) -> Result<(), SealError> {
        let chunk_size = self.geometry.chunk_size() as usize;
        let mut entries = vec![Entry::UNWRITTEN; (chunks.end - chunks.start) as usize];
        buffer.resize(entries.len() * chunk_size, 0);
        read_run(&self.file, self.geometry, chunks.start, &mut entries, buffer)?;
        // Where data that is still to be written begins, in chunks of the buffer.
        let mut data = None;
        for (at, (entry, bytes)) in entries.iter().zip(buffer.chunks_mut(chunk_size)).enumerate() {
            let index = chunks.start + at as u64;
            let len = entry.len() as usize;
            let damaged = || self.damaged(index, self.geometry.chunk_offset(index));
            let sealed = bytes.get_mut(..len).ok_or_else(damaged)?;
            self.cipher.open(index, entry, sealed).map_err(|_| damaged())?;
            // What a chunk does not have of its length is zero.
            bytes[len..].fill(0);
        }
        for (at, entry) in entries.iter().enumerate() {
            match (entry.is_hole(), data) {
                (false, None) => data = Some(at),
                (true, Some(from)) => {
                    self.write(&chunks, from..at, buffer, plain)?;
                    data = None;
                }
                _ => {}
            }
        }
        match data {
            Some(from) => self.write(&chunks, from..entries.len(), buffer, plain),
            None => Ok(()),
        }
    }

    /// Writes a part of `buffer`, counted in chunks, as far as the file goes.
    fn write(&self, chunks: &Range<u64>, part: Range<usize>, buffer: &[u8], plain: &File) -> Result<(), SealError> {
        let chunk_size = self.geometry.chunk_size() as usize;
        let offset = self.geometry.plain_offset(chunks.start + part.start as u64);
        let end = self
            .geometry
            .plain_offset(chunks.start + part.end as u64)
            .min(self.head.size);
        let bytes = &buffer[part.start * chunk_size..][..(end - offset) as usize];
        plain.write_all_at(bytes, offset).map_err(SealError::Output)
    }

    /// Outside of its volume nothing follows the end. Within, a crash may have left chunks that no head refers to.
    fn check_end(&self) -> Result<(), SealError> {
        let have = self.file.len().map_err(SealError::input("measuring it"))?;
        let end = match self.head.body {
            Body::Inline => PAGE as u64,
            Body::Chunked => self.geometry.stored_len(self.head.size),
        };
        match have > end {
            true => Err(SealError::Trailing { have, end }),
            false => Ok(()),
        }
    }

    fn damaged(&self, chunk: u64, offset: u64) -> SealError {
        SealError::Chunk { chunk, offset }
    }
}

/// Believes the head because the volume's key vouches for it, and checks that it is the one the stored name says.
fn check_volume(path: &Path, raw: &RawHead, backing: &Backing) -> Result<(), SealError> {
    let (head, volume) = (&raw.head, backing.descriptor().volume);
    if head.volume != volume {
        return Err(SealError::OtherVolume);
    }
    if let Some(name) = stored_name(path).filter(|name| name.node != head.node) {
        return Err(SealError::Swapped {
            named: name.node,
            found: head.node,
        });
    }
    open_head(raw, volume, head.node, backing.keys()).map_err(|_| SealError::Head)?;
    Ok(())
}
