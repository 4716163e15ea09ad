//! The embedded key store behind the traits that the cloud answers too.

use data_encoding::BASE64;
use zeroize::Zeroizing;

use super::ring::{MasterKey, Operation, Version};
use super::store::LocalStore;
use crate::crypto::Key;
use crate::format::WrappedKey;
use crate::kms::uuid::random_uuid;
use crate::kms::{
    Alias, Direct, EncryptionContext, GeneratedKey, KeyMetadata, KeySpec, KeyVersion, Kms, KmsAdmin, KmsDirect,
    KmsError, KmsSigner, NewKey, SignAlgorithm, blob,
};

impl LocalStore {
    /// Encrypts up to 6144 bytes of text directly under a master key.
    ///
    /// # Errors
    /// [`KmsError`], with Alibaba's codes.
    pub fn encrypt(&self, key: &str, context: &EncryptionContext, text: &[u8]) -> Result<Direct<Vec<u8>>, KmsError> {
        self.named(Some(key), || {
            let ring = self.ring()?;
            let master = ring.find(key, self.clock.unix())?;
            master.permit(Operation::Crypto)?;
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
        master.permit(Operation::Crypto)?;
        let version = master.version(id).ok_or_else(refused)?;
        let material = self.root.open(&master.id, version)?;
        let data = blob::unwrap(&material, context, blob)?;
        Ok(direct(master, version, data))
    }

    fn cannot_sign(&self, key: &str) -> KmsError {
        let error = KmsError::new("UnsupportedOperation", "the embedded key store has no keys that sign");
        error.at(self.describe()).about(key.escape_debug().to_string())
    }

    /// Says in an error which store it was, and which key unless it says that already.
    fn named<T>(&self, key: Option<&str>, call: impl FnOnce() -> Result<T, KmsError>) -> Result<T, KmsError> {
        call().map_err(|error| {
            let error = error.at(self.describe());
            match key {
                Some(key) => error.about(key.escape_debug().to_string()),
                None => error,
            }
        })
    }

    /// Changes one key.
    fn change(
        &self,
        key: &str,
        change: impl FnOnce(&mut super::ring::Ring, i64) -> Result<(), KmsError>,
    ) -> Result<(), KmsError> {
        self.named(Some(key), || self.update(change))
    }
}

fn direct<T>(master: &MasterKey, version: &Version, data: T) -> Direct<T> {
    Direct {
        key: master.id.clone(),
        version: version.id.clone(),
        data,
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
        self.named(Some(key), || Ok(self.ring()?.find(key, self.clock.unix())?.metadata()))
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
        let text = blob::key_to_text(&Key::random());
        self.encrypt_text(key, context, &text)
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

impl KmsSigner for LocalStore {
    fn sign(&self, key: &str, _: &str, _: SignAlgorithm, _: &[u8; 32]) -> Result<Direct<Vec<u8>>, KmsError> {
        Err(self.cannot_sign(key))
    }

    fn verify(&self, key: &str, _: &str, _: SignAlgorithm, _: &[u8; 32], _: &[u8]) -> Result<Direct<bool>, KmsError> {
        Err(self.cannot_sign(key))
    }

    fn public_key(&self, key: &str, _: &str) -> Result<Direct<String>, KmsError> {
        Err(self.cannot_sign(key))
    }
}

impl KmsAdmin for LocalStore {
    fn create_key(&self, new: &NewKey) -> Result<KeyMetadata, KmsError> {
        if new.spec != KeySpec::Aes256 || new.rotation.is_some() {
            let message = "the embedded key store makes Aliyun_AES_256 keys only, and rotates none by itself";
            return Err(KmsError::new("UnsupportedOperation", message).at(self.describe()));
        }
        let id = random_uuid();
        self.named(None, || {
            self.update(|ring, now| {
                let first = self.root.new_version(&id, now)?;
                let key = MasterKey::new(id.clone(), new.description.clone(), new.spec, first);
                let metadata = key.metadata();
                ring.add(key)?;
                Ok(metadata)
            })
        })
    }

    fn list_keys(&self) -> Result<Vec<String>, KmsError> {
        self.named(None, || Ok(self.ring()?.key_ids(self.clock.unix())))
    }

    fn create_alias(&self, alias: &str, key: &str) -> Result<(), KmsError> {
        self.change(key, |ring, now| ring.create_alias(alias, key, now))
    }

    fn update_alias(&self, alias: &str, key: &str) -> Result<(), KmsError> {
        self.change(key, |ring, now| ring.update_alias(alias, key, now))
    }

    fn delete_alias(&self, alias: &str) -> Result<(), KmsError> {
        self.change(alias, |ring, _| ring.delete_alias(alias))
    }

    fn list_aliases(&self) -> Result<Vec<Alias>, KmsError> {
        self.named(None, || {
            let ring = self.ring()?;
            let aliases = ring.aliases(self.clock.unix());
            Ok(aliases
                .map(|(name, key)| Alias {
                    name: name.clone(),
                    key: key.clone(),
                })
                .collect())
        })
    }

    fn enable(&self, key: &str) -> Result<(), KmsError> {
        self.change(key, |ring, now| ring.switch(key, true, now))
    }

    fn disable(&self, key: &str) -> Result<(), KmsError> {
        self.change(key, |ring, now| ring.switch(key, false, now))
    }

    fn schedule_deletion(&self, key: &str, days: u32) -> Result<(), KmsError> {
        self.change(key, |ring, now| ring.schedule_deletion(key, days, now))
    }

    fn cancel_deletion(&self, key: &str) -> Result<(), KmsError> {
        self.change(key, |ring, now| ring.cancel_deletion(key, now))
    }

    fn rotate(&self, key: &str) -> Result<String, KmsError> {
        self.named(Some(key), || {
            self.update(|ring, now| {
                let master = ring.find(key, now)?.id.clone();
                let version = self.root.new_version(&master, now)?;
                let id = version.id.clone();
                ring.rotate(&master, version, now)?;
                Ok(id)
            })
        })
    }

    fn set_rotation(&self, key: &str, _: Option<u64>) -> Result<(), KmsError> {
        let message = "the embedded key store rotates no key by itself";
        self.named(Some(key), || Err(KmsError::new("UnsupportedOperation", message)))
    }

    fn list_versions(&self, key: &str) -> Result<Vec<KeyVersion>, KmsError> {
        self.named(Some(key), || {
            let ring = self.ring()?;
            let versions = ring.find(key, self.clock.unix())?.versions();
            Ok(versions
                .map(|v| KeyVersion {
                    id: v.id.clone(),
                    created: v.created,
                })
                .collect())
        })
    }
}
