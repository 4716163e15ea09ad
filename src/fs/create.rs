//! What makes a new node: files, directories, special files. (Symlinks are in `symlink`.)
//!
//! Each is one call to the backing, made with the caller's identity and umask, so that a node never exists with
//! the wrong owner or without its identity.

use std::os::fd::OwnedFd;

use rustix::fs::{FileType, Mode, OFlags, makedev};
use rustix::io::Errno;

use super::error::{FsError, Result};
use super::filesystem::Fs;
use super::io::File;
use super::names::{absent, check_name};
use super::types::{Caller, Found, Kind, OpenHow};
use crate::format::NodeId;
use crate::format::stored_name::NameFlags;
use crate::keys::Claim;
use crate::names::{Entry, remove_side};
use crate::sys::creator::Creator;
use crate::sys::stat::stat;
use crate::sys::{entries, limits};
use std::os::fd::AsFd;
use std::sync::Arc;

/// The place that a new node gets.
pub(super) struct Site<'a> {
    /// The open directory.
    pub directory: &'a OwnedFd,
    /// The stored name.
    pub stored: &'a str,
    /// The new identity.
    pub node: NodeId,
}

impl Fs {
    /// Makes a node `name` in `parent` by `make`, as `caller`. Counts one look-up.
    pub(super) fn make<T>(
        &self,
        parent: u64,
        name: &[u8],
        caller: &Caller,
        make: impl FnOnce(&Site<'_>) -> Result<T>,
    ) -> Result<(Found, T)> {
        let _pass = self.gate.enter()?;
        self.writable()?;
        check_name(name)?;
        let parent = self.folder(parent)?;
        let directory = &parent.open;
        let mut names = self.names_mut(&parent.inode, directory)?;
        absent(&names, name)?;
        let node = NodeId::random();
        let flags = NameFlags::NONE;
        let label = self.label(&parent, name)?;
        let placed = self.place(directory, &parent.inode, node, flags, &label)?;
        let site = Site {
            directory,
            stored: &placed.stored,
            node,
        };
        let made = Creator::enter(caller.uid, caller.gid, caller.umask)
            .map_err(FsError::from)
            .and_then(|_creator| make(&site));
        let made = match made {
            Ok(made) => made,
            Err(error) => {
                remove_side(directory.as_fd(), &placed.stored);
                return Err(error);
            }
        };
        let stat = stat(directory.as_fd(), &placed.stored)?;
        let entry = Entry {
            stored: placed.stored,
            node,
            flags,
            replaces: label.replaces,
            kind: stat.kind,
            inode: stat.inode,
        };
        let found = self.admit(&parent.inode, directory, &entry);
        names.insert(name, entry);
        Ok((found?, made))
    }

    /// Makes a directory.
    ///
    /// # Errors
    /// As mkdir(2).
    pub fn make_directory(&self, parent: u64, name: &[u8], mode: u32, caller: &Caller) -> Result<Found> {
        let made = self.make(parent, name, caller, |site| {
            Ok(entries::make_directory(
                site.directory,
                site.stored,
                Mode::from_raw_mode(mode & 0o7777),
            )?)
        });
        Ok(made?.0)
    }

    /// Makes a file, pipe, socket or device node; `special` is the major and minor number of the latter.
    ///
    /// # Errors
    /// As mknod(2).
    pub fn make_node(
        &self,
        parent: u64,
        name: &[u8],
        (kind, mode): (Kind, u32),
        special: (u32, u32),
        caller: &Caller,
    ) -> Result<Found> {
        let file_type = match kind {
            Kind::File => FileType::RegularFile,
            Kind::Fifo => FileType::Fifo,
            Kind::Socket => FileType::Socket,
            Kind::CharDevice => FileType::CharacterDevice,
            Kind::BlockDevice => FileType::BlockDevice,
            Kind::Directory | Kind::Symlink => return Err(FsError::errno(Errno::INVAL)),
        };
        let mode = Mode::from_raw_mode(mode & 0o7777);
        let device = makedev(special.0, special.1);
        let made = self.make(parent, name, caller, |site| {
            Ok(entries::make_node(
                site.directory,
                site.stored,
                file_type,
                mode,
                device,
            )?)
        });
        Ok(made?.0)
    }

    /// Makes a file and opens it; or opens the one that is there, unless `how` is exclusive.
    /// Counts one look-up.
    ///
    /// # Errors
    /// As open(2) with `O_CREAT`.
    pub fn create(&self, parent: u64, name: &[u8], mode: u32, how: OpenHow, caller: &Caller) -> Result<(Found, u64)> {
        let _pass = self.gate.enter()?;
        let mode = Mode::from_raw_mode(mode & 0o7777);
        // Before there is a file: without a key and a descriptor for it there shall be none.
        let claim = how.write.then(|| self.volume.keyring.claim()).transpose()?;
        limits::room_for_a_file(&self.volume.root)?;
        let made = self.make(parent, name, caller, |site| {
            let flags = OFlags::RDWR | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            Ok(entries::create(site.directory, site.stored, flags, mode)?)
        });
        match made {
            Ok((found, file)) => {
                let ino = found.attr.ino;
                let handle = self
                    .open_new(ino, file, how, claim)
                    .inspect_err(|_| self.forget(ino, 1))?;
                if let Some(inode) = self.inodes.peek(ino) {
                    self.report_open(&inode, how.write, caller);
                }
                Ok((found, handle))
            }
            Err(error) if error.code() == Errno::EXIST && !how.exclusive => {
                let found = self.lookup(parent, name)?;
                let ino = found.attr.ino;
                let handle = self.open(ino, how, caller).inspect_err(|_| self.forget(ino, 1))?;
                Ok((found, handle))
            }
            Err(error) => Err(error),
        }
    }

    fn open_new(&self, ino: u64, file: OwnedFd, how: OpenHow, claim: Option<Claim>) -> Result<u64> {
        let inode = self.inode(ino)?;
        // It was made without any.
        inode.take_capable();
        let mut content = inode.content()?.lock();
        let path = self.stored_path(&inode);
        let open = || Ok((file, path));
        let file = Arc::new(File::open(&self.volume, inode.node, false, open)?);
        *content = Arc::downgrade(&file);
        drop(content);
        if let Some(claim) = claim {
            file.hold(claim);
        }
        Ok(self.handles.add_file(inode, file, how.write))
    }
}
