//! STUB: not secret at all.
#![allow(missing_docs)]
use super::{Tampered, derive::VolumeKeys};
use crate::format::NodeId;
use crate::format::stored_name::{NameFlags, RawName, SHORT_MAX, Sealed};
use sha2::{Digest, Sha256};

pub struct StoredName {
    pub text: String,
    pub side: Option<Vec<u8>>,
}

fn tag(parent: NodeId, node: NodeId, flags: NameFlags, plain: &[u8]) -> [u8; 16] {
    let mut h = Sha256::new();
    h.update(parent.0);
    h.update(node.0);
    h.update([flags.byte()]);
    h.update(plain);
    let d: [u8; 32] = h.finalize().into();
    let mut t = [0; 16];
    t.copy_from_slice(&d[..16]);
    t
}

pub fn seal_name(_vk: &VolumeKeys, parent: NodeId, node: NodeId, flags: NameFlags, plain: &[u8]) -> StoredName {
    let mut sealed = tag(parent, node, flags, plain).to_vec();
    sealed.extend_from_slice(plain);
    if plain.len() <= SHORT_MAX {
        return StoredName { text: RawName { node, flags, sealed: Sealed::Short(sealed) }.text(), side: None };
    }
    let d: [u8; 32] = Sha256::digest(&sealed).into();
    let mut digest = [0; 16];
    digest.copy_from_slice(&d[..16]);
    StoredName { text: RawName { node, flags, sealed: Sealed::Long(digest) }.text(), side: Some(sealed) }
}

pub fn open_name(_vk: &VolumeKeys, parent: NodeId, raw: &RawName, side: Option<&[u8]>) -> Result<Vec<u8>, Tampered> {
    let sealed = match (&raw.sealed, side) {
        (Sealed::Short(s), _) => s.as_slice(),
        (Sealed::Long(_), Some(s)) => s,
        _ => return Err(Tampered),
    };
    let (t, plain) = sealed.split_first_chunk::<16>().ok_or(Tampered)?;
    if *t != tag(parent, raw.node, raw.flags, plain) {
        return Err(Tampered);
    }
    Ok(plain.to_vec())
}
