//! Secrets, the AEAD suite, key derivation: everything that turns plain into sealed and back. Pure: no I/O.

pub mod secret;

pub use secret::{Key, SecretBytes};
