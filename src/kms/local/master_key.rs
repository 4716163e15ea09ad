//! One master key as a value: its kind, its state, its versions, and what may be done with it when.
//! Pure: no clock and no plain key material.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::permit::{Operation, permitted};
use super::rules::{ROTATION, TAGS_MAX, cannot_rotate, check_description, check_new, check_rotation, check_tag, limit};
use crate::kms::uuid::is_uuid;
use crate::kms::{KeyMetadata, KeySpec, KeyState, KeyUsage, KeyVersion, KmsError, NewKey, Rotation, RotationState};

const VERSIONS_MAX: usize = 1000;
const DAY: i64 = 86_400;

/// A master key. The fields with a default are new in format 2.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MasterKey {
    pub id: String,
    description: String,
    pub spec: KeySpec,
    #[serde(default = "encrypt")]
    usage: KeyUsage,
    pub(super) state: KeyState,
    created: i64,
    /// When it goes, exactly while it is pending deletion.
    delete_at: Option<i64>,
    /// Seconds between automatic rotations, while there are some.
    #[serde(default)]
    rotation: Option<u64>,
    /// What its owner says about the protection from deletion, exactly while it is on.
    #[serde(default)]
    protection: Option<String>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) origin: Origin,
    /// Of a key of external origin, since its first import.
    #[serde(default)]
    pub(super) import: Option<Import>,
    /// Oldest first; of a symmetric key the last one is the primary. Empty only before the first import.
    pub(super) versions: Vec<Version>,
}

/// Where the material of a key comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// The KMS makes it.
    #[default]
    #[serde(rename = "Aliyun_KMS")]
    Kms,
    /// It is imported, and may be taken away and imported again.
    #[serde(rename = "EXTERNAL")]
    External,
}

impl Origin {
    /// Alibaba's name of it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Origin::Kms => "Aliyun_KMS",
            Origin::External => "EXTERNAL",
        }
    }
}

/// What is known of imported material.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Import {
    /// By which the same material is known again.
    pub check: String,
    /// When it goes, in seconds since 1970, while it is there.
    pub expires: Option<i64>,
}

/// One generation of key material, sealed under the store's root key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Version {
    pub id: String,
    pub created: i64,
    /// Base64 of nonce ‖ sealed material ‖ tag. The material is 32 bytes, or a private key as PKCS#8. Empty while
    /// imported material is away.
    pub sealed: String,
}

impl Version {
    pub(super) fn facts(&self) -> KeyVersion {
        KeyVersion {
            id: self.id.clone(),
            created: self.created,
        }
    }
}

/// Of format 1, in which all keys were symmetric.
fn encrypt() -> KeyUsage {
    KeyUsage::Encrypt
}

impl MasterKey {
    /// A key as `new` asks for it; without a first version it waits for its material.
    ///
    /// # Errors
    /// As [`check_new`].
    pub(super) fn new(id: String, new: &NewKey, first: Option<Version>, now: i64) -> Result<MasterKey, KmsError> {
        let (state, origin) = match first {
            Some(_) => (KeyState::Enabled, Origin::Kms),
            None => (KeyState::PendingImport, Origin::External),
        };
        Ok(MasterKey {
            id,
            description: new.description.clone(),
            spec: new.spec,
            usage: check_new(new, origin)?,
            state,
            created: now,
            delete_at: None,
            rotation: new.rotation,
            protection: None,
            tags: BTreeMap::new(),
            origin,
            import: None,
            versions: first.into_iter().collect(),
        })
    }

    pub(super) fn permit(&self, operation: Operation) -> Result<(), KmsError> {
        permitted(operation, self.state)
            .map_err(|code| KmsError::new(code, format!("the key's state is {}", self.state)).about(&*self.id))
    }

    /// Whether it may now wrap and unwrap.
    pub(super) fn permit_symmetric(&self) -> Result<(), KmsError> {
        self.permit(Operation::Crypto)?;
        match self.is_symmetric() {
            true => Ok(()),
            false => Err(self.not_made_for_this()),
        }
    }

    /// Whether its private or public half may now be used, by an action of keys for `usage` if it is for one.
    pub(super) fn permit_asymmetric(&self, usage: Option<KeyUsage>) -> Result<(), KmsError> {
        self.permit(Operation::Crypto)?;
        match !self.is_symmetric() && usage.is_none_or(|usage| usage == self.usage) {
            true => Ok(()),
            false => Err(self.not_made_for_this()),
        }
    }

    fn not_made_for_this(&self) -> KmsError {
        let message = format!("a key of kind {} for {} cannot do this", self.spec, self.usage.as_str());
        KmsError::new("UnsupportedOperation", message).about(&*self.id)
    }

    pub(super) fn is_symmetric(&self) -> bool {
        self.spec == KeySpec::Aes256
    }

    /// The version that wraps. Asymmetric keys have none.
    pub(super) fn primary(&self) -> Option<&Version> {
        self.versions.last().filter(|_| self.is_symmetric())
    }

    pub(super) fn version(&self, id: &str) -> Result<&Version, KmsError> {
        let found = self.versions.iter().find(|version| version.id == id);
        found.ok_or_else(|| {
            let message = format!("the key has no version {}", id.escape_debug());
            KmsError::new("Forbidden.KeyVersionNotFound", message).about(&*self.id)
        })
    }

    pub(super) fn has_version(&self, id: &str) -> bool {
        self.versions.iter().any(|version| version.id == id)
    }

    /// Newest first, as Alibaba lists them.
    pub(super) fn versions(&self) -> impl Iterator<Item = &Version> {
        self.versions.iter().rev()
    }

    pub(super) fn tags(&self) -> &BTreeMap<String, String> {
        &self.tags
    }

