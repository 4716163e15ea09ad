//! GetParametersForImport, ImportKeyMaterial, DeleteKeyMaterial.

use data_encoding::BASE64;
use serde_json::{Value, json};

use super::Arguments;
use super::arguments::done;
use crate::kms::api::time_text;
use crate::kms::emulator::refusal::Refusal;
use crate::kms::local::WrapAlgorithm;

pub(super) fn parameters(arguments: &Arguments<'_>) -> Result<Value, Refusal> {
    let key = arguments.key_id("KeyId")?;
    let made = arguments.store().import_parameters(key, wrapping(arguments)?)?;
    Ok(json!({
        "KeyId": made.key,
        "ImportToken": made.token,
        "PublicKey": BASE64.encode(&made.public_key),
        "TokenExpireTime": time_text(made.expires),
    }))
}

pub(super) fn import(arguments: &Arguments<'_>) -> Result<Value, Refusal> {
    let key = arguments.key_id("KeyId")?;
    let wrapped = arguments.base64("EncryptedKeyMaterial")?;
    let token = arguments.needed("ImportToken")?;
    let name = "KeyMaterialExpireUnix";
    let expires: i64 = arguments.needed(name)?.parse().map_err(|_| Refusal::invalid(name))?;
    // 0 is for ever.
    let expires = (expires != 0).then_some(expires);
    arguments.store().import_material(key, token, &wrapped, expires)?;
    Ok(done())
}

pub(super) fn delete(arguments: &Arguments<'_>) -> Result<Value, Refusal> {
    arguments.store().delete_material(arguments.key_id("KeyId")?)?;
    Ok(done())
}

/// How a key is encrypted for its way in or out; only RSA keys of 2048 bits are known for that.
pub(super) fn wrapping(arguments: &Arguments<'_>) -> Result<WrapAlgorithm, Refusal> {
    if arguments.needed("WrappingKeySpec")? != "RSA_2048" {
        return Err(Refusal::invalid("WrappingKeySpec"));
    }
    let name = "WrappingAlgorithm";
    arguments.needed(name)?.parse().map_err(|_| Refusal::invalid(name))
}
