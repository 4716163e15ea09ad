//! Hard links: another stored name for the same node.

use std::os::fd::AsFd;

use rustix::fs::{AtFlags, CWD};
use rustix::io::Errno;

use super::error::{FsError, Result};
use super::filesystem::Fs;
use super::names::{absent, check_name};
use super::spot::Spot;
use super::types::{Found, Kind};
use crate::format::stored_name::NameFlags;
use crate::names::{Entry, remove_side};
use crate::sys::entries;

impl Fs {
    /// Gives `ino` the name `name` in `parent` too. Counts one look-up.
    ///
    /// # Errors
    /// As link(2).
    pub fn link(&self, ino: u64, parent: u64, name: &[u8]) -> Result<Found> {
        let _pass = self.gate.enter()?;
        self.writable()?;
        check_name(name)?;
        let inode = self.inode(ino)?;
        if inode.kind == Kind::Directory {
            return Err(FsError::errno(Errno::PERM));
        }
        let parent = self.folder(parent)?;
        let directory = &parent.open;
        let mut names = self.names_mut(&parent.inode, directory)?;
        absent(&names, name)?;
        let flags = match inode.is_born() {
            true => NameFlags::BORN,
            false => NameFlags::NONE,
        };
        let label = self.label(&parent, name)?;
        let placed = self.place(directory, &parent.inode, inode.node, flags, &label)?;
        let linked = self.on(&inode, |spot| match spot {
            Spot::Named(from, stored) => entries::link(from, stored, directory, &placed.stored, AtFlags::empty()),
            Spot::Held(_) => entries::link(CWD, &spot.path(), directory, &placed.stored, AtFlags::SYMLINK_FOLLOW),
        });
        if let Err(error) = linked {
            remove_side(directory.as_fd(), &placed.stored);
            return Err(error);
        }
        let entry = Entry {
            stored: placed.stored,
            node: inode.node,
            flags,
            replaces: label.replaces,
            kind: inode.kind,
            inode: ino,
        };
        let found = self.admit(&parent.inode, directory, &entry);
        names.insert(name, entry);
        found
    }
}
