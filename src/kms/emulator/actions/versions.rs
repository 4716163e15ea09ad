//! CreateKeyVersion, ListKeyVersions, DescribeKeyVersion, UpdateRotationPolicy.

use serde_json::{Value, json};

use super::Arguments;
use super::arguments::done;
use crate::kms::api::time_text;
use crate::kms::emulator::refusal::Refusal;
use crate::kms::{KeyVersion, Kms, KmsAdmin};

pub(super) fn create(arguments: &Arguments<'_>) -> Result<Value, Refusal> {
    let store = arguments.store();
    let key = store.describe_key(arguments.key("KeyId")?)?.id;
    let version = store.rotate(&key)?;
    Ok(json!({ "KeyVersion": fields(&key, &store.describe_version(&key, &version)?) }))
}

pub(super) fn describe(arguments: &Arguments<'_>) -> Result<Value, Refusal> {
    let store = arguments.store();
    let key = store.describe_key(arguments.key("KeyId")?)?.id;
    let version = store.describe_version(&key, arguments.needed("KeyVersionId")?)?;
    Ok(json!({ "KeyVersion": fields(&key, &version) }))
}

fn fields(key: &str, version: &KeyVersion) -> Value {
    json!({"KeyId": key, "KeyVersionId": version.id, "CreationDate": time_text(version.created)})
}

pub(super) fn list(arguments: &Arguments<'_>) -> Result<Value, Refusal> {
    let store = arguments.store();
    let key = store.describe_key(arguments.key("KeyId")?)?.id;
    let versions = store.list_versions(&key)?;
    let versions: Vec<Value> = versions.iter().map(|version| fields(&key, version)).collect();
    arguments.page("KeyVersions", "KeyVersion", &versions, 0)
}

pub(super) fn set_rotation(arguments: &Arguments<'_>) -> Result<Value, Refusal> {
    let key = arguments.key_id("KeyId")?;
    let name = "EnableAutomaticRotation";
    let interval = match arguments.flag(name)? {
        None => return Err(Refusal::missing(name)),
        Some(true) => Some(interval(arguments)?),
        Some(false) => None,
    };
    arguments.store().set_rotation(key, interval)?;
    Ok(done())
}

/// `RotationInterval` in seconds: `<integer><unit>`, the unit d, h, m or s.
pub(super) fn interval(arguments: &Arguments<'_>) -> Result<u64, Refusal> {
    let name = "RotationInterval";
    let text = arguments.needed(name)?;
    let seconds = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)]
        .into_iter()
        .find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds)))
        .and_then(|(number, seconds)| number.parse::<u64>().ok()?.checked_mul(seconds));
    seconds.ok_or_else(|| Refusal::invalid(name))
}
