//! Encrypt, Decrypt, GenerateDataKey and its form without plain text, ReEncrypt.

use data_encoding::BASE64;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::Arguments;
use crate::crypto::SecretBytes;
use crate::kms::emulator::refusal::Refusal;
use crate::kms::{Direct, KmsDirect};

/// The length of a data key where none is asked for.
const KEY_LEN: u32 = 32;

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
    let (text, mut fields) = data_key(arguments)?;
    fields["Plaintext"] = Value::from(&**text);
    Ok(fields)
}

pub(super) fn generate_without_plaintext(arguments: &Arguments<'_>) -> Result<Value, Refusal> {
    Ok(data_key(arguments)?.1)
}

/// A new data key: its text, and the answer without that.
fn data_key(arguments: &Arguments<'_>) -> Result<(Zeroizing<String>, Value), Refusal> {
    let key = arguments.key("KeyId")?;
    let context = arguments.context("EncryptionContext")?;
    let by_spec = match arguments.optional("KeySpec") {
        None | Some("AES_256") => KEY_LEN,
        Some("AES_128") => 16,
        Some(_) => return Err(Refusal::invalid("KeySpec")),
    };
    // Where both are given, the number counts.
    let len = arguments.number("NumberOfBytes", 1..=1024)?.unwrap_or(by_spec);
    let mut bytes = vec![0; len as usize];
    getrandom::fill(&mut bytes).map_err(|_| Refusal::kms("InternalFailure"))?;
    let bytes = SecretBytes::new(bytes);
    let text = Zeroizing::new(BASE64.encode(bytes.expose()));
    let fields = blob(arguments.store().encrypt_text(key, &context, &text)?);
    Ok((text, fields))
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
