//! What each action is asked and answers, as far as kmsfs needs it (reference, §1.6 to §1.9). Old and new answers are
//! read: what is not known is passed over, what may be missing may be missing, or empty.

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny};
use zeroize::Zeroizing;

use super::answer::clean;
use crate::kms::api::{Rotation, RotationState};
use crate::kms::signature::Parameters;
use crate::kms::{EncryptionContext, KeyMetadata, KeyState, KeyVersion, KmsError};

/// Most characters of an encryption context as JSON.
const CONTEXT_MAX: usize = 8192;

/// A request: an action and its parameters.
#[derive(Debug, Clone)]
pub struct Ask {
    /// The action.
    pub action: &'static str,
    /// Its parameters.
    pub parameters: Parameters,
    /// The key, alias or version it is about, for messages.
    pub about: Option<String>,
    /// Whether doing it twice does more than doing it once.
    pub once: bool,
}

impl Ask {
    /// A request for `action`.
    pub fn new(action: &'static str) -> Ask {
        Ask {
            action,
            parameters: Parameters::default(),
            about: None,
            once: false,
        }
    }

    /// With a parameter.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Ask {
        self.parameters.set(name, value);
        self
    }

    /// With the key that it is about.
    pub fn key(mut self, key: &str) -> Ask {
        self.about = Some(clean(key));
        self.with("KeyId", key)
    }

    /// With an encryption context, unless that is empty.
    ///
    /// # Errors
    /// `InvalidParameter`: it is too long.
    pub fn context(self, name: &'static str, context: &EncryptionContext) -> Result<Ask, KmsError> {
        if context.is_empty() {
            return Ok(self);
        }
        let map: serde_json::Map<String, serde_json::Value> = context
            .iter()
            .map(|(key, value)| (key.to_owned(), value.into()))
            .collect();
        let text = serde_json::Value::Object(map).to_string();
        if text.chars().count() > CONTEXT_MAX {
            let message = format!("the encryption context is longer than {CONTEXT_MAX} characters");
            return Err(KmsError::new("InvalidParameter", message));
        }
        Ok(self.with(name, text))
    }

    /// Not to be sent again when it may have been done.
    pub fn only_once(mut self) -> Ask {
        self.once = true;
        self
    }
}

/// A text that may be a key: wiped when dropped.
#[derive(Deserialize)]
#[serde(transparent)]
pub struct Secret(#[serde(deserialize_with = "wiped")] pub Zeroizing<String>);

fn wiped<'de, D: Deserializer<'de>>(from: D) -> Result<Zeroizing<String>, D::Error> {
    String::deserialize(from).map(Zeroizing::new)
}

/// An answer of which nothing is needed.
pub type Done = IgnoredAny;

/// `Encrypt`, `GenerateDataKeyWithoutPlaintext`, `ReEncrypt`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Wrapped {
    pub key_id: String,
    #[serde(default)]
    pub key_version_id: String,
    pub ciphertext_blob: String,
}

/// `GenerateDataKey`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DataKey {
    pub key_id: String,
    pub ciphertext_blob: String,
    pub plaintext: Secret,
}

/// `Decrypt`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Unwrapped {
    pub key_id: String,
    #[serde(default)]
    pub key_version_id: String,
    pub plaintext: Secret,
}

/// `AsymmetricSign`, `AsymmetricVerify`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Signed<T> {
    pub key_id: String,
    pub key_version_id: String,
    pub value: T,
}

/// `GetPublicKey`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PublicKey {
    pub key_id: String,
    pub key_version_id: String,
    pub public_key: String,
}

/// `CreateKey`, `DescribeKey`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Described {
    pub key_metadata: Metadata,
}

/// What they tell.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Metadata {
    key_id: String,
    key_state: String,
    #[serde(default)]
    key_spec: String,
    #[serde(default)]
    key_usage: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    creation_date: String,
    #[serde(default)]
    primary_key_version: String,
    #[serde(default)]
    last_rotation_date: String,
    #[serde(default)]
    delete_date: String,
    #[serde(default)]
    automatic_rotation: String,
    #[serde(default)]
    rotation_interval: String,
    #[serde(default)]
    next_rotation_date: String,
}

impl Metadata {
    /// In kmsfs's own terms.
    ///
    /// # Errors
    /// `Rejected.Unavailable` for a state that no key can be used in, nor managed.
    pub fn read(self) -> Result<KeyMetadata, KmsError> {
        let states = [
            KeyState::Enabled,
            KeyState::Disabled,
            KeyState::PendingDeletion,
            KeyState::PendingImport,
        ];
        let state = states.into_iter().find(|state| state.to_string() == self.key_state);
        let state = state.ok_or_else(|| {
            let message = format!("the key's state is {:?}", clean(&self.key_state));
            KmsError::new("Rejected.Unavailable", message)
        })?;
        Ok(KeyMetadata {
            id: self.key_id,
            state,
            spec: self.key_spec,
            usage: self.key_usage,
            description: self.description,
            created: time(&self.creation_date).unwrap_or_default(),
            primary_version: Some(self.primary_key_version).filter(|version| !version.is_empty()),
            last_rotation: time(&self.last_rotation_date),
            delete_date: time(&self.delete_date),
            rotation: Rotation {
                state: match self.automatic_rotation.as_str() {
                    "Enabled" => RotationState::Enabled,
                    "Suspended" => RotationState::Suspended,
                    _ => RotationState::Disabled,
                },
                interval: self
                    .rotation_interval
                    .strip_suffix('s')
                    .and_then(|seconds| seconds.parse().ok()),
                next: time(&self.next_rotation_date),
            },
        })
    }
}

