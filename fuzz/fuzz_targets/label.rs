//! Any bytes are refused as a label, or written again exactly. The same as a property test: `names::label::tests`.
#![no_main]

use kmsfs::names::Label;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Some(label) = Label::parse(bytes) {
        assert_eq!(label.to_bytes(), bytes);
    }
});
