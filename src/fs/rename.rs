//! Renames: one rename of the backing each, whatever was at the new name.
//!
//! A stored name carries its node, so a rename over another file cannot replace that file's stored name. The
//! new name says instead, sealed, whom it replaces (`names::Label`), and the replaced one is removed after, once
//! the new one is durable: a crash between the two leaves both, and the next listing knows which one is gone.
//! Only an exchange and a whiteout take two renames (`together`).

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;

use super::error::{FsError, Result};
use super::filesystem::Fs;
use super::inodes::Link;
use super::names::{check_name, entry};
use super::past::Leaving;
use super::remove::{Folder, Guards, empty};
use super::types::{Kind, RenameHow};
use crate::names::{Entry, Index, Lookup, remove_side};
use crate::sys::entries;

/// How often the directory in the way may change under a rename before it gives up.
const ATTEMPTS: usize = 8;

/// One end of a rename.
pub(super) struct End<'a> {
    /// The directory.
    pub folder: &'a Folder,
    /// The name in it.
    pub name: &'a [u8],
}

/// An entry that a rename replaces.
pub(super) struct Replaced {
    /// The entry.
    pub entry: Entry,
    /// Its node, if somebody knows it.
    held: Option<Arc<OwnedFd>>,
}

impl End<'_> {
    /// Removes the side file of an entry that did not come to be.
    pub fn drop_side(&self, entry: &Entry) {
        remove_side(self.folder.open.as_fd(), &entry.stored);
    }
}

impl Fs {
    /// Renames `name` of `parent` to `new_name` of `new_parent`.
    ///
    /// # Errors
    /// As renameat2(2).
    pub fn rename(
        &self,
        (parent, name): (u64, &[u8]),
        (new_parent, new_name): (u64, &[u8]),
        how: RenameHow,
    ) -> Result<()> {
        let _pass = self.gate.enter()?;
        self.writable()?;
        check_name(name)?;
        check_name(new_name)?;
        let (from, to) = (self.folder(parent)?, self.folder(new_parent)?);
        let from = End { folder: &from, name };
        let to = End {
            folder: &to,
            name: new_name,
        };
        if matches!(how, RenameHow::Replace | RenameHow::Whiteout(_)) {
            self.commit_before(&from, &to)?;
        }
        for _ in 0..ATTEMPTS {
            // The directory in the way has to be guarded too, so that nothing appears in it.
            let expected = target(&*self.names(&to.folder.inode)?, to.name)?;
            let victim = match &expected {
                Some(entry) if how != RenameHow::Exchange => self.folder_of(entry)?,
                _ => None,
            };
            let mut wanted = vec![from.folder, to.folder];
            wanted.extend(&victim);
            let mut guards = self.guard(&wanted)?;
            if target(guards.names(to.folder.inode.ino)?, to.name)? == expected {
                return self.rename_guarded(&from, &to, expected, victim.as_ref(), how, &mut guards);
            }
        }
        Err(FsError::errno(Errno::BUSY))
    }

    /// Makes the content of a file durable before it replaces another: programs write anew and rename without a
    /// sync in between, and a crash must not leave them with neither (ext4 does the same). No guard is held
    /// meanwhile.
    fn commit_before(&self, from: &End<'_>, to: &End<'_>) -> Result<()> {
        if target(&*self.names(&to.folder.inode)?, to.name)?.is_none() {
            return Ok(());
        }
        let source = target(&*self.names(&from.folder.inode)?, from.name)?;
        if let Some(content) = source.and_then(|source| self.volume.store.peek(source.node)) {
            content.sync(true)?;
        }
        Ok(())
    }

