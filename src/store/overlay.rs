//! Chunks whose newest version lies in the journal. One rule for both who writes records (a live file) and
//! who reads them (recovery): so they can not disagree about what a record means.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

use super::medium::StoredFile;
use super::place::{self, Failed};
use super::reach::Extent;
use crate::format::journal::Run;
use crate::format::{Entry, Geometry, PAGE};
use zerocopy::IntoBytes;

/// Most bytes that are copied to their places at a time, under one hold of a guard.
pub const BATCH: usize = 1 << 20;

/// A chunk in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Item {
    /// Its entry.
    pub entry: Entry,
    /// The offset of its bytes in the journal.
    pub offset: u64,
    /// The record that it stands in.
    pub sequence: u64,
}

/// The chunks of one file that lie in the journal.
#[derive(Debug, Default)]
pub struct Overlay {
    items: BTreeMap<u64, Item>,
}

impl Overlay {
    /// Takes up the chunks of a run, whose bytes begin at `offset` of the journal.
    pub fn insert(&mut self, run: &Run<'_>, offset: u64, sequence: u64) {
        let mut offset = offset;
        for (chunk, entry) in (run.first..).zip(run.entries) {
            self.items.insert(
                chunk,
                Item {
                    entry: *entry,
                    offset,
                    sequence,
                },
            );
            offset += u64::from(entry.len());
        }
    }

    /// Drops what a cut to `extent` made void.
    pub fn cut(&mut self, geometry: Geometry, extent: &Extent) {
        self.items.retain(|chunk, _| !extent.voids(geometry, *chunk));
    }

    /// Drops what stands in records up to `last`: it is in its place, and the records will not be seen again.
    pub fn forget(&mut self, last: u64) {
        self.items.retain(|_, item| item.sequence > last);
    }

    /// Whether the newest version of `chunk` lies in the journal.
    #[must_use]
    pub fn contains(&self, chunk: u64) -> bool {
        self.items.contains_key(&chunk)
    }

    /// Whether a chunk lies in records up to `last`.
    #[must_use]
    pub fn has_up_to(&self, last: u64) -> bool {
        self.items.values().any(|item| item.sequence <= last)
    }

    /// Where the chunks that lie in the journal will end in their places.
    fn end(&self, geometry: Geometry) -> u64 {
        self.items.last_key_value().map_or(0, |(chunk, item)| {
            geometry.chunk_offset(*chunk) + u64::from(item.entry.len())
        })
    }

    /// Whether no chunk lies in the journal.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Puts the chunks of `first..` that lie in the journal over those that were read from their places.
    ///
    /// # Errors
    /// Those of `read`, which reads the journal.
    pub fn patch(
        &self,
        geometry: Geometry,
        first: u64,
        entries: &mut [Entry],
        data: &mut [u8],
        mut read: impl FnMut(&mut [u8], u64) -> io::Result<()>,
    ) -> Result<(), Failed> {
        let full = geometry.chunk_size() as usize;
        let mut span: Option<(Range<usize>, u64, u64)> = None;
        let mut fetch = |data: &mut [u8], (range, offset, chunk): (Range<usize>, u64, u64)| {
            read(&mut data[range], offset).map_err(|source| Failed {
                doing: "read the journal for",
                chunk,
                offset,
                source,
            })
        };
        for (chunk, item) in self.items.range(first..first + entries.len() as u64) {
            let index = (chunk - first) as usize;
            entries[index] = item.entry;
            let at = (index * full).min(data.len());
            let range = at..(at + item.entry.len() as usize).min(data.len());
            // Neighbours of one record are read in one go.
            match &mut span {
                Some((before, offset, _))
                    if before.end == range.start && *offset + before.len() as u64 == item.offset =>
                {
                    before.end = range.end;
                }
                _ => {
                    if let Some(before) = span.replace((range, item.offset, *chunk)) {
                        fetch(data, before)?;
                    }
                }
            }
        }
        span.map_or(Ok(()), |last| fetch(data, last))
    }

