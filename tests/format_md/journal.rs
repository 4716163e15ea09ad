//! The journal's tables: segment headers, records, kinds.

use kmsfs::format::entry::Entry;
use kmsfs::format::head;
use kmsfs::format::journal::{self, Kind, Parts, Record, Run, SegmentHeader};
use xxhash_rust::xxh3::xxh3_128;
use zerocopy::IntoBytes;

use crate::document::{Layout, number, quoted, says, table, tables};
use crate::{NODE, geometry};

#[test]
fn segments_of_the_journal() {
    let rows = &tables("| offset | length | field |")[1];
    assert_eq!(rows.len(), 9);
    let layout = Layout::of(rows, journal::SEGMENT_HEADER_LEN);
    let magic = quoted(&rows[1][2]);
    assert_eq!(magic, journal::SEGMENT_MAGIC);
    assert_eq!(layout.constant("version"), [u64::from(journal::VERSION)]);
    assert_eq!(layout.constant("checksum"), [journal::SEGMENT_HEADER_LEN as u64 - 16]);
    says(&format!("whose records begin at {}", journal::RECORDS_OFFSET));
    let header = SegmentHeader {
        index: 1,
        epoch: 3,
        first_sequence: 9,
        salt: 77,
        segment_len: 8192,
    };
    let fields = |checksum: u128| {
        layout.bytes(&[
            ("checksum", &checksum.to_le_bytes()),
            ("magic", &magic),
            ("version", &1u16.to_le_bytes()),
            ("index", &[1]),
            ("epoch", &3u64.to_le_bytes()),
            ("sequence number", &9u64.to_le_bytes()),
            ("salt", &77u64.to_le_bytes()),
            ("bytes of the segment", &8192u64.to_le_bytes()),
        ])
    };
    assert_eq!(header.to_bytes()[..], fields(xxh3_128(&fields(0)[16..])));
}

/// A record as the tables describe it.
fn expected_record(layout: &Layout, magic: &[u8], head: &[u8], entries: &[Entry], data: &[u8]) -> Vec<u8> {
    let run = [&5u64.to_le_bytes()[..], &(entries.len() as u32).to_le_bytes(), &[0; 4]].concat();
    let mut body = [b"a/b", head, &run, entries.as_bytes(), data].concat();
    let len = (journal::RECORD_HEADER_LEN + body.len()).next_multiple_of(8);
    body.resize(len - journal::RECORD_HEADER_LEN, 0);
    let with = |checksum: u128| {
        let header = layout.bytes(&[
            ("checksum", &checksum.to_le_bytes()),
            ("magic", magic),
            ("kind", &[2]),
            ("chunk size", &[12]),
            ("bytes of the hint", &3u16.to_le_bytes()),
            ("sequence", &9u64.to_le_bytes()),
            ("salt", &77u64.to_le_bytes()),
            ("node", &NODE.0),
            ("bytes of the image", &2048u16.to_le_bytes()),
            ("bytes of it that stand", &(head.len() as u16).to_le_bytes()),
            ("number of runs", &1u32.to_le_bytes()),
            ("number of entries", &(entries.len() as u32).to_le_bytes()),
            ("bytes of data", &(data.len() as u32).to_le_bytes()),
            ("bytes of the record", &(len as u32).to_le_bytes()),
        ]);
        [&header[..], &body].concat()
    };
    with(xxh3_128(&with(0)[16..]))
}

#[test]
fn records_of_the_journal() {
    let found = tables("| offset | length | field |");
    assert_eq!((found.len(), found[2].len()), (3, 15));
    let layout = Layout::of(&found[2], journal::RECORD_HEADER_LEN);
    let magic = quoted(&found[2][1][2]);
    assert_eq!(magic, journal::RECORD_MAGIC);
    assert_eq!(layout.constant("bytes of the hint"), [journal::HINT_MAX as u64]);
    assert_eq!(layout.constant("bytes of the record"), [journal::RECORD_MAX]);
    says(&format!(
        "Behind these {} bytes: hint ‖ image of the head ‖ runs ‖ entries ‖ data ‖ zeros up to a multiple of 8",
        journal::RECORD_HEADER_LEN
    ));
    says(&format!(
        "A run is {} bytes: first chunk 8, number of chunks 4, zero 4",
        journal::RUN_LEN
    ));

    let mut image = vec![0; head::ENTRIES_OFFSET];
    image[..100].fill(6);
    let entries = [Entry::new([1; 12], [2; 16], 4096), Entry::new([3; 12], [4; 16], 5)];
    let data = vec![7; 4096 + 5];
    let runs = [Run {
        first: 5,
        entries: &entries,
        data: &data,
    }];
    let parts = |kind| Parts {
        kind,
        node: NODE,
        geometry: geometry(4096),
        hint: b"a/b",
        head: Some(&image),
        runs: &runs,
    };
    let written = |kind| {
        let mut bytes = Vec::new();
        parts(kind).write(9, 77, &mut bytes);
        bytes
    };
    assert_eq!(
        written(Kind::Cut),
        expected_record(&layout, &magic, &image[..100], &entries, &data)
    );
    let kinds = [
        ("write", Kind::Write),
        ("cut", Kind::Cut),
        ("named", Kind::Named),
        ("gone", Kind::Gone),
    ];
    for (row, (name, kind)) in table("| kind | name | what |", 4).iter().zip(kinds) {
        assert_eq!(row[1], name);
        let bytes = written(kind);
        assert_eq!(u64::from(bytes[layout.range("kind").start]), number(&row[0]), "{row:?}");
        assert_eq!(Record::parse(&bytes, 9, 77).unwrap().kind, kind);
    }
}
