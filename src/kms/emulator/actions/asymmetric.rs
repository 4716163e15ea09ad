//! AsymmetricSign, AsymmetricVerify, AsymmetricEncrypt, AsymmetricDecrypt, GetPublicKey.

use std::str::FromStr;

use data_encoding::BASE64;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::Arguments;
use crate::kms::emulator::refusal::Refusal;
use crate::kms::{Direct, KmsSigner};

pub(super) fn sign(arguments: &Arguments<'_>) -> Result<Value, Refusal> {
    let (key, version) = (arguments.key("KeyId")?, arguments.needed("KeyVersionId")?);
    let signed = arguments
        .store()
        .sign(key, version, algorithm(arguments)?, &digest(arguments)?)?;
    let value = BASE64.encode(&signed.data);
    Ok(answer(&signed, "Value", Value::from(value)))
}

pub(super) fn verify(arguments: &Arguments<'_>) -> Result<Value, Refusal> {
    let (key, version) = (arguments.key("KeyId")?, arguments.needed("KeyVersionId")?);
    let signature = arguments.base64("Value")?;
    let verified = arguments
        .store()
        .verify(key, version, algorithm(arguments)?, &digest(arguments)?, &signature)?;
    Ok(answer(&verified, "Value", Value::from(verified.data)))
}

pub(super) fn encrypt(arguments: &Arguments<'_>) -> Result<Value, Refusal> {
    let (key, version) = (arguments.key("KeyId")?, arguments.needed("KeyVersionId")?);
    let plain = Zeroizing::new(arguments.base64("Plaintext")?);
    let sealed = arguments
        .store()
        .asymmetric_encrypt(key, version, algorithm(arguments)?, &plain)?;
    let value = BASE64.encode(&sealed.data);
    Ok(answer(&sealed, "CiphertextBlob", Value::from(value)))
}

pub(super) fn decrypt(arguments: &Arguments<'_>) -> Result<Value, Refusal> {
    let (key, version) = (arguments.key("KeyId")?, arguments.needed("KeyVersionId")?);
    let sealed = arguments.base64("CiphertextBlob")?;
    let opened = arguments
        .store()
        .asymmetric_decrypt(key, version, algorithm(arguments)?, &sealed)?;
    let value = BASE64.encode(&opened.data);
    Ok(answer(&opened, "Plaintext", Value::from(value)))
}

pub(super) fn public_key(arguments: &Arguments<'_>) -> Result<Value, Refusal> {
    let (key, version) = (arguments.key("KeyId")?, arguments.needed("KeyVersionId")?);
    let public = arguments.store().public_key(key, version)?;
    Ok(answer(&public, "PublicKey", Value::from(&*public.data)))
}

fn answer<T>(of: &Direct<T>, name: &str, value: Value) -> Value {
    json!({"KeyId": of.key, "KeyVersionId": of.version, name: value})
}

/// To sign or to encrypt with, as the action needs it.
fn algorithm<T: FromStr>(arguments: &Arguments<'_>) -> Result<T, Refusal> {
    let name = "Algorithm";
    arguments.needed(name)?.parse().map_err(|_| Refusal::invalid(name))
}

/// The SHA-256 digest to be signed, as it is.
fn digest(arguments: &Arguments<'_>) -> Result<[u8; 32], Refusal> {
    let digest = arguments.base64("Digest")?;
    digest.try_into().map_err(|_| Refusal::invalid("Digest"))
}
