//! STUB of the room `crypto` for the file system's branch.
#![allow(missing_docs)]
pub mod names;
pub mod values;
pub mod derive {
    pub struct VolumeKeys;
}
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tampered;
