//! CreateAlias, UpdateAlias, DeleteAlias, ListAliases, ListAliasesByKeyId.

use serde_json::{Value, json};

use super::Arguments;
use super::arguments::done;
use crate::kms::emulator::refusal::Refusal;
use crate::kms::{Kms, KmsAdmin};

pub(super) fn create(arguments: &Arguments<'_>) -> Result<Value, Refusal> {
    let (alias, key) = (arguments.needed("AliasName")?, arguments.key_id("KeyId")?);
    arguments.store().create_alias(alias, key)?;
    Ok(done())
}

pub(super) fn update(arguments: &Arguments<'_>) -> Result<Value, Refusal> {
    let (alias, key) = (arguments.needed("AliasName")?, arguments.key_id("KeyId")?);
    arguments.store().update_alias(alias, key)?;
    Ok(done())
}

pub(super) fn delete(arguments: &Arguments<'_>) -> Result<Value, Refusal> {
    arguments.store().delete_alias(arguments.needed("AliasName")?)?;
    Ok(done())
}

pub(super) fn list(arguments: &Arguments<'_>) -> Result<Value, Refusal> {
    page(arguments, |_| true)
}

pub(super) fn list_by_key(arguments: &Arguments<'_>) -> Result<Value, Refusal> {
    let key = arguments.store().describe_key(arguments.key_id("KeyId")?)?.id;
    page(arguments, |named| named == key)
}

fn page(arguments: &Arguments<'_>, wanted: impl Fn(&str) -> bool) -> Result<Value, Refusal> {
    let aliases = arguments.store().list_aliases()?;
    let wanted = aliases.into_iter().filter(|alias| wanted(&alias.key));
    let aliases: Vec<Value> = wanted
        .map(|alias| {
            let arn = arguments.house.alias_arn(&alias.name);
            json!({"AliasName": alias.name, "KeyId": alias.key, "AliasArn": arn})
        })
        .collect();
    arguments.page("Aliases", "Alias", &aliases, 0)
}
