//! CreateKey, DescribeKey, ListKeys, UpdateKeyDescription.

use std::str::FromStr;

use serde::Deserialize;
use serde_json::{Value, json};

use super::Arguments;
use super::arguments::{House, done};
use super::tags::tags;
use super::versions::interval;
use crate::kms::api::time_text;
use crate::kms::emulator::refusal::Refusal;
use crate::kms::local::Origin;
use crate::kms::{KeyMetadata, Kms, KmsAdmin, KmsError, NewKey};

/// Most conditions of a list, and most values of each (reference, §1.6).
const FILTERS_MAX: usize = 10;

pub(super) fn create(arguments: &Arguments<'_>) -> Result<Value, Refusal> {
    let origin = match arguments.optional("Origin") {
        None => Origin::Kms,
        Some(name) => [Origin::Kms, Origin::External]
            .into_iter()
            .find(|origin| origin.as_str() == name)
            .ok_or_else(|| Refusal::invalid("Origin"))?,
    };
    match arguments.optional("ProtectionLevel") {
        None | Some("SOFTWARE") => {}
        Some("HSM") => return Err(Refusal::kms("Unsupported.ProtectionLevel")),
        Some(_) => return Err(Refusal::invalid("ProtectionLevel")),
    }
    for instance in ["DKMSInstanceId", "KeyStorageMechanism", "Policy"] {
        if arguments.optional(instance).is_some() {
            return Err(Refusal::kms("UnsupportedOperation"));
        }
    }
    let rotation = match arguments.flag("EnableAutomaticRotation")? {
        Some(true) => Some(interval(arguments)?),
        _ => None,
    };
    let new = NewKey {
        description: arguments.optional("Description").unwrap_or_default().to_owned(),
        spec: parsed(arguments, "KeySpec")?.unwrap_or_default(),
        usage: parsed(arguments, "KeyUsage")?,
        rotation,
    };
    let key = arguments.store().create_with_tags(&new, origin, &tags(arguments)?)?;
    Ok(metadata(arguments.house, &key, origin))
}

/// A value by Alibaba's name of it.
fn parsed<T: FromStr<Err = KmsError>>(arguments: &Arguments<'_>, name: &str) -> Result<Option<T>, Refusal> {
    let parsed = arguments.optional(name).map(str::parse).transpose();
    parsed.map_err(|_| Refusal::invalid(name))
}

pub(super) fn describe(arguments: &Arguments<'_>) -> Result<Value, Refusal> {
    let facts = arguments.store().key_facts(arguments.key("KeyId")?)?;
    let mut described = metadata(arguments.house, &facts.metadata, facts.origin);
    let fields = &mut described["KeyMetadata"];
    let protection = if facts.protection.is_some() {
        "Enabled"
    } else {
        "Disabled"
    };
    fields["DeletionProtection"] = Value::from(protection);
    if let Some(end) = facts.material_expires {
        fields["MaterialExpireTime"] = Value::from(time_text(end));
    }
    if let Some(description) = facts.protection {
        fields["DeletionProtectionDescription"] = Value::from(description);
    }
    Ok(described)
}

pub(super) fn set_description(arguments: &Arguments<'_>) -> Result<Value, Refusal> {
    // An empty one takes the old one away.
    let description = arguments.given("Description")?;
    arguments
        .store()
        .set_description(arguments.key_id("KeyId")?, description)?;
    Ok(done())
}

fn metadata(house: &House, key: &KeyMetadata, origin: Origin) -> Value {
    let time = |seconds: Option<i64>| seconds.map_or_else(String::new, time_text);
    let mut fields = json!({
        "KeyId": key.id,
        "Arn": house.key_arn(&key.id),
        "CreationDate": time_text(key.created),
        "Creator": house.account(),
        "Description": key.description,
        "KeySpec": key.spec,
        "KeyState": key.state.to_string(),
        "KeyUsage": key.usage,
        "Origin": origin.as_str(),
        "ProtectionLevel": "SOFTWARE",
        "LastRotationDate": time(key.last_rotation.or(Some(key.created))),
        "AutomaticRotation": key.rotation.state.to_string(),
        "DeleteDate": time(key.delete_date),
        "MaterialExpireTime": "",
    });
    if let Some(version) = &key.primary_version {
        fields["PrimaryKeyVersion"] = Value::from(&**version);
    }
    if let Some(seconds) = key.rotation.interval {
        fields["RotationInterval"] = Value::from(format!("{seconds}s"));
        fields["NextRotationDate"] = Value::from(time(key.rotation.next));
    }
    json!({ "KeyMetadata": fields })
}

/// A condition of `Filters`: one of the values, of what the key says.
#[derive(Deserialize)]
struct Filter {
    #[serde(rename = "Key")]
    key: String,
    #[serde(rename = "Values")]
    values: Vec<String>,
}

pub(super) fn list(arguments: &Arguments<'_>) -> Result<Value, Refusal> {
    let filters = filters(arguments)?;
    let mut keys = Vec::new();
    for id in arguments.store().list_keys()? {
        if fits(arguments, &filters, &id)? {
            keys.push(json!({"KeyId": id, "KeyArn": arguments.house.key_arn(&id)}));
        }
    }
    arguments.page("Keys", "Key", &keys, 1)
}

fn filters(arguments: &Arguments<'_>) -> Result<Vec<Filter>, Refusal> {
    let Some(text) = arguments.optional("Filters") else {
        return Ok(Vec::new());
    };
    let invalid = || Refusal::invalid("Filters");
    let filters: Vec<Filter> = serde_json::from_str(text).map_err(|_| invalid())?;
    let known = |filter: &Filter| matches!(&*filter.key, "KeyState" | "KeySpec" | "KeyUsage" | "KeyId" | "Creator");
    let good = |filter: &Filter| known(filter) && filter.values.len() <= FILTERS_MAX;
    match filters.len() <= FILTERS_MAX && filters.iter().all(good) {
        true => Ok(filters),
        false => Err(invalid()),
    }
}

fn fits(arguments: &Arguments<'_>, filters: &[Filter], id: &str) -> Result<bool, Refusal> {
    if filters.is_empty() {
        return Ok(true);
    }
    let key = match arguments.store().describe_key(id) {
        // Deleted since it was listed.
        Err(error) if error.code() == "Forbidden.KeyNotFound" => return Ok(false),
        described => described?,
    };
    let state = key.state.to_string();
    Ok(filters.iter().all(|filter| {
        let value = match &*filter.key {
            "KeyState" => &*state,
            "KeySpec" => &*key.spec,
            "KeyUsage" => &*key.usage,
            "KeyId" => &*key.id,
            _ => arguments.house.account(),
        };
        filter.values.iter().any(|wanted| wanted == value)
    }))
}
