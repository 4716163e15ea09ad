//! The names of a directory under its guard: loaded when first asked for, dropped when there are too many.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use lru::LruCache;
use parking_lot::{MappedRwLockReadGuard, MappedRwLockWriteGuard, RwLockReadGuard, RwLockWriteGuard};
use rustix::io::Errno;

use super::error::{FsError, Result};
use super::filesystem::Fs;
use super::inodes::Inode;
use super::past::unlink_any;
use super::types::NAME_MAX;
use crate::crypto::names::seal_name;
use crate::format::NodeId;
use crate::format::stored_name::NameFlags;
use crate::names::{Entry, Index, Label, Lookup, Placed, place};
use crate::sys::entries;

/// Most names that are kept in memory, over all directories.
const NAMES_MAX: usize = 2_000_000;

/// How long to wait for a directory that somebody is at work in, when its names are told to the kernel.
const GUARD_PATIENCE: Duration = Duration::from_millis(100);

/// The names of a directory, to read.
pub type Names<'a> = MappedRwLockReadGuard<'a, Index>;
/// The names of a directory, to change, with the directory.
pub type NamesMut<'a> = MappedRwLockWriteGuard<'a, Index>;

/// Which directories have their names in memory, the latest loaded last.
pub struct Budget {
    loaded: LruCache<u64, (Weak<Inode>, usize)>,
    names: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            loaded: LruCache::unbounded(),
            names: 0,
        }
    }
}

impl Budget {
    /// Counts nothing for `ino` any more.
    pub fn release(&mut self, ino: u64) {
        if let Some((_, names)) = self.loaded.pop(&ino) {
            self.names = self.names.saturating_sub(names);
        }
    }

    /// Counts `names` for `inode` and says which directories have to give theirs up.
    fn charge(&mut self, inode: &Arc<Inode>, names: usize) -> Vec<Weak<Inode>> {
        let item = (Arc::downgrade(inode), names);
        if let Some((_, (_, before))) = self.loaded.push(inode.ino, item) {
            self.names = self.names.saturating_sub(before);
        }
        self.names += names;
        let mut evicted = Vec::new();
        while self.names > NAMES_MAX && self.loaded.len() > 1 {
            let Some((_, (inode, names))) = self.loaded.pop_lru() else {
                break;
            };
            self.names = self.names.saturating_sub(names);
            evicted.push(inode);
        }
        evicted
    }
}

