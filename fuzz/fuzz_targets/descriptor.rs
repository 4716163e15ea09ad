//! Any bytes are refused as a descriptor, or give one that can be written. The same as a property test:
//! `format::descriptor::tests`.
#![no_main]

use kmsfs::format::descriptor::RawDescriptor;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(raw) = RawDescriptor::parse(bytes) {
        raw.descriptor.to_maced().expect("what was parsed can be written");
    }
});
