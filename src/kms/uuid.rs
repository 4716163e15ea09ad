//! Ids of master keys and their versions: random UUIDs (RFC 9562, version 4) as text.

use data_encoding::HEXLOWER;

/// A new id.
#[must_use]
pub fn random_uuid() -> String {
    let mut bytes: [u8; 16] = crate::format::ids::random_bytes();
    bytes[6] = bytes[6] & 0x0F | 0x40;
    bytes[8] = bytes[8] & 0x3F | 0x80;
    let hex = HEXLOWER.encode(&bytes);
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

/// Whether `text` is an id in the one form that [`random_uuid`] writes: lower case, hyphens in their places.
#[must_use]
pub fn is_uuid(text: &str) -> bool {
    let hyphen = |at| matches!(at, 8 | 13 | 18 | 23);
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match byte {
            b'-' => hyphen(at),
            b'0'..=b'9' | b'a'..=b'f' => !hyphen(at),
            _ => false,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn form() {
        let id = random_uuid();
        assert!(is_uuid(&id), "{id}");
        assert_eq!(id.as_bytes()[14], b'4');
        assert_ne!(id, random_uuid());
        assert!(is_uuid("86a9efd9-3d16-4894-bd4f-1fc43f3f2abf"));
        for wrong in [
            "",
            "86a9efd9",
            "86A9efd9-3d16-4894-bd4f-1fc43f3f2abf",
            "86a9efd93d16-4894-bd4f-1fc43f3f2-abf",
        ] {
            assert!(!is_uuid(wrong), "{wrong}");
        }
    }
}
