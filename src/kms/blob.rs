//! A wrapped key's bytes in Alibaba Cloud KMS's own layout, and AES-256-GCM over it:
//! key version id (36 bytes of text) ‖ IV (12) ‖ ciphertext ‖ tag (16).
//!
//! What is encrypted is the plaintext *text* of the API: for a data key, its base64.

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, KeyInit};
use data_encoding::BASE64;
use zeroize::Zeroizing;

use super::{EncryptionContext, KmsError};
use crate::crypto::Key;

const VERSION: usize = 36;
const IV: usize = 12;
const TAG: usize = 16;

/// Most bytes of text that a KMS wraps directly.
pub const PLAINTEXT_MAX: usize = 6144;

/// The id of the key version that wrapped `blob`; `None` if it is too short or not in this layout.
#[must_use]
pub fn version_of(blob: &[u8]) -> Option<&str> {
    if blob.len() <= VERSION + IV + TAG || blob.len() > VERSION + IV + TAG + PLAINTEXT_MAX {
        return None;
    }
    let id = std::str::from_utf8(blob.get(..VERSION)?).ok()?;
    super::uuid::is_uuid(id).then_some(id)
}

/// Encrypts `text` under the version `id` of a master key, whose material is `material`.
///
/// # Errors
/// `InvalidParameter` when the text is empty or longer than [`PLAINTEXT_MAX`].
pub fn wrap(id: &str, material: &Key, context: &EncryptionContext, text: &[u8]) -> Result<Vec<u8>, KmsError> {
    wrap_with(crate::format::ids::random_bytes(), id, material, context, text)
}

fn wrap_with(
    iv: [u8; IV],
    id: &str,
    material: &Key,
    context: &EncryptionContext,
    text: &[u8],
) -> Result<Vec<u8>, KmsError> {
    if text.is_empty() || text.len() > PLAINTEXT_MAX {
        return Err(KmsError::new(
            "InvalidParameter",
            format!(
                "{} bytes of plaintext; 1 to {PLAINTEXT_MAX} can be encrypted",
                text.len()
            ),
        ));
    }
    let aad = context.associated_data();
    let payload = Payload {
        msg: text,
        aad: aad.as_ref().map_or(&[], |digest| &digest[..]),
    };
    let sealed = Aes256Gcm::new(material.expose().into())
        .encrypt(&iv.into(), payload)
        .map_err(|_| KmsError::new("InternalFailure", "AES-GCM refused to encrypt"))?;
    Ok([id.as_bytes(), &iv, &sealed].concat())
}

/// Decrypts a blob with the material of the version that [`version_of`] names.
///
/// # Errors
/// `InvalidParameter` when the blob is damaged or bound to another context.
pub fn unwrap(material: &Key, context: &EncryptionContext, blob: &[u8]) -> Result<Zeroizing<Vec<u8>>, KmsError> {
    let refused = || {
        KmsError::new(
            "InvalidParameter",
            "the wrapped key is damaged, or was made for something else",
        )
    };
    version_of(blob).ok_or_else(refused)?;
    let (iv, sealed) = blob[VERSION..].split_first_chunk::<IV>().ok_or_else(refused)?;
    let aad = context.associated_data();
    let payload = Payload {
        msg: sealed,
        aad: aad.as_ref().map_or(&[], |digest| &digest[..]),
    };
    Aes256Gcm::new(material.expose().into())
        .decrypt(&(*iv).into(), payload)
        .map(Zeroizing::new)
        .map_err(|_| refused())
}

/// The text that stands for a data key in the API.
#[must_use]
pub fn key_to_text(key: &Key) -> Zeroizing<String> {
    Zeroizing::new(BASE64.encode(key.expose()))
}

