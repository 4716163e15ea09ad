//! Open files: opening, reading, writing, space, durability. The content itself is `io`'s.

use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::fs::OFlags;
use rustix::io::{self, Errno};

use super::attr::check_end;
use super::error::{FsError, Result};
use super::filesystem::Fs;
use super::inodes::Inode;
use super::io::{File, Seek};
use super::spot::Spot;
use super::types::{Allocate, Caller, Kind, OpenHow};
use crate::sys::limits;
use crate::sys::stat::stat;

/// Bytes moved at a time when one file is copied into another.
const COPY_LEN: u64 = 1 << 20;

/// Why a stored file is not open; what is no file any more is damage.
fn not_opened(error: FsError) -> std::io::Error {
    match error.code() {
        Errno::ISDIR | Errno::LOOP | Errno::NXIO => std::io::Error::other("something else is in its place"),
        errno => errno.into(),
    }
}

impl Fs {
    /// Opens the file `ino`. May wait for the KMS.
    ///
    /// # Errors
    /// As open(2); `EKEYREVOKED` and the like when its key cannot be had.
    pub fn open(&self, ino: u64, how: OpenHow, caller: &Caller) -> Result<u64> {
        let _pass = self.gate.enter()?;
        if how.write || how.truncate {
            self.writable()?;
        }
        let inode = self.inode(ino)?;
        let file = self.content(&inode)?;
        if how.write {
            file.prepare()?;
        }
        if how.truncate {
            file.resize(0)?;
            self.drop_privileges(&inode, caller)?;
        }
        self.report_open(&inode, how.write, caller);
        Ok(self.handles.add_file(inode, file, how.write))
    }

    /// The content of `inode`, shared with all who have it open. May wait for the KMS; who asks for the same
    /// file meanwhile waits too, and nobody else.
    pub(super) fn content(&self, inode: &Arc<Inode>) -> Result<Arc<File>> {
        let mut content = inode.content()?.lock();
        if let Some(file) = content.upgrade() {
            return Ok(file);
        }
        let born = inode.is_born();
        let open = || {
            limits::room_for_a_file(&self.volume.root)?;
            let file = self.on(inode, |spot| self.open_stored(spot));
            Ok((file.map_err(not_opened)?, self.stored_path(inode)))
        };
        let misses = self.volume.keyring.misses();
        let file = Arc::new(File::open(&self.volume, inode.node, born, open)?);
        *content = Arc::downgrade(&file);
        let cold = self.volume.keyring.misses() != misses;
        if inode.is_touched()
            && let Some(content) = self.volume.store.peek(inode.node)
        {
            content.metadata_changed();
        }
        // Not only written: a name that says so must never be there without its head.
        if !born && file.is_born()? {
            self.unpromoted.lock().insert(inode.node);
        }
        drop(content);
        // Another open at the same time may have been the cold one: then keys are fetched ahead for once too early.
        self.note_opened(inode, cold);
        Ok(file)
    }

    /// Opens for both, because even a writer reads what it changes a part of.
    fn open_stored(&self, spot: &Spot) -> io::Result<std::os::fd::OwnedFd> {
        let file = match self.volume.read_only {
            true => spot.open(OFlags::RDONLY)?,
            false => spot.open(OFlags::RDWR).or_else(|error| match error {
                Errno::ACCESS | Errno::PERM | Errno::ROFS => spot.open(OFlags::RDONLY),
                other => Err(other),
            })?,
        };
        match stat(file.as_fd(), "")?.kind {
            Kind::File => Ok(file),
            // As for a socket.
            _ => Err(Errno::NXIO),
        }
    }

    /// Reads up to `len` bytes at `offset` into `out`; fewer only at the end of the file.
    ///
    /// # Errors
    /// `EIO` when what the backing holds is not what was written.
    pub fn read(&self, handle: u64, offset: u64, len: usize, out: &mut Vec<u8>) -> Result<()> {
        let _pass = self.gate.enter()?;
        Ok(self.handles.file(handle)?.file.read(offset, len, out)?)
    }

