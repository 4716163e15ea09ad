//! Chunks in their places: the only code that knows how a run of chunks lies in a stored file.

use std::io;

use super::medium::StoredFile;
use super::plan::by_group;
use super::reserved::rounded;
use crate::format::journal::Run;
use crate::format::{Entry, Geometry, PAGE};
use zerocopy::IntoBytes;

/// A failure, and where in the stored file.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} chunk {chunk}, stored at offset {offset}: {source}")]
pub struct Failed {
    /// What was being done.
    pub doing: &'static str,
    /// The chunk.
    pub chunk: u64,
    /// The stored offset.
    pub offset: u64,
    /// The call's failure.
    pub source: io::Error,
}

/// Reads the entries and the bytes of the chunks from `first` on. Chunk `first + i` comes to `data` at `i`
/// chunk sizes; `data` may end within the last. What the file does not have reads as zeros, which open
/// nothing.
///
/// # Errors
/// Those of the medium.
pub fn read(
    file: &dyn StoredFile,
    geometry: Geometry,
    first: u64,
    entries: &mut [Entry],
    data: &mut [u8],
) -> Result<(), Failed> {
    let full = geometry.chunk_size() as usize;
    let (mut entries, mut data, mut chunk) = (entries, data, first);
    while !entries.is_empty() {
        let left = geometry.chunks_of(geometry.group_of(chunk)).end - chunk;
        let count = entries.len().min(left as usize);
        let (own, others) = entries.split_at_mut(count);
        let (bytes, rest) = data.split_at_mut(data.len().min(count * full));
        let at = geometry.entry_offset(chunk);
        fill(file, own.as_mut_bytes(), at).map_err(failed("read entries of", chunk, at))?;
        let at = geometry.chunk_offset(chunk);
        fill(file, bytes, at).map_err(failed("read", chunk, at))?;
        (entries, data) = (others, rest);
        chunk += count as u64;
    }
    Ok(())
}

fn fill(file: &dyn StoredFile, buf: &mut [u8], offset: u64) -> io::Result<()> {
    if !buf.is_empty() {
        let have = file.read_at(buf, offset)?;
        buf[have..].fill(0);
    }
    Ok(())
}

/// Writes a run: first the bytes, then the entries, so that a write that fails for lack of space has
/// changed no entry.
///
/// # Errors
/// Those of the medium.
pub fn write(file: &dyn StoredFile, geometry: Geometry, run: &Run<'_>) -> Result<(), Failed> {
    for run in by_group(run, geometry) {
        let at = geometry.chunk_offset(run.first);
        if !run.data.is_empty() {
            file.write_all_at(run.data, at)
                .map_err(failed("write", run.first, at))?;
        }
        let at = geometry.entry_offset(run.first);
        file.write_all_at(run.entries.as_bytes(), at)
            .map_err(failed("write entries of", run.first, at))?;
    }
    Ok(())
}

/// Makes sure that a run, and every other of its groups' entries, can be written later without lack of space.
///
/// # Errors
/// Those of the medium.
pub fn reserve(file: &dyn StoredFile, geometry: Geometry, run: &Run<'_>) -> Result<(), Failed> {
    for run in by_group(run, geometry) {
        let at = geometry.chunk_offset(run.first);
        if !run.data.is_empty() {
            file.allocate(at, rounded(run.data.len() as u64))
                .map_err(failed("reserve space for", run.first, at))?;
        }
        let at = geometry.group_offset(geometry.group_of(run.first));
        file.allocate(at, PAGE as u64)
            .map_err(failed("reserve space for entries of", run.first, at))?;
    }
    Ok(())
}

/// Gives back the space of the chunks of `range`, which hold nothing. Their entries stay.
///
/// # Errors
/// Those of the medium.
pub fn punch(file: &dyn StoredFile, geometry: Geometry, range: std::ops::Range<u64>) -> Result<(), Failed> {
    let mut first = range.start;
    while first < range.end {
        let end = geometry.chunks_of(geometry.group_of(first)).end.min(range.end);
        let at = geometry.chunk_offset(first);
        let len = (end - first) * geometry.chunk_size();
        file.punch_hole(at, len)
            .map_err(failed("give back space of", first, at))?;
        first = end;
    }
    Ok(())
}

fn failed(doing: &'static str, chunk: u64, offset: u64) -> impl FnOnce(io::Error) -> Failed {
    move |source| Failed {
        doing,
        chunk,
        offset,
        source,
    }
}
