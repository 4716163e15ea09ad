//! Why a directory could not be made, or opened as, a volume.

use std::io;

use thiserror::Error;

use super::Holder;
use crate::format::FormatError;
use crate::keys::KeyError;
use crate::kms::KmsError;
use crate::store::StoreError;

/// A volume that cannot be made or opened. Which directory it is, the caller knows and says.
#[derive(Debug, Error)]
pub enum VolumeError {
    /// There is no descriptor: the directory is not a volume.
    #[error("it is not a kmsfs volume: there is no file kmsfs.volume in it")]
    NotAVolume,
    /// The directory holds something already.
    #[error("it is not empty: it holds {0:?}")]
    NotEmpty(String),
    /// The descriptor is not well-formed, or of a newer format.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A newer program gave the volume features under which this one must not write it.
    #[error("it has features that this version may read but not write: {0}")]
    ReadOnly(String),
    /// The descriptor was edited, or belongs to other keys.
    #[error("the volume descriptor does not open: it was edited or damaged")]
    Tampered,
    /// Another mount writes to the volume.
    #[error("it is mounted already, by {0}")]
    Held(Holder),
    /// The KMS did not give the volume key.
    #[error(transparent)]
    Kms(#[from] KmsError),
    /// The keyring could not be filled.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The journal could not be recovered or opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The backing failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
}

impl VolumeError {
    pub(super) fn io(what: &'static str) -> impl Fn(rustix::io::Errno) -> Self {
        move |errno| Self::Io {
            what,
            source: errno.into(),
        }
    }

    pub(super) fn std(what: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }
}
