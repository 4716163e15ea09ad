//! Any bytes are refused as an envelope file of the guide, or are one by the key that this KMS always gives.
//! The same as a property test: `seal::tests`.
#![no_main]

use std::io::Cursor;
use std::ops::ControlFlow;

use kmsfs::crypto::Key;
use kmsfs::format::WrappedKey;
use kmsfs::kms::{Direct, EncryptionContext, GeneratedKey, KeyMetadata, Kms, KmsDirect, KmsError};
use zeroize::Zeroizing;

/// Unwraps everything to one key, and can do nothing else.
struct OneKey;

fn no<T>() -> Result<T, KmsError> {
    Err(KmsError::new("UnsupportedOperation", "not here"))
}

impl Kms for OneKey {
    fn describe(&self) -> String {
        "one key".into()
    }
    fn generate_data_key(&self, _: &str, _: &EncryptionContext) -> Result<GeneratedKey, KmsError> {
        no()
    }
    fn decrypt(&self, _: &WrappedKey, _: &EncryptionContext) -> Result<Key, KmsError> {
        no()
    }
    fn describe_key(&self, _: &str) -> Result<KeyMetadata, KmsError> {
        no()
    }
}

impl KmsDirect for OneKey {
    fn encrypt_text(&self, _: &str, _: &EncryptionContext, _: &str) -> Result<Direct<String>, KmsError> {
        no()
    }
    fn decrypt_text(&self, _: &str, _: &EncryptionContext) -> Result<Direct<Zeroizing<String>>, KmsError> {
        Ok(Direct {
            key: String::new(),
            version: String::new(),
            data: Zeroizing::new("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".into()),
        })
    }
    fn generate_wrapped(&self, _: &str, _: &EncryptionContext) -> Result<Direct<String>, KmsError> {
        no()
    }
    fn re_encrypt(
        &self,
        _: &str,
        _: &EncryptionContext,
        _: &str,
        _: &EncryptionContext,
    ) -> Result<Direct<String>, KmsError> {
        no()
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut plain = Vec::new();
    let go_on = &mut |_| ControlFlow::Continue(());
    let opened = kmsfs::seal::unseal_guide(&mut Cursor::new(bytes), &mut plain, &OneKey, go_on);
    assert!(opened.is_err() || plain.len() <= bytes.len());
});
