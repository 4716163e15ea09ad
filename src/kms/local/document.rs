//! The store's file as bytes. Four lines: a title, the header (which store, how its root key is got), the master
//! keys, and an authentication code over all that, so that no state can be changed by editing.

use serde::{Deserialize, Serialize};

use super::ring::Ring;
use super::root::{Method, RootKey};
use crate::kms::KmsError;
use crate::kms::uuid::is_uuid;

/// Most bytes of a store's file.
pub(super) const FILE_MAX: usize = 16 << 20;

const TITLE: &str = "kmsfs key store ";
/// What is written. Format 1 is read too: it has symmetric keys only, without rotation, tags and protection.
const VERSION: &str = "2";
const CODE: &[u8] = b"mac ";

/// What must be known before the root key is there. Not authentic until [`open`] has succeeded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    /// The store's id.
    pub store: String,
    /// How its root key is got.
    pub root: Method,
    /// [`RootKey::check`] of the right one.
    pub check: String,
}

/// The bytes of a store.
pub(super) fn write(header: &Header, ring: &Ring, root: &RootKey) -> Result<Vec<u8>, KmsError> {
    let fault = |error: serde_json::Error| KmsError::new("InternalFailure", error.to_string());
    let header = serde_json::to_string(header).map_err(fault)?;
    let ring = serde_json::to_string(ring).map_err(fault)?;
    let mut text = format!("{TITLE}{VERSION}\n{header}\n{ring}\n");
    let code = root.authenticate(text.as_bytes());
    text.push_str(&format!("mac {code}\n"));
    if text.len() > FILE_MAX {
        let message = format!("the key store would be longer than {FILE_MAX} bytes");
        return Err(KmsError::new("Rejected.LimitExceeded", message));
    }
    Ok(text.into_bytes())
}

/// The header of a store.
pub(super) fn read_header(bytes: &[u8]) -> Result<Header, KmsError> {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let title = lines.next().and_then(|line| line.strip_prefix(TITLE.as_bytes()));
    match title {
        Some(b"1" | b"2") => {}
        Some([b'3'..=b'9', ..] | [b'1' | b'2', b'0'..=b'9', ..]) => {
            return Err(KmsError::new("KeyStore.Newer", "the key store is of a newer format"));
        }
        _ => {
            return Err(KmsError::new("KeyStore.Damaged", "this is not a kmsfs key store"));
        }
    }
    let header: Header = serde_json::from_slice(lines.next().unwrap_or_default()).map_err(damaged)?;
    if !is_uuid(&header.store) {
        return Err(damaged("its id"));
    }
    Ok(header)
}

/// The master keys of a store, authentic and sound.
pub(super) fn open(bytes: &[u8], root: &RootKey) -> Result<Ring, KmsError> {
    let end = bytes.strip_suffix(b"\n").ok_or_else(|| damaged("its end is missing"))?;
    let start = end.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let (text, last) = end.split_at(start);
    let code = last.strip_prefix(CODE).ok_or_else(|| damaged("its end is missing"))?;
    if !root.is_authentic(text, code) {
        return Err(damaged(
            "its authentication code does not match: it was changed by something else than kmsfs",
        ));
    }
    let body = text.split(|byte| *byte == b'\n').nth(2).unwrap_or_default();
    let ring: Ring = serde_json::from_slice(body).map_err(damaged)?;
    if !ring.is_sound() {
        return Err(damaged("its keys and aliases contradict each other"));
    }
    Ok(ring)
}

fn damaged(why: impl std::fmt::Display) -> KmsError {
    KmsError::new("KeyStore.Damaged", format!("the key store is damaged: {why}"))
}
