//! Renames that belong together: an exchange, and a rename that leaves a whiteout. Each is several renames of the
//! backing. They are written down in `kmsfs.moves` before the first of them, durably, so that after a crash the next
//! mount does the rest (`volume::moves`): all of them happen, or none.

use std::io::Write;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;

use parking_lot::MutexGuard;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::{self, Errno};

use super::error::{FsError, Result};
use super::filesystem::Fs;
use super::remove::{Folder, Guards};
use super::rename::{End, Replaced};
use super::types::{Caller, ROOT};
use crate::format::NodeId;
use crate::format::moves::{self, FILE_NAME};
use crate::format::stored_name::NameFlags;
use crate::names::{Entry, Label, remove_side};
use crate::sys::creator::Creator;
use crate::sys::entries;
use crate::sys::stat::stat;

/// Where a whiteout is made, before it goes to its place.
const WHITEOUT: &str = "kmsfs.whiteout";

/// One rename.
struct Move<'a> {
    from: &'a Folder,
    old: &'a str,
    to: &'a Folder,
    new: &'a str,
}

impl Move<'_> {
    fn done(&self) -> io::Result<()> {
        entries::rename(&self.from.open, self.old, &self.to.open, self.new)
    }

    fn undone(&self) -> io::Result<()> {
        entries::rename(&self.to.open, self.new, &self.from.open, self.old)
    }
}

impl Fs {
    /// Puts each of two entries in the other's place.
    pub(super) fn exchange(
        &self,
        from: &End<'_>,
        to: &End<'_>,
        source: &Entry,
        target: &Entry,
        guards: &mut Guards<'_>,
    ) -> Result<()> {
        self.before_leaving(from.folder, source)?;
        self.before_leaving(to.folder, target)?;
        let moving = self.begin_to_move()?;
        let forth = self.placed(source, to, Some(target))?;
        let back = self
            .placed(target, from, Some(source))
            .inspect_err(|_| to.drop_side(&forth))?;
        let moves = [
            Move {
                from: from.folder,
                old: &source.stored,
                to: to.folder,
                new: &forth.stored,
            },
            Move {
                from: to.folder,
                old: &target.stored,
                to: from.folder,
                new: &back.stored,
            },
        ];
        self.move_together(&moving, &moves)?;
        remove_side(from.folder.open.as_fd(), &source.stored);
        remove_side(to.folder.open.as_fd(), &target.stored);
        self.settle((from.folder, source), to, forth, guards)?;
        self.settle((to.folder, target), from, back, guards)
    }

    /// Renames, and leaves at the old name what overlay file systems take for "deleted".
    pub(super) fn rename_with_whiteout(
        &self,
        from: &End<'_>,
        to: &End<'_>,
        source: &Entry,
        target: Option<&Replaced>,
        caller: &Caller,
        guards: &mut Guards<'_>,
    ) -> Result<()> {
        self.before_leaving(from.folder, source)?;
        let root = self.folder(ROOT)?;
        // From here on: there is one place to make a whiteout.
        let moving = self.begin_to_move()?;
        let made = self.make_whiteout(&root, caller)?;
        let moved = self.placed(source, to, target.map(|target| &target.entry))?;
        let left = self
            .placed(&made, from, Some(source))
            .inspect_err(|_| to.drop_side(&moved))?;
        let moves = [
            Move {
                from: from.folder,
                old: &source.stored,
                to: to.folder,
                new: &moved.stored,
            },
            Move {
                from: &root,
                old: &made.stored,
                to: from.folder,
                new: &left.stored,
            },
        ];
        self.move_together(&moving, &moves)?;
        remove_side(from.folder.open.as_fd(), &source.stored);
        self.take_place((from, source), to, moved, target, guards)?;
        guards.names(from.folder.inode.ino)?.insert(from.name, left);
        Ok(())
    }

    fn make_whiteout(&self, root: &Folder, caller: &Caller) -> Result<Entry> {
        let make = || {
            let _creator = Creator::enter(caller.uid, caller.gid, 0)?;
            entries::make_node(&root.open, WHITEOUT, FileType::CharacterDevice, Mode::empty(), 0)
        };
        match make() {
            // A crash or a failure has left it.
            Err(Errno::EXIST) => {
                entries::unlink(&root.open, WHITEOUT, AtFlags::empty())?;
                make()?;
            }
            other => other?,
        }
        let stat = stat(root.open.as_fd(), WHITEOUT)?;
        Ok(Entry {
            stored: WHITEOUT.into(),
            node: NodeId::random(),
            flags: NameFlags::NONE,
            replaces: None,
            kind: stat.kind,
            inode: stat.inode,
        })
    }

