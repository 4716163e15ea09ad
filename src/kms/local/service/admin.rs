//! Keys, versions and aliases: making, switching, rotating, deleting.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use crate::crypto::Key;
use crate::kms::local::asymmetric::PrivateKey;
use crate::kms::local::master_key::{MasterKey, Version};
use crate::kms::local::rules::check_new;
use crate::kms::local::{LocalStore, Origin};
use crate::kms::uuid::random_uuid;
use crate::kms::{Alias, KeyMetadata, KeySpec, KeyVersion, KmsAdmin, KmsError, NewKey};

/// The material of a new version, made before the store is locked: RSA takes its time.
enum Material {
    Symmetric(Key),
    Private(Zeroizing<Vec<u8>>),
}

impl Material {
    fn new(spec: KeySpec) -> Result<Material, KmsError> {
        match spec {
            KeySpec::Aes256 => Ok(Material::Symmetric(Key::random())),
            _ => Ok(Material::Private(PrivateKey::generate(spec)?.to_pkcs8()?)),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Material::Symmetric(key) => key.expose(),
            Material::Private(pkcs8) => pkcs8,
        }
    }
}

impl LocalStore {
    /// `CreateKey` with all that it knows: a key of `EXTERNAL` origin waits for its material.
    ///
    /// # Errors
    /// [`KmsError`], with Alibaba's codes.
    pub fn create_with_tags(
        &self,
        new: &NewKey,
        origin: Origin,
        tags: &BTreeMap<String, String>,
    ) -> Result<KeyMetadata, KmsError> {
        let id = random_uuid();
        self.named(None, || {
            check_new(new, origin)?;
            let material = match origin {
                Origin::Kms => Some(Material::new(new.spec)?),
                Origin::External => None,
            };
            self.update(|ring, now| {
                let first = material.as_ref().map(|material| self.seal(&id, now, material));
                let mut key = MasterKey::new(id.clone(), new, first.transpose()?, now)?;
                key.tag(tags)?;
                let metadata = key.metadata();
                ring.add(key)?;
                Ok(metadata)
            })
        })
    }

    fn seal(&self, key: &str, now: i64, material: &Material) -> Result<Version, KmsError> {
        self.root.seal_version(key, now, material.bytes())
    }
}

impl KmsAdmin for LocalStore {
    fn create_key(&self, new: &NewKey) -> Result<KeyMetadata, KmsError> {
        self.create_with_tags(new, Origin::Kms, &BTreeMap::new())
    }

    fn list_keys(&self) -> Result<Vec<String>, KmsError> {
        self.named(None, || Ok(self.ring()?.key_ids(self.clock.unix())))
    }

    fn create_alias(&self, alias: &str, key: &str) -> Result<(), KmsError> {
        self.named(Some(key), || {
            self.update(|ring, now| ring.create_alias(alias, key, now))
        })
    }

    fn update_alias(&self, alias: &str, key: &str) -> Result<(), KmsError> {
        self.named(Some(key), || {
            self.update(|ring, now| ring.update_alias(alias, key, now))
        })
    }

    fn delete_alias(&self, alias: &str) -> Result<(), KmsError> {
        self.named(Some(alias), || self.update(|ring, _| ring.delete_alias(alias)))
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
        self.change(key, |master, _| master.switch(true))
    }

    fn disable(&self, key: &str) -> Result<(), KmsError> {
        self.change(key, |master, _| master.switch(false))
    }

    fn schedule_deletion(&self, key: &str, days: u32) -> Result<(), KmsError> {
        self.change(key, |master, now| master.schedule_deletion(days, now))
    }

    fn cancel_deletion(&self, key: &str) -> Result<(), KmsError> {
        self.change(key, |master, _| master.cancel_deletion())
    }

    // Not as in the cloud of 2021, an asymmetric key may have a new version before seven days have passed.
    fn rotate(&self, key: &str) -> Result<String, KmsError> {
        let (id, spec) = self.look(key, |master| {
            master.check_versions()?;
            Ok((master.id.clone(), master.spec))
        })?;
        self.named(Some(key), || {
            let material = Material::new(spec)?;
            self.update(|ring, now| {
                let version = self.seal(&id, now, &material)?;
                let made = version.id.clone();
                ring.find_mut(&id, now)?.add_version(version)?;
                Ok(made)
            })
        })
    }

    fn set_rotation(&self, key: &str, interval: Option<u64>) -> Result<(), KmsError> {
        self.change(key, |master, _| master.set_rotation(interval))
    }

    fn list_versions(&self, key: &str) -> Result<Vec<KeyVersion>, KmsError> {
        self.look(key, |master| Ok(master.versions().map(Version::facts).collect()))
    }
}
