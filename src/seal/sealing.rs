//! A plain file becomes a sealed one: a volume of one file, whose data key takes the place of the volume key.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt};

use zerocopy::IntoBytes;

use super::segments::{DataMap, absent_runs};
use super::{SealError, Watch};
use crate::crypto::chunk::ChunkCipher;
use crate::crypto::head::seal_head;
use crate::crypto::{FileKeys, VolumeKeys, file_keys, volume_keys};
use crate::format::head::{Body, Features, Head, INLINE_ENTRY_OFFSET, INLINE_MAX, INLINE_OFFSET};
use crate::format::wrapped::Slot;
use crate::format::{DataKeyId, Entry, Geometry, NodeId, PAGE, VolumeId};
use crate::kms::{EncryptionContext, Kms};
use crate::store::{PosixFile, Run, StoredFile, write_run};

/// Plain bytes that are sealed at a time, unless a chunk has more.
const BATCH: u64 = 1 << 20;

/// What a sealed file is to be.
#[derive(Debug, Clone, Copy)]
pub struct New<'a> {
    /// Identifier or alias of the master key.
    pub master_key: &'a str,
    /// How it is laid out.
    pub geometry: Geometry,
}

/// Seals the regular file `plain` into the empty file `sealed`, under a data key that `kms` makes.
///
/// # Errors
/// [`SealError`]; then `sealed` is of no use.
pub fn seal(plain: &File, sealed: &OwnedFd, kms: &dyn Kms, new: New<'_>, watch: Watch<'_>) -> Result<(), SealError> {
    let before = Stamp::of(plain)?;
    if before.size > new.geometry.max_size() {
        return Err(SealError::TooLarge(before.size));
    }
    let sealed = PosixFile::new(sealed.try_clone().map_err(SealError::Output)?);
    let newborn = Newborn::ask(kms, new)?;
    match before.size <= INLINE_MAX as u64 {
        true => newborn.seal_inline(plain, &sealed, before.size)?,
        false => newborn.seal_chunks(plain, &sealed, before.size, watch)?,
    }
    match Stamp::of(plain)? == before {
        true => Ok(()),
        false => Err(SealError::Changed),
    }
}

/// What tells that a file was changed.
#[derive(PartialEq, Eq)]
struct Stamp {
    size: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(file: &File) -> Result<Self, SealError> {
        let facts = file.metadata().map_err(SealError::input("looking at it"))?;
        Ok(Self {
            size: facts.len(),
            modified: (facts.mtime(), facts.mtime_nsec()),
        })
    }
}

/// A sealed file that has its key and no content yet.
struct Newborn {
    head: Head,
    geometry: Geometry,
    file: FileKeys,
    volume: VolumeKeys,
}

impl Newborn {
    fn ask(kms: &dyn Kms, new: New<'_>) -> Result<Self, SealError> {
        let (volume, node, data_key) = (VolumeId::random(), NodeId::random(), DataKeyId::random());
        let context = EncryptionContext::data_key(volume, data_key);
        let made = kms.generate_data_key(new.master_key, &context)?;
        Ok(Self {
            head: Head {
                volume,
                node,
                data_key,
                size: 0,
                chunk_size: new.geometry.chunk_size() as u32,
                body: Body::Chunked,
                features: Features::default(),
                wrapped: Slot::new(&made.wrapped)?,
                wrapped_second: Slot::EMPTY,
                absent: Vec::new(),
            },
            geometry: new.geometry,
            file: file_keys(&made.key, volume, node),
            volume: volume_keys(&made.key, volume),
        })
    }

    fn cipher(&self) -> ChunkCipher {
        ChunkCipher::new(&self.file, self.head.node)
    }

    /// Page 0 with all there is.
    fn seal_inline(mut self, plain: &File, sealed: &PosixFile, size: u64) -> Result<(), SealError> {
        let mut bytes = vec![0; size as usize];
        read_exact(plain, &mut bytes, 0)?;
        self.head.body = Body::Inline;
        self.head.size = size;
        let mut page = seal_head(&self.head, &self.file, &self.volume)?;
        page.resize(PAGE, 0);
        let mut entries = Vec::with_capacity(1);
        match bytes.is_empty() {
            true => entries = self.cipher().seal_holes(0, 1),
            false => {
                let stored = &mut page[INLINE_OFFSET..INLINE_OFFSET + bytes.len()];
                self.cipher().seal_run(0, INLINE_MAX, &bytes, stored, &mut entries);
            }
        }
        page[INLINE_ENTRY_OFFSET..INLINE_OFFSET].copy_from_slice(entries.as_bytes());
        sealed.write_all_at(&page, 0).map_err(SealError::Output)
    }

