//! TagResource, UntagResource, ListResourceTags.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::Arguments;
use super::arguments::done;
use crate::kms::emulator::refusal::Refusal;

/// A tag as it is written on the wire.
#[derive(Deserialize)]
struct Tag {
    #[serde(rename = "TagKey")]
    key: String,
    #[serde(rename = "TagValue", default)]
    value: String,
}

/// `Tags`: a JSON list; none if it is not given.
pub(super) fn tags(arguments: &Arguments<'_>) -> Result<BTreeMap<String, String>, Refusal> {
    let Some(text) = arguments.optional("Tags") else {
        return Ok(BTreeMap::new());
    };
    let tags: Vec<Tag> = serde_json::from_str(text).map_err(|_| Refusal::invalid("Tags"))?;
    Ok(tags.into_iter().map(|tag| (tag.key, tag.value)).collect())
}

pub(super) fn tag(arguments: &Arguments<'_>) -> Result<Value, Refusal> {
    arguments.needed("Tags")?;
    arguments.store().tag(arguments.key_id("KeyId")?, &tags(arguments)?)?;
    Ok(done())
}

pub(super) fn untag(arguments: &Arguments<'_>) -> Result<Value, Refusal> {
    let name = "TagKeys";
    let keys: Vec<String> = serde_json::from_str(arguments.needed(name)?).map_err(|_| Refusal::invalid(name))?;
    arguments.store().untag(arguments.key_id("KeyId")?, &keys)?;
    Ok(done())
}

pub(super) fn list(arguments: &Arguments<'_>) -> Result<Value, Refusal> {
    let facts = arguments.store().key_facts(arguments.key_id("KeyId")?)?;
    let tag = |(key, value)| json!({"KeyId": facts.metadata.id, "TagKey": key, "TagValue": value});
    let tags: Vec<Value> = facts.tags.iter().map(tag).collect();
    Ok(json!({"Tags": {"Tag": tags}}))
}
