//! Data keys and direct encryption: what a mount and the commands of the guide's chapter 2 ask for. Each answer must
//! be about the key that was asked for.

use data_encoding::BASE64;
use zeroize::Zeroizing;

use super::actions::{Ask, DataKey, Described, Unwrapped, Wrapped};
use super::answer::{Answered, clean};
use super::client::AlibabaKms;
use super::http::with_id;
use crate::crypto::Key;
use crate::format::WrappedKey;
use crate::format::wrapped::{BLOB_MAX, Slot};
use crate::kms::{Direct, EncryptionContext, GeneratedKey, KeyMetadata, Kms, KmsDirect, KmsError, blob};

/// Bytes of a data key, as a parameter.
const DATA_KEY_LEN: &str = "32";

impl AlibabaKms {
    fn decrypt_as(wrapped: &WrappedKey, context: &EncryptionContext) -> Result<Ask, KmsError> {
        let mut ask = Ask::new("Decrypt").with("CiphertextBlob", BASE64.encode(&wrapped.blob));
        ask.about = Some(clean(&wrapped.master_key));
        ask.context("EncryptionContext", context)
    }

    /// What came back as the data key that was asked for.
    fn data_key_of(&self, wrapped: &WrappedKey, answered: Answered<Unwrapped>) -> Result<Key, KmsError> {
        let Answered { data, request_id } = answered;
        let key =
            check_key(&wrapped.master_key, &data.key_id).and_then(|()| blob::text_to_key(data.plaintext.0.as_bytes()));
        key.map_err(|error| self.named(with_id(error, request_id), Some(&wrapped.master_key)))
    }

    fn direct_of(&self, asked: Option<&str>, answered: Answered<Wrapped>) -> Result<Direct<String>, KmsError> {
        let Answered { data, request_id } = answered;
        if let Some(asked) = asked {
            check_key(asked, &data.key_id).map_err(|error| self.named(with_id(error, request_id), Some(asked)))?;
        }
        Ok(Direct {
            key: data.key_id,
            version: data.key_version_id,
            data: data.ciphertext_blob,
        })
    }
}

/// Refuses an answer about another key than `asked`. What an alias names, only the KMS can say.
pub(super) fn check_key(asked: &str, answered: &str) -> Result<(), KmsError> {
    let is_alias = |name: &str| name.starts_with("alias/") || name.contains(":alias/");
    let id = asked.rsplit_once(":key/").map_or(asked, |(_, id)| id);
    if !answered.is_empty() && !is_alias(answered) && (is_alias(asked) || id == answered) {
        return Ok(());
    }
    let message = format!("the answer is about another key, {}", clean(answered));
    Err(KmsError::new("Kms.WrongKey", message))
}

/// The bytes of a new data key's CiphertextBlob, and its master key, as a file has room for them.
fn wrapped_of(data: &DataKey) -> Result<WrappedKey, KmsError> {
    let unusable = |what: &str| KmsError::new("Kms.WrongKey", format!("the wrapped data key {what}"));
    let text = data.ciphertext_blob.trim();
    let blob = BASE64.decode(text.as_bytes()).map_err(|_| unusable("is not base64"))?;
    let wrapped = WrappedKey {
        master_key: data.key_id.clone(),
        blob,
    };
    match Slot::new(&wrapped) {
        Ok(_) => Ok(wrapped),
        Err(_) => Err(unusable(&format!(
            "or its key's id is empty or too long; a file has room for {BLOB_MAX} bytes"
        ))),
    }
}

impl Kms for AlibabaKms {
    fn describe(&self) -> String {
        self.name()
    }

    fn generate_data_key(&self, key: &str, context: &EncryptionContext) -> Result<GeneratedKey, KmsError> {
        let ask = Ask::new("GenerateDataKey").key(key).with("NumberOfBytes", DATA_KEY_LEN);
        let ask = ask.context("EncryptionContext", context);
        let answered = self.call::<DataKey>(ask.map_err(|error| self.named(error, Some(key)))?)?;
        let Answered { data, request_id } = answered;
        let generated = check_key(key, &data.key_id)
            .and_then(|()| wrapped_of(&data))
            .and_then(|wrapped| Ok((blob::text_to_key(data.plaintext.0.as_bytes())?, wrapped)));
        match generated {
            Ok((key, wrapped)) => Ok(GeneratedKey { key, wrapped }),
            Err(error) => Err(self.named(with_id(error, request_id), Some(key))),
        }
    }

