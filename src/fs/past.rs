//! What a crash could bring back: names that were removed, as long as their directory has not been synced since.
//!
//! The backing may forget any removal that was not synced, and keep what was done after it. Two entries of one
//! plain name are told apart by their labels (`names::Label`), so a new entry has to say whom it follows, and that
//! is what is remembered here. In memory only: a mount begins with everything durable.

use std::collections::HashMap;
use std::os::fd::AsFd;

use parking_lot::Mutex;
use rustix::fs::AtFlags;
use rustix::io::{self, Errno};

use super::error::Result;
use super::filesystem::Fs;
use super::remove::Folder;
use super::types::Kind;
use crate::format::NodeId;
use crate::names::{Entry, Label, Line, remove_side};
use crate::sys::entries;

/// Most removed names that are remembered before everything is synced to forget them.
const NAMES_MAX: usize = 100_000;

/// The past of all directories.
#[derive(Default)]
pub struct Past(Mutex<State>);

#[derive(Default)]
struct State {
    /// Counts what has happened.
    now: u64,
    directories: HashMap<NodeId, Directory>,
    names: usize,
}

#[derive(Default)]
struct Directory {
    removed: HashMap<Box<[u8]>, Removed>,
    /// When a replaced entry was last removed.
    buried: Option<u64>,
    /// Replaced entries that are in the backing still.
    unburied: Vec<Box<str>>,
}

/// A name that a crash could bring back.
struct Removed {
    /// Whom an entry follows that gets this name now.
    next: Line,
    /// It may be followed: nothing is lost with it.
    ended: bool,
    when: u64,
}

/// Why an entry leaves its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaving {
    /// It is removed.
    Removed,
    /// It has got another name.
    Moved,
}

impl Past {
    /// What has happened until now, for [`Past::synced`].
    pub fn now(&self) -> u64 {
        self.0.lock().now
    }

    /// `directory` was synced: what had happened in it until `then` is durable.
    pub fn synced(&self, directory: NodeId, then: u64) {
        self.0.lock().settle(directory, then);
    }

    /// Everything was synced.
    pub fn all_synced(&self, then: u64) {
        let mut state = self.0.lock();
        let directories: Vec<NodeId> = state.directories.keys().copied().collect();
        directories
            .into_iter()
            .for_each(|directory| state.settle(directory, then));
    }

    /// `directory` is no more.
    pub fn gone(&self, directory: NodeId) {
        let mut state = self.0.lock();
        if let Some(gone) = state.directories.remove(&directory) {
            state.names -= gone.removed.len();
        }
    }

    /// `entry` is no longer called `plain`. Says whether more is remembered than should be.
    fn left(&self, directory: NodeId, plain: &[u8], entry: &Entry, leaving: Leaving) -> bool {
        let mut state = self.0.lock();
        let removed = Removed {
            next: entry.next(plain),
            // What is in a directory that came back could not be removed along with it; and if it is the new name
            // that was forgotten, the old one is all there is.
            ended: leaving == Leaving::Removed && entry.kind != Kind::Directory,
            when: state.tick(),
        };
        let known = state.directories.entry(directory).or_default();
        if known.removed.insert(plain.into(), removed).is_none() {
            state.names += 1;
        }
        state.names > NAMES_MAX
    }

    /// Whom a new entry `plain` follows, and whether it may.
    fn before(&self, directory: NodeId, plain: &[u8]) -> Option<(Line, bool)> {
        let state = self.0.lock();
        let removed = state.directories.get(&directory)?.removed.get(plain)?;
        Some((removed.next, removed.ended))
    }

    fn buried(&self, directory: NodeId, left: Option<&str>) {
        let mut state = self.0.lock();
        let now = state.tick();
        let known = state.directories.entry(directory).or_default();
        known.buried = Some(now);
        known.unburied.extend(left.map(Into::into));
    }

    fn owes(&self, directory: NodeId) -> bool {
        let state = self.0.lock();
        let known = state.directories.get(&directory);
        known.is_some_and(|known| known.buried.is_some() || !known.unburied.is_empty())
    }

    fn unburied(&self, directory: NodeId) -> Vec<Box<str>> {
        let state = self.0.lock();
        let known = state.directories.get(&directory);
        known.map(|known| known.unburied.clone()).unwrap_or_default()
    }

    fn laid(&self, directory: NodeId, stored: &str) {
        if let Some(known) = self.0.lock().directories.get_mut(&directory) {
            known.unburied.retain(|left| **left != *stored);
        }
    }
}

impl State {
    fn tick(&mut self) -> u64 {
        self.now += 1;
        self.now
    }

