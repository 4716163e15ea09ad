//! What kmsfs asks of a key management service, whichever it is. Calls block; whoever makes them holds no guard.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize, Serializer};

use super::{EncryptionContext, KmsError};
use crate::crypto::Key;
use crate::format::WrappedKey;

/// A new data key, plain and wrapped.
#[derive(Debug)]
pub struct GeneratedKey {
    /// The data key itself.
    pub key: Key,
    /// What is stored; it names the real master key, never an alias.
    pub wrapped: WrappedKey,
}

/// The calls that a mount needs. Master keys are named by id or as `alias/NAME`.
pub trait Kms: Send + Sync {
    /// The KMS in a few words, for messages.
    fn describe(&self) -> String;

    /// Makes a data key of 32 bytes and wraps it under the master key, bound to the context.
    ///
    /// # Errors
    /// [`KmsError`], by remedy; so for all calls.
    fn generate_data_key(&self, key: &str, context: &EncryptionContext) -> Result<GeneratedKey, KmsError>;

    /// Unwraps a data key.
    ///
    /// # Errors
    /// [`KmsError`]; `Rejected` when the blob is damaged, foreign or bound to another context.
    fn decrypt(&self, wrapped: &WrappedKey, context: &EncryptionContext) -> Result<Key, KmsError>;

    /// What the KMS knows of a master key.
    ///
    /// # Errors
    /// [`KmsError`].
    fn describe_key(&self, key: &str) -> Result<KeyMetadata, KmsError>;
}

/// The calls of `kmsfs key`. All name keys by id; `alias` is always `alias/NAME`.
///
/// # Errors
/// Every call: [`KmsError`], with the codes that Alibaba Cloud KMS gives in the same state.
#[allow(clippy::missing_errors_doc)] // Said once, above.
pub trait KmsAdmin: Kms {
    /// A new master key, enabled.
    fn create_key(&self, new: &NewKey) -> Result<KeyMetadata, KmsError>;
    /// The ids of all master keys, in order of creation.
    fn list_keys(&self) -> Result<Vec<String>, KmsError>;
    /// A new alias for a key.
    fn create_alias(&self, alias: &str, key: &str) -> Result<(), KmsError>;
    /// Lets an alias name another key.
    fn update_alias(&self, alias: &str, key: &str) -> Result<(), KmsError>;
    /// Takes an alias away; its key stays as it is.
    fn delete_alias(&self, alias: &str) -> Result<(), KmsError>;
    /// All aliases, by name.
    fn list_aliases(&self) -> Result<Vec<Alias>, KmsError>;
    /// Disabled → Enabled.
    fn enable(&self, key: &str) -> Result<(), KmsError>;
    /// Enabled → Disabled: nothing can be wrapped or unwrapped under the key.
    fn disable(&self, key: &str) -> Result<(), KmsError>;
    /// → PendingDeletion; after `days` (7 to 366) the key is gone for good.
    fn schedule_deletion(&self, key: &str, days: u32) -> Result<(), KmsError>;
    /// PendingDeletion → Enabled.
    fn cancel_deletion(&self, key: &str) -> Result<(), KmsError>;
    /// A new primary version, which wraps from now on; gives its id. Older ones go on unwrapping.
    fn rotate(&self, key: &str) -> Result<String, KmsError>;
    /// The versions of a key, newest first.
    fn list_versions(&self, key: &str) -> Result<Vec<KeyVersion>, KmsError>;
}

/// What a new master key shall be.
#[derive(Debug, Clone, Default)]
pub struct NewKey {
    /// At most 8192 characters.
    pub description: String,
    /// The kind of key.
    pub spec: KeySpec,
}

/// The kind of a master key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum KeySpec {
    /// AES-256, used as AES-256-GCM.
    #[default]
    #[serde(rename = "Aliyun_AES_256")]
    Aes256,
}

impl KeySpec {
    /// Alibaba's name of it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            KeySpec::Aes256 => "Aliyun_AES_256",
        }
    }
}

impl fmt::Display for KeySpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for KeySpec {
    type Err = KmsError;

    fn from_str(text: &str) -> Result<KeySpec, KmsError> {
        match text {
            "Aliyun_AES_256" => Ok(KeySpec::Aes256),
            _ => Err(KmsError::new(
                "UnsupportedOperation",
                format!("{text:?} is not a kind of key that can be made; Aliyun_AES_256 is"),
            )),
        }
    }
}

/// The state of a master key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum KeyState {
    /// It wraps and unwraps.
    Enabled,
    /// It does neither until it is enabled.
    Disabled,
    /// It does neither and will be deleted at a planned time.
    PendingDeletion,
    /// Its material is still to be imported.
    PendingImport,
}

impl fmt::Display for KeyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What a KMS tells of a master key. Times are seconds since 1970, serialized as RFC 3339.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyMetadata {
    /// The id that wrapped keys carry.
    pub id: String,
    /// Its state.
    pub state: KeyState,
    /// Its kind, as the KMS names it.
    pub spec: String,
    /// What it may be used for, as the KMS names it.
    pub usage: String,
    /// What its owner says of it.
    pub description: String,
    /// When it was made.
    #[serde(serialize_with = "rfc3339")]
    pub created: i64,
    /// The version that wraps; none for keys without versions.
    pub primary_version: Option<String>,
    /// When that version was made.
    #[serde(serialize_with = "rfc3339_or_none")]
    pub last_rotation: Option<i64>,
    /// When it will be deleted, while that is planned.
    #[serde(serialize_with = "rfc3339_or_none")]
    pub delete_date: Option<i64>,
}

/// A name for a master key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Alias {
    /// `alias/NAME`.
    pub name: String,
    /// The key it names.
    pub key: String,
}

/// One generation of a master key's material.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyVersion {
    /// Its id, which stands at the beginning of each blob it wrapped.
    pub id: String,
    /// When it was made, in seconds since 1970.
    #[serde(serialize_with = "rfc3339")]
    pub created: i64,
}

/// A time in seconds since 1970 as RFC 3339 text; the number itself where that cannot be.
#[must_use]
pub fn time_text(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |t| t.to_string())
}

fn rfc3339<S: Serializer>(seconds: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time_text(*seconds))
}

fn rfc3339_or_none<S: Serializer>(time: &Option<i64>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(seconds) => rfc3339(seconds, serializer),
        None => serializer.serialize_none(),
    }
}
