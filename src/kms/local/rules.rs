//! What may be asked for (reference, §1.5 and §1.6): uses, rotation, descriptions, tags, names; and how many there may be.

use super::master_key::Origin;
use crate::kms::{KeySpec, KeyUsage, KmsError, NewKey};

const DESCRIPTION_MAX: usize = 8192;
const ALIAS_MAX: usize = 255;
/// Most tags of one key.
pub(super) const TAGS_MAX: usize = 20;
const TAG_MAX: usize = 128;
/// Seconds between automatic rotations: 7 to 730 days.
pub(super) const ROTATION: std::ops::RangeInclusive<u64> = 7 * 86_400..=730 * 86_400;

/// What the key that `new` asks for is for, if it can be made.
///
/// # Errors
/// `InvalidParameter`, `UnsupportedOperation`, `Rejected.UnsupportedOperation`.
pub(super) fn check_new(new: &NewKey, origin: Origin) -> Result<KeyUsage, KmsError> {
    let usage = new.usage.unwrap_or_else(|| new.spec.default_usage());
    if !new.spec.can(usage) {
        let message = format!("a key of kind {} cannot be for {}", new.spec, usage.as_str());
        return Err(KmsError::new("UnsupportedOperation", message));
    }
    if origin == Origin::External && new.spec != KeySpec::Aes256 {
        let message = format!("the material of a key of kind {} cannot be imported", new.spec);
        return Err(KmsError::new("UnsupportedOperation", message));
    }
    check_description(&new.description)?;
    check_rotation(new.spec, origin, new.rotation)?;
    Ok(usage)
}

pub(super) fn check_rotation(spec: KeySpec, origin: Origin, interval: Option<u64>) -> Result<(), KmsError> {
    match interval {
        None => Ok(()),
        Some(_) if spec != KeySpec::Aes256 => Err(cannot_rotate(&format!("of kind {spec}"))),
        Some(_) if origin == Origin::External => Err(cannot_rotate("of external origin")),
        Some(interval) if ROTATION.contains(&interval) => Ok(()),
        Some(interval) => {
            let message = format!("{interval} seconds between rotations; 7 to 730 days are possible");
            Err(KmsError::new("InvalidParameter", message))
        }
    }
}

pub(super) fn cannot_rotate(kind: &str) -> KmsError {
    let message = format!("a key {kind} cannot be rotated");
    KmsError::new("Rejected.UnsupportedOperation", message)
}

pub(super) fn check_description(text: &str) -> Result<(), KmsError> {
    if text.chars().count() > DESCRIPTION_MAX {
        let message = format!("the description is longer than {DESCRIPTION_MAX} characters");
        return Err(KmsError::new("InvalidParameter", message));
    }
    Ok(())
}

pub(super) fn check_tag(key: &str, value: &str) -> Result<(), KmsError> {
    let short = |text: &str| text.chars().count() <= TAG_MAX;
    if key.is_empty() || !short(key) || !short(value) || key.starts_with("aliyun") || key.starts_with("acs:") {
        let message = "a tag is a key and a value of up to 128 characters each; the key is not empty and does not begin with aliyun or acs:";
        return Err(KmsError::new("InvalidParameter", message).about(key.escape_debug().to_string()));
    }
    Ok(())
}

/// `Rejected.LimitExceeded` when there are `max` already.
pub(super) fn limit(count: usize, max: usize, of: &str) -> Result<(), KmsError> {
    if count >= max {
        return Err(KmsError::new(
            "Rejected.LimitExceeded",
            format!("there are {max} {of} already"),
        ));
    }
    Ok(())
}

pub(super) fn check_alias(alias: &str) -> Result<(), KmsError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'/');
    let name = alias.strip_prefix("alias/");
    let good = name.is_some_and(|name| !name.is_empty() && name.bytes().all(allowed));
    if !good || alias.len() > ALIAS_MAX || alias.starts_with("alias/acs") {
        let message = "an alias is alias/ and then letters, digits, _, - and /, up to 255 characters in all, and does not begin with alias/acs";
        return Err(KmsError::new("InvalidParameter", message).about(alias.escape_debug().to_string()));
    }
    Ok(())
}
