//! From an inode to its place in the backing, without a descriptor for each inode.
//!
//! An inode knows one of its names and its directory; directories are opened along that chain and the latest
//! used ones kept open. Names may change meanwhile (a rename, a promotion), so what comes back with "no such
//! entry" is looked up again.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLockReadGuard;
use rustix::fs::{Mode, openat};
use rustix::io::{self, Errno};

use super::error::{FsError, Result};
use super::filesystem::Fs;
use super::inodes::{Inode, Link, Place};
use super::spot::Spot;
use crate::names::Index;
use crate::store::StoredPath;
use crate::sys::open::DIRECTORY;
use crate::sys::stat::stat;

/// How often a call is tried again because the name it used was changed under it.
const ATTEMPTS: usize = 8;
/// How long it waits each time for whoever changes the name. Not for ever, because it may hold one of the guards.
const PATIENCE: Duration = Duration::from_millis(20);

impl Fs {
    /// The backing's directory of `inode`, open.
    pub(super) fn directory(&self, inode: &Inode) -> Result<Arc<OwnedFd>> {
        inode.names()?;
        for _ in 1..ATTEMPTS {
            match self.open_chain(inode.ino) {
                Err(error) if error.code() == Errno::NOENT => self.wait_for_renames(inode.ino),
                other => return other,
            }
        }
        self.open_chain(inode.ino)
    }

    fn open_chain(&self, ino: u64) -> Result<Arc<OwnedFd>> {
        let mut below = Vec::new();
        let mut at = ino;
        let mut directory = loop {
            if let Some(open) = self.directories.lock().get(&at) {
                break open.clone();
            }
            match self.inodes.place(at)? {
                Place::Held(held) => break held,
                Place::Named(link) => {
                    below.push((at, link.stored));
                    at = link.parent;
                }
            }
        };
        while let Some((ino, stored)) = below.pop() {
            let open = Arc::new(self.open_below(&directory, &stored, ino)?);
            let evicted = self.directories.lock().push(ino, open.clone());
            drop(evicted);
            directory = open;
        }
        Ok(directory)
    }

    fn open_below(&self, parent: &OwnedFd, stored: &str, ino: u64) -> Result<OwnedFd> {
        let open = openat(parent, stored, DIRECTORY, Mode::empty())?;
        let stat = stat(open.as_fd(), "")?;
        self.same_device(&stat)?;
        if self.ino_of(stat.inode) != ino {
            return Err(FsError::damaged(format!("{stored}: another directory is in its place")));
        }
        Ok(open)
    }

    /// Where `inode` is now.
    pub(super) fn spot(&self, inode: &Inode) -> Result<Spot> {
        match self.inodes.place(inode.ino)? {
            Place::Held(held) => Ok(Spot::Held(held)),
            Place::Named(link) => self.spot_of(link),
        }
    }

    fn spot_of(&self, link: Link) -> Result<Spot> {
        let parent = self.inode(link.parent)?;
        Ok(Spot::Named(self.directory(&parent)?, link.stored))
    }

    /// Does `call` where `inode` is; see [`Fs::there`].
    pub(super) fn on<T>(&self, inode: &Inode, call: impl Fn(&Spot) -> io::Result<T>) -> Result<T> {
        self.there(inode, |spot| Ok(call(spot)?))
    }

    /// Does `work` where `inode` is, again if the name was changed under it: then while nobody can change it.
    pub(super) fn there<T>(&self, inode: &Inode, work: impl Fn(&Spot) -> Result<T>) -> Result<T> {
        match work(&self.spot(inode)?) {
            Err(error) if error.code() == Errno::NOENT => {}
            other => return other,
        }
        for _ in 1..ATTEMPTS {
            let parent = self.parent(inode.ino);
            let _still = parent.as_ref().and_then(|parent| still(parent));
            match work(&self.spot(inode)?) {
                Err(error) if error.code() == Errno::NOENT => {}
                other => return other,
            }
        }
        work(&self.spot(inode)?)
    }

    /// Waits until whoever is renaming `ino`, or a directory above it, has said so in the table: the backing's name
    /// changes a little earlier, under the directory's guard.
    fn wait_for_renames(&self, ino: u64) {
        let mut below = self.parent(ino);
        while let Some(parent) = below {
            drop(still(&parent));
            below = self.parent(parent.ino);
        }
    }

    /// The directory that `ino` has a name in.
    fn parent(&self, ino: u64) -> Option<Arc<Inode>> {
        match self.inodes.place(ino) {
            Ok(Place::Named(link)) => self.inodes.peek(link.parent),
            _ => None,
        }
    }

    /// The path of `inode` in stored names, from the backing's root: a hint for recovery, not a promise.
    pub(super) fn stored_path(&self, inode: &Inode) -> StoredPath {
        let mut names = Vec::new();
        let mut at = inode.ino;
        while let Ok(Place::Named(link)) = self.inodes.place(at) {
            names.push(link.stored);
            at = link.parent;
        }
        names.reverse();
        StoredPath::new(names.join("/"))
    }
}

/// Keeps the names of `parent` as they are, if whoever is changing them is done soon.
fn still(parent: &Inode) -> Option<RwLockReadGuard<'_, Option<Index>>> {
    parent.names().ok()?.try_read_for(PATIENCE)
}
