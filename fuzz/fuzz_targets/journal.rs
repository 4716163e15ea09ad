//! Any bytes are refused as a record or a segment's header, or are read without a panic. The same as property
//! tests: `format::journal::tests`.
#![no_main]

use kmsfs::format::journal::{Record, SegmentHeader};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = Record::parse(bytes, 1, 1);
    let _ = SegmentHeader::parse(bytes, 0, bytes.len() as u64);
});
