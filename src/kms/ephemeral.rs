//! A KMS for mounts that nothing shall outlive: one master key, made in this process, in locked memory, and nowhere
//! else. When it is gone, so is what it wrapped.

use parking_lot::RwLock;

use super::uuid::random_uuid;
use super::{Clock, EncryptionContext, GeneratedKey, KeyMetadata, KeySpec, KeyState, Kms, KmsError, SystemClock, blob};
use crate::crypto::Key;
use crate::format::WrappedKey;

/// See the module.
pub struct EphemeralKms {
    id: String,
    created: i64,
    master: RwLock<Option<Key>>,
}

impl EphemeralKms {
    /// A KMS with a new master key.
    #[must_use]
    pub fn new() -> EphemeralKms {
        EphemeralKms {
            id: random_uuid(),
            created: SystemClock.unix(),
            master: RwLock::new(Some(Key::random())),
        }
    }

    /// The id of the master key.
    #[must_use]
    pub fn master_key(&self) -> &str {
        &self.id
    }

    fn with_master<T>(&self, use_key: impl FnOnce(&Key) -> Result<T, KmsError>) -> Result<T, KmsError> {
        let master = self.master.read();
        let gone = || KmsError::new("Ephemeral.Destroyed", "its key was destroyed when it was locked");
        master
            .as_ref()
            .ok_or_else(gone)
            .and_then(use_key)
            .map_err(|error| error.at(self.describe()))
    }
}

impl Default for EphemeralKms {
    fn default() -> EphemeralKms {
        EphemeralKms::new()
    }
}

impl Kms for EphemeralKms {
    fn describe(&self) -> String {
        "ephemeral: a key in the memory of the daemon only".to_owned()
    }

    fn generate_data_key(&self, _: &str, context: &EncryptionContext) -> Result<GeneratedKey, KmsError> {
        self.with_master(|master| {
            let key = Key::random();
            let blob = blob::wrap(&self.id, master, context, key.expose())?;
            let wrapped = WrappedKey {
                master_key: self.id.clone(),
                blob,
            };
            Ok(GeneratedKey { key, wrapped })
        })
    }

    fn decrypt(&self, wrapped: &WrappedKey, context: &EncryptionContext) -> Result<Key, KmsError> {
        self.with_master(|master| {
            let bytes = blob::unwrap(master, context, &wrapped.blob)?;
            let wrong = || KmsError::new("InvalidParameter", "the wrapped key is damaged, or of another mount");
            Key::from_slice(&bytes).ok_or_else(wrong)
        })
    }

    fn describe_key(&self, _: &str) -> Result<KeyMetadata, KmsError> {
        self.with_master(|_| {
            Ok(KeyMetadata {
                id: self.id.clone(),
                state: KeyState::Enabled,
                spec: KeySpec::Aes256.as_str().to_owned(),
                usage: "ENCRYPT/DECRYPT".to_owned(),
                description: "of an ephemeral mount".to_owned(),
                created: self.created,
                primary_version: None,
                last_rotation: None,
                delete_date: None,
                rotation: super::Rotation::default(),
            })
        })
    }

    fn volume_locked(&self) {
        *self.master.write() = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::VolumeId;

    #[test]
    fn keys_open_until_it_is_locked_and_never_again() {
        let kms = EphemeralKms::new();
        let place = kms.master.read().as_ref().unwrap().place();
        let context = EncryptionContext::volume_key(VolumeId::random());
        let made = kms.generate_data_key("", &context).unwrap();
        assert_eq!(
            kms.decrypt(&made.wrapped, &context).unwrap().expose(),
            made.key.expose()
        );
        assert!(kms.decrypt(&made.wrapped, &EncryptionContext::none()).is_err());
        assert!(EphemeralKms::new().decrypt(&made.wrapped, &context).is_err());
        kms.volume_locked();
        assert_eq!(place.peek(), [0; Key::LEN]);
        assert_eq!(
            kms.decrypt(&made.wrapped, &context).unwrap_err().code(),
            "Ephemeral.Destroyed"
        );
        assert!(kms.generate_data_key("", &context).is_err());
    }
}
