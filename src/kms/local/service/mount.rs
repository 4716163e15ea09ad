//! Data keys: wrapped under the primary version of a symmetric key, unwrapped by the one that the blob names.

use zeroize::Zeroizing;

use super::call::direct;
use crate::crypto::Key;
use crate::format::WrappedKey;
use crate::kms::local::LocalStore;
use crate::kms::{Direct, EncryptionContext, GeneratedKey, KeyMetadata, Kms, KmsError, blob};

impl LocalStore {
    /// Encrypts up to 6144 bytes of text directly under a master key.
    ///
    /// # Errors
    /// [`KmsError`], with Alibaba's codes.
    pub fn encrypt(&self, key: &str, context: &EncryptionContext, text: &[u8]) -> Result<Direct<Vec<u8>>, KmsError> {
        self.look(key, |master| {
            master.permit_symmetric()?;
            let damaged = || KmsError::new("KeyStore.Damaged", "the key has no version");
            let version = master.primary().ok_or_else(damaged)?;
            let material = self.root.open(&master.id, version)?;
            let data = blob::wrap(&version.id, &material, context, text)?;
            Ok(direct(master, version, data))
        })
    }

    /// Decrypts a blob; its version says which master key to use.
    ///
    /// # Errors
    /// [`KmsError`], with Alibaba's codes; `Forbidden.KeyNotFound` for a blob of no key of this store.
    pub fn decrypt_blob(
        &self,
        blob: &[u8],
        context: &EncryptionContext,
    ) -> Result<Direct<Zeroizing<Vec<u8>>>, KmsError> {
        self.named(None, || self.open_blob(None, blob, context))
    }

    fn open_blob(
        &self,
        key: Option<&str>,
        blob: &[u8],
        context: &EncryptionContext,
    ) -> Result<Direct<Zeroizing<Vec<u8>>>, KmsError> {
        let refused = || KmsError::new("InvalidParameter", "the wrapped key is damaged, or of another key");
        let ring = self.ring()?;
        let now = self.clock.unix();
        let id = blob::version_of(blob).ok_or_else(refused)?;
        let master = match key {
            Some(key) => ring.find(key, now)?,
            None => ring
                .find_version(id, now)
                .ok_or_else(|| KmsError::new("Forbidden.KeyNotFound", "the blob was made by no key of this store"))?,
        };
        master.permit_symmetric()?;
        let version = master.version(id).map_err(|_| refused())?;
        let material = self.root.open(&master.id, version)?;
        let data = blob::unwrap(&material, context, blob)?;
        Ok(direct(master, version, data))
    }
}

impl Kms for LocalStore {
    fn describe(&self) -> String {
        format!("key store {}", self.path().display())
    }

    fn generate_data_key(&self, key: &str, context: &EncryptionContext) -> Result<GeneratedKey, KmsError> {
        let data_key = Key::random();
        let text = blob::key_to_text(&data_key);
        let wrapped = self.encrypt(key, context, text.as_bytes())?;
        let wrapped = WrappedKey {
            master_key: wrapped.key,
            blob: wrapped.data,
        };
        Ok(GeneratedKey { key: data_key, wrapped })
    }

    fn decrypt(&self, wrapped: &WrappedKey, context: &EncryptionContext) -> Result<Key, KmsError> {
        let key = wrapped.master_key.as_str();
        self.named(Some(key), || {
            let text = self.open_blob(Some(key), &wrapped.blob, context)?;
            blob::text_to_key(&text.data)
        })
    }

    fn describe_key(&self, key: &str) -> Result<KeyMetadata, KmsError> {
        self.look(key, |master| Ok(master.metadata()))
    }
}
