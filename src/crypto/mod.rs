//! Secrets, the AEAD suite, key derivation: everything that turns plain into sealed and back.
//!
//! Pure: no I/O, and no decision about what to do when something does not open; that is [`Tampered`].

pub mod aead;
pub mod chunk;
pub mod derive;
pub mod descriptor;
pub mod envelope;
pub mod head;
pub mod names;
pub mod secret;
pub mod values;

pub use aead::Tampered;
pub use derive::{FileKeys, VolumeKeys, file_keys, volume_keys};
pub use secret::{Key, SecretBytes};
