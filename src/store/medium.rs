//! What the store asks of a medium: a handful of calls, so that a simulated one can stand in for a
//! file system and lose power at every one of them.
//!
//! What is assumed of a medium stands in FORMAT.md ("assumptions"): a sync is durable, bytes outside a
//! write do not change. Nothing is assumed about how much of a write that was not synced survives.

use std::collections::BTreeSet;
use std::fmt;
use std::io;

use crate::format::NodeId;
use crate::format::journal::HINT_MAX;

/// A directory tree with stored files and a journal.
pub trait Medium: Send + Sync {
    /// Opens the journal; `None` when there is none and `create` is not set. A journal that was created is
    /// in its directory durably before this returns.
    ///
    /// # Errors
    /// Those of the medium.
    fn journal(&self, create: bool) -> io::Result<Option<Box<dyn StoredFile>>>;

    /// Whether the medium can be written to.
    fn is_writable(&self) -> bool;

    /// Makes everything durable: all files, all directories.
    ///
    /// # Errors
    /// Those of the medium.
    fn sync_everything(&self) -> io::Result<()>;

    /// Opens the stored file of `node` if it stands at `hint`. The hint comes from the journal, so it is
    /// not to be trusted: nothing outside the tree, no symlink on the way, and no file whose stored name
    /// does not carry `node`, is ever opened.
    ///
    /// # Errors
    /// Those of the medium; that the hint leads nowhere is not one.
    fn find(&self, node: NodeId, hint: &StoredPath) -> io::Result<Option<Box<dyn StoredFile>>>;

    /// Walks the whole tree once and hands over the stored file of each of `nodes` that it meets.
    ///
    /// # Errors
    /// Those of the medium, and of `found`.
    fn find_all(&self, nodes: &BTreeSet<NodeId>, found: &mut Found<'_>) -> io::Result<()>;
}

/// Takes a file that a walk was looking for.
pub type Found<'a> = dyn FnMut(NodeId, Box<dyn StoredFile>) -> io::Result<()> + 'a;

/// An open stored file, or the journal.
#[allow(clippy::len_without_is_empty)] // Nobody asks whether one is empty.
pub trait StoredFile: Send + Sync {
    /// Reads until `buf` is full or the file ends; returns how much that was.
    ///
    /// # Errors
    /// Those of the medium.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `data`.
    ///
    /// # Errors
    /// Those of the medium; then any part of `data` may have been written.
    fn write_all_at(&self, data: &[u8], offset: u64) -> io::Result<()>;

    /// The length of the file.
    ///
    /// # Errors
    /// Those of the medium.
    fn len(&self) -> io::Result<u64>;

    /// Cuts or extends the file.
    ///
    /// # Errors
    /// Those of the medium.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Gives the space of a range back; it reads as zeros then. A medium that can not may do nothing.
    ///
    /// # Errors
    /// Those of the medium.
    fn punch_hole(&self, offset: u64, len: u64) -> io::Result<()>;

    /// Makes sure that writing to a range will not lack space; neither content nor length change. A medium
    /// that can not promise that may do nothing.
    ///
    /// # Errors
    /// Those of the medium.
    fn allocate(&self, offset: u64, len: u64) -> io::Result<()>;

    /// Makes content and length durable.
    ///
    /// # Errors
    /// Those of the medium.
    fn sync_data(&self) -> io::Result<()>;

    /// Makes everything durable, the file's existence too.
    ///
    /// # Errors
    /// Those of the medium.
    fn sync_all(&self) -> io::Result<()>;

    /// Whether the file has a name.
    ///
    /// # Errors
    /// Those of the medium.
    fn is_linked(&self) -> io::Result<bool>;

    /// When the content was modified last.
    ///
    /// # Errors
    /// Those of the medium.
    fn modified(&self) -> io::Result<Modified>;

    /// Says when the content was modified last; `None` is now.
    ///
    /// # Errors
    /// Those of the medium.
    fn set_modified(&self, when: Option<Modified>) -> io::Result<()>;
}

/// A time of modification, as `struct timespec` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Modified {
    /// Seconds since 1970.
    pub seconds: i64,
    /// Nanoseconds of the second.
    pub nanoseconds: u32,
}

/// The path of a stored file from the backing's root: stored names with `/` between them. Only a hint.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoredPath(Vec<u8>);

impl StoredPath {
    /// A path; one too long for a hint becomes the empty one, which leads nowhere.
    #[must_use]
    pub fn new(path: impl Into<Vec<u8>>) -> Self {
        let path = path.into();
        Self(if path.len() <= HINT_MAX { path } else { Vec::new() })
    }

    /// The bytes of the path.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The names from the root on; `None` when one of them is none.
    #[must_use]
    pub fn names(&self) -> Option<Vec<&[u8]>> {
        let names: Vec<_> = self.0.split(|byte| *byte == b'/').collect();
        let is_name = |name: &&[u8]| !matches!(**name, [] | [b'.'] | [b'.', b'.']) && !name.contains(&0);
        names.iter().all(is_name).then_some(names)
    }
}

impl fmt::Display for StoredPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

/// Writes zeros over the `len` bytes of a new journal. Space that is reserved and was never written costs a file system
/// like ext4 a commit of its own journal with the first sync of each part: a quarter of the speed of small synchronous
/// writes.
///
/// # Errors
/// Those of the medium.
pub(super) fn fill(file: &dyn StoredFile, len: u64) -> io::Result<()> {
    let zeros = vec![0; 1 << 20];
    let mut offset = 0;
    while offset < len {
        let part = (len - offset).min(zeros.len() as u64);
        file.write_all_at(&zeros[..part as usize], offset)?;
        offset += part;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_that_leaves_the_tree_leads_nowhere() {
        for path in ["", "/etc/passwd", "..", "a/../b", "a//b", "a/", "./a", "a/\0"] {
            assert_eq!(StoredPath::new(path).names(), None, "{path}");
        }
        let long = "a/".repeat(HINT_MAX);
        assert_eq!(StoredPath::new(long).names(), None);
        assert_eq!(StoredPath::new("a/b").names(), Some(vec![&b"a"[..], b"b"]));
    }
}