/// The data key of such a text.
///
/// # Errors
/// `Kms.WrongKey` when it is not the base64 of 32 bytes.
pub fn text_to_key(text: &[u8]) -> Result<Key, KmsError> {
    let wrong = || KmsError::new("Kms.WrongKey", "what came back is not a data key of 32 bytes");
    let mut bytes = Zeroizing::new([0; Key::LEN + 1]);
    if BASE64.decode_len(text.len()).map_err(|_| wrong())? > bytes.len() {
        return Err(wrong());
    }
    let capacity = BASE64.decode_len(text.len()).unwrap_or(0);
    let len = BASE64.decode_mut(text, &mut bytes[..capacity]).map_err(|_| wrong())?;
    Key::from_slice(&bytes[..len]).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kms::Remedy;

    const ID: &str = "86a9efd9-3d16-4894-bd4f-1fc43f3f2abf";
    const TEXT: &[u8] = b"SGVsbG8gd29ybGQ=";

    fn material() -> Key {
        Key::filled(|key| (0..).zip(key).for_each(|(i, byte)| *byte = i))
    }

    fn guide() -> EncryptionContext {
        [("Purpose", "test ~*+"), ("app", "阿波罗")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into_iter()
            .collect()
    }

    #[test]
    fn check_values_of_the_reference() {
        let iv: [u8; IV] = std::array::from_fn(|i| i as u8);
        let bare = "ODZhOWVmZDktM2QxNi00ODk0LWJkNGYtMWZjNDNmM2YyYWJmAAECAwQFBgcICQoLFEWAaKei+nzpc67y064pUI2RzBC3/JuO5h2u3bBBVeM=";
        let bound = "ODZhOWVmZDktM2QxNi00ODk0LWJkNGYtMWZjNDNmM2YyYWJmAAECAwQFBgcICQoLFEWAaKei+nzpc67y064pUDNlwkgR+onYqIy6Jz3t7Qg=";
        for (context, blob) in [(EncryptionContext::none(), bare), (guide(), bound)] {
            let wrapped = wrap_with(iv, ID, &material(), &context, TEXT).unwrap();
            assert_eq!(BASE64.encode(&wrapped), blob);
            assert_eq!(version_of(&wrapped), Some(ID));
            assert_eq!(unwrap(&material(), &context, &wrapped).unwrap().as_slice(), TEXT);
        }
    }

    #[test]
    fn other_context_or_any_other_byte_is_refused() {
        let wrapped = wrap(ID, &material(), &guide(), TEXT).unwrap();
        let error = unwrap(&material(), &EncryptionContext::none(), &wrapped).unwrap_err();
        assert_eq!((error.code(), error.remedy()), ("InvalidParameter", Remedy::Rejected));
        for cut in 0..wrapped.len() {
            assert!(unwrap(&material(), &guide(), &wrapped[..cut]).is_err(), "cut at {cut}");
        }
        for at in VERSION..wrapped.len() {
            let mut other = wrapped.clone();
            other[at] ^= 1;
            assert!(unwrap(&material(), &guide(), &other).is_err(), "byte {at}");
        }
    }

    #[test]
    fn data_key_as_text() {
        let text = key_to_text(&material());
        assert_eq!(text.len(), 44);
        assert_eq!(text_to_key(text.as_bytes()).unwrap().expose(), material().expose());
        for len in [0, 1, 31, 33, 34, 64, 2000] {
            assert!(text_to_key(BASE64.encode(&vec![7; len]).as_bytes()).is_err(), "{len}");
        }
        assert!(text_to_key(&[0xFF; 44]).is_err());
    }

    #[test]
    fn size_of_plaintext_is_bounded() {
        let none = EncryptionContext::none();
        assert!(wrap(ID, &material(), &none, &[b'a'; PLAINTEXT_MAX]).is_ok());
        assert!(wrap(ID, &material(), &none, &[b'a'; PLAINTEXT_MAX + 1]).is_err());
        assert!(wrap(ID, &material(), &none, b"").is_err());
    }

    proptest::proptest! {
        #[test]
        fn random_bytes_are_refused(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            assert!(unwrap(&material(), &EncryptionContext::none(), &bytes).is_err());
            let _ = text_to_key(&bytes);
        }
    }
}
