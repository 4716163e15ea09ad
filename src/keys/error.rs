//! Why there is no key.

use rustix::io::Errno;
use thiserror::Error;

use crate::kms::KmsError;

/// Why there is no key.
#[derive(Debug, Clone, Error)]
pub enum KeyError {
    /// The volume is locked: its keys were wiped, by command or because the KMS denied them.
    #[error("the volume is locked")]
    Locked,
    /// The KMS refused or could not be asked.
    #[error(transparent)]
    Kms(#[from] KmsError),
    /// A wrapped key names a master key that is not the volume's. The KMS was not asked.
    #[error("a stored key names the master key {found:?}, which is not one of this volume's")]
    NotAllowed {
        /// The master key that is named.
        found: String,
    },
}

impl KeyError {
    /// What a program sees.
    #[must_use]
    pub fn errno(&self) -> Errno {
        match self {
            KeyError::Locked => Errno::KEYREVOKED,
            KeyError::Kms(error) => error.errno(),
            KeyError::NotAllowed { .. } => Errno::KEYREJECTED,
        }
    }

    /// What to do, as one line without full stop.
    #[must_use]
    pub fn help(&self) -> &'static str {
        match self {
            KeyError::Locked => "unlock it with `kmsfs unlock`, once its master key may be used again",
            KeyError::Kms(error) => error.help(),
            KeyError::NotAllowed { .. } => "the file was put here from elsewhere, or altered; restore it",
        }
    }
}