    fn settle(&mut self, directory: NodeId, then: u64) {
        let Some(known) = self.directories.get_mut(&directory) else {
            return;
        };
        let before = known.removed.len();
        known.removed.retain(|_, removed| removed.when > then);
        self.names -= before - known.removed.len();
        known.buried = known.buried.filter(|when| *when > then);
        if known.removed.is_empty() && known.buried.is_none() && known.unburied.is_empty() {
            self.directories.remove(&directory);
        }
    }
}

impl Fs {
    /// The label of a new entry `plain` of `folder`, in which there is none of that name.
    ///
    /// # Errors
    /// As fsync(2).
    pub(super) fn label(&self, folder: &Folder, plain: &[u8]) -> Result<Label> {
        let replaces = match self.past.before(folder.inode.node, plain) {
            Some((line, true)) => Some(line),
            Some((_, false)) => {
                self.sync_entries(folder)?;
                None
            }
            None => None,
        };
        Ok(Label {
            plain: plain.into(),
            replaces,
        })
    }

    /// Makes the entries of `folder` durable.
    pub(super) fn sync_entries(&self, folder: &Folder) -> Result<()> {
        let now = self.past.now();
        if !self.volume.volatile {
            entries::sync(&folder.open)?;
        }
        self.past.synced(folder.inode.node, now);
        Ok(())
    }

    /// Notes that `entry` is no longer called `plain` in `folder`. The caller holds the directory's guard.
    pub(super) fn has_left(&self, folder: &Folder, plain: &[u8], entry: &Entry, leaving: Leaving) {
        if self.past.left(folder.inode.node, plain, entry, leaving)
            && let Err(error) = self.sync_everything()
        {
            tracing::warn!(%error, "cannot sync the backing");
        }
    }

    /// Makes sure, before `entry` leaves its name, that nothing which it has replaced comes back then.
    ///
    /// # Errors
    /// As fsync(2) and unlink(2).
    pub(super) fn before_leaving(&self, folder: &Folder, entry: &Entry) -> Result<()> {
        match entry.replaces.is_some() && self.past.owes(folder.inode.node) {
            true => self.clear_replaced(folder),
            false => Ok(()),
        }
    }

    /// Removes what `entry` has replaced in `folder`, once that is durable.
    pub(super) fn bury(&self, folder: &Folder, replaced: &Entry) {
        let durable = self.sync_entries(folder);
        let left = match durable.and_then(|()| self.remove_entry(folder, replaced)) {
            Ok(()) => {
                self.past.gone(replaced.node);
                None
            }
            Err(error) => {
                // It is not a name any more, whatever the backing says: the new one has replaced it.
                tracing::warn!(stored = %replaced.stored, %error, "a replaced entry stays in the backing for now");
                Some(&*replaced.stored)
            }
        };
        self.past.buried(folder.inode.node, left);
    }

    /// Removes the replaced entries that are in `folder` still, durably.
    ///
    /// # Errors
    /// As fsync(2) and unlink(2).
    pub(super) fn clear_replaced(&self, folder: &Folder) -> Result<()> {
        let unburied = self.past.unburied(folder.inode.node);
        if !unburied.is_empty() {
            self.sync_entries(folder)?;
        }
        for stored in &unburied {
            match unlink_any(&folder.open, stored) {
                Ok(()) | Err(Errno::NOENT) => self.past.laid(folder.inode.node, stored),
                Err(error) => return Err(error.into()),
            }
        }
        self.sync_entries(folder)?;
        unburied
            .iter()
            .for_each(|stored| remove_side(folder.open.as_fd(), stored));
        Ok(())
    }

    /// Removes the replaced entries that are in `folder` still, if there are any, before it is removed itself.
    ///
    /// # Errors
    /// As fsync(2) and unlink(2).
    pub(super) fn before_removal(&self, folder: &Folder) -> Result<()> {
        match self.past.unburied(folder.inode.node).is_empty() {
            true => Ok(()),
            false => self.clear_replaced(folder),
        }
    }

    /// Makes all entries of all directories durable, and all content that was committed.
    ///
    /// # Errors
    /// As syncfs(2).
    pub(super) fn sync_everything(&self) -> Result<()> {
        let now = self.past.now();
        if !self.volume.volatile {
            entries::sync_all(&self.volume.root)?;
        }
        self.past.all_synced(now);
        Ok(())
    }
}

/// Removes an entry, whatever it is.
pub(super) fn unlink_any(directory: impl AsFd, stored: &str) -> io::Result<()> {
    match entries::unlink(&directory, stored, AtFlags::empty()) {
        Err(Errno::ISDIR) => entries::unlink(&directory, stored, AtFlags::REMOVEDIR),
        other => other,
    }
}
