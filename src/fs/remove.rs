//! What takes a name away: unlink and rmdir.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::error::{FsError, Result};
use super::filesystem::Fs;
use super::inodes::Inode;
use super::names::{NamesMut, check_name, entry};
use super::past::Leaving;
use super::spot::Spot;
use super::types::Kind;
use crate::names::{Entry, Index, is_long, remove_side};
use crate::sys::entries;
use crate::sys::stat::stat;

/// The guards of several directories, taken in the order of their inode numbers.
pub(super) struct Guards<'a>(Vec<(u64, NamesMut<'a>)>);

impl Guards<'_> {
    /// The names of the directory `ino`, which is one of those guarded.
    pub fn names(&mut self, ino: u64) -> Result<&mut Index> {
        let guard = self.0.iter_mut().find(|(guarded, _)| *guarded == ino);
        guard.map(|(_, names)| &mut **names).ok_or(FsError::errno(Errno::IO))
    }
}

/// A directory to work in, with its open descriptor.
#[derive(Clone)]
pub(super) struct Folder {
    /// The directory.
    pub inode: Arc<Inode>,
    /// The backing's.
    pub open: Arc<OwnedFd>,
}

impl Fs {
    pub(super) fn folder(&self, ino: u64) -> Result<Folder> {
        let inode = self.inode(ino)?;
        let open = self.directory(&inode)?;
        Ok(Folder { inode, open })
    }

    /// The directory `entry`, if it is one that somebody knows.
    pub(super) fn folder_of(&self, entry: &Entry) -> Result<Option<Folder>> {
        if entry.kind != Kind::Directory {
            return Ok(None);
        }
        match self.inodes.peek(self.ino_of(entry.inode)) {
            Some(inode) => {
                let open = self.directory(&inode)?;
                Ok(Some(Folder { inode, open }))
            }
            None => Ok(None),
        }
    }

    /// Takes the guards of `folders`.
    pub(super) fn guard<'a>(&self, folders: &[&'a Folder]) -> Result<Guards<'a>> {
        let mut sorted = folders.to_vec();
        sorted.sort_by_key(|folder| folder.inode.ino);
        sorted.dedup_by_key(|folder| folder.inode.ino);
        let take = |folder: &&'a Folder| {
            let names = self.names_mut(&folder.inode, &folder.open)?;
            Ok((folder.inode.ino, names))
        };
        sorted.iter().map(take).collect::<Result<_>>().map(Guards)
    }

    /// Removes the name `name` of something that is not a directory.
    ///
    /// # Errors
    /// As unlink(2).
    pub fn unlink(&self, parent: u64, name: &[u8]) -> Result<()> {
        let _pass = self.gate.enter()?;
        self.writable()?;
        check_name(name)?;
        let parent = self.folder(parent)?;
        let mut names = self.names_mut(&parent.inode, &parent.open)?;
        let entry = entry(&names, name)?.clone();
        if entry.kind == Kind::Directory {
            return Err(FsError::errno(Errno::ISDIR));
        }
        let held = self.hold(&parent, &entry)?;
        self.before_leaving(&parent, &entry)?;
        self.remove_entry(&parent, &entry)?;
        self.has_left(&parent, name, &entry, Leaving::Removed);
        names.remove(name);
        drop(names);
        self.unname(&parent, &entry, held);
        Ok(())
    }

    /// Removes the empty directory `name`.
    ///
    /// # Errors
    /// As rmdir(2); `ENOTEMPTY` also when only strays are in it.
    pub fn remove_directory(&self, parent: u64, name: &[u8]) -> Result<()> {
        let _pass = self.gate.enter()?;
        self.writable()?;
        check_name(name)?;
        let parent = self.folder(parent)?;
        let victim = {
            let names = self.names(&parent.inode)?;
            entry(&names, name)?.clone()
        };
        if victim.kind != Kind::Directory {
            return Err(FsError::errno(Errno::NOTDIR));
        }
        let folder = self.folder_of(&victim)?;
        let mut wanted = vec![&parent];
        wanted.extend(&folder);
        let mut guards = self.guard(&wanted)?;
        if entry(guards.names(parent.inode.ino)?, name)? != &victim {
            return Err(FsError::errno(Errno::NOENT));
        }
        if let Some(folder) = &folder {
            empty(guards.names(folder.inode.ino)?)?;
            self.before_removal(folder)?;
        }
        self.before_leaving(&parent, &victim)?;
        self.remove_entry(&parent, &victim)?;
        self.has_left(&parent, name, &victim, Leaving::Removed);
        self.past.gone(victim.node);
        guards.names(parent.inode.ino)?.remove(name);
        drop(guards);
        self.unname(&parent, &victim, folder.map(|folder| folder.open));
        Ok(())
    }

    /// A descriptor for a node that is to lose a name, if somebody knows it.
    pub(super) fn hold(&self, parent: &Folder, entry: &Entry) -> Result<Option<Arc<OwnedFd>>> {
        if self.inodes.peek(self.ino_of(entry.inode)).is_none() {
            return Ok(None);
        }
        let spot = Spot::Named(parent.open.clone(), entry.stored.clone());
        match spot.hold() {
            Ok(held) => Ok(Some(held)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes `entry` and what belongs to it from the backing.
    pub(super) fn remove_entry(&self, parent: &Folder, entry: &Entry) -> Result<()> {
        let flags = match entry.kind {
            Kind::Directory => AtFlags::REMOVEDIR,
            _ => AtFlags::empty(),
        };
        let before = match entry.kind {
            Kind::Symlink => stat(parent.open.as_fd(), &entry.stored).ok(),
            _ => None,
        };
        match entries::unlink(&parent.open, &entry.stored, flags) {
            Err(Errno::NOTEMPTY) => {
                let what = "a directory that is empty here holds strays in the backing";
                return Err(FsError::failed(Errno::NOTEMPTY, what));
            }
            // Somebody was there before us; the name is gone, which is what was asked for.
            Err(Errno::NOENT) => {
                tracing::warn!(stored = %entry.stored, "vanished from the backing")
            }
            other => other?,
        }
        self.retire_side(parent, &entry.stored);
        if let Some(before) = before {
            self.remove_target(entry.node, &before);
        }
        if entry.kind == Kind::File {
            self.volume.store.unlinked(entry.node);
        }
        Ok(())
    }

    /// Removes the side file of a name that has just gone from `folder`, once that is durable. Failing leaves a
    /// leftover, which nobody reads.
    pub(super) fn retire_side(&self, folder: &Folder, stored: &str) {
        if !is_long(stored) {
            return;
        }
        match self.sync_entries(folder) {
            Ok(()) => remove_side(folder.open.as_fd(), stored),
            Err(error) => tracing::debug!(stored, %error, "a side file stays behind"),
        }
    }

    pub(super) fn unname(&self, parent: &Folder, entry: &Entry, held: Option<Arc<OwnedFd>>) {
        let ino = self.ino_of(entry.inode);
        let gone = self.inodes.unnamed(ino, parent.inode.ino, &entry.stored, held);
        self.let_go(gone);
        if entry.kind == Kind::Directory {
            let open = self.directories.lock().pop(&ino);
            drop(open);
        }
    }
}

/// Checks that a directory is empty.
///
/// # Errors
/// `ENOTEMPTY`.
pub(super) fn empty(names: &Index) -> Result<()> {
    match names.is_empty() {
        true => Ok(()),
        false => Err(FsError::errno(Errno::NOTEMPTY)),
    }
}
