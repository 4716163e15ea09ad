//! Key management services: the traits, errors by remedy, the client of Alibaba Cloud KMS, the embedded key store.
//!
//! Knows master keys, wrapped keys and contexts; knows no volume and no file.

pub mod alibaba;
pub mod api;
pub mod blob;
pub mod clock;
pub mod context;
pub mod emulator;
pub mod ephemeral;
pub mod error;
pub mod local;
#[cfg(test)]
pub(crate) mod scripted;
pub mod signature;
pub mod uuid;

pub use api::{
    Alias, Direct, GeneratedKey, KeyMetadata, KeySpec, KeyState, KeyUsage, KeyVersion, Kms, KmsAdmin, KmsDirect,
    KmsService, KmsSigner, NewKey, Rotation, RotationState, SignAlgorithm,
};
pub use clock::{Clock, SystemClock};
pub use context::EncryptionContext;
pub use error::{KmsError, Remedy, Retry};
