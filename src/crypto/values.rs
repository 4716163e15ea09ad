//! STUB: not secret at all.
#![allow(missing_docs)]
use super::{Tampered, derive::VolumeKeys};
use crate::format::NodeId;
#[derive(Debug, Clone, Copy)]
pub enum Purpose { SymlinkTarget, XattrName, XattrValue }
pub fn seal_value(_vk: &VolumeKeys, p: Purpose, _n: NodeId, _c: &[u8], plain: &[u8]) -> Vec<u8> {
    let mut v = vec![p as u8; 16];
    v.extend(plain.iter().map(|b| b ^ 0x55));
    v
}
pub fn open_value(_vk: &VolumeKeys, p: Purpose, _n: NodeId, _c: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Tampered> {
    let (t, rest) = sealed.split_first_chunk::<16>().ok_or(Tampered)?;
    if *t != [p as u8; 16] { return Err(Tampered); }
    Ok(rest.iter().map(|b| b ^ 0x55).collect())
}
