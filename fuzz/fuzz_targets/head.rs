//! Any bytes are refused as a head, or written again exactly. The same as a property test: `format::head::tests`.
#![no_main]

use kmsfs::format::head::{CONTENT_MAC, Features, RawHead, VOLUME_MAC};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(Some(raw)) = RawHead::parse(bytes) {
        let again = raw.head.image().expect("what was parsed can be written");
        assert_eq!(again.len(), raw.image.len());
        // Features of a newer program may use bytes that this one does not know.
        if raw.head.features == Features::default() {
            assert_eq!(again[..CONTENT_MAC.start], raw.image[..CONTENT_MAC.start]);
        }
        assert_eq!(again[VOLUME_MAC.end..], raw.image[VOLUME_MAC.end..]);
    }
});