    fn decrypt(&self, wrapped: &WrappedKey, context: &EncryptionContext) -> Result<Key, KmsError> {
        let ask = Self::decrypt_as(wrapped, context).map_err(|error| self.named(error, Some(&wrapped.master_key)))?;
        self.data_key_of(wrapped, self.call(ask)?)
    }

    fn decrypt_now(&self, wrapped: &WrappedKey, context: &EncryptionContext) -> Result<Key, KmsError> {
        let ask = Self::decrypt_as(wrapped, context).map_err(|error| self.named(error, Some(&wrapped.master_key)))?;
        self.data_key_of(wrapped, self.call_now(ask)?)
    }

    fn describe_key(&self, key: &str) -> Result<KeyMetadata, KmsError> {
        let answered = self.call::<Described>(Ask::new("DescribeKey").key(key))?;
        let Answered { data, request_id } = answered;
        let metadata = data.key_metadata.read().and_then(|read| {
            check_key(key, &read.id)?;
            Ok(read)
        });
        metadata.map_err(|error| self.named(with_id(error, request_id), Some(key)))
    }
}

impl KmsDirect for AlibabaKms {
    fn encrypt_text(&self, key: &str, context: &EncryptionContext, text: &str) -> Result<Direct<String>, KmsError> {
        if text.is_empty() || text.len() > blob::PLAINTEXT_MAX {
            let message = format!(
                "{} bytes of plaintext; 1 to {} can be encrypted",
                text.len(),
                blob::PLAINTEXT_MAX
            );
            return Err(self.named(KmsError::new("InvalidParameter", message), Some(key)));
        }
        let ask = Ask::new("Encrypt").key(key).with("Plaintext", text);
        let ask = ask.context("EncryptionContext", context);
        let ask = ask.map_err(|error| self.named(error, Some(key)))?;
        self.direct_of(Some(key), self.call(ask)?)
    }

    fn decrypt_text(&self, blob: &str, context: &EncryptionContext) -> Result<Direct<Zeroizing<String>>, KmsError> {
        let ask = Ask::new("Decrypt").with("CiphertextBlob", compact(blob));
        let ask = ask
            .context("EncryptionContext", context)
            .map_err(|error| self.named(error, None))?;
        let Unwrapped {
            key_id,
            key_version_id,
            plaintext,
        } = self.call(ask)?.data;
        Ok(Direct {
            key: key_id,
            version: key_version_id,
            data: plaintext.0,
        })
    }

    fn generate_wrapped(&self, key: &str, context: &EncryptionContext) -> Result<Direct<String>, KmsError> {
        let ask = Ask::new("GenerateDataKeyWithoutPlaintext").key(key);
        let ask = ask
            .with("NumberOfBytes", DATA_KEY_LEN)
            .context("EncryptionContext", context);
        let ask = ask.map_err(|error| self.named(error, Some(key)))?;
        self.direct_of(Some(key), self.call(ask)?)
    }

    fn re_encrypt(
        &self,
        blob: &str,
        from: &EncryptionContext,
        key: &str,
        to: &EncryptionContext,
    ) -> Result<Direct<String>, KmsError> {
        let mut ask = Ask::new("ReEncrypt")
            .with("CiphertextBlob", compact(blob))
            .with("DestinationKeyId", key);
        ask.about = Some(clean(key));
        let ask = ask.context("SourceEncryptionContext", from);
        let ask = ask.and_then(|ask| ask.context("DestinationEncryptionContext", to));
        let ask = ask.map_err(|error| self.named(error, Some(key)))?;
        // Whether the answer names the source's key or the destination's is not established (reference, §1.7).
        self.direct_of(None, self.call(ask)?)
    }
}

/// Base64 without the white space that files bring.
fn compact(text: &str) -> String {
    text.split_ascii_whitespace().collect()
}
