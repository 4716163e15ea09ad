//! Master keys: made, named, switched, rotated, listed; and those that sign.

use data_encoding::BASE64;
use serde::de::DeserializeOwned;

use super::actions::{
    AliasPage, Ask, Described, Done, KeyPage, NewVersion, Page, PublicKey, Signed, VersionItem, VersionPage,
};
use super::answer::Answered;
use super::client::AlibabaKms;
use super::http::with_id;
use super::service::check_key;
use crate::kms::{Alias, Direct, KeyMetadata, KeyVersion, KmsAdmin, KmsError, KmsSigner, NewKey, SignAlgorithm};

/// Items asked for at a time; the most that every list allows.
const PAGE: usize = 100;
/// Most pages of a list. Accounts have hundreds of keys; an endpoint that never ends is none.
const PAGES_MAX: usize = 200;

impl AlibabaKms {
    fn done(&self, ask: Ask) -> Result<(), KmsError> {
        self.call::<Done>(ask).map(drop)
    }

    /// All pages of a list.
    fn list<P: Page + DeserializeOwned + Send + 'static>(&self, ask: &Ask) -> Result<Vec<P::Item>, KmsError> {
        let mut all = Vec::new();
        for number in 1..=PAGES_MAX {
            let page = ask
                .clone()
                .with("PageNumber", number.to_string())
                .with("PageSize", PAGE.to_string());
            let (items, total) = self.call::<P>(page)?.data.items();
            let last = items.is_empty();
            all.extend(items);
            if last || all.len() as u64 >= total {
                return Ok(all);
            }
        }
        let message = format!("a list of more than {} items does not end", PAGE * PAGES_MAX);
        Err(self.named(KmsError::new("Kms.BadAnswer", message), ask.about.as_deref()))
    }

    /// What an answer about a version of a key says, if it is about that version.
    fn about_version<T>(
        &self,
        (key, version): (&str, &str),
        answered: (String, String, Option<String>),
        data: T,
    ) -> Result<Direct<T>, KmsError> {
        let (answered_key, answered_version, request_id) = answered;
        let checked = check_key(key, &answered_key).and_then(|()| match answered_version == version {
            true => Ok(()),
            false => Err(KmsError::new(
                "Kms.WrongKey",
                "the answer is about another version of the key",
            )),
        });
        checked.map_err(|error| self.named(with_id(error, request_id), Some(key)))?;
        Ok(Direct {
            key: answered_key,
            version: answered_version,
            data,
        })
    }
}

impl KmsAdmin for AlibabaKms {
    fn create_key(&self, new: &NewKey) -> Result<KeyMetadata, KmsError> {
        let mut ask = Ask::new("CreateKey").with("KeySpec", new.spec.as_str()).only_once();
        if !new.description.is_empty() {
            ask = ask.with("Description", new.description.as_str());
        }
        if let Some(usage) = new.usage {
            ask = ask.with("KeyUsage", usage.as_str());
        }
        if let Some(seconds) = new.rotation {
            ask = ask
                .with("EnableAutomaticRotation", "true")
                .with("RotationInterval", format!("{seconds}s"));
        }
        let Answered { data, request_id } = self.call::<Described>(ask)?;
        let metadata = data.key_metadata.read();
        metadata.map_err(|error| self.named(with_id(error, request_id), None))
    }

    fn list_keys(&self) -> Result<Vec<String>, KmsError> {
        let keys = self.list::<KeyPage>(&Ask::new("ListKeys"))?;
        Ok(keys.into_iter().map(|key| key.key_id).collect())
    }

    fn create_alias(&self, alias: &str, key: &str) -> Result<(), KmsError> {
        self.done(Ask::new("CreateAlias").key(key).with("AliasName", alias))
    }

    fn update_alias(&self, alias: &str, key: &str) -> Result<(), KmsError> {
        self.done(Ask::new("UpdateAlias").key(key).with("AliasName", alias))
    }

    fn delete_alias(&self, alias: &str) -> Result<(), KmsError> {
        let mut ask = Ask::new("DeleteAlias").with("AliasName", alias);
        ask.about = Some(super::answer::clean(alias));
        self.done(ask)
    }

