//! The master keys of a store as a value: which there are, what they are called, what time does to them.
//! Pure: no file, no clock and no plain key material.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};

use super::master_key::{MasterKey, Version};
use super::permit::Operation;
use super::rules::{check_alias, limit};
use crate::kms::KmsError;

const KEYS_MAX: usize = 1000;
const ALIASES_MAX: usize = 3000;

/// All master keys and aliases. Keys whose planned deletion has come are absent, whether purged or not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ring {
    /// Counts the changes: an older file in the place of a newer one is noticed.
    pub generation: u64,
    keys: Vec<MasterKey>,
    aliases: BTreeMap<String, String>,
}

impl Ring {
    /// Whether it is one that the operations below can make.
    pub(super) fn is_sound(&self) -> bool {
        let ids: HashSet<&str> = self.keys.iter().map(|key| &*key.id).collect();
        let versions = || self.keys.iter().flat_map(MasterKey::versions);
        let version_ids: HashSet<&str> = versions().map(|version| &*version.id).collect();
        self.keys.len() <= KEYS_MAX
            && self.aliases.len() <= ALIASES_MAX
            && ids.len() == self.keys.len()
            && version_ids.len() == versions().count()
            && self.keys.iter().all(MasterKey::is_sound)
            && self
                .aliases
                .iter()
                .all(|(name, key)| check_alias(name).is_ok() && ids.contains(&**key))
    }

    /// The key that `name` (an id or `alias/…`) stands for.
    pub(super) fn find(&self, name: &str, now: i64) -> Result<&MasterKey, KmsError> {
        let id = self.resolve(name)?;
        let key = self.keys.iter().find(|key| key.id == id && !key.is_gone(now));
        key.ok_or_else(|| not_found(name))
    }

    /// As [`Ring::find`], to change it.
    pub(super) fn find_mut(&mut self, name: &str, now: i64) -> Result<&mut MasterKey, KmsError> {
        let id = self.resolve(name)?.to_owned();
        let key = self.keys.iter_mut().find(|key| key.id == id && !key.is_gone(now));
        key.ok_or_else(|| not_found(name))
    }

    fn resolve<'a>(&'a self, name: &'a str) -> Result<&'a str, KmsError> {
        if !name.starts_with("alias/") {
            return Ok(name);
        }
        self.aliases
            .get(name)
            .map(String::as_str)
            .ok_or_else(|| alias_not_found(name))
    }

    /// The key that has the version `id`.
    pub(super) fn find_version(&self, id: &str, now: i64) -> Option<&MasterKey> {
        self.keys.iter().find(|key| key.has_version(id) && !key.is_gone(now))
    }

    pub(super) fn key_ids(&self, now: i64) -> Vec<String> {
        self.keys
            .iter()
            .filter(|key| !key.is_gone(now))
            .map(|key| key.id.clone())
            .collect()
    }

    pub(super) fn aliases(&self, now: i64) -> impl Iterator<Item = (&String, &String)> {
        self.aliases.iter().filter(move |(_, key)| self.find(key, now).is_ok())
    }

    /// Whether time has brought something that is to be written at once: a rotation, or the end of imported material. The
    /// end of a key is not: it is absent, and leaves the file with the next change, so that looking with a
    /// wrong clock does not destroy it.
    pub(super) fn is_due(&self, now: i64) -> bool {
        self.keys
            .iter()
            .any(|key| key.rotation_is_due(now) || key.material_is_over(now))
    }

    /// Lets no key be used with material that is past its time.
    pub(super) fn expire(&mut self, now: i64) {
        let over = self.keys.iter_mut().filter(|key| key.material_is_over(now));
        over.for_each(MasterKey::drop_material);
    }

    /// Carries out what [`Ring::is_due`]; `version` makes a new version for the key of an id.
    pub(super) fn advance(
        &mut self,
        now: i64,
        version: impl Fn(&str) -> Result<Version, KmsError>,
    ) -> Result<(), KmsError> {
        self.expire(now);
        let due = self.keys.iter_mut().filter(|key| key.rotation_is_due(now));
        for key in due {
            let version = version(&key.id)?;
            key.add_version(version)?;
        }
        Ok(())
    }

    /// Forgets what is past its planned deletion: keys, versions, aliases.
    pub(super) fn purge(&mut self, now: i64) {
        self.keys.retain(|key| !key.is_gone(now));
        let left: HashSet<String> = self.keys.iter().map(|key| key.id.clone()).collect();
        self.aliases.retain(|_, key| left.contains(key));
    }

    pub(super) fn add(&mut self, key: MasterKey) -> Result<(), KmsError> {
        limit(self.keys.len(), KEYS_MAX, "master keys")?;
        self.keys.push(key);
        Ok(())
    }

    pub(super) fn create_alias(&mut self, alias: &str, name: &str, now: i64) -> Result<(), KmsError> {
        check_alias(alias)?;
        let key = self.find(name, now)?;
        key.permit(Operation::CreateAlias)?;
        let id = key.id.clone();
        if self.aliases.contains_key(alias) {
            return Err(KmsError::new("AliasAlreadyExists", "the alias exists already").about(alias));
        }
        limit(self.aliases.len(), ALIASES_MAX, "aliases")?;
        self.aliases.insert(alias.to_owned(), id);
        Ok(())
    }

    pub(super) fn update_alias(&mut self, alias: &str, name: &str, now: i64) -> Result<(), KmsError> {
        check_alias(alias)?;
        let key = self.find(name, now)?;
        key.permit(Operation::UpdateAlias)?;
        let id = key.id.clone();
        let target = self.aliases.get_mut(alias).ok_or_else(|| alias_not_found(alias))?;
        *target = id;
        Ok(())
    }

    pub(super) fn delete_alias(&mut self, alias: &str) -> Result<(), KmsError> {
        check_alias(alias)?;
        self.aliases
            .remove(alias)
            .map(|_| ())
            .ok_or_else(|| alias_not_found(alias))
    }
}

fn not_found(name: &str) -> KmsError {
    KmsError::new("Forbidden.KeyNotFound", "there is no such key").about(name)
}

fn alias_not_found(alias: &str) -> KmsError {
    KmsError::new("Forbidden.AliasNotFound", "there is no such alias").about(alias)
}
