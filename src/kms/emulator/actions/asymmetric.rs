//! AsymmetricSign, AsymmetricVerify, GetPublicKey.

use data_encoding::BASE64;
use serde_json::{Value, json};

use super::Arguments;
use crate::kms::emulator::refusal::Refusal;
use crate::kms::{Direct, KmsSigner, SignAlgorithm};

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

pub(super) fn public_key(arguments: &Arguments<'_>) -> Result<Value, Refusal> {
    let (key, version) = (arguments.key("KeyId")?, arguments.needed("KeyVersionId")?);
    let public = arguments.store().public_key(key, version)?;
    Ok(answer(&public, "PublicKey", Value::from(&*public.data)))
}

fn answer<T>(of: &Direct<T>, name: &str, value: Value) -> Value {
    json!({"KeyId": of.key, "KeyVersionId": of.version, name: value})
}

fn algorithm(arguments: &Arguments<'_>) -> Result<SignAlgorithm, Refusal> {
    let name = arguments.needed("Algorithm")?;
    let mut all = [
        SignAlgorithm::RsaPkcs1Sha256,
        SignAlgorithm::RsaPssSha256,
        SignAlgorithm::EcdsaSha256,
    ]
    .into_iter();
    all.find(|algorithm| algorithm.as_str() == name)
        .ok_or_else(|| Refusal::invalid("Algorithm"))
}

/// The SHA-256 digest to be signed, as it is.
fn digest(arguments: &Arguments<'_>) -> Result<[u8; 32], Refusal> {
    let digest = arguments.base64("Digest")?;
    digest.try_into().map_err(|_| Refusal::invalid("Digest"))
}