    fn rename_guarded(
        &self,
        from: &End<'_>,
        to: &End<'_>,
        target: Option<Entry>,
        victim: Option<&Folder>,
        how: RenameHow,
        guards: &mut Guards<'_>,
    ) -> Result<()> {
        let source = entry(guards.names(from.folder.inode.ino)?, from.name)?.clone();
        match (how, &target) {
            (RenameHow::NoReplace, Some(_)) => return Err(FsError::errno(Errno::EXIST)),
            (RenameHow::Exchange, None) => return Err(FsError::errno(Errno::NOENT)),
            // Two names of one file: rename(2) does nothing.
            (_, Some(target)) if target.node == source.node => return Ok(()),
            (RenameHow::Exchange, Some(target)) => {
                return self.exchange(from, to, &source, target, guards);
            }
            _ => {}
        }
        if let Some(target) = &target {
            check_kinds(&source, target)?;
        }
        if let Some(victim) = victim {
            let names = guards.names(victim.inode.ino)?;
            empty(names)?;
            if names.strays() != Default::default() {
                return Err(FsError::failed(
                    Errno::NOTEMPTY,
                    "a directory that is empty here holds strays",
                ));
            }
        }
        if let Some(victim) = victim {
            // That it is empty must be durable before it is replaced, or it could not be removed after a crash.
            self.clear_replaced(victim)?;
        }
        let target = target.map(|entry| self.condemn(to.folder, entry)).transpose()?;
        match how {
            RenameHow::Whiteout(caller) => {
                self.rename_with_whiteout(from, to, &source, target.as_ref(), &caller, guards)
            }
            _ => self.replace(from, to, &source, target.as_ref(), guards),
        }
    }

    /// `entry` of `folder` is about to be replaced.
    fn condemn(&self, folder: &Folder, entry: Entry) -> Result<Replaced> {
        let held = match entry.kind {
            Kind::Directory => self.folder_of(&entry)?.map(|folder| folder.open),
            _ => self.hold(folder, &entry)?,
        };
        Ok(Replaced { entry, held })
    }

    fn replace(
        &self,
        from: &End<'_>,
        to: &End<'_>,
        source: &Entry,
        target: Option<&Replaced>,
        guards: &mut Guards<'_>,
    ) -> Result<()> {
        self.before_leaving(from.folder, source)?;
        let moved = self.placed(source, to, target.map(|target| &target.entry))?;
        if let Err(error) = entries::rename(&from.folder.open, &source.stored, &to.folder.open, &moved.stored) {
            to.drop_side(&moved);
            return Err(error.into());
        }
        self.has_left(from.folder, from.name, source, Leaving::Moved);
        self.retire_side(from.folder, &source.stored);
        guards.names(from.folder.inode.ino)?.remove(from.name);
        self.take_place((from, source), to, moved, target, guards)
    }

    /// Ends a rename: `moved` is in its place, and `target`, which it has replaced, goes.
    pub(super) fn take_place(
        &self,
        (from, source): (&End<'_>, &Entry),
        to: &End<'_>,
        moved: Entry,
        target: Option<&Replaced>,
        guards: &mut Guards<'_>,
    ) -> Result<()> {
        if let Some(Replaced { entry, held }) = target {
            self.bury(to.folder, entry);
            self.unname(to.folder, entry, held.clone());
        }
        self.settle((from.folder, source), to, moved, guards)
    }

    /// Takes the moved entry, which was `before` in `from`, into the index and the table.
    pub(super) fn settle(
        &self,
        (from, before): (&Folder, &Entry),
        to: &End<'_>,
        moved: Entry,
        guards: &mut Guards<'_>,
    ) -> Result<()> {
        let link = Link {
            parent: to.folder.inode.ino,
            stored: moved.stored.clone(),
        };
        let ino = self.ino_of(moved.inode);
        guards.names(to.folder.inode.ino)?.insert(to.name, moved);
        let gone = self.inodes.renamed(ino, from.inode.ino, &before.stored, link);
        self.let_go(gone);
        self.tell_store(ino);
        Ok(())
    }
}

fn target(names: &Index, name: &[u8]) -> Result<Option<Entry>> {
    match names.get(name) {
        Lookup::Absent => Ok(None),
        _ => entry(names, name).cloned().map(Some),
    }
}

fn check_kinds(source: &Entry, target: &Entry) -> Result<()> {
    match (source.kind == Kind::Directory, target.kind == Kind::Directory) {
        (true, false) => Err(FsError::errno(Errno::NOTDIR)),
        (false, true) => Err(FsError::errno(Errno::ISDIR)),
        _ => Ok(()),
    }
}
