//! What can go wrong with the content of a file.

use thiserror::Error;

use crate::format::{FormatError, NodeId};
use crate::keys::KeyError;
use crate::store::StoreError;

/// A read, write or resize that failed.
#[derive(Debug, Error)]
pub enum ContentError {
    /// A chunk does not open: its bytes or its tag entry are not what was sealed for this place.
    #[error(
        "chunk {chunk} of file {node}, stored at offset {offset}, does not open: damaged, or not sealed for this place"
    )]
    Chunk {
        /// The file.
        node: NodeId,
        /// The chunk's index.
        chunk: u64,
        /// Where it is stored, in bytes.
        offset: u64,
    },
    /// The head does not open, or is not the head of this file.
    #[error("the head of file {node} does not open: damaged, or the head of another file or volume")]
    Head {
        /// The file.
        node: NodeId,
    },
    /// The head is not even well-formed.
    #[error("file {node}: {source}")]
    Malformed {
        /// The file.
        node: NodeId,
        /// What is wrong with it.
        source: FormatError,
    },
    /// The file's name says that it has content, and there is none.
    #[error("file {node} was emptied outside the mount: its name says that it has content")]
    Emptied {
        /// The file.
        node: NodeId,
    },
    /// The stored file cannot be opened.
    #[error("file {node} cannot be opened in the backing: {source}")]
    Unopened {
        /// The file.
        node: NodeId,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A newer program gave the file features under which this one must not write it (EROFS).
    #[error("file {node} has features {bits:#x} that this version may read but not write")]
    ReadOnly {
        /// The file.
        node: NodeId,
        /// The feature bits.
        bits: u32,
    },
    /// The size is beyond what a file can have (EFBIG).
    #[error("file {node} cannot have {size} bytes")]
    TooLarge {
        /// The file.
        node: NodeId,
        /// The size asked for, in bytes.
        size: u64,
    },
    /// The key is locked, or the KMS did not give it.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The backing failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
