//! The bytes of the redo journal: the header of a segment, and the records behind it.
//!
//! Pure: it neither reads nor writes a file, and knows nothing of the order in which records become
//! durable (`store::journal` does). What is parsed here came back *whole*, by its checksum; a
//! checksum needs no key, so it says nothing about who wrote it.

use xxhash_rust::xxh3::xxh3_128;
use zerocopy::little_endian::{U16, U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::entry::{ENTRY_LEN, Entry};
use super::geometry::{Geometry, PAGE};
use super::ids::NodeId;

/// The first bytes of a segment in use, behind the checksum.
pub const SEGMENT_MAGIC: [u8; 8] = *b"kmsfs\0j\x01";
/// The version of the format of the journal.
pub const VERSION: u16 = 1;
/// Where the records of a segment begin: its header has a page to itself.
pub const RECORDS_OFFSET: u64 = PAGE as u64;
/// Bytes of a segment's header.
pub const SEGMENT_HEADER_LEN: usize = 64;
/// The first bytes of a record, behind the checksum.
pub const RECORD_MAGIC: [u8; 4] = *b"kjr\x01";
/// Bytes of a record before its body.
pub const RECORD_HEADER_LEN: usize = 80;
/// Bytes that say where a run of chunks begins and how many they are.
pub const RUN_LEN: usize = 16;
/// Most bytes of a path hint; a longer path is left out, and its file is searched for.
pub const HINT_MAX: usize = 4096;
/// Most bytes of a record.
pub const RECORD_MAX: u64 = 16 << 20;
/// Records begin at multiples of this.
const ALIGN: usize = 8;

/// The header of a segment in use. A segment without a valid header holds nothing to recover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Which half of the journal this is, 0 or 1: a header copied to the other half is not valid.
    pub index: u8,
    /// Counts the segments in the order of their use since the journal was last empty.
    pub epoch: u64,
    /// The sequence number of the first record.
    pub first_sequence: u64,
    /// Random; every record of this use repeats it, so no older record is ever taken for one.
    pub salt: u64,
    /// Bytes of the segment.
    pub segment_len: u64,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct SegmentLayout {
    checksum: U128,
    magic: [u8; 8],
    version: U16,
    index: u8,
    reserved: [u8; 5],
    epoch: U64,
    first_sequence: U64,
    salt: U64,
    segment_len: U64,
}

const _: () = assert!(size_of::<SegmentLayout>() == SEGMENT_HEADER_LEN);
/// Bytes of a checksum, which stands before what it covers.
const CHECKSUM_LEN: usize = 16;

impl SegmentHeader {
    /// The header's bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; SEGMENT_HEADER_LEN] {
        let mut layout = SegmentLayout {
            checksum: U128::ZERO,
            magic: SEGMENT_MAGIC,
            version: U16::new(VERSION),
            index: self.index,
            reserved: [0; 5],
            epoch: U64::new(self.epoch),
            first_sequence: U64::new(self.first_sequence),
            salt: U64::new(self.salt),
            segment_len: U64::new(self.segment_len),
        };
        layout.checksum = U128::new(xxh3_128(&layout.as_bytes()[CHECKSUM_LEN..]));
        zerocopy::transmute!(layout)
    }

    /// Reads the header of segment `index` of `segment_len` bytes; `None` when the segment is not in use.
    #[must_use]
    pub fn parse(bytes: &[u8], index: u8, segment_len: u64) -> Option<Self> {
        let (layout, _) = SegmentLayout::read_from_prefix(bytes).ok()?;
        let whole = layout.checksum.get() == xxh3_128(&bytes[CHECKSUM_LEN..SEGMENT_HEADER_LEN]);
        let ours = layout.magic == SEGMENT_MAGIC
            && layout.version.get() == VERSION
            && layout.index == index
            && layout.segment_len.get() == segment_len;
        (whole && ours).then_some(Self {
            index,
            epoch: layout.epoch.get(),
            first_sequence: layout.first_sequence.get(),
            salt: layout.salt.get(),
            segment_len,
        })
    }
}

