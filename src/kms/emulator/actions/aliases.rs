//! CreateAlias, UpdateAlias, DeleteAlias, ListAliases, ListAliasesByKeyId.

use serde_json::{Value, json};

use super::Arguments;
use super::arguments::done;
use crate::kms::emulator::refusal::Refusal;
use crate::kms::{Alias, KmsAdmin};

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
    page(arguments, arguments.store().list_aliases()?)
}

pub(super) fn list_by_key(arguments: &Arguments<'_>) -> Result<Value, Refusal> {
    page(
        arguments,
        arguments.store().list_aliases_of(arguments.key_id("KeyId")?)?,
    )
}

fn page(arguments: &Arguments<'_>, aliases: Vec<Alias>) -> Result<Value, Refusal> {
    let fields = |alias: Alias| {
        let arn = arguments.house.alias_arn(&alias.name);
        json!({"AliasName": alias.name, "KeyId": alias.key, "AliasArn": arn})
    };
    let aliases: Vec<Value> = aliases.into_iter().map(fields).collect();
    arguments.page("Aliases", "Alias", &aliases, 0)
}
