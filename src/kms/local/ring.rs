//! The master keys of a store as a value: which there are, what state they are in, what may be done with them.
//! Pure: no file, no clock and no plain key material.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::kms::uuid::is_uuid;
use crate::kms::{KeyMetadata, KeySpec, KeyState, KmsError};

const KEYS_MAX: usize = 1000;
const VERSIONS_MAX: usize = 1000;
const ALIASES_MAX: usize = 3000;
const DESCRIPTION_MAX: usize = 8192;
const ALIAS_MAX: usize = 255;
const DAY: i64 = 86_400;

/// What is asked of a key, as far as its state decides whether it may be done (reference, §1.10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Encrypt, Decrypt, GenerateDataKey and what builds on them.
    Crypto,
    /// A new version, another rotation policy.
    Rotate,
    /// Everything that only looks, and DeleteAlias.
    Look,
    /// Description and tags.
    Describe,
    /// EnableKey, DisableKey.
    Switch,
    /// ScheduleKeyDeletion.
    ScheduleDeletion,
    /// CancelKeyDeletion.
    CancelDeletion,
    /// CreateAlias.
    CreateAlias,
    /// UpdateAlias; the state is that of the new target.
    UpdateAlias,
}

/// The table of §1.10: the code that `operation` gets on a key in `state`, or none.
///
/// # Errors
/// The code.
pub fn permitted(operation: Operation, state: KeyState) -> Result<(), &'static str> {
    use KeyState::{Disabled, Enabled, PendingDeletion, PendingImport};
    use Operation::{
        CancelDeletion, CreateAlias, Crypto, Describe, Look, Rotate, ScheduleDeletion, Switch, UpdateAlias,
    };
    const UNCHANGED: &str = "Rejected.StateModifiedFailed";
    match (operation, state) {
        (Crypto | Rotate, Disabled) => Err("Rejected.Disabled"),
        (Crypto | Rotate | Describe | UpdateAlias, PendingDeletion) => Err("Rejected.PendingDeletion"),
        (Crypto | Rotate, PendingImport) => Err("Rejected.PendingImport"),
        (Switch, PendingDeletion | PendingImport) => Err(UNCHANGED),
        (ScheduleDeletion | CreateAlias, PendingDeletion) => Err(UNCHANGED),
        (CancelDeletion, Enabled | Disabled | PendingImport) => Err(UNCHANGED),
        (Look, _)
        | (CancelDeletion, PendingDeletion)
        | (Crypto | Rotate, Enabled)
        | (Describe | UpdateAlias | ScheduleDeletion | CreateAlias, _)
        | (Switch, Enabled | Disabled) => Ok(()),
    }
}

/// All master keys and aliases. Keys whose planned deletion has come are absent, whether purged or not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ring {
    /// Counts the changes: an older file in the place of a newer one is noticed.
    pub generation: u64,
    keys: Vec<MasterKey>,
    aliases: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MasterKey {
    pub id: String,
    description: String,
    spec: KeySpec,
    state: KeyState,
    created: i64,
    /// When it goes, exactly while it is pending deletion.
    delete_at: Option<i64>,
    /// Oldest first; the last one is the primary. Never empty.
    versions: Vec<Version>,
}

/// One generation of key material, sealed under the store's root key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Version {
    pub id: String,
    pub created: i64,
    /// Base64 of nonce ‖ sealed material ‖ tag.
    pub sealed: String,
}

impl MasterKey {
    pub(super) fn new(id: String, description: String, spec: KeySpec, first: Version) -> MasterKey {
        MasterKey {
            id,
            description,
            spec,
            state: KeyState::Enabled,
            created: first.created,
            delete_at: None,
            versions: vec![first],
        }
    }

    pub(super) fn permit(&self, operation: Operation) -> Result<(), KmsError> {
        permitted(operation, self.state)
            .map_err(|code| KmsError::new(code, format!("the key's state is {}", self.state)).about(&*self.id))
    }

    pub(super) fn primary(&self) -> Option<&Version> {
        self.versions.last()
    }

    pub(super) fn version(&self, id: &str) -> Option<&Version> {
        self.versions.iter().find(|version| version.id == id)
    }

    /// Newest first, as Alibaba lists them.
    pub(super) fn versions(&self) -> impl Iterator<Item = &Version> {
        self.versions.iter().rev()
    }

    pub(super) fn metadata(&self) -> KeyMetadata {
        KeyMetadata {
            id: self.id.clone(),
            state: self.state,
            spec: self.spec.to_string(),
            usage: "ENCRYPT/DECRYPT".to_owned(),
            description: self.description.clone(),
            created: self.created,
            primary_version: self.primary().map(|version| version.id.clone()),
            last_rotation: self.primary().map(|version| version.created),
            delete_date: self.delete_at,
        }
    }