/// What a record says of its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A head, chunks, or both. A head here never takes anything away.
    Write,
    /// A head, and what must become durable with it. Chunks that this head does not refer to are void in
    /// all earlier records: recovery must not write them, for their places may have been written anew.
    Cut,
    /// Only a path hint: the node has a new name.
    Named,
    /// The node's last name was removed. Recovery looks for the node all the same, because a crash may forget the
    /// removal; so this only tells whoever reads a journal what happened.
    Gone,
}

/// A run of neighbouring sealed chunks: all of them holes, or all of them full but for the last one.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    /// The first chunk.
    pub first: u64,
    /// One entry for each chunk.
    pub entries: &'a [Entry],
    /// The sealed bytes of the chunks, without gaps; empty when they are holes.
    pub data: &'a [u8],
}

impl Run<'_> {
    /// Whether the entries describe exactly the data, in chunks of this geometry.
    #[must_use]
    pub fn is_sound(&self, geometry: Geometry) -> bool {
        let full = geometry.chunk_size();
        let Some((last, before)) = self.entries.split_last() else {
            return false;
        };
        let end = self.first.checked_add(self.entries.len() as u64);
        if end.is_none_or(|end| end > geometry.chunks(geometry.max_size())) {
            return false;
        }
        if last.is_hole() {
            return self.data.is_empty() && before.iter().all(Entry::is_hole);
        }
        let sum = before.len() as u64 * full + u64::from(last.len());
        before.iter().all(|entry| u64::from(entry.len()) == full)
            && u64::from(last.len()) <= full
            && self.data.len() as u64 == sum
    }
}

/// What goes into a record.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// What it says of the node.
    pub kind: Kind,
    /// The node.
    pub node: NodeId,
    /// The geometry of the node's stored file.
    pub geometry: Geometry,
    /// Where the stored file was last seen, from the backing's root; empty when it is not said again.
    pub hint: &'a [u8],
    /// The image of the head.
    pub head: Option<&'a [u8]>,
    /// The chunks.
    pub runs: &'a [Run<'a>],
}

