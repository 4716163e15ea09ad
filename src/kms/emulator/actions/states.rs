//! EnableKey, DisableKey, ScheduleKeyDeletion, CancelKeyDeletion, SetDeletionProtection.

use serde_json::Value;

use super::Arguments;
use super::arguments::done;
use crate::kms::KmsAdmin;
use crate::kms::emulator::refusal::Refusal;

pub(super) fn enable(arguments: &Arguments<'_>) -> Result<Value, Refusal> {
    arguments.store().enable(arguments.key_id("KeyId")?)?;
    Ok(done())
}

pub(super) fn disable(arguments: &Arguments<'_>) -> Result<Value, Refusal> {
    arguments.store().disable(arguments.key_id("KeyId")?)?;
    Ok(done())
}

pub(super) fn schedule_deletion(arguments: &Arguments<'_>) -> Result<Value, Refusal> {
    let name = "PendingWindowInDays";
    let days = arguments.number(name, 7..=366)?.ok_or_else(|| Refusal::missing(name))?;
    arguments.store().schedule_deletion(arguments.key_id("KeyId")?, days)?;
    Ok(done())
}

pub(super) fn cancel_deletion(arguments: &Arguments<'_>) -> Result<Value, Refusal> {
    arguments.store().cancel_deletion(arguments.key_id("KeyId")?)?;
    Ok(done())
}

pub(super) fn set_deletion_protection(arguments: &Arguments<'_>) -> Result<Value, Refusal> {
    let name = "EnableDeletionProtection";
    let enable = arguments.flag(name)?.ok_or_else(|| Refusal::missing(name))?;
    let description = arguments.optional("DeletionProtectionDescription").unwrap_or_default();
    let key = arguments.key_id("ProtectedResourceArn")?;
    let protection = enable.then_some(description);
    arguments.store().set_deletion_protection(key, protection)?;
    Ok(done())
}