    /// Writes all of `data` at `offset`. `ordinary` is the writer if it is one whose writing takes setuid and
    /// setgid away.
    ///
    /// # Errors
    /// As pwrite(2); nothing or a part is written then.
    pub fn write(&self, handle: u64, offset: u64, data: &[u8], ordinary: Option<&Caller>) -> Result<()> {
        self.gate.enter_to_write()?;
        check_end(offset, data.len() as u64)?;
        let handle = self.handles.file(handle)?;
        handle.file.write(offset, data)?;
        self.drop_capability(&handle.inode)?;
        match ordinary {
            Some(writer) => self.clear_setid(&handle.inode, writer),
            None => Ok(()),
        }
    }

    /// Makes what was written through any handle of the file durable, with its attributes unless `data_only`.
    ///
    /// # Errors
    /// As fsync(2). A failure stays until the file has been reopened.
    pub fn sync(&self, handle: u64, data_only: bool) -> Result<()> {
        let handle = self.handles.file(handle)?;
        // A change from now on is another sync's business.
        let touched = !data_only && handle.inode.take_touched();
        let synced = handle.file.sync(data_only);
        if touched && synced.is_err() {
            handle.inode.touch();
        }
        Ok(synced?)
    }

    /// Closes a handle.
    pub fn release(&self, handle: u64) {
        drop(self.handles.remove_file(handle));
    }

    /// Whether somebody has the file open for writing, so that whoever serves the file system may hold written
    /// data back in a cache of its own.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn has_writers(&self, handle: u64) -> Result<bool> {
        Ok(self.handles.file(handle)?.inode.has_writers())
    }

    /// Where the next data or hole at or after `offset` begins.
    ///
    /// # Errors
    /// As lseek(2): `ENXIO` beyond the end.
    pub fn seek(&self, handle: u64, offset: u64, to: Seek) -> Result<u64> {
        let _pass = self.gate.enter()?;
        let found = self.handles.file(handle)?.file.seek(offset, to)?;
        found.ok_or(FsError::errno(Errno::NXIO))
    }

    /// Reserves, empties or zeroes a range. Nothing is set aside for a reserved range: it becomes a hole, and
    /// writing to it later may still find the disk full.
    ///
    /// # Errors
    /// As fallocate(2).
    pub fn allocate(&self, handle: u64, what: Allocate, offset: u64, len: u64, caller: &Caller) -> Result<()> {
        let _pass = self.gate.enter()?;
        let end = check_end(offset, len)?;
        let handle = self.handles.file(handle)?;
        if matches!(what, Allocate::PunchHole | Allocate::ZeroRange { .. }) {
            handle.file.punch(offset..end)?;
        }
        let extends = Allocate::ZeroRange { keep_size: false };
        if what == extends || what == (Allocate::Reserve { keep_size: false }) {
            handle.file.extend(end)?;
        }
        self.drop_privileges(&handle.inode, caller)
    }

    /// Copies up to `len` bytes from one open file to another (or within one) and says how many.
    ///
    /// # Errors
    /// As copy_file_range(2); `EINVAL` for ranges of one file that overlap.
    pub fn copy(&self, from: (u64, u64), to: (u64, u64), len: u64, caller: &Caller) -> Result<u64> {
        let _pass = self.gate.enter()?;
        let (source, target) = (self.handles.file(from.0)?, self.handles.file(to.0)?);
        let len = len.min(source.file.size().saturating_sub(from.1));
        check_end(to.1, len)?;
        if source.inode.ino == target.inode.ino && from.1 < to.1 + len && to.1 < from.1 + len {
            return Err(FsError::errno(Errno::INVAL));
        }
        let mut buffer = Vec::new();
        let mut copied = 0;
        while copied < len {
            buffer.clear();
            let step = COPY_LEN.min(len - copied) as usize;
            let moved = source
                .file
                .read(from.1 + copied, step, &mut buffer)
                .and_then(|()| target.file.write(to.1 + copied, &buffer))
                .map_err(FsError::from);
            match moved {
                Err(_) if copied > 0 => break,
                other => other?,
            }
            if buffer.is_empty() {
                break;
            }
            copied += buffer.len() as u64;
        }
        self.drop_privileges(&target.inode, caller)?;
        Ok(copied)
    }
}