/// A record that came back whole.
#[derive(Debug)]
pub struct Record<'a> {
    /// What it says of the node.
    pub kind: Kind,
    /// The node.
    pub node: NodeId,
    /// The geometry of the node's stored file.
    pub geometry: Geometry,
    /// Where the stored file was last seen; empty when an earlier record said so.
    pub hint: &'a [u8],
    /// The image of the head.
    pub head: Option<Vec<u8>>,
    /// The chunks, and where in the record the bytes of each run begin.
    pub runs: Vec<(Run<'a>, usize)>,
    /// Bytes of the record.
    pub len: usize,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RecordLayout {
    checksum: U128,
    magic: [u8; 4],
    kind: u8,
    chunk_bits: u8,
    hint_len: U16,
    sequence: U64,
    salt: U64,
    node: [u8; 16],
    head_len: U16,
    /// Bytes of the head that stand in the record; the rest of it is zero.
    head_stored: U16,
    runs: U32,
    entries: U32,
    data_len: U32,
    len: U32,
    reserved: [u8; 4],
}

const _: () = assert!(size_of::<RecordLayout>() == RECORD_HEADER_LEN);

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct RunLayout {
    first: U64,
    count: U32,
    reserved: U32,
}

const _: () = assert!(size_of::<RunLayout>() == RUN_LEN);

impl Parts<'_> {
    /// Bytes of the record, or a few more: what to reserve for it.
    #[must_use]
    pub fn len_at_most(&self) -> usize {
        let chunks: usize = self.runs.iter().map(Run::weight).sum();
        let body = self.hint.len() + self.head.map_or(0, <[u8]>::len) + chunks;
        RECORD_HEADER_LEN + body + ALIGN
    }

    /// Appends the record to `out`, and says where in the record the data of each run begins.
    pub fn write(&self, sequence: u64, salt: u64, out: &mut Vec<u8>) -> Vec<usize> {
        let start = out.len();
        let head = self.head.unwrap_or_default();
        let head_stored = head.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
        out.resize(start + RECORD_HEADER_LEN, 0);
        out.extend_from_slice(self.hint);
        out.extend_from_slice(&head[..head_stored]);
        let mut entries = 0;
        for run in self.runs {
            entries += run.entries.len();
            let layout = RunLayout {
                first: U64::new(run.first),
                count: U32::new(run.entries.len() as u32),
                reserved: U32::ZERO,
            };
            out.extend_from_slice(layout.as_bytes());
        }
        for run in self.runs {
            out.extend_from_slice(run.entries.as_bytes());
        }
        let data_at = out.len() - start;
        let mut places = Vec::with_capacity(self.runs.len());
        for run in self.runs {
            places.push(out.len() - start);
            out.extend_from_slice(run.data);
        }
        let data_len = out.len() - start - data_at;
        out.resize(start + (out.len() - start).next_multiple_of(ALIGN), 0);
        let mut layout = RecordLayout {
            checksum: U128::ZERO,
            magic: RECORD_MAGIC,
            kind: self.kind.byte(),
            chunk_bits: self.geometry.chunk_size().trailing_zeros() as u8,
            hint_len: U16::new(self.hint.len() as u16),
            sequence: U64::new(sequence),
            salt: U64::new(salt),
            node: self.node.0,
            head_len: U16::new(head.len() as u16),
            head_stored: U16::new(head_stored as u16),
            runs: U32::new(self.runs.len() as u32),
            entries: U32::new(entries as u32),
            data_len: U32::new(data_len as u32),
            len: U32::new((out.len() - start) as u32),
            reserved: [0; 4],
        };
        out[start..start + RECORD_HEADER_LEN].copy_from_slice(layout.as_bytes());
        layout.checksum = U128::new(xxh3_128(&out[start + CHECKSUM_LEN..]));
        out[start..start + CHECKSUM_LEN].copy_from_slice(layout.checksum.as_bytes());
        places
    }
}

impl Run<'_> {
    /// Bytes that this run takes in a record.
    #[must_use]
    pub fn weight(&self) -> usize {
        RUN_LEN + self.entries.len() * ENTRY_LEN + self.data.len()
    }
}

impl Kind {
    fn byte(self) -> u8 {
        match self {
            Self::Write => 1,
            Self::Cut => 2,
            Self::Named => 3,
            Self::Gone => 4,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Write),
            2 => Some(Self::Cut),
            3 => Some(Self::Named),
            4 => Some(Self::Gone),
            _ => None,
        }
    }
}

/// How many bytes the record that begins with `header` claims to have, if it claims to be the record
/// `sequence` of the segment's use `salt`. Nothing has been checked yet.
#[must_use]
pub fn claimed_len(header: &[u8], sequence: u64, salt: u64) -> Option<usize> {
    let (layout, _) = RecordLayout::read_from_prefix(header).ok()?;
    let ours = layout.magic == RECORD_MAGIC && layout.sequence.get() == sequence && layout.salt.get() == salt;
    let len = layout.len.get() as usize;
    (ours && (RECORD_HEADER_LEN..=RECORD_MAX as usize).contains(&len)).then_some(len)
}