    /// The chunks as they come, and the head when all of them are there.
    fn seal_chunks(mut self, plain: &File, sealed: &PosixFile, size: u64, watch: Watch<'_>) -> Result<(), SealError> {
        let seeking = SealError::input("looking for holes in it");
        self.head.size = size;
        self.head.absent = absent_runs(plain, self.geometry, size).map_err(&seeking)?;
        let mut batches = Batches::new(plain, self.geometry, size);
        while let Some(batch) = batches.next(&self.head).map_err(&seeking)? {
            let bytes = batch.bytes(self.geometry, size);
            if !batch.absent {
                self.seal_batch(plain, sealed, &batch)?;
            }
            if watch(bytes.end - bytes.start).is_break() {
                return Err(SealError::Interrupted);
            }
        }
        let image = seal_head(&self.head, &self.file, &self.volume)?;
        sealed.write_all_at(&image, 0).map_err(SealError::Output)?;
        let len = sealed.len().map_err(SealError::Output)?;
        sealed.set_len(len.max(PAGE as u64)).map_err(SealError::Output)
    }

    fn seal_batch(&self, plain: &File, sealed: &PosixFile, batch: &Batch) -> Result<(), SealError> {
        let first = batch.chunks.start;
        let mut entries: Vec<Entry> = Vec::new();
        let mut data = Vec::new();
        if batch.hole {
            entries = self.cipher().seal_holes(first, (batch.chunks.end - first) as usize);
        } else {
            let range = batch.bytes(self.geometry, self.head.size);
            let mut bytes = vec![0; (range.end - range.start) as usize];
            read_exact(plain, &mut bytes, range.start)?;
            data = vec![0; bytes.len()];
            let chunk_size = self.geometry.chunk_size() as usize;
            self.cipher()
                .seal_run(first, chunk_size, &bytes, &mut data, &mut entries);
        }
        let run = Run {
            first,
            entries: &entries,
            data: &data,
        };
        Ok(write_run(sealed, self.geometry, &run)?)
    }
}

/// Consecutive chunks of one group that are sealed together: all data, all holes, or a group that is not stored.
struct Batch {
    chunks: Range<u64>,
    hole: bool,
    absent: bool,
}

impl Batch {
    /// The plain bytes.
    fn bytes(&self, geometry: Geometry, size: u64) -> Range<u64> {
        geometry.plain_offset(self.chunks.start)..geometry.plain_offset(self.chunks.end).min(size)
    }
}

struct Batches<'a> {
    map: DataMap<'a>,
    geometry: Geometry,
    next: u64,
    end: u64,
}

impl<'a> Batches<'a> {
    fn new(plain: &'a File, geometry: Geometry, size: u64) -> Self {
        Self {
            map: DataMap::new(plain),
            geometry,
            next: 0,
            end: geometry.chunks(size),
        }
    }

    fn next(&mut self, head: &Head) -> io::Result<Option<Batch>> {
        if self.next == self.end {
            return Ok(None);
        }
        let first = self.next;
        let group = self.geometry.group_of(first);
        let group_end = self.geometry.chunks_of(group).end.min(self.end);
        let absent = head.is_absent(group);
        let hole = absent || self.is_hole(first)?;
        self.next = match absent {
            true => group_end,
            false => {
                let most = (BATCH / self.geometry.chunk_size()).max(1);
                let end = group_end.min(first + most);
                let mut next = first + 1;
                while next < end && self.is_hole(next)? == hole {
                    next += 1;
                }
                next
            }
        };
        Ok(Some(Batch {
            chunks: first..self.next,
            hole,
            absent,
        }))
    }

    fn is_hole(&mut self, chunk: u64) -> io::Result<bool> {
        let bytes = self.geometry.plain_offset(chunk)..self.geometry.plain_offset(chunk + 1);
        Ok(!self.map.holds_data(&bytes)?)
    }
}

/// A file that is shorter now than it was is another one.
fn read_exact(plain: &File, bytes: &mut [u8], offset: u64) -> Result<(), SealError> {
    plain
        .read_exact_at(bytes, offset)
        .map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => SealError::Changed,
            _ => SealError::Input {
                doing: "reading it",
                source,
            },
        })
}
