//! For the crash loop: a file system's worth of sealing without keys, and a model of what it holds.
//!
//! A chunk's content is a version number, drawn out to the chunk's length. Its entry carries a hash of file,
//! chunk, version and bytes: so a chunk that is torn, stale beside a newer entry, or in another's place,
//! is noticed, as the real sealing would.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_128;

use super::content::Content;
use super::error::StoreError;
use super::put::Change;
use crate::format::head::tests::sample;
use crate::format::head::{
    Body, CONTENT_MAC, GroupRun, INLINE_ENTRY_OFFSET, INLINE_MAX, INLINE_OFFSET, RawHead, VOLUME_MAC,
};
use crate::format::journal::Run;
use crate::format::{Entry, Geometry, NodeId};
use zerocopy::{FromBytes, IntoBytes};

/// What a chunk holds: a version and how many bytes of it; version 0 is a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Value(pub(super) u64, pub(super) u32);

pub(super) const HOLE: Value = Value(0, 0);
/// A group of chunks that is absent says so in the head; anything else of it is not looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Model {
    pub(super) size: u64,
    pub(super) inline: bool,
    /// An inline body's value.
    pub(super) body: Option<Value>,
    pub(super) chunks: BTreeMap<u64, Value>,
    pub(super) absent: BTreeSet<u64>,
}

pub(super) fn geometry() -> Geometry {
    Geometry::new(4096).unwrap()
}

fn bytes_of(value: Value) -> Vec<u8> {
    let pattern = value.0.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
    (0..value.1 as usize)
        .map(|at| pattern[at % 8] ^ (at >> 8) as u8)
        .collect()
}

fn seal(node: NodeId, chunk: u64, value: Value, data: &[u8]) -> Entry {
    let mut nonce = [0; 12];
    nonce[..8].copy_from_slice(&value.0.to_le_bytes());
    let mut hashed = data.to_vec();
    hashed.extend_from_slice(&node.0);
    hashed.extend_from_slice(&chunk.to_le_bytes());
    hashed.extend_from_slice(&value.0.to_le_bytes());
    Entry::new(nonce, xxh3_128(&hashed).to_le_bytes(), data.len() as u32)
}

fn open(node: NodeId, chunk: u64, entry: &Entry, data: &[u8]) -> Result<Value, String> {
    let len = entry.len() as usize;
    let version = u64::from_le_bytes(entry.nonce[..8].try_into().unwrap());
    let value = Value(version, entry.len());
    let data = data
        .get(..len)
        .ok_or_else(|| format!("chunk {chunk}: entry of {len} bytes"))?;
    if seal(node, chunk, value, data) != *entry {
        return Err(format!(
            "chunk {chunk} does not open (entry says version {version}, {len} bytes)"
        ));
    }
    Ok(value)
}

impl Model {
    /// The sealed head.
    pub(super) fn image(&self, node: NodeId) -> Vec<u8> {
        let mut absent: Vec<GroupRun> = Vec::new();
        for group in &self.absent {
            match absent.last_mut() {
                Some(run) if run.end() == *group => run.count += 1,
                _ => absent.push(GroupRun {
                    first: *group as u32,
                    count: 1,
                }),
            }
        }
        let body = if self.inline { Body::Inline } else { Body::Chunked };
        let mut head = sample(self.size, body, absent);
        head.node = node;
        let mut image = head.image().unwrap();
        if self.inline {
            image.resize(INLINE_OFFSET + self.size as usize, 0);
            let value = self.body.unwrap();
            let data = bytes_of(value);
            let entry = seal(node, u64::MAX, value, &data);
            image[INLINE_ENTRY_OFFSET..INLINE_OFFSET].copy_from_slice(entry.as_bytes());
            image[INLINE_OFFSET..INLINE_OFFSET + data.len()].copy_from_slice(&data);
        }
        image[CONTENT_MAC].fill(1);
        let sum = xxh3_128(&image).to_le_bytes();
        image[VOLUME_MAC][..16].copy_from_slice(&sum);
        image
    }

    pub(super) fn chunk_count(&self) -> u64 {
        if self.inline { 0 } else { geometry().chunks(self.size) }
    }

    /// Reads a whole file. Fails where a real reader would.
    pub(super) fn observe(content: &Arc<Content>) -> Result<Self, String> {
        let Some(image) = content.head().map_err(|e| e.to_string())? else {
            return Ok(Self::default());
        };
        let node = content.node();
        let mut unsealed = image.to_vec();
        if unsealed.len() >= VOLUME_MAC.end {
            unsealed[VOLUME_MAC].fill(0);
        }
        let parsed = RawHead::parse(&image).map_err(|e| e.to_string())?;
        let raw = parsed.ok_or("no head")?;
        if image[VOLUME_MAC][..16] != xxh3_128(&unsealed).to_le_bytes() || raw.head.node != node {
            return Err("the head is not authentic".into());
        }
        let head = raw.head;
        let mut model = Self {
            size: head.size,
            inline: head.body == Body::Inline,
            ..Self::default()
        };
        if model.inline {
            let entry = Entry::read_from_bytes(&image[INLINE_ENTRY_OFFSET..INLINE_OFFSET]).unwrap();
            model.body = Some(open(node, u64::MAX, &entry, &image[INLINE_OFFSET..])?);
            return Ok(model);
        }
        let groups = head.absent.iter().flat_map(|run| u64::from(run.first)..run.end());
        model.absent = groups.collect();
        let count = model.chunk_count();
        let mut entries = vec![Entry::UNWRITTEN; count as usize];
        let mut data = vec![0; count as usize * 4096];
        content.read(0, &mut entries, &mut data).map_err(|e| e.to_string())?;
        for chunk in 0..count {
            if model.absent.contains(&geometry().group_of(chunk)) {
                continue;
            }
            let at = chunk as usize * 4096;
            let value = open(node, chunk, &entries[chunk as usize], &data[at..at + 4096])?;
            let need = geometry().len_in(chunk, head.size);
            let fits = value == HOLE || value.1 == need || (chunk + 1 == count && value.1 > need);
            if !fits {
                return Err(format!("chunk {chunk} has {} bytes of {need}", value.1));
            }
            if value != HOLE {
                model.chunks.insert(chunk, value);
            }
        }
        Ok(model)
    }

