//! Renames: one rename of the backing each, whatever was at the new name.
//!
//! A stored name carries its node, so a rename over another file cannot replace that file's stored name. The
//! new name says instead, sealed, which instance it replaced (`names::Label`), and the replaced one is removed
//! after: a crash between the two leaves both, and the next listing knows which one is gone.
//! Only an exchange takes three renames. It is atomic for programs; a crash within may leave one of the two
//! under a temporary name.

use std::os::fd::AsFd;

use rustix::fs::{FileType, Mode, mknodat, renameat};
use rustix::io::Errno;

use super::error::{FsError, Result};
use super::filesystem::Fs;
use super::inodes::Link;
use super::names::{check_name, entry};
use super::remove::{Folder, Guards, empty};
use super::types::{Kind, RenameHow};
use crate::format::NodeId;
use crate::format::stored_name::NameFlags;
use crate::names::{Entry, Index, Label, Lookup, remove_side};
use crate::sys::stat::stat;

/// How often the directory in the way may change under a rename before it gives up.
const ATTEMPTS: usize = 8;

/// One end of a rename.
struct End<'a> {
    folder: &'a Folder,
    name: &'a [u8],
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
        self.writable()?;
        check_name(name)?;
        check_name(new_name)?;
        let (from, to) = (self.folder(parent)?, self.folder(new_parent)?);
        let from = End { folder: &from, name };
        let to = End {
            folder: &to,
            name: new_name,
        };
        if how == RenameHow::Replace {
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
        self.replace(from, to, &source, target.as_ref(), guards)?;
        if how == RenameHow::Whiteout {
            self.whiteout(from, guards)?;
        }
        Ok(())
    }

    fn replace(
        &self,
        from: &End<'_>,
        to: &End<'_>,
        source: &Entry,
        target: Option<&Entry>,
        guards: &mut Guards<'_>,
    ) -> Result<()> {
        let held = match target {
            Some(target) if target.kind == Kind::Directory => self.folder_of(target)?.map(|folder| folder.open),
            Some(target) => self.hold(to.folder, target)?,
            None => None,
        };
        let label = Label {
            plain: to.name.into(),
            replaces: target.map(|target| target.instance(to.name)),
        };
        let moved = self.move_entry((from.folder, source), to.folder, &label)?;
        if let Some(target) = target {
            if let Err(error) = self.remove_entry(to.folder, target) {
                // It is not a name any more, whatever the backing says: the new one has replaced it.
                tracing::warn!(stored = %target.stored, %error, "a replaced entry stays in the backing");
            }
            self.unname(to.folder, target, held);
        }
        guards.names(from.folder.inode.ino)?.remove(from.name);
        self.settle((from.folder, source), to, moved, guards)
    }

    /// Renames the stored name of `source` to one for `label` in `to`; one call of the backing.
    fn move_entry(&self, (from, source): (&Folder, &Entry), to: &Folder, label: &Label) -> Result<Entry> {
        let placed = self.place(&to.open, &to.inode, source.node, source.flags, label)?;
        if let Err(error) = renameat(&from.open, &*source.stored, &to.open, &*placed.stored) {
            remove_side(to.open.as_fd(), &placed.stored);
            return Err(error.into());
        }
        remove_side(from.open.as_fd(), &source.stored);
        Ok(Entry {
            stored: placed.stored,
            replaces: label.replaces,
            ..source.clone()
        })
    }

    /// Takes the moved entry, which was `before` in `from`, into the index and the table.
    fn settle(
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

    fn exchange(
        &self,
        from: &End<'_>,
        to: &End<'_>,
        source: &Entry,
        target: &Entry,
        guards: &mut Guards<'_>,
    ) -> Result<()> {
        let between = format!(".kmsfs-exchange-{}", NodeId::random());
        let between = Label::new(between.as_bytes());
        let aside = self.move_entry((to.folder, target), to.folder, &between)?;
        let back = |aside: &Entry| self.move_entry((to.folder, aside), to.folder, &Label::new(to.name));
        let forth = match self.move_entry((from.folder, source), to.folder, &Label::new(to.name)) {
            Ok(forth) => forth,
            Err(error) => {
                let restored = back(&aside)?;
                self.settle((to.folder, target), to, restored, guards)?;
                return Err(error);
            }
        };
        let other = self.move_entry((to.folder, &aside), from.folder, &Label::new(from.name))?;
        self.settle((from.folder, source), to, forth, guards)?;
        self.settle((to.folder, target), from, other, guards)
    }

    /// Leaves what overlay file systems take for "deleted" at the old name.
    fn whiteout(&self, from: &End<'_>, guards: &mut Guards<'_>) -> Result<()> {
        let node = NodeId::random();
        let (folder, flags) = (from.folder, NameFlags::NONE);
        let placed = self.place(&folder.open, &folder.inode, node, flags, &Label::new(from.name))?;
        let mode = Mode::empty();
        mknodat(&folder.open, &*placed.stored, FileType::CharacterDevice, mode, 0)?;
        let stat = stat(folder.open.as_fd(), &placed.stored)?;
        let entry = Entry {
            stored: placed.stored,
            node,
            flags,
            replaces: None,
            kind: stat.kind,
            inode: stat.inode,
        };
        guards.names(folder.inode.ino)?.insert(from.name, entry);
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
