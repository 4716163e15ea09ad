//! Sealed bytes made durable: chunk files, the redo journal, commit, checkpoint, recovery. Knows no key and no plain text.
//!
//! A file in use is a [`Content`]; the order in which a commit and a checkpoint do things, and why, stands at
//! the top of `commit` and `checkpoint`; what a crash leaves at each point, in FORMAT.md.

mod checkpoint;
mod commit;
mod content;
#[cfg(test)]
mod crash;
mod error;
#[cfg(test)]
mod faults;
mod journal;
mod medium;
#[cfg(test)]
mod mutation;
mod open;
mod overlay;
mod place;
mod plan;
mod posix;
mod put;
mod reach;
mod recovery;
mod reserved;
mod shared;
#[cfg(test)]
mod sim;
#[cfg(test)]
mod threads;
#[cfg(test)]
mod toy;

pub use crate::format::journal::Run;
pub use content::Content;
pub use error::{Place, StoreError};
pub use journal::{JOURNAL_MIN, JournalUse};
pub use medium::{Found, Medium, Modified, StoredFile, StoredPath};
pub use open::{Store, StoreStatus};
pub use place::{Failed as PlaceError, read as read_run, write as write_run};
pub use posix::{JOURNAL, PosixFile, PosixMedium};
pub use put::Change;
pub use recovery::{Recovery, pending};
pub use shared::Settings;
#[cfg(test)]
pub(crate) use sim::Rng;