    /// Puts the chunks of `touched` and the head.
    pub(super) fn put(
        &self,
        content: &Arc<Content>,
        touched: &BTreeSet<u64>,
        with_head: bool,
        together: bool,
    ) -> Result<(), StoreError> {
        let node = content.node();
        let sealed: Vec<(u64, Entry, Vec<u8>)> = touched
            .iter()
            .map(|chunk| {
                let value = self.chunks.get(chunk).copied().unwrap_or(HOLE);
                let data = bytes_of(value);
                (*chunk, seal(node, *chunk, value, &data), data)
            })
            .collect();
        // Neighbours make a run as long as they are alike.
        let mut runs: Vec<(u64, Vec<Entry>, Vec<u8>)> = Vec::new();
        for (chunk, entry, data) in sealed {
            let follows = runs.last().is_some_and(|(first, entries, _)| {
                let last = entries[entries.len() - 1];
                first + entries.len() as u64 == chunk
                    && last.is_hole() == entry.is_hole()
                    && (last.is_hole() || last.len() == 4096)
            });
            if !follows {
                runs.push((chunk, Vec::new(), Vec::new()));
            }
            let run = runs.last_mut().unwrap();
            run.1.push(entry);
            run.2.extend_from_slice(&data);
        }
        let runs: Vec<Run<'_>> = runs
            .iter()
            .map(|(first, entries, data)| Run {
                first: *first,
                entries,
                data,
            })
            .collect();
        let image = self.image(node);
        content.put(&Change {
            head: with_head.then_some(&image[..]),
            runs: &runs,
            together,
        })
    }

    /// Writes new versions to whole chunks, and extends the file to `size` if it is shorter. Returns the chunks
    /// to be put, and whether the body moves into chunks.
    pub(super) fn write(&mut self, range: std::ops::Range<u64>, size: u64, version: u64) -> (BTreeSet<u64>, bool) {
        let moves = std::mem::take(&mut self.inline);
        let mut touched = BTreeSet::new();
        if moves {
            let value = self.body.take().unwrap();
            if self.size > 0 {
                self.chunks.insert(0, value);
                touched.insert(0);
            }
        }
        let before = geometry().chunks(self.size);
        let end = size.max(self.size);
        let after = geometry().chunks(end);
        // The last chunk is sealed again at its new length, whatever else lies behind its old end.
        if end > self.size && before > 0 {
            let value = self.chunks.get(&(before - 1)).copied();
            if let Some(value) = value {
                let len = geometry().len_in(before - 1, end);
                if value.1 != len {
                    self.chunks.insert(before - 1, Value(version, len));
                    touched.insert(before - 1);
                }
            }
        }
        self.size = end;
        // New chunks that are not written are holes, whole groups of them absent.
        for chunk in before..after {
            let group = geometry().group_of(chunk);
            let chunks = geometry().chunks_of(group);
            let whole = chunks.start >= before && !chunks.clone().any(|chunk| range.contains(&chunk));
            if whole {
                self.absent.insert(group);
            } else if !self.absent.contains(&group) {
                touched.insert(chunk);
            }
        }
        for chunk in range.start..range.end.min(after) {
            let group = geometry().group_of(chunk);
            if self.absent.remove(&group) {
                let chunks = geometry().chunks_of(group);
                touched.extend(chunks.start..chunks.end.min(after));
            }
            self.chunks.insert(chunk, Value(version, geometry().len_in(chunk, end)));
            touched.insert(chunk);
        }
        (touched, moves)
    }

    /// Cuts the file.
    pub(super) fn cut(&mut self, size: u64, version: u64) -> BTreeSet<u64> {
        let mut touched = BTreeSet::new();
        self.size = size;
        if self.inline {
            self.body = Some(Value(version, size as u32));
            return touched;
        }
        let count = geometry().chunks(size);
        self.chunks.retain(|chunk, _| *chunk < count);
        let groups = count.checked_sub(1).map_or(0, |last| geometry().group_of(last) + 1);
        self.absent.retain(|group| *group < groups);
        if let Some(last) = count.checked_sub(1)
            && let Some(value) = self.chunks.get_mut(&last)
        {
            let len = geometry().len_in(last, size);
            if value.1 != len {
                *value = Value(version, len);
                touched.insert(last);
            }
        }
        touched
    }

    /// Makes holes.
    pub(super) fn punch(&mut self, range: std::ops::Range<u64>) -> BTreeSet<u64> {
        let mut touched = BTreeSet::new();
        for chunk in range.start..range.end.min(self.chunk_count()) {
            let group = geometry().group_of(chunk);
            let chunks = geometry().chunks_of(group);
            self.chunks.remove(&chunk);
            let end = chunks.end.min(self.chunk_count());
            if chunks.start >= range.start && end <= range.end {
                self.absent.insert(group);
                touched.retain(|chunk| !chunks.contains(chunk));
            } else if !self.absent.contains(&group) {
                touched.insert(chunk);
            }
        }
        touched
    }

    /// Moves a small body into page 0.
    pub(super) fn become_inline(&mut self, size: u64, version: u64) {
        let size = size.min(INLINE_MAX as u64);
        *self = Self {
            size,
            inline: true,
            body: Some(Value(version, size as u32)),
            ..Self::default()
        };
    }
}