impl<'a> Record<'a> {
    /// Reads the record `sequence` of the segment's use `salt` from the beginning of `bytes`; `None` when
    /// it is not there or not whole: the journal ends here.
    #[must_use]
    pub fn parse(bytes: &'a [u8], sequence: u64, salt: u64) -> Option<Self> {
        let len = claimed_len(bytes, sequence, salt)?;
        let bytes = bytes.get(..len)?;
        let layout = RecordLayout::ref_from_bytes(&bytes[..RECORD_HEADER_LEN]).ok()?;
        if !checksum_holds(layout.checksum.get(), bytes) {
            return None;
        }
        let geometry = Geometry::new(1u32.checked_shl(layout.chunk_bits.into())?)?;
        let mut rest = Cursor(bytes, RECORD_HEADER_LEN);
        let hint_len = usize::from(layout.hint_len.get());
        let hint = rest.take((hint_len <= HINT_MAX).then_some(hint_len)?)?;
        let head = read_head(layout, &mut rest)?;
        let runs = read_runs(layout, geometry, &mut rest)?;
        let padding = bytes.len() - rest.1;
        (padding < ALIGN).then_some(Self {
            kind: Kind::from_byte(layout.kind)?,
            node: NodeId(layout.node),
            geometry,
            hint,
            head,
            runs,
            len,
        })
    }
}

fn checksum_holds(checksum: u128, bytes: &[u8]) -> bool {
    #[cfg(test)]
    if mutation::CHECKSUM_OFF.get() {
        return true;
    }
    checksum == xxh3_128(&bytes[CHECKSUM_LEN..])
}

fn read_head(layout: &RecordLayout, rest: &mut Cursor<'_>) -> Option<Option<Vec<u8>>> {
    let len = usize::from(layout.head_len.get());
    let stored = usize::from(layout.head_stored.get());
    if len == 0 && stored == 0 {
        return Some(None);
    }
    if len > PAGE || stored > len {
        return None;
    }
    let mut head = rest.take(stored)?.to_vec();
    head.resize(len, 0);
    Some(Some(head))
}

fn read_runs<'a>(layout: &RecordLayout, geometry: Geometry, rest: &mut Cursor<'a>) -> Option<Vec<(Run<'a>, usize)>> {
    let table = rest.take((layout.runs.get() as usize).checked_mul(RUN_LEN)?)?;
    let table = <[RunLayout]>::ref_from_bytes(table).ok()?;
    let entries = rest.take((layout.entries.get() as usize).checked_mul(ENTRY_LEN)?)?;
    let mut entries = <[Entry]>::ref_from_bytes(entries).ok()?;
    let end = rest.1.checked_add(layout.data_len.get() as usize)?;
    let mut runs = Vec::with_capacity(table.len());
    for run in table {
        let (own, others) = entries.split_at_checked(run.count.get() as usize)?;
        entries = others;
        let at = rest.1;
        let len: u64 = own.iter().map(|entry| u64::from(entry.len())).sum();
        let data = rest.take(usize::try_from(len).ok()?)?;
        let run = Run {
            first: run.first.get(),
            entries: own,
            data,
        };
        if !run.is_sound(geometry) {
            return None;
        }
        runs.push((run, at));
    }
    (entries.is_empty() && rest.1 == end).then_some(runs)
}

struct Cursor<'a>(&'a [u8], usize);

impl<'a> Cursor<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let end = self.1.checked_add(len)?;
        let taken = self.0.get(self.1..end)?;
        self.1 = end;
        Some(taken)
    }
}

/// Protections that a test can take out, to show that the crash loop notices.
#[cfg(test)]
pub(crate) mod mutation {
    use std::cell::Cell;