    fn list_aliases(&self) -> Result<Vec<Alias>, KmsError> {
        let aliases = self.list::<AliasPage>(&Ask::new("ListAliases"))?;
        let mut aliases: Vec<Alias> = aliases
            .into_iter()
            .map(|item| Alias {
                name: item.alias_name,
                key: item.key_id,
            })
            .collect();
        aliases.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(aliases)
    }

    fn enable(&self, key: &str) -> Result<(), KmsError> {
        self.done(Ask::new("EnableKey").key(key))
    }

    fn disable(&self, key: &str) -> Result<(), KmsError> {
        self.done(Ask::new("DisableKey").key(key))
    }

    fn schedule_deletion(&self, key: &str, days: u32) -> Result<(), KmsError> {
        self.done(
            Ask::new("ScheduleKeyDeletion")
                .key(key)
                .with("PendingWindowInDays", days.to_string()),
        )
    }

    fn cancel_deletion(&self, key: &str) -> Result<(), KmsError> {
        self.done(Ask::new("CancelKeyDeletion").key(key))
    }

    fn rotate(&self, key: &str) -> Result<String, KmsError> {
        let answered = self.call::<NewVersion>(Ask::new("CreateKeyVersion").key(key).only_once())?;
        Ok(answered.data.key_version.key_version_id)
    }

    fn list_versions(&self, key: &str) -> Result<Vec<KeyVersion>, KmsError> {
        let versions = self.list::<VersionPage>(&Ask::new("ListKeyVersions").key(key))?;
        Ok(versions.into_iter().map(VersionItem::read).collect())
    }

    fn set_rotation(&self, key: &str, interval: Option<u64>) -> Result<(), KmsError> {
        let ask = Ask::new("UpdateRotationPolicy").key(key);
        self.done(match interval {
            Some(seconds) => ask
                .with("EnableAutomaticRotation", "true")
                .with("RotationInterval", format!("{seconds}s")),
            None => ask.with("EnableAutomaticRotation", "false"),
        })
    }
}

impl KmsSigner for AlibabaKms {
    fn sign(
        &self,
        key: &str,
        version: &str,
        algorithm: SignAlgorithm,
        digest: &[u8; 32],
    ) -> Result<Direct<Vec<u8>>, KmsError> {
        let ask = asymmetric("AsymmetricSign", key, version, algorithm, digest);
        let Answered { data, request_id } = self.call::<Signed<String>>(ask)?;
        let signature = BASE64.decode(data.value.trim().as_bytes()).map_err(|_| {
            let error = KmsError::new("Kms.BadAnswer", "the signature is not base64");
            self.named(with_id(error, request_id.clone()), Some(key))
        })?;
        self.about_version(
            (key, version),
            (data.key_id, data.key_version_id, request_id),
            signature,
        )
    }

    fn verify(
        &self,
        key: &str,
        version: &str,
        algorithm: SignAlgorithm,
        digest: &[u8; 32],
        signature: &[u8],
    ) -> Result<Direct<bool>, KmsError> {
        let ask = asymmetric("AsymmetricVerify", key, version, algorithm, digest);
        let Answered { data, request_id } = self.call::<Signed<bool>>(ask.with("Value", BASE64.encode(signature)))?;
        self.about_version(
            (key, version),
            (data.key_id, data.key_version_id, request_id),
            data.value,
        )
    }

    fn public_key(&self, key: &str, version: &str) -> Result<Direct<String>, KmsError> {
        let ask = Ask::new("GetPublicKey").key(key).with("KeyVersionId", version);
        let Answered { data, request_id } = self.call::<PublicKey>(ask)?;
        self.about_version(
            (key, version),
            (data.key_id, data.key_version_id, request_id),
            data.public_key,
        )
    }
}

fn asymmetric(action: &'static str, key: &str, version: &str, algorithm: SignAlgorithm, digest: &[u8; 32]) -> Ask {
    Ask::new(action)
        .key(key)
        .with("KeyVersionId", version)
        .with("Algorithm", algorithm.as_str())
        .with("Digest", BASE64.encode(digest))
}
