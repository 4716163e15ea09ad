//! Small data under a master key itself, and data keys of any length as the API's texts.

use data_encoding::BASE64;
use zeroize::Zeroizing;

use crate::kms::local::LocalStore;
use crate::kms::{Direct, EncryptionContext, Kms, KmsDirect, KmsError};

/// Most bytes of a data key (reference, §1.7).
const DATA_KEY_MAX: usize = 1024;

/// A new data key as GenerateDataKey answers it.
#[derive(Debug)]
pub struct TextKey {
    /// `Plaintext`: its bytes as base64.
    pub plain: Zeroizing<String>,
    /// `CiphertextBlob` and whose it is.
    pub wrapped: Direct<String>,
}

/// Bytes of the data key that GenerateDataKey is asked for: `NumberOfBytes` goes before `KeySpec`, 32 if there is none.
///
/// # Errors
/// `InvalidParameter`.
pub fn data_key_len(spec: Option<&str>, bytes: Option<usize>) -> Result<usize, KmsError> {
    match (spec, bytes) {
        (_, Some(bytes @ 1..=DATA_KEY_MAX)) => Ok(bytes),
        (None | Some("AES_256"), None) => Ok(32),
        (Some("AES_128"), None) => Ok(16),
        (_, Some(bytes)) => {
            let message = format!("a data key of {bytes} bytes; 1 to {DATA_KEY_MAX} are possible");
            Err(KmsError::new("InvalidParameter", message))
        }
        (Some(spec), None) => {
            let message = format!("{spec:?} is no kind of data key; AES_256 and AES_128 are");
            Err(KmsError::new("InvalidParameter", message))
        }
    }
}

impl LocalStore {
    /// `GenerateDataKey` of `len` bytes, 1 to 1024. Without the plain text it is `GenerateDataKeyWithoutPlaintext`.
    ///
    /// # Errors
    /// [`KmsError`], with Alibaba's codes.
    pub fn generate_text(&self, key: &str, context: &EncryptionContext, len: usize) -> Result<TextKey, KmsError> {
        let len = self.named(Some(key), || data_key_len(None, Some(len)))?;
        let mut bytes = Zeroizing::new(vec![0; len]);
        self.named(Some(key), || {
            getrandom::fill(&mut bytes).map_err(|error| KmsError::new("InternalFailure", error.to_string()))
        })?;
        let plain = Zeroizing::new(BASE64.encode(&bytes));
        let wrapped = self.encrypt_text(key, context, &plain)?;
        Ok(TextKey { plain, wrapped })
    }
}

impl KmsDirect for LocalStore {
    fn encrypt_text(&self, key: &str, context: &EncryptionContext, text: &str) -> Result<Direct<String>, KmsError> {
        Ok(text_of(self.encrypt(key, context, text.as_bytes())?))
    }

    fn decrypt_text(&self, blob: &str, context: &EncryptionContext) -> Result<Direct<Zeroizing<String>>, KmsError> {
        let opened = self.decrypt_blob(&bytes_of(blob).map_err(|error| error.at(self.describe()))?, context)?;
        let text = std::str::from_utf8(&opened.data)
            .map_err(|_| KmsError::new("InvalidParameter", "what was encrypted is not text").at(self.describe()))?;
        Ok(Direct {
            data: Zeroizing::new(text.to_owned()),
            key: opened.key,
            version: opened.version,
        })
    }

    fn generate_wrapped(&self, key: &str, context: &EncryptionContext) -> Result<Direct<String>, KmsError> {
        Ok(self.generate_text(key, context, 32)?.wrapped)
    }

    fn re_encrypt(
        &self,
        blob: &str,
        from: &EncryptionContext,
        key: &str,
        to: &EncryptionContext,
    ) -> Result<Direct<String>, KmsError> {
        let text = self.decrypt_text(blob, from)?;
        self.encrypt_text(key, to, &text.data)
    }
}

/// A blob as the API's text.
fn text_of(blob: Direct<Vec<u8>>) -> Direct<String> {
    Direct {
        data: BASE64.encode(&blob.data),
        key: blob.key,
        version: blob.version,
    }
}

/// The blob of such a text; white space in and around it does not count, because files bring some (reference, §9.2).
fn bytes_of(text: &str) -> Result<Vec<u8>, KmsError> {
    let text: String = text.split_ascii_whitespace().collect();
    BASE64
        .decode(text.as_bytes())
        .map_err(|_| KmsError::new("InvalidParameter", "the CiphertextBlob is not base64"))
}
