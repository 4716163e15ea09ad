//! Encrypt, Decrypt, GenerateDataKey in its three forms, ExportDataKey, ReEncrypt.

use data_encoding::BASE64;
use serde_json::{Value, json};

use super::Arguments;
use super::import::wrapping;
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
    Ok(arguments.store().generate_text(key, &context, key_len(arguments)?)?)
}

fn key_len(arguments: &Arguments<'_>) -> Result<usize, Refusal> {
    let bytes = arguments.number("NumberOfBytes", 0..=u32::MAX)?;
    Ok(data_key_len(
        arguments.optional("KeySpec"),
        bytes.map(|bytes| bytes as usize),
    )?)
}

pub(super) fn generate_and_export(arguments: &Arguments<'_>) -> Result<Value, Refusal> {
    let (key, context) = (arguments.key("KeyId")?, arguments.context("EncryptionContext")?);
    let (len, owner) = (key_len(arguments)?, arguments.base64("PublicKeyBlob")?);
    let store = arguments.store();
    let (made, exported) = store.generate_and_export(key, &context, len, &owner, wrapping(arguments)?)?;
    let mut fields = blob(made);
    fields["ExportedDataKey"] = Value::from(BASE64.encode(&exported));
    Ok(fields)
}

pub(super) fn export(arguments: &Arguments<'_>) -> Result<Value, Refusal> {
    let (sealed, context) = (
        arguments.needed("CiphertextBlob")?,
        arguments.context("EncryptionContext")?,
    );
    let owner = arguments.base64("PublicKeyBlob")?;
    let store = arguments.store();
    let exported = store.export_data_key(sealed, &context, &owner, wrapping(arguments)?)?;
    let value = BASE64.encode(&exported.data);
    Ok(json!({"KeyId": exported.key, "KeyVersionId": exported.version, "ExportedDataKey": value}))
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
