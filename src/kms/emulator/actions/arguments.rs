//! The parameters of an action, typed and bounded; and the names that things have on the wire.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use data_encoding::BASE64;
use serde_json::{Value, json};

use crate::kms::EncryptionContext;
use crate::kms::emulator::refusal::Refusal;
use crate::kms::local::LocalStore;
use crate::kms::signature::Parameters;

/// The account that all keys belong to.
const ACCOUNT: &str = "1540355698840000";
/// Most characters of an encryption context (reference, §1.8).
const CONTEXT_MAX: usize = 8192;

/// The key store, and where it claims to be.
pub(in crate::kms::emulator) struct House {
    pub store: LocalStore,
    /// `acs:kms:REGION:ACCOUNT:`
    arn: String,
}

impl House {
    pub(in crate::kms::emulator) fn new(store: LocalStore, region: &str) -> House {
        House {
            store,
            arn: format!("acs:kms:{region}:{ACCOUNT}:"),
        }
    }

    /// The account's id.
    pub(super) fn account(&self) -> &'static str {
        ACCOUNT
    }

    /// The ARN of the key with this id.
    pub(super) fn key_arn(&self, id: &str) -> String {
        format!("{}key/{id}", self.arn)
    }

    /// The ARN of `alias/NAME`.
    pub(super) fn alias_arn(&self, alias: &str) -> String {
        format!("{}{alias}", self.arn)
    }
}

/// The parameters of one request.
pub(in crate::kms::emulator) struct Arguments<'a> {
    parameters: &'a Parameters,
    pub house: &'a House,
}

impl<'a> Arguments<'a> {
    pub(in crate::kms::emulator) fn new(parameters: &'a Parameters, house: &'a House) -> Arguments<'a> {
        Arguments { parameters, house }
    }

    pub(super) fn store(&self) -> &'a LocalStore {
        &self.house.store
    }

    /// A parameter; an empty one counts as not given.
    pub(super) fn optional(&self, name: &str) -> Option<&'a str> {
        self.parameters.get(name).filter(|value| !value.is_empty())
    }

    /// A parameter that must be given.
    pub(super) fn needed(&self, name: &str) -> Result<&'a str, Refusal> {
        self.optional(name).ok_or_else(|| Refusal::missing(name))
    }

    /// A parameter that must be given, if only as nothing.
    pub(super) fn given(&self, name: &str) -> Result<&'a str, Refusal> {
        self.parameters.get(name).ok_or_else(|| Refusal::missing(name))
    }

    /// A whole number within bounds.
    pub(super) fn number(&self, name: &str, range: RangeInclusive<u32>) -> Result<Option<u32>, Refusal> {
        let Some(text) = self.optional(name) else {
            return Ok(None);
        };
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.map(Some).ok_or_else(|| Refusal::invalid(name))
    }

    /// `true` or `false`; the current SDK writes them as JSON does, Python's own spelling begins with a capital.
    pub(in crate::kms::emulator) fn flag(&self, name: &str) -> Result<Option<bool>, Refusal> {
        match self.optional(name) {
            None => Ok(None),
            Some(text) if text.eq_ignore_ascii_case("true") => Ok(Some(true)),
            Some(text) if text.eq_ignore_ascii_case("false") => Ok(Some(false)),
            Some(_) => Err(Refusal::invalid(name)),
        }
    }

    /// Bytes written as base64; white space does not matter.
    pub(super) fn base64(&self, name: &str) -> Result<Vec<u8>, Refusal> {
        let text: String = self.needed(name)?.split_ascii_whitespace().collect();
        BASE64.decode(text.as_bytes()).map_err(|_| Refusal::invalid(name))
    }

    /// An encryption context: a JSON object of strings; none if it is not given.
    pub(super) fn context(&self, name: &str) -> Result<EncryptionContext, Refusal> {
        let Some(text) = self.optional(name) else {
            return Ok(EncryptionContext::none());
        };
        if text.chars().count() > CONTEXT_MAX {
            return Err(Refusal::invalid(name));
        }
        let pairs: BTreeMap<String, String> = serde_json::from_str(text).map_err(|_| Refusal::invalid(name))?;
        Ok(pairs.into_iter().collect())
    }

    /// A key by id, alias or ARN, as the store names it: an id or `alias/NAME`.
    pub(super) fn key(&self, name: &str) -> Result<&'a str, Refusal> {
        let key = self.needed(name)?;
        if !key.starts_with("acs:") {
            return Ok(key);
        }
        // Of another region or account: there is no such key here.
        let own = key.strip_prefix(&*self.house.arn);
        own.and_then(|rest| rest.strip_prefix("key/"))
            .ok_or_else(|| Refusal::kms("Forbidden.KeyNotFound"))
    }

    /// A key where an alias will not do.
    pub(super) fn key_id(&self, name: &str) -> Result<&'a str, Refusal> {
        match self.key(name)? {
            alias if alias.starts_with("alias/") => Err(Refusal::kms("Unsupported.Alias")),
            id => Ok(id),
        }
    }

    /// What a request is about, as the permission system names it.
    pub(in crate::kms::emulator) fn resource(&self) -> String {
        match self.key("KeyId").or_else(|_| self.needed("AliasName")) {
            Ok(alias) if alias.starts_with("alias/") => self.house.alias_arn(alias),
            Ok(id) => self.house.key_arn(id),
            Err(_) => self.house.key_arn("*"),
        }
    }

    /// One page of a list: `{plural: {singular: […]}, TotalCount, PageNumber, PageSize}`.
    pub(super) fn page(&self, plural: &str, singular: &str, items: &[Value], least: u32) -> Result<Value, Refusal> {
        let number = self.number("PageNumber", 1..=u32::MAX)?.unwrap_or(1);
        let size = self.number("PageSize", least..=101)?.unwrap_or(10);
        let skip = (number as usize - 1).saturating_mul(size as usize);
        let page: Vec<&Value> = items.iter().skip(skip).take(size as usize).collect();
        Ok(json!({
            plural: { singular: page },
            "TotalCount": items.len(),
            "PageNumber": number,
            "PageSize": size,
        }))
    }
}

/// The answer of an action that has nothing to say.
pub(super) fn done() -> Value {
    json!({})
}