    thread_local! {
        /// Believe every record, whole or torn.
        pub(crate) static CHECKSUM_OFF: Cell<bool> = const { Cell::new(false) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn geometry() -> Geometry {
        Geometry::new(4096).unwrap()
    }

    fn record(chunks: usize, tail: u32, head: Option<&[u8]>) -> Vec<u8> {
        let mut entries = vec![Entry::new([1; 12], [2; 16], 4096); chunks];
        entries.push(Entry::new([3; 12], [4; 16], tail));
        let data = vec![5; chunks * 4096 + tail as usize];
        let holes = [Entry::new([6; 12], [7; 16], 0); 3];
        let runs = [
            Run {
                first: 9,
                entries: &entries,
                data: &data,
            },
            Run {
                first: 2000,
                entries: &holes,
                data: &[],
            },
        ];
        let parts = Parts {
            kind: Kind::Write,
            node: NodeId([8; 16]),
            geometry: geometry(),
            hint: b"a/b",
            head,
            runs: &runs,
        };
        let mut out = Vec::new();
        let places = parts.write(7, 99, &mut out);
        assert!(out.len() <= parts.len_at_most());
        assert_eq!(out[places[0]..places[0] + data.len()], data);
        out
    }

    #[test]
    fn segment_header_and_back() {
        let header = SegmentHeader {
            index: 1,
            epoch: 3,
            first_sequence: 9,
            salt: 77,
            segment_len: 8192,
        };
        let bytes = header.to_bytes();
        assert_eq!(SegmentHeader::parse(&bytes, 1, 8192), Some(header));
        assert_eq!(SegmentHeader::parse(&bytes, 0, 8192), None);
        assert_eq!(SegmentHeader::parse(&bytes, 1, 4096), None);
        assert_eq!(SegmentHeader::parse(&bytes[..40], 1, 8192), None);
        assert_eq!(SegmentHeader::parse(&[0; 64], 1, 8192), None);
    }

    #[test]
    fn another_use_or_place_is_not_taken() {
        let bytes = record(1, 10, None);
        assert!(Record::parse(&bytes, 7, 99).is_some());
        assert!(Record::parse(&bytes, 8, 99).is_none());
        assert!(Record::parse(&bytes, 7, 98).is_none());
    }

    proptest! {
        #[test]
        fn record_and_back(chunks in 0usize..4, tail in 1u32..=4096, filled in 0usize..=1024, head_len in 1024usize..=4096, with_head in any::<bool>()) {
            let mut head = vec![0; head_len];
            head[..filled].fill(1);
            let head = with_head.then_some(&head[..]);
            let bytes = record(chunks, tail, head);
            let parsed = Record::parse(&bytes, 7, 99).unwrap();
            prop_assert_eq!(parsed.hint, b"a/b");
            prop_assert_eq!(parsed.head.as_deref(), head);
            prop_assert_eq!(parsed.runs.len(), 2);
            prop_assert_eq!(parsed.runs[0].0.entries.len(), chunks + 1);
            prop_assert_eq!(parsed.runs[0].0.data.len(), chunks * 4096 + tail as usize);
            prop_assert_eq!(parsed.len, bytes.len());
        }

        #[test]
        fn a_torn_record_ends_the_journal(at in 0usize..5000, byte in any::<u8>(), cut in 0usize..5000) {
            let bytes = record(1, 10, None);
            let at = at % bytes.len();
            let mut damaged = bytes.clone();
            damaged[at] = byte;
            prop_assert_eq!(Record::parse(&damaged, 7, 99).is_some(), damaged == bytes);
            let cut = cut % bytes.len();
            prop_assert!(Record::parse(&bytes[..cut], 7, 99).is_none());
        }

        #[test]
        fn random_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 80..600), small in proptest::collection::vec(0u8..3, 40)) {
            // With the magic, the sequence and a fitting checksum, so that the parser gets to the fields.
            bytes[16..20].copy_from_slice(&RECORD_MAGIC);
            bytes[20..24].copy_from_slice(&[1, 12, small[0], 0]);
            bytes[24..32].copy_from_slice(&7u64.to_le_bytes());
            bytes[32..40].copy_from_slice(&99u64.to_le_bytes());
            bytes[56..72].copy_from_slice(&small[1..17]);
            let len = bytes.len() as u32;
            bytes[72..76].copy_from_slice(&len.to_le_bytes());
            let sum = xxh3_128(&bytes[16..]);
            bytes[..16].copy_from_slice(&sum.to_le_bytes());
            let _ = Record::parse(&bytes, 7, 99);
            let _ = SegmentHeader::parse(&bytes, 0, 4096);
        }
    }
}
