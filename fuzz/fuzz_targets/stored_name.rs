//! Any bytes are refused as a stored name, or written again exactly. The same as a property test:
//! `format::stored_name::tests`.
#![no_main]

use kmsfs::format::stored_name::RawName;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Some(name) = RawName::parse(bytes) {
        assert_eq!(name.text().as_bytes(), bytes);
    }
});
