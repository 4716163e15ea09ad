//! Listing directories.
//!
//! A listing is taken when it is read from the beginning, and offsets count in it: so it is stable while
//! entries come and go, whoever seeks in it.

use std::sync::Arc;

use rustix::io::Errno;

use super::error::Result;
use super::filesystem::Fs;
use super::handles::{DirectoryHandle, Item};
use super::inodes::{Inode, Place};
use super::names::entry;
use super::remove::Folder;
use super::types::{Found, Kind, ROOT};

/// An entry for readdir.
#[derive(Debug, Clone, Copy)]
pub struct Listed<'a> {
    /// The name.
    pub name: &'a [u8],
    /// Inode number.
    pub ino: u64,
    /// What it is.
    pub kind: Kind,
    /// Where to go on after it.
    pub next: u64,
}

/// An entry for readdirplus.
#[derive(Debug, Clone, Copy)]
pub struct ListedPlus<'a> {
    /// As for readdir.
    pub listed: Listed<'a>,
    /// The node, counted as one look-up; none for `.`, `..` and what cannot be read.
    pub found: Option<Found>,
}

impl Fs {
    /// Opens the directory `ino` for listing.
    ///
    /// # Errors
    /// `ENOTDIR`.
    pub fn open_directory(&self, ino: u64) -> Result<u64> {
        let _pass = (ino != ROOT).then(|| self.gate.enter()).transpose()?;
        let inode = self.inode(ino)?;
        inode.names()?;
        Ok(self.handles.add_directory(inode))
    }

    /// Closes an open directory.
    pub fn release_directory(&self, handle: u64) {
        drop(self.handles.remove_directory(handle));
    }

    /// Gives the entries from `offset` on to `fill` until it answers that it is full.
    ///
    /// # Errors
    /// When the names cannot be loaded.
    pub fn list(&self, handle: u64, offset: u64, mut fill: impl FnMut(Listed<'_>) -> bool) -> Result<()> {
        let _pass = self.gate.enter()?;
        let handle = self.handles.directory(handle)?;
        let listing = self.listing(&handle, offset)?;
        for (item, next) in from(&listing, offset) {
            if fill(listed(item, next)) {
                break;
            }
        }
        Ok(())
    }

    /// As [`Fs::list`], with the nodes. What `fill` refuses is not counted as a look-up.
    ///
    /// # Errors
    /// When the names cannot be loaded.
    pub fn list_plus(&self, handle: u64, offset: u64, mut fill: impl FnMut(ListedPlus<'_>) -> bool) -> Result<()> {
        let _pass = self.gate.enter()?;
        let handle = self.handles.directory(handle)?;
        let listing = self.listing(&handle, offset)?;
        let directory = self.directory(&handle.inode)?;
        for (item, next) in from(&listing, offset) {
            let found = match &*item.plain {
                b"." | b".." => None,
                name => {
                    let names = self.names(&handle.inode)?;
                    let admitted = entry(&names, name).and_then(|entry| self.admit(&handle.inode, &directory, entry));
                    match admitted {
                        Err(error) if error.code() == Errno::NOENT => continue,
                        Err(error) => {
                            error.log("readdirplus");
                            None
                        }
                        Ok(found) => Some(found),
                    }
                }
            };
            let listed = listed(item, next);
            if fill(ListedPlus { listed, found }) {
                if let Some(found) = found {
                    self.forget(found.attr.ino, 1);
                }
                break;
            }
        }
        Ok(())
    }

    fn listing(&self, handle: &DirectoryHandle, offset: u64) -> Result<Arc<[Item]>> {
        let mut listing = handle.listing.lock();
        match &*listing {
            Some(listing) if offset > 0 => Ok(listing.clone()),
            _ => {
                let fresh = self.take_listing(&handle.inode)?;
                *listing = Some(fresh.clone());
                Ok(fresh)
            }
        }
    }

    fn take_listing(&self, inode: &Arc<Inode>) -> Result<Arc<[Item]>> {
        let names = self.names(inode)?;
        let mut items = Vec::with_capacity(names.len() + 2);
        items.push(dot(b".", inode.ino));
        items.push(dot(b"..", self.parent_of(inode.ino)?));
        items.extend(names.iter().map(|(plain, entry)| Item {
            plain: plain.into(),
            ino: self.ino_of(entry.inode),
            kind: entry.kind,
        }));
        drop(names);
        // Who reads or removes everything in this order walks the backing's inode table in one direction.
        if let Some(entries) = items.get_mut(2..) {
            entries.sort_unstable_by_key(|item| item.ino);
        }
        Ok(items.into())
    }

    fn parent_of(&self, ino: u64) -> Result<u64> {
        match self.inodes.place(ino)? {
            Place::Named(link) => Ok(link.parent),
            Place::Held(_) => Ok(ino),
        }
    }

    /// Makes the entries of an open directory durable; of the root, everything in the volume.
    ///
    /// # Errors
    /// As fsync(2).
    pub fn sync_directory(&self, handle: u64) -> Result<()> {
        let inode = self.handles.directory(handle)?.inode.clone();
        if inode.ino == ROOT {
            return self.commit_all();
        }
        let open = self.directory(&inode)?;
        self.sync_entries(&Folder { inode, open })
    }

    /// Makes everything durable that has been written, and all entries of all directories.
    ///
    /// # Errors
    /// Those of the medium.
    pub fn commit_all(&self) -> Result<()> {
        let committed = self.volume.store.commit_all();
        self.sync_everything()?;
        Ok(committed?)
    }
}

fn dot(plain: &[u8], ino: u64) -> Item {
    Item {
        plain: plain.into(),
        ino,
        kind: Kind::Directory,
    }
}

fn listed(item: &Item, next: u64) -> Listed<'_> {
    Listed {
        name: &item.plain,
        ino: item.ino,
        kind: item.kind,
        next,
    }
}

/// The items from `offset` on, each with the offset after it.
fn from(listing: &[Item], offset: u64) -> impl Iterator<Item = (&Item, u64)> {
    let skip = usize::try_from(offset).unwrap_or(usize::MAX);
    (1u64..).zip(listing).skip(skip).map(|(next, item)| (item, next))
}