    /// `entry` as it will be called at `end`, in the place of `before`; its side file is there.
    pub(super) fn placed(&self, entry: &Entry, end: &End<'_>, before: Option<&Entry>) -> Result<Entry> {
        let label = match before {
            Some(before) => Label {
                plain: end.name.into(),
                replaces: Some(before.next(end.name)),
            },
            None => self.label(end.folder, end.name)?,
        };
        let folder = end.folder;
        let placed = self.place(&folder.open, &folder.inode, entry.node, entry.flags, &label)?;
        Ok(Entry {
            stored: placed.stored,
            replaces: label.replaces,
            ..entry.clone()
        })
    }

    /// Waits for the moves that are under way.
    ///
    /// # Errors
    /// `EIO` once some are half done: what is written down of them must stay as it is until the next mount.
    fn begin_to_move(&self) -> Result<MutexGuard<'_, ()>> {
        let moving = self.moving.lock();
        match self.half_moved.load(Ordering::Relaxed) {
            true => Err(FsError::failed(
                Errno::IO,
                "an exchange is half done, and there can be no other before the volume is mounted again",
            )),
            false => Ok(moving),
        }
    }

    /// Does all of `moves`, durably, or none; then the side files of the new names go too.
    fn move_together(&self, _moving: &MutexGuard<'_, ()>, moves: &[Move<'_>; 2]) -> Result<()> {
        let done = self.try_moves(moves);
        // As long as they are written down, the next mount may do them.
        if done.is_err() && matches!(stat(self.volume.root.as_fd(), FILE_NAME), Err(Errno::NOENT)) {
            for rename in moves {
                remove_side(rename.to.open.as_fd(), rename.new);
            }
        }
        done
    }

    fn try_moves(&self, moves: &[Move<'_>; 2]) -> Result<()> {
        // What is to be moved, and where to, must not be forgotten when one of the renames is not.
        for folder in moves.iter().flat_map(|rename| [rename.from, rename.to]) {
            self.sync_entries(folder)?;
        }
        self.write_moves(moves)?;
        let [first, second] = moves;
        if let Err(error) = first.done() {
            self.remove_moves()?;
            return Err(error.into());
        }
        if let Err(error) = second.done() {
            match first.undone() {
                Ok(()) => self.remove_moves()?,
                Err(undone) => {
                    self.half_moved.store(true, Ordering::Relaxed);
                    tracing::error!(%error, %undone, "an exchange is half done; the next mount does the rest");
                }
            }
            return Err(error.into());
        }
        let durable = self.sync_entries(first.from).and_then(|()| self.sync_entries(first.to));
        // They have been done. If they are not durable, the file stays, for the next mount.
        if let Err(error) = durable.and_then(|()| self.remove_moves()) {
            tracing::warn!(%error, "an exchange is not durable yet");
        }
        Ok(())
    }

    fn write_moves(&self, moves: &[Move<'_>]) -> Result<()> {
        let bytes = moves::to_bytes(&moves.iter().map(describe).collect::<Vec<_>>());
        let flags = OFlags::WRONLY | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let create = || entries::create(&self.volume.root, FILE_NAME, flags, Mode::from_raw_mode(0o600));
        let file = match create() {
            // Those in it have been done, but were not durable.
            Err(Errno::EXIST) => {
                self.sync_everything()?;
                self.remove_moves()?;
                create()?
            }
            other => other?,
        };
        let mut file = std::fs::File::from(file);
        let written = file.write_all(&bytes).and_then(|()| file.sync_all());
        let written = written.and_then(|()| Ok(entries::sync(&self.volume.root)?));
        written.map_err(|error| {
            let _ = self.remove_moves();
            error.into()
        })
    }

    fn remove_moves(&self) -> Result<()> {
        entries::unlink(&self.volume.root, FILE_NAME, AtFlags::empty())?;
        Ok(entries::sync(&self.volume.root)?)
    }
}

fn describe(rename: &Move<'_>) -> moves::Move {
    moves::Move {
        from: rename.from.inode.node,
        to: rename.to.inode.node,
        old: rename.old.to_owned(),
        new: rename.new.to_owned(),
    }
}
