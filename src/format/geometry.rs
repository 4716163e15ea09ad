//! Where things lie in a stored file: arithmetic only.
//!
//! ```text
//! page 0: head, absent runs, entries of chunks 0..64 │ chunks 0..64 │ tag page │ 128 chunks │ tag page │ …
//!         └───────────────── group 0 ────────────────────────────┘ └────── group 1 ──────┘
//! ```

use std::ops::Range;

use super::entry::ENTRY_LEN;
use super::head::ENTRIES_OFFSET;

/// Bytes of a page: page 0 and every tag page.
pub const PAGE: usize = 4096;
/// Chunks whose entries stand in page 0.
pub const FIRST_GROUP: u64 = 64;
/// Chunks of every other group: as many as a tag page has entries.
pub const GROUP: u64 = 128;
/// The smallest chunk size, and the default.
pub const CHUNK_SIZE_MIN: u32 = 4096;
/// The largest chunk size.
pub const CHUNK_SIZE_MAX: u32 = 1 << 20;

const _: () = assert!(ENTRIES_OFFSET + FIRST_GROUP as usize * ENTRY_LEN == PAGE);
const _: () = assert!(GROUP as usize * ENTRY_LEN == PAGE);

/// The geometry of the files of a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    chunk_size: u32,
}

impl Geometry {
    /// A geometry, if `chunk_size` is a power of two from 4 KiB to 1 MiB.
    #[must_use]
    pub fn new(chunk_size: u32) -> Option<Self> {
        let possible = (CHUNK_SIZE_MIN..=CHUNK_SIZE_MAX).contains(&chunk_size);
        (possible && chunk_size.is_power_of_two()).then_some(Self { chunk_size })
    }

    /// Plain bytes of a chunk.
    #[must_use]
    pub fn chunk_size(self) -> u64 {
        u64::from(self.chunk_size)
    }

    /// The largest plain size: every offset of it fits a signed 64-bit file offset, every group a `u32`.
    #[must_use]
    pub fn max_size(self) -> u64 {
        let by_group = u64::from(u32::MAX) * GROUP * self.chunk_size();
        by_group.min(1 << 62)
    }

    /// Chunks of a file of `size` plain bytes.
    #[must_use]
    pub fn chunks(self, size: u64) -> u64 {
        size.div_ceil(self.chunk_size())
    }

    /// The chunk that holds the plain byte at `offset`.
    #[must_use]
    pub fn chunk_at(self, offset: u64) -> u64 {
        offset / self.chunk_size()
    }

    /// The plain offset at which `chunk` begins.
    #[must_use]
    pub fn plain_offset(self, chunk: u64) -> u64 {
        chunk * self.chunk_size()
    }

    /// The plain bytes that a file of `size` has in `chunk`.
    #[must_use]
    pub fn len_in(self, chunk: u64, size: u64) -> u32 {
        let rest = size.saturating_sub(self.plain_offset(chunk));
        // At most a chunk, so at most 1 MiB.
        rest.min(self.chunk_size()) as u32
    }

    /// The group of `chunk`.
    #[must_use]
    pub fn group_of(self, chunk: u64) -> u64 {
        match chunk.checked_sub(FIRST_GROUP) {
            None => 0,
            Some(rest) => 1 + rest / GROUP,
        }
    }

    /// The chunks of `group`.
    #[must_use]
    pub fn chunks_of(self, group: u64) -> Range<u64> {
        match group.checked_sub(1) {
            None => 0..FIRST_GROUP,
            Some(before) => {
                let first = FIRST_GROUP + before * GROUP;
                first..first + GROUP
            }
        }
    }

    /// The stored offset of a chunk.
    #[must_use]
    pub fn chunk_offset(self, chunk: u64) -> u64 {
        let group = self.group_of(chunk);
        let within = chunk - self.chunks_of(group).start;
        self.group_offset(group) + PAGE as u64 + within * self.chunk_size()
    }

    /// The stored offset of a chunk's tag entry.
    #[must_use]
    pub fn entry_offset(self, chunk: u64) -> u64 {
        let group = self.group_of(chunk);
        let within = (chunk - self.chunks_of(group).start) * ENTRY_LEN as u64;
        match group {
            0 => ENTRIES_OFFSET as u64 + within,
            _ => self.group_offset(group) + within,
        }
    }

    /// The stored offset of a group: of page 0 or of its tag page.
    #[must_use]
    pub fn group_offset(self, group: u64) -> u64 {
        let first = PAGE as u64 + FIRST_GROUP * self.chunk_size();
        match group.checked_sub(1) {
            None => 0,
            Some(before) => first + before * (PAGE as u64 + GROUP * self.chunk_size()),
        }
    }

    /// The length of a stored file whose content is `size` plain bytes in chunks.
    #[must_use]
    pub fn stored_len(self, size: u64) -> u64 {
        match self.chunks(size).checked_sub(1) {
            None => PAGE as u64,
            Some(last) => self.chunk_offset(last) + u64::from(self.len_in(last, size)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn geometry() -> impl Strategy<Value = Geometry> {
        (12u32..=20).prop_map(|bits| Geometry::new(1 << bits).unwrap())
    }

    #[test]
    fn refuses_sizes_that_are_not_powers_of_two() {
        for size in [0, 1, 2048, 4095, 4097, 12288, 2 << 20] {
            assert_eq!(Geometry::new(size), None, "{size}");
        }
    }

    #[test]
    fn the_numbers_of_format_md() {
        let g = Geometry::new(4096).unwrap();
        assert_eq!((g.entry_offset(0), g.chunk_offset(0)), (2048, 4096));
        assert_eq!((g.entry_offset(63), g.chunk_offset(63)), (4064, 262_144 - 4096 + 4096));
        assert_eq!((g.entry_offset(64), g.chunk_offset(64)), (266_240, 270_336));
        assert_eq!((g.entry_offset(192), g.chunk_offset(192)), (794_624, 798_720));
        assert_eq!(g.stored_len(4096), 8192);
        assert_eq!(g.stored_len(5000), 9096);
    }

    proptest! {
        #[test]
        fn chunks_and_entries_never_overlap(g in geometry(), chunk in 0u64..1 << 40) {
            let (entry, place) = (g.entry_offset(chunk), g.chunk_offset(chunk));
            prop_assert!(entry + ENTRY_LEN as u64 <= place);
            prop_assert_eq!(place % PAGE as u64, 0);
            let next = chunk + 1;
            prop_assert!(g.chunk_offset(next) >= place + g.chunk_size());
            prop_assert!(g.entry_offset(next) == entry + 32 || g.entry_offset(next) == place + g.chunk_size());
            let group = g.group_of(chunk);
            prop_assert!(g.chunks_of(group).contains(&chunk));
        }

        #[test]
        fn lengths_add_up(g in geometry(), size in 0u64..1 << 44) {
            let chunks = g.chunks(size);
            if chunks > 0 {
                prop_assert_eq!(g.plain_offset(chunks - 1) + u64::from(g.len_in(chunks - 1, size)), size);
            }
            prop_assert_eq!(g.len_in(chunks, size), 0);
            prop_assert!(g.stored_len(size) as f64 <= size as f64 * 1.01 + 2.0 * PAGE as f64);
        }
    }
}
