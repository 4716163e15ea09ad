//! The encryption context: what a wrapped key is bound to. Sent beside each request, never stored in the blob.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::format::{DataKeyId, VolumeId};

/// An ordered map of strings, bound to a wrapped key as associated data. Not secret: it stands in audit logs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct EncryptionContext(BTreeMap<String, String>);

impl EncryptionContext {
    /// No context.
    #[must_use]
    pub fn none() -> EncryptionContext {
        EncryptionContext::default()
    }

    /// The context of the data key `id` of `volume`.
    #[must_use]
    pub fn data_key(volume: VolumeId, id: DataKeyId) -> EncryptionContext {
        EncryptionContext::from_iter([
            ("kmsfs:volume".to_owned(), volume.to_string()),
            ("kmsfs:data-key".to_owned(), id.to_string()),
        ])
    }

    /// The context of the volume key of `volume`.
    #[must_use]
    pub fn volume_key(volume: VolumeId) -> EncryptionContext {
        EncryptionContext::from_iter([
            ("kmsfs:volume".to_owned(), volume.to_string()),
            ("kmsfs:purpose".to_owned(), "volume-key".to_owned()),
        ])
    }

    /// Whether it says nothing, which counts as no context.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The pairs in order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The associated data that Alibaba Cloud KMS makes of it: SHA-256 of `key=value` pairs joined by `&`, sorted
    /// as Java sorts strings (by UTF-16 units); nothing at all for an empty context.
    #[must_use]
    pub fn associated_data(&self) -> Option<[u8; 32]> {
        if self.is_empty() {
            return None;
        }
        let mut pairs: Vec<_> = self.0.iter().collect();
        pairs.sort_by(|a, b| a.0.encode_utf16().cmp(b.0.encode_utf16()));
        let pairs: Vec<String> = pairs.iter().map(|(key, value)| format!("{key}={value}")).collect();
        Some(Sha256::digest(pairs.join("&")).into())
    }
}

impl FromIterator<(String, String)> for EncryptionContext {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> EncryptionContext {
        EncryptionContext(pairs.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::HEXLOWER;

    fn digest(pairs: &[(&str, &str)]) -> String {
        let context: EncryptionContext = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        HEXLOWER.encode(&context.associated_data().unwrap())
    }

    #[test]
    fn vectors_of_the_reference() {
        let plain = digest(&[("Key2", "Value2"), ("Key1", "Value1")]);
        assert_eq!(
            plain,
            "8e17bf42cba6cbd8f45ac42661c06db687f2f8acc596fa8f98cbdc09a14d56d1"
        );
        let wide = digest(&[("app", "阿波罗"), ("Purpose", "test ~*+")]);
        assert_eq!(wide, "91019746e99fad75a139dcb26c31afa58c6a31e34059311d9cb6fb71c288c8eb");
    }

    #[test]
    fn sorted_as_java_does() {
        // U+1F600 is the surrogates D83D DE00, before U+FF01; by code points it would be after it.
        let joined = Sha256::digest("\u{1F600}=1&\u{FF01}=2");
        assert_eq!(
            digest(&[("\u{FF01}", "2"), ("\u{1F600}", "1")]),
            HEXLOWER.encode(&joined)
        );
    }

    #[test]
    fn nothing_is_no_data() {
        assert_eq!(EncryptionContext::none().associated_data(), None);
    }

    #[test]
    fn purposes_and_ids_differ() {
        let (volume, id) = (VolumeId([1; 16]), DataKeyId([2; 16]));
        let data = EncryptionContext::data_key(volume, id);
        let pairs: Vec<_> = data.iter().collect();
        assert_eq!(pairs[0], ("kmsfs:data-key", "02020202020202020202020202020202"));
        assert_eq!(pairs[1], ("kmsfs:volume", "01010101010101010101010101010101"));
        assert_ne!(
            data.associated_data(),
            EncryptionContext::volume_key(volume).associated_data()
        );
    }
}