    fn is_gone(&self, now: i64) -> bool {
        self.delete_at.is_some_and(|at| at <= now)
    }

    fn is_sound(&self) -> bool {
        is_uuid(&self.id)
            && self.description.chars().count() <= DESCRIPTION_MAX
            && self.delete_at.is_some() == (self.state == KeyState::PendingDeletion)
            && (1..=VERSIONS_MAX).contains(&self.versions.len())
            && self.versions.iter().all(|version| is_uuid(&version.id))
    }
}

impl Ring {
    /// Whether it is one that the operations below can make.
    pub(super) fn is_sound(&self) -> bool {
        let ids: HashSet<&str> = self.keys.iter().map(|key| &*key.id).collect();
        let versions = || self.keys.iter().flat_map(|key| &key.versions);
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

    fn find_mut(&mut self, name: &str, now: i64) -> Result<&mut MasterKey, KmsError> {
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
        self.keys
            .iter()
            .find(|key| key.version(id).is_some() && !key.is_gone(now))
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

    /// Forgets what is past its planned deletion: keys, versions, aliases.
    pub(super) fn purge(&mut self, now: i64) {
        self.keys.retain(|key| !key.is_gone(now));
        let left: HashSet<String> = self.keys.iter().map(|key| key.id.clone()).collect();
        self.aliases.retain(|_, key| left.contains(key));
    }

    pub(super) fn add(&mut self, key: MasterKey) -> Result<(), KmsError> {
        if key.description.chars().count() > DESCRIPTION_MAX {
            let message = format!("the description is longer than {DESCRIPTION_MAX} characters");
            return Err(KmsError::new("InvalidParameter", message));
        }
        limit(self.keys.len(), KEYS_MAX, "master keys")?;
        self.keys.push(key);
        Ok(())
    }

    pub(super) fn rotate(&mut self, name: &str, version: Version, now: i64) -> Result<(), KmsError> {
        let key = self.find_mut(name, now)?;
        key.permit(Operation::Rotate)?;
        limit(key.versions.len(), VERSIONS_MAX, "versions of one key")?;
        key.versions.push(version);
        Ok(())
    }

    pub(super) fn switch(&mut self, name: &str, enabled: bool, now: i64) -> Result<(), KmsError> {
        let key = self.find_mut(name, now)?;
        key.permit(Operation::Switch)?;
        key.state = if enabled { KeyState::Enabled } else { KeyState::Disabled };
        Ok(())
    }

    pub(super) fn schedule_deletion(&mut self, name: &str, days: u32, now: i64) -> Result<(), KmsError> {
        let key = self.find_mut(name, now)?;
        if !(7..=366).contains(&days) {
            let message = format!("{days} days until deletion; 7 to 366 are possible");
            return Err(KmsError::new("InvalidParameter", message));
        }
        key.permit(Operation::ScheduleDeletion)?;
        key.state = KeyState::PendingDeletion;
        key.delete_at = Some(now.saturating_add(i64::from(days) * DAY));
        Ok(())
    }

    pub(super) fn cancel_deletion(&mut self, name: &str, now: i64) -> Result<(), KmsError> {
        let key = self.find_mut(name, now)?;
        key.permit(Operation::CancelDeletion)?;
        key.state = KeyState::Enabled;
        key.delete_at = None;
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

/// The rules of §1.6.
fn check_alias(alias: &str) -> Result<(), KmsError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'/');
    let name = alias.strip_prefix("alias/");
    let good = name.is_some_and(|name| !name.is_empty() && name.bytes().all(allowed));
    if !good || alias.len() > ALIAS_MAX || alias.starts_with("alias/acs") {
        let message = "an alias is alias/ and then letters, digits, _, - and /, up to 255 characters in all, and does not begin with alias/acs";
        return Err(KmsError::new("InvalidParameter", message).about(alias.escape_debug().to_string()));
    }
    Ok(())
}

fn limit(count: usize, max: usize, of: &str) -> Result<(), KmsError> {
    if count >= max {
        return Err(KmsError::new(
            "Rejected.LimitExceeded",
            format!("there are {max} {of} already"),
        ));
    }
    Ok(())
}

fn not_found(name: &str) -> KmsError {
    KmsError::new("Forbidden.KeyNotFound", "there is no such key").about(name)
}

fn alias_not_found(alias: &str) -> KmsError {
    KmsError::new("Forbidden.AliasNotFound", "there is no such alias").about(alias)
}