/// Seconds since 1970; none for a time that is empty, as old answers have it.
fn time(text: &str) -> Option<i64> {
    Some(text.parse::<jiff::Timestamp>().ok()?.as_second())
}

/// One page of a list, and how many items there are on all pages.
pub trait Page {
    /// What is listed.
    type Item;
    /// The items, and their number over all pages.
    fn items(self) -> (Vec<Self::Item>, u64);
}

macro_rules! page {
    ($page:ident, $list:ident { $field:ident: $name:literal, $inner:literal } of $item:ident) => {
        #[derive(Deserialize)]
        pub struct $page {
            #[serde(default, rename = $name)]
            $field: $list,
            #[serde(default, rename = "TotalCount")]
            total: u64,
        }

        #[derive(Default, Deserialize)]
        struct $list {
            #[serde(default, rename = $inner)]
            items: Vec<$item>,
        }

        impl Page for $page {
            type Item = $item;
            fn items(self) -> (Vec<$item>, u64) {
                (self.$field.items, self.total)
            }
        }
    };
}

page!(KeyPage, KeyList { keys: "Keys", "Key" } of KeyItem);
page!(AliasPage, AliasList { aliases: "Aliases", "Alias" } of AliasItem);
page!(VersionPage, VersionList { versions: "KeyVersions", "KeyVersion" } of VersionItem);

/// Of `ListKeys`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct KeyItem {
    pub key_id: String,
}

/// Of `ListAliases`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AliasItem {
    pub alias_name: String,
    pub key_id: String,
}

/// Of `ListKeyVersions`, and in the answer to `CreateKeyVersion`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct VersionItem {
    pub key_version_id: String,
    #[serde(default)]
    creation_date: String,
}

impl VersionItem {
    /// In kmsfs's own terms.
    pub fn read(self) -> KeyVersion {
        KeyVersion {
            created: time(&self.creation_date).unwrap_or_default(),
            id: self.key_version_id,
        }
    }
}

/// `CreateKeyVersion`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct NewVersion {
    pub key_version: VersionItem,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_and_new_descriptions_are_read() {
        // The guide's sample of 2019 has no KeySpec; the newer ones leave out what is empty.
        let old = r#"{"KeyMetadata":{"CreationDate":"2019-04-12T06:00:54Z","Description":"d","KeyId":"k","KeyState":"Enabled",
            "KeyUsage":"ENCRYPT/DECRYPT","DeleteDate":"","Creator":"1","Arn":"a","Origin":"Aliyun_KMS","MaterialExpireTime":""}}"#;
        let key = serde_json::from_str::<Described>(old)
            .unwrap()
            .key_metadata
            .read()
            .unwrap();
        assert_eq!(
            (key.state, key.created, key.delete_date),
            (KeyState::Enabled, 1_555_048_854, None)
        );
        assert_eq!((key.primary_version, key.spec.as_str()), (None, ""));
        let new = r#"{"KeyMetadata":{"KeyId":"k","KeyState":"PendingDeletion","DeleteDate":"2019-04-12T06:00:54Z","Unheard":{},
            "AutomaticRotation":"Suspended","RotationInterval":"31536000s"}}"#;
        let key = serde_json::from_str::<Described>(new)
            .unwrap()
            .key_metadata
            .read()
            .unwrap();
        assert_eq!(key.delete_date, Some(1_555_048_854));
        assert_eq!(key.rotation.interval, Some(31_536_000));
        let odd = r#"{"KeyMetadata":{"KeyId":"k","KeyState":"Unavailable"}}"#;
        let error = serde_json::from_str::<Described>(odd)
            .unwrap()
            .key_metadata
            .read()
            .unwrap_err();
        assert_eq!(error.code(), "Rejected.Unavailable");
    }

    #[test]
    fn lists_may_be_missing() {
        let (items, total) = serde_json::from_str::<KeyPage>("{}").unwrap().items();
        assert!(items.is_empty() && total == 0);
        let text = r#"{"Aliases":{"Alias":[{"AliasName":"alias/a","KeyId":"k","AliasArn":"x"}]},"TotalCount":1}"#;
        let (items, total) = serde_json::from_str::<AliasPage>(text).unwrap().items();
        assert_eq!((items[0].alias_name.as_str(), total), ("alias/a", 1));
    }

    #[test]
    fn contexts_are_compact_and_bounded() {
        let context = EncryptionContext::from_iter([("b".to_owned(), "阿\"".to_owned()), ("a".into(), "1".into())]);
        let ask = Ask::new("Decrypt").context("EncryptionContext", &context).unwrap();
        assert_eq!(ask.parameters.get("EncryptionContext"), Some(r#"{"a":"1","b":"阿\""}"#));
        let none = Ask::new("Decrypt").context("EncryptionContext", &EncryptionContext::none());
        assert_eq!(none.unwrap().parameters, Parameters::default());
        let long = EncryptionContext::from_iter([("a".to_owned(), "x".repeat(CONTEXT_MAX))]);
        assert!(Ask::new("Decrypt").context("EncryptionContext", &long).is_err());
    }
}
