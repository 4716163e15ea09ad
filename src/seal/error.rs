//! Why a single file could not be sealed or unsealed. Which file it is, the caller knows and says.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::format::{FormatError, NodeId};
use crate::kms::KmsError;
use crate::store::PlaceError;
use crate::volume::VolumeError;

/// A file that was not sealed, or not unsealed.
#[derive(Debug, Error)]
pub enum SealError {
    /// The input fails.
    #[error("{doing}: {source}")]
    Input {
        /// What was being done.
        doing: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
    /// The output fails.
    #[error("writing the output: {0}")]
    Output(io::Error),
    /// A sealed file fails, being read or written.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The input became another one meanwhile.
    #[error("it changed while it was being sealed")]
    Changed,
    /// More bytes than a file can have.
    #[error("{0} bytes are more than a sealed file can hold")]
    TooLarge(u64),
    /// The input is not a sealed file at all.
    #[error(transparent)]
    Malformed(#[from] FormatError),
    /// There is nothing in the file, or only zeros where its head should be.
    #[error("it is empty, or zeros: there is no head of a sealed file")]
    Empty,
    /// Its name says that it has content.
    #[error("it was emptied: its stored name says that it has content")]
    Emptied,
    /// The head is not one that this key vouches for.
    #[error("its head does not open: damaged, or the head of another file or volume")]
    Head,
    /// A chunk does not open.
    #[error("chunk {chunk}, stored at offset {offset}, does not open: damaged, cut off, or not sealed for this place")]
    Chunk {
        /// The chunk's index.
        chunk: u64,
        /// Where it is stored, in bytes.
        offset: u64,
    },
    /// Bytes behind the end, which nobody vouches for.
    #[error(
        "it has {have} bytes, but ends at offset {end}: what follows was left by a crash, or put there by somebody"
    )]
    Trailing {
        /// Its length, in bytes.
        have: u64,
        /// The length that its head says, in bytes.
        end: u64,
    },
    /// The stored name is another file's.
    #[error("it holds file {found}, but its stored name is that of file {named}: somebody has swapped files")]
    Swapped {
        /// The file that the name names.
        named: NodeId,
        /// The file whose head it is.
        found: NodeId,
    },
    /// The head belongs to another volume than the descriptor above it.
    #[error("it is not a file of the volume in whose directory it lies")]
    OtherVolume,
    /// The wrapped key names a master key that is not the volume's. The KMS was not asked.
    #[error("its key is wrapped by the master key {0:?}, which is not the volume's")]
    NotAllowed(String),
    /// The newest version is in the journal of the volume in this directory, not here.
    #[error("the volume's journal has newer content of it: the volume was not unmounted, or its host has crashed")]
    Pending(PathBuf),
    /// The volume is not fit.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// The KMS gives no key.
    #[error(transparent)]
    Kms(#[from] KmsError),
    /// The envelope file of the guide is not one.
    #[error("line {line}: {why}")]
    Guide {
        /// The line, from 1.
        line: u8,
        /// What is wrong there.
        why: String,
    },
    /// The envelope file does not open.
    #[error("it does not open: the tag in line 4 is not that of this nonce, ciphertext and key")]
    GuideTag,
    /// Whoever watches has said to stop.
    #[error("interrupted")]
    Interrupted,
}

impl SealError {
    pub(super) fn input(doing: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::Input { doing, source }
    }
}
