//! What a whole KMS has beyond the traits: tags, descriptions, protection from deletion, single versions.

use std::collections::BTreeMap;

use crate::kms::local::master_key::MasterKey;
use crate::kms::local::{LocalStore, Origin};
use crate::kms::{Alias, KeyMetadata, KeyVersion, KmsAdmin, KmsError};

/// All that DescribeKey and ListResourceTags tell of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFacts {
    /// What every KMS tells.
    pub metadata: KeyMetadata,
    /// What its owner says about its protection from deletion, while that is on.
    pub protection: Option<String>,
    /// Where its material comes from.
    pub origin: Origin,
    /// When imported material goes, in seconds since 1970.
    pub material_expires: Option<i64>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

impl KeyFacts {
    fn of(key: &MasterKey) -> KeyFacts {
        KeyFacts {
            metadata: key.metadata(),
            protection: key.protection().map(str::to_owned),
            origin: key.origin(),
            material_expires: key.material_expires(),
            tags: key.tags().clone(),
        }
    }
}

/// # Errors
/// Every call: [`KmsError`], with the codes that Alibaba Cloud KMS gives in the same state.
#[allow(clippy::missing_errors_doc)] // Said once, above.
impl LocalStore {
    /// `DescribeKey` and `ListResourceTags`.
    pub fn key_facts(&self, key: &str) -> Result<KeyFacts, KmsError> {
        self.look(key, |master| Ok(KeyFacts::of(master)))
    }

    /// `DescribeKeyVersion`.
    pub fn describe_version(&self, key: &str, version: &str) -> Result<KeyVersion, KmsError> {
        self.look(key, |master| Ok(master.version(version)?.facts()))
    }

    /// `ListAliasesByKeyId`.
    pub fn list_aliases_of(&self, key: &str) -> Result<Vec<Alias>, KmsError> {
        let id = self.look(key, |master| Ok(master.id.clone()))?;
        let aliases = self.list_aliases()?;
        Ok(aliases.into_iter().filter(|alias| alias.key == id).collect())
    }

    /// `UpdateKeyDescription`: at most 8192 characters.
    pub fn set_description(&self, key: &str, description: &str) -> Result<(), KmsError> {
        self.change(key, |master, _| master.set_description(description))
    }

    /// `SetDeletionProtection`: on with a description, or off. While it is on, no deletion can be scheduled.
    pub fn set_deletion_protection(&self, key: &str, protection: Option<&str>) -> Result<(), KmsError> {
        self.change(key, |master, _| master.set_protection(protection.map(str::to_owned)))
    }

    /// `TagResource`: adds tags, and replaces the values of those that are there; at most 20 in all.
    pub fn tag(&self, key: &str, tags: &BTreeMap<String, String>) -> Result<(), KmsError> {
        self.change(key, |master, _| master.tag(tags))
    }

    /// `UntagResource`.
    pub fn untag(&self, key: &str, tags: &[String]) -> Result<(), KmsError> {
        self.change(key, |master, _| master.untag(tags))
    }
}
