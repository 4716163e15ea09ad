//! What can be wrong with bytes that claim to be of the format.

use thiserror::Error;

/// A structure from the backing that is not well-formed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FormatError {
    /// Fewer bytes than the structure has.
    #[error("{what} is cut short: {have} bytes of {need}")]
    Short {
        /// The structure.
        what: &'static str,
        /// Bytes that are there.
        have: usize,
        /// Bytes that it takes.
        need: usize,
    },
    /// The first bytes are not those of the structure.
    #[error("{what} does not begin as one: not of this format, or overwritten")]
    Magic {
        /// The structure.
        what: &'static str,
    },
    /// A version or an incompatible feature that this program does not know.
    #[error("{what} is of a newer format ({detail}) than this program knows")]
    Newer {
        /// The structure.
        what: &'static str,
        /// The version or the feature bits.
        detail: String,
    },
    /// A field whose value cannot be.
    #[error("{what} has an impossible {field}")]
    Field {
        /// The structure.
        what: &'static str,
        /// The field.
        field: &'static str,
    },
}