impl Fs {
    /// The names of `inode`, to read.
    pub(super) fn names<'a>(&self, inode: &'a Arc<Inode>) -> Result<Names<'a>> {
        let guard = inode.names()?.read();
        if let Ok(names) = RwLockReadGuard::try_map(guard, Option::as_ref) {
            return Ok(names);
        }
        let directory = self.directory(inode)?;
        let mut guard = inode.names()?.write();
        self.load(inode, &directory, &mut guard)?;
        let guard = RwLockWriteGuard::downgrade(guard);
        RwLockReadGuard::try_map(guard, Option::as_ref).map_err(|_| FsError::errno(Errno::IO))
    }

    /// The names of `inode`, to change; `directory` is its open directory.
    pub(super) fn names_mut<'a>(&self, inode: &'a Arc<Inode>, directory: &OwnedFd) -> Result<NamesMut<'a>> {
        let mut guard = inode.names()?.write();
        self.load(inode, directory, &mut guard)?;
        RwLockWriteGuard::try_map(guard, Option::as_mut).map_err(|_| FsError::errno(Errno::IO))
    }

    fn load(&self, inode: &Arc<Inode>, directory: &OwnedFd, names: &mut Option<Index>) -> Result<()> {
        if names.is_some() {
            return Ok(());
        }
        let load = |keys: &_| Index::load(keys, directory.as_fd(), inode.node);
        let mut index = self.volume.keyring.with_volume(load)??;
        // What a half-done exchange has left without a place looks like a leftover.
        if !self.volume.read_only && !self.half_moved.load(Ordering::Relaxed) {
            sweep(&mut index, directory);
        }
        let strays = index.strays();
        if strays != Default::default() {
            tracing::warn!(
                directory = %self.stored_path(inode),
                strays.foreign,
                strays.duplicates,
                "entries of the backing that are not the volume's are not shown"
            );
        }
        let evicted = self.budget.lock().charge(inode, index.len());
        *names = Some(index);
        for other in evicted.iter().filter_map(Weak::upgrade) {
            // A directory in use keeps its names; it is only counted no longer.
            if let Some(mut guard) = other.names()?.try_write() {
                *guard = None;
            }
        }
        Ok(())
    }

    /// Forgets every plain name in memory, as when the keys are locked. Who is at work in a directory is waited for, after
    /// all others have been forgotten.
    pub fn forget_names(&self) {
        let mut busy = Vec::new();
        for inode in self.inodes.known().into_iter().filter_map(|ino| self.inodes.peek(ino)) {
            if let Ok(names) = inode.names()
                && names.try_write().map(|mut names| *names = None).is_none()
            {
                busy.push(inode);
            }
        }
        let listings = self.handles.forget_listings();
        for names in busy.iter().flat_map(|inode| inode.names()) {
            *names.write() = None;
        }
        for directory in listings {
            *directory.listing.lock() = None;
        }
    }

    /// Gives every name that the kernel may have an entry for to `each`, with the number of its directory.
    pub fn known_names(&self, mut each: impl FnMut(u64, &[u8])) {
        for ino in self.inodes.known() {
            if let Some(inode) = self.inodes.peek(ino)
                && let Ok(names) = inode.names()
                && let Some(names) = names.try_read_for(GUARD_PATIENCE)
                && let Some(names) = &*names
            {
                names.iter().for_each(|(plain, _)| each(ino, plain));
            }
        }
    }

    /// Seals `label` for `node` in `parent`, ready to be used in `directory`.
    pub(super) fn place(
        &self,
        directory: &OwnedFd,
        parent: &Inode,
        node: NodeId,
        flags: NameFlags,
        label: &Label,
    ) -> Result<Placed> {
        let seal = |keys: &_| seal_name(keys, parent.node, node, flags, &label.to_bytes());
        let name = self.volume.keyring.with_volume(seal)?;
        Ok(place(directory.as_fd(), name)?)
    }
}

/// Checks that `name` may be a name.
///
/// # Errors
/// `ENAMETOOLONG`, or `EINVAL` for what no kernel would ask for.
pub fn check_name(name: &[u8]) -> Result<()> {
    if name.len() > NAME_MAX {
        return Err(FsError::errno(Errno::NAMETOOLONG));
    }
    match Label::parse(name) {
        Some(label) if label.replaces.is_none() => Ok(()),
        _ => Err(FsError::errno(Errno::INVAL)),
    }
}

/// The entry `plain`.
///
/// # Errors
/// `ENOENT`; `EIO` when the backing holds the name twice.
pub fn entry<'a>(names: &'a Index, plain: &[u8]) -> Result<&'a Entry> {
    match names.get(plain) {
        Lookup::Found(entry) => Ok(entry),
        Lookup::Absent => Err(FsError::errno(Errno::NOENT)),
        Lookup::Refused => Err(FsError::damaged("the backing holds a name twice")),
    }
}

/// Checks that there is no `plain`.
///
/// # Errors
/// `EEXIST`; `EIO` when the backing holds the name twice.
pub fn absent(names: &Index, plain: &[u8]) -> Result<()> {
    match entry(names, plain) {
        Ok(_) => Err(FsError::errno(Errno::EXIST)),
        Err(error) if error.code() == Errno::NOENT => Ok(()),
        Err(error) => Err(error),
    }
}

/// Removes what a crash left behind, once what has taken its place is durable.
fn sweep(names: &mut Index, directory: &OwnedFd) {
    let leftovers = names.take_leftovers();
    if leftovers.is_empty() {
        return;
    }
    if let Err(error) = entries::sync(directory) {
        tracing::warn!(%error, "what a crash left behind stays: a directory cannot be synced");
        return;
    }
    for stored in &leftovers {
        match unlink_any(directory, stored) {
            Ok(()) => tracing::info!(stored, "removed what a crash left behind"),
            Err(error) => tracing::warn!(stored, %error, "what a crash left behind stays"),
        }
    }
    if let Err(error) = entries::sync(directory) {
        tracing::warn!(%error, "cannot sync a directory");
    }
}