    /// Copies to their places about [`BATCH`] bytes of chunks, from `first` on, that stand in records up to
    /// `last`. Returns the chunk to go on with; `None` at the end.
    ///
    /// # Errors
    /// Those of the file, and of `read`, which reads the journal.
    pub fn copy(
        &self,
        file: &dyn StoredFile,
        geometry: Geometry,
        first: u64,
        last: u64,
        read: impl Fn(&mut [u8], u64) -> io::Result<()>,
    ) -> Result<Option<u64>, Failed> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut data = Vec::new();
        let (mut start, mut copied) = (first, 0);
        for (chunk, item) in self.items.range(first..) {
            if item.sequence > last {
                continue;
            }
            if copied >= BATCH {
                write(file, geometry, start, &entries, &data)?;
                return Ok(Some(*chunk));
            }
            let follows = start + entries.len() as u64 == *chunk
                && entries.last().is_some_and(|before| {
                    before.is_hole() == item.entry.is_hole()
                        && (before.is_hole() || u64::from(before.len()) == geometry.chunk_size())
                });
            if !follows {
                write(file, geometry, start, &entries, &data)?;
                entries.clear();
                data.clear();
                start = *chunk;
            }
            let at = data.len();
            data.resize(at + item.entry.len() as usize, 0);
            read(&mut data[at..], item.offset).map_err(|source| Failed {
                doing: "read the journal for",
                chunk: *chunk,
                offset: item.offset,
                source,
            })?;
            entries.push(item.entry);
            copied += item.entry.len() as usize + size_of::<Entry>();
        }
        write(file, geometry, start, &entries, &data)?;
        Ok(None)
    }
}

/// Where a stored file of this extent ends; `None` when it can not be known. The last chunk may be longer
/// than the head says, if it was written for a head that a crash has taken away: so its entry is asked.
///
/// # Errors
/// Those of the file.
pub fn end(file: &dyn StoredFile, geometry: Geometry, overlay: &Overlay, extent: &Extent) -> io::Result<Option<u64>> {
    let size = match extent {
        Extent::Unborn | Extent::Inline => 0,
        Extent::Chunked { size, .. } => *size,
        Extent::Unknown => return Ok(None),
    };
    let Some(last) = geometry.chunks(size).checked_sub(1) else {
        return Ok(Some(overlay.end(geometry).max(PAGE as u64)));
    };
    let mut entry = Entry::UNWRITTEN;
    file.read_at(entry.as_mut_bytes(), geometry.entry_offset(last))?;
    let len = u64::from(entry.len()).min(geometry.chunk_size());
    let own = geometry.chunk_offset(last) + len.max(u64::from(geometry.len_in(last, size)));
    Ok(Some(own.max(overlay.end(geometry))))
}

fn write(file: &dyn StoredFile, geometry: Geometry, first: u64, entries: &[Entry], data: &[u8]) -> Result<(), Failed> {
    if entries.is_empty() {
        return Ok(());
    }
    place::write(file, geometry, &Run { first, entries, data })?;
    if data.is_empty() {
        // Holes: nothing refers to what lay there.
        place::punch(file, geometry, first..first + entries.len() as u64)?;
    }
    Ok(())
}

/// Copies the image of a head to its place. `settled` says that no other head is possible: then the space of
/// the groups that it calls absent is given back.
///
/// # Errors
/// Those of the file.
pub fn copy_head(file: &dyn StoredFile, geometry: Geometry, image: &[u8], settled: bool) -> Result<(), Failed> {
    let failed = |source| Failed {
        doing: "write the head of",
        chunk: 0,
        offset: 0,
        source,
    };
    file.write_all_at(image, 0).map_err(failed)?;
    if file.len().map_err(failed)? < PAGE as u64 {
        file.set_len(PAGE as u64).map_err(failed)?;
    }
    let Extent::Chunked { absent, .. } = Extent::of(image) else {
        return Ok(());
    };
    for run in absent.iter().filter(|_| settled) {
        // Page 0 is the only one of its group that stays.
        let start = geometry.group_offset(run.first.into()).max(PAGE as u64);
        let len = geometry.group_offset(run.end()) - start;
        file.punch_hole(start, len).map_err(|source| Failed {
            doing: "give back space of",
            chunk: geometry.chunks_of(run.first.into()).start,
            offset: start,
            source,
        })?;
    }
    Ok(())
}