    pub(super) fn protection(&self) -> Option<&str> {
        self.protection.as_deref()
    }

    pub(super) fn origin(&self) -> Origin {
        self.origin
    }

    pub(super) fn metadata(&self) -> KeyMetadata {
        KeyMetadata {
            id: self.id.clone(),
            state: self.state,
            spec: self.spec.to_string(),
            usage: self.usage.as_str().to_owned(),
            description: self.description.clone(),
            created: self.created,
            primary_version: self.primary().map(|version| version.id.clone()),
            last_rotation: Some(self.versions.last().map_or(self.created, |version| version.created)),
            delete_date: self.delete_at,
            rotation: self.rotation_facts(),
        }
    }

    fn rotation_facts(&self) -> Rotation {
        let state = match (self.rotation, self.state) {
            (None, _) => RotationState::Disabled,
            (Some(_), KeyState::Enabled) => RotationState::Enabled,
            (Some(_), _) => RotationState::Suspended,
        };
        Rotation {
            state,
            interval: self.rotation,
            next: self.next_rotation(),
        }
    }

    fn next_rotation(&self) -> Option<i64> {
        let interval = i64::try_from(self.rotation?).unwrap_or(i64::MAX);
        Some(self.versions.last()?.created.saturating_add(interval))
    }

    /// Whether it must have a new version now. A key whose versions are full goes on with the last one.
    pub(super) fn rotation_is_due(&self, now: i64) -> bool {
        self.state == KeyState::Enabled
            && self.versions.len() < VERSIONS_MAX
            && self.next_rotation().is_some_and(|next| next <= now)
    }

    pub(super) fn is_gone(&self, now: i64) -> bool {
        self.delete_at.is_some_and(|at| at <= now)
    }

    pub(super) fn is_sound(&self) -> bool {
        is_uuid(&self.id)
            && check_description(&self.description).is_ok()
            && self.spec.can(self.usage)
            && self.delete_at.is_some() == (self.state == KeyState::PendingDeletion)
            && check_rotation(self.spec, self.origin, self.rotation).is_ok()
            && self
                .protection
                .as_deref()
                .is_none_or(|text| check_description(text).is_ok())
            && self.tags.len() <= TAGS_MAX
            && self.tags.iter().all(|(key, value)| check_tag(key, value).is_ok())
            && self.versions.len() <= VERSIONS_MAX
            && self.versions.iter().all(|version| is_uuid(&version.id))
            && self.material_is_sound()
    }
}

/// What changes a key.
impl MasterKey {
    pub(super) fn add_version(&mut self, version: Version) -> Result<(), KmsError> {
        self.check_versions()?;
        limit(self.versions.len(), VERSIONS_MAX, "versions of one key")?;
        self.versions.push(version);
        Ok(())
    }

    /// Whether it may have a further version.
    pub(super) fn check_versions(&self) -> Result<(), KmsError> {
        self.permit(Operation::Rotate)?;
        match self.origin {
            Origin::Kms => Ok(()),
            Origin::External => Err(cannot_rotate("of external origin")),
        }
    }

    pub(super) fn set_rotation(&mut self, interval: Option<u64>) -> Result<(), KmsError> {
        self.permit(Operation::Rotate)?;
        // A key that cannot rotate has no policy that could be switched off.
        check_rotation(self.spec, self.origin, interval.or(Some(*ROTATION.start())))?;
        self.rotation = interval;
        Ok(())
    }

    pub(super) fn switch(&mut self, enabled: bool) -> Result<(), KmsError> {
        self.permit(Operation::Switch)?;
        self.state = if enabled { KeyState::Enabled } else { KeyState::Disabled };
        Ok(())
    }

    pub(super) fn schedule_deletion(&mut self, days: u32, now: i64) -> Result<(), KmsError> {
        if !(7..=366).contains(&days) {
            let message = format!("{days} days until deletion; 7 to 366 are possible");
            return Err(KmsError::new("InvalidParameter", message));
        }
        self.permit(Operation::ScheduleDeletion)?;
        if self.protection.is_some() {
            let message = "the key is protected from deletion";
            return Err(KmsError::new("Rejected.StateModifiedFailed", message));
        }
        self.state = KeyState::PendingDeletion;
        self.delete_at = Some(now.saturating_add(i64::from(days) * DAY));
        Ok(())
    }

    pub(super) fn cancel_deletion(&mut self) -> Result<(), KmsError> {
        self.permit(Operation::CancelDeletion)?;
        self.state = self.state_at_rest();
        self.delete_at = None;
        Ok(())
    }

    pub(super) fn set_protection(&mut self, protection: Option<String>) -> Result<(), KmsError> {
        self.permit(Operation::Describe)?;
        check_description(protection.as_deref().unwrap_or_default())?;
        self.protection = protection;
        Ok(())
    }

    pub(super) fn set_description(&mut self, description: &str) -> Result<(), KmsError> {
        self.permit(Operation::Describe)?;
        check_description(description)?;
        description.clone_into(&mut self.description);
        Ok(())
    }

    /// Adds tags; one that is there gets the new value.
    pub(super) fn tag(&mut self, tags: &BTreeMap<String, String>) -> Result<(), KmsError> {
        self.permit(Operation::Describe)?;
        for (key, value) in tags {
            check_tag(key, value)?;
            self.tags.insert(key.clone(), value.clone());
        }
        limit(self.tags.len().saturating_sub(1), TAGS_MAX, "tags on this key")
    }

    /// Takes tags away; one that is not there does not matter.
    pub(super) fn untag(&mut self, keys: &[String]) -> Result<(), KmsError> {
        self.permit(Operation::Describe)?;
        self.tags.retain(|key, _| !keys.contains(key));
        Ok(())
    }
}
