//! Which parts of a plain file hold data: holes stay holes.

use std::fs::File;
use std::io;
use std::ops::Range;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use crate::format::Geometry;
use crate::format::head::{ABSENT_MAX, GroupRun};

/// The data of a file, as SEEK_DATA and SEEK_HOLE tell it.
pub struct DataMap<'a> {
    file: &'a File,
    /// The segment of data that was found last.
    found: Range<u64>,
}

impl<'a> DataMap<'a> {
    /// The map of `file`.
    pub fn new(file: &'a File) -> Self {
        Self { file, found: 0..0 }
    }

    /// Whether any of `range` holds data. Ranges are asked for in order.
    ///
    /// # Errors
    /// Those of lseek(2).
    pub fn holds_data(&mut self, range: &Range<u64>) -> io::Result<bool> {
        if self.found.end <= range.start {
            self.found = next_data(self.file, range.start)?.unwrap_or(u64::MAX..u64::MAX);
        }
        Ok(self.found.start < range.end)
    }
}

/// The first segment of data at or behind `offset`.
fn next_data(file: &File, offset: u64) -> io::Result<Option<Range<u64>>> {
    let start = match seek(file, SeekFrom::Data(offset)) {
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(None),
        // It cannot tell: all of it is data.
        Err(Errno::INVAL) => return Ok(Some(offset..u64::MAX)),
        Err(errno) => return Err(errno.into()),
    };
    Ok(Some(start..seek(file, SeekFrom::Hole(start))?))
}

/// The runs of whole groups of a file of `size` bytes that hold no data: the longest, as many as a head has room for.
///
/// # Errors
/// Those of lseek(2).
pub fn absent_runs(file: &File, geometry: Geometry, size: u64) -> io::Result<Vec<GroupRun>> {
    let mut runs: Vec<GroupRun> = Vec::new();
    let mut at = 0;
    while at < size {
        let data = next_data(file, at)?.unwrap_or(size..size);
        let gap = at..data.start.min(size);
        runs.extend(groups_within(geometry, &gap, size));
        if runs.len() > ABSENT_MAX {
            let shortest = (0..runs.len()).min_by_key(|run| runs[*run].count);
            runs.remove(shortest.unwrap_or(0));
        }
        at = data.end;
    }
    Ok(runs)
}

/// The groups whose every chunk, in a file of `size` bytes, lies in `gap`.
fn groups_within(geometry: Geometry, gap: &Range<u64>, size: u64) -> Option<GroupRun> {
    let first_chunk = geometry.chunks(gap.start);
    let first = geometry.group_of(first_chunk);
    let first = first + u64::from(geometry.chunks_of(first).start < first_chunk);
    let end = match gap.end == size {
        true => geometry.group_of(geometry.chunks(size).checked_sub(1)?) + 1,
        false => geometry.group_of(geometry.chunk_at(gap.end)),
    };
    // Geometry::max_size keeps group numbers within 32 bits.
    (first < end).then(|| GroupRun {
        first: first as u32,
        count: (end - first) as u32,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn groups_lie_within_their_gap_and_no_more_do(start in 0u64..4_000_000, len in 0u64..4_000_000, rest in 0u64..900_000) {
            let geometry = Geometry::new(4096).unwrap();
            let gap = start..start + len;
            let size = gap.end + rest;
            let run = groups_within(geometry, &gap, size);
            let groups = match geometry.chunks(size) { 0 => 0, chunks => geometry.group_of(chunks - 1) + 1 };
            for group in 0..groups {
                let chunks = geometry.chunks_of(group);
                let bytes = geometry.plain_offset(chunks.start)..geometry.plain_offset(chunks.end).min(size);
                let within = gap.start <= bytes.start && bytes.end <= gap.end;
                let said = run.is_some_and(|run| (u64::from(run.first)..run.end()).contains(&group));
                prop_assert_eq!(said, within, "group {}", group);
            }
        }
    }
}
