//! What can go wrong in a call, and which errno the caller gets: the one place where this is decided.

use std::fmt;

use rustix::io::Errno;

use super::io::ContentError;
use crate::keys::KeyError;
use crate::names::IndexError;
use crate::store::StoreError;

/// The answer to a call that failed.
///
/// Most are everyday answers ("no such file") and carry nothing but the errno. The others say what an operator
/// should know; they are logged once, where the request is answered.
#[derive(Debug)]
pub struct FsError {
    errno: Errno,
    report: Option<Box<Report>>,
}

#[derive(Debug)]
struct Report {
    what: String,
    serious: bool,
}

/// What every call of the file system answers with.
pub type Result<T> = std::result::Result<T, FsError>;

impl FsError {
    /// An everyday answer.
    #[must_use]
    pub fn errno(errno: Errno) -> Self {
        Self { errno, report: None }
    }

    /// Something in the backing is not what kmsfs wrote there: `EIO`, and a line in the log.
    #[must_use]
    pub fn damaged(what: impl Into<String>) -> Self {
        Self::reported(Errno::IO, what, true)
    }

    /// A failure that the operator should see in the log.
    #[must_use]
    pub fn failed(errno: Errno, what: impl Into<String>) -> Self {
        Self::reported(errno, what, false)
    }

    fn reported(errno: Errno, what: impl Into<String>, serious: bool) -> Self {
        let what = what.into();
        Self {
            errno,
            report: Some(Box::new(Report { what, serious })),
        }
    }

    /// The errno for the caller.
    #[must_use]
    pub fn code(&self) -> Errno {
        self.errno
    }

    /// Says where it happened, if there is anything to say.
    #[must_use]
    pub fn at(mut self, place: impl fmt::Display) -> Self {
        if let Some(report) = &mut self.report {
            report.what = format!("{place}: {}", report.what);
        }
        self
    }

    /// Writes the log line, if this error deserves one.
    pub fn log(&self, call: &str) {
        match &self.report {
            Some(report) if report.serious => {
                tracing::error!(call, errno = %self.errno, "{}", report.what);
            }
            Some(report) => tracing::warn!(call, errno = %self.errno, "{}", report.what),
            None => tracing::trace!(call, errno = %self.errno, "answered"),
        }
    }
}

impl fmt::Display for FsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.report {
            Some(report) => write!(f, "{} ({})", report.what, self.errno),
            None => self.errno.fmt(f),
        }
    }
}

impl std::error::Error for FsError {}

impl From<Errno> for FsError {
    fn from(errno: Errno) -> Self {
        match errno {
            // The daemon's own limits are no news for the caller and all the more for the operator.
            Errno::MFILE | Errno::NFILE => Self::failed(Errno::NFILE, "the daemon is out of file descriptors"),
            Errno::IO => Self::failed(errno, "the backing reports an I/O error"),
            _ => Self::errno(errno),
        }
    }
}

impl From<std::io::Error> for FsError {
    fn from(error: std::io::Error) -> Self {
        match Errno::from_io_error(&error) {
            Some(errno) => errno.into(),
            None => Self::failed(Errno::IO, error.to_string()),
        }
    }
}

impl From<IndexError> for FsError {
    fn from(error: IndexError) -> Self {
        match error {
            IndexError::Listing(errno) => errno.into(),
        }
    }
}

impl From<KeyError> for FsError {
    fn from(error: KeyError) -> Self {
        match error {
            // The lock itself is logged; a line for every call after it would say nothing more.
            KeyError::Locked => Self::errno(error.errno()),
            KeyError::Kms(_) | KeyError::NotAllowed { .. } => Self::failed(error.errno(), error.to_string()),
        }
    }
}

impl From<StoreError> for FsError {
    fn from(error: StoreError) -> Self {
        let errno = Errno::from_raw_os_error(error.errno());
        match error.is_no_space() {
            // The caller is told; a full disk is not worth a line for every call.
            true => Self::errno(errno),
            false => Self::reported(errno, error.to_string(), true),
        }
    }
}

impl From<ContentError> for FsError {
    fn from(error: ContentError) -> Self {
        match error {
            ContentError::Key(error) => error.into(),
            ContentError::Store(error) => error.into(),
            ContentError::Unopened { node, source } => Self::from(source).at(format_args!("file {node}")),
            ContentError::TooLarge { .. } => Self::errno(Errno::FBIG),
            ContentError::ReadOnly { .. } => Self::reported(Errno::ROFS, error.to_string(), true),
            ContentError::Chunk { .. }
            | ContentError::Head { .. }
            | ContentError::Malformed { .. }
            | ContentError::Emptied { .. } => Self::damaged(error.to_string()),
        }
    }
}
