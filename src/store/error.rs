//! What can go wrong with the medium, and where.

use std::fmt;
use std::io;

use thiserror::Error;

use super::medium::StoredPath;
use crate::format::NodeId;

/// A failure of the store. Each keeps the errno of the call that failed.
#[derive(Debug, Error)]
pub enum StoreError {
    /// A call on a stored file failed.
    #[error("cannot {doing} {place}: {source}")]
    File {
        /// What was being done.
        doing: &'static str,
        /// Where.
        place: Box<Place>,
        /// The call's failure.
        source: io::Error,
    },
    /// A call on the journal failed.
    #[error("cannot {doing} the journal at {offset}: {source}")]
    Journal {
        /// What was being done.
        doing: &'static str,
        /// The offset in the journal.
        offset: u64,
        /// The call's failure.
        source: io::Error,
    },
    /// A call on the backing as a whole failed.
    #[error("cannot {doing} the backing: {source}")]
    Backing {
        /// What was being done.
        doing: &'static str,
        /// The call's failure.
        source: io::Error,
    },
    /// An earlier sync of this file failed, so nothing can be said of what is durable until it is reopened.
    #[error("an earlier sync of {place} failed: {}", io::Error::from_raw_os_error(*errno))]
    FileLatched {
        /// The file.
        place: Box<Place>,
        /// The errno of the sync that failed.
        errno: i32,
    },
    /// The journal failed earlier, so nothing more can be made durable until the volume is mounted anew.
    #[error("the journal failed earlier, the volume takes no more writes: {}", io::Error::from_raw_os_error(*errno))]
    JournalLatched {
        /// The errno of the call that failed.
        errno: i32,
    },
    /// One change needs more of the journal than a segment has.
    #[error("a change of {need} bytes does not fit a journal segment of {have}")]
    TooLarge {
        /// Bytes of the change.
        need: u64,
        /// Bytes that a segment takes.
        have: u64,
    },
    /// The journal contradicts itself in a way that no crash explains.
    #[error("the journal is damaged: {detail}")]
    Damaged {
        /// What contradicts what.
        detail: String,
    },
    /// The journal holds records, and the backing can not be written to.
    #[error("the volume was not unmounted and its journal holds {records} records, but the backing is read-only")]
    NeedsRecovery {
        /// Records that recovery would apply.
        records: u64,
    },
    /// A change that contradicts itself: the caller's mistake.
    #[error("impossible change to {place}: {detail}")]
    Misuse {
        /// The file.
        place: Box<Place>,
        /// What is wrong with it.
        detail: &'static str,
    },
}

/// A place in the backing.
#[derive(Debug, Clone)]
pub struct Place {
    /// The file.
    pub node: NodeId,
    /// Where it was last seen.
    pub path: StoredPath,
    /// The chunk, if it is about one.
    pub chunk: Option<u64>,
    /// The stored offset.
    pub offset: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "file {} ({})", self.node, self.path)?;
        if let Some(chunk) = self.chunk {
            write!(f, ", chunk {chunk}")?;
        }
        write!(f, ", stored offset {}", self.offset)
    }
}

impl StoreError {
    /// The errno that a program should get.
    #[must_use]
    pub fn errno(&self) -> i32 {
        match self {
            Self::File { source, .. } | Self::Journal { source, .. } | Self::Backing { source, .. } => {
                source.raw_os_error().unwrap_or(libc::EIO)
            }
            Self::FileLatched { errno, .. } | Self::JournalLatched { errno } => *errno,
            Self::NeedsRecovery { .. } => libc::EROFS,
            Self::TooLarge { .. } | Self::Damaged { .. } => libc::EIO,
            Self::Misuse { .. } => libc::EINVAL,
        }
    }

    /// Whether this is a lack of space or quota, which may pass.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        matches!(self.errno(), libc::ENOSPC | libc::EDQUOT)
    }
}
