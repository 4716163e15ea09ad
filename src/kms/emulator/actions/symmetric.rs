//! Encrypt, Decrypt, GenerateDataKey and its form without plain text, ReEncrypt.

use serde_json::{Value, json};

use super::Arguments;
use crate::kms::emulator::refusal::Refusal;
use crate::kms::local::{TextKey, data_key_len};
use crate::kms::{Direct, KmsDirect};

pub(super) fn encrypt(arguments: &Arguments<'_>) -> Result<Value, Refusal> {
    let (key, text) = (arguments.key("KeyId")?, arguments.needed("Plaintext")?);
    let context = arguments.context("EncryptionContext")?;
    Ok(blob(arguments.store().encrypt_text(key, &context, text)?))
}

pub(super) fn decrypt(arguments: &Arguments<'_>) -> Result<Value, Refusal> {
    unsupported(arguments, &["Recipient"])?;
    let context = arguments.context("EncryptionContext")?;
    let opened = arguments
        .store()
        .decrypt_text(arguments.needed("CiphertextBlob")?, &context)?;
    Ok(json!({"KeyId": opened.key, "KeyVersionId": opened.version, "Plaintext": *opened.data}))
}

pub(super) fn generate(arguments: &Arguments<'_>) -> Result<Value, Refusal> {
    unsupported(arguments, &["Recipient"])?;
    let made = data_key(arguments)?;
    let mut fields = blob(made.wrapped);
    fields["Plaintext"] = Value::from(&**made.plain);
    Ok(fields)
}

pub(super) fn generate_without_plaintext(arguments: &Arguments<'_>) -> Result<Value, Refusal> {
    Ok(blob(data_key(arguments)?.wrapped))
}

fn data_key(arguments: &Arguments<'_>) -> Result<TextKey, Refusal> {
    let key = arguments.key("KeyId")?;
    let context = arguments.context("EncryptionContext")?;
    let bytes = arguments.number("NumberOfBytes", 0..=u32::MAX)?;
    let len = data_key_len(arguments.optional("KeySpec"), bytes.map(|bytes| bytes as usize))?;
    Ok(arguments.store().generate_text(key, &context, len)?)
}

pub(super) fn re_encrypt(arguments: &Arguments<'_>) -> Result<Value, Refusal> {
    // Those are for what was made with a public key.
    unsupported(
        arguments,
        &["SourceKeyId", "SourceKeyVersionId", "SourceEncryptionAlgorithm"],
    )?;
    let from = arguments.context("SourceEncryptionContext")?;
    let to = arguments.context("DestinationEncryptionContext")?;
    let key = arguments.key("DestinationKeyId")?;
    let source = arguments.needed("CiphertextBlob")?;
    Ok(blob(arguments.store().re_encrypt(source, &from, key, &to)?))
}

fn blob(made: Direct<String>) -> Value {
    json!({"KeyId": made.key, "KeyVersionId": made.version, "CiphertextBlob": made.data})
}

fn unsupported(arguments: &Arguments<'_>, names: &[&str]) -> Result<(), Refusal> {
    match names.iter().any(|name| arguments.optional(name).is_some()) {
        true => Err(Refusal::kms("UnsupportedOperation")),
        false => Ok(()),
    }
}
