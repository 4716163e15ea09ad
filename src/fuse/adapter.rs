//! `fuser`'s trait in terms of [`Fs`]: translation, and nothing else.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, Filesystem, FopenFlags, Generation, INodeNo, KernelConfig,
    LockOwner, Notifier, OpenFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty,
    ReplyEntry, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};

use super::answer::{Guarded, answer};
use super::buffers::Buffers;
use super::capabilities::negotiate;
use super::convert::{attr, bare_attr, caller, device_numbers, kind, kind_of_mode, rename_how, set_time};
use super::flusher::Flusher;
use super::writes::Writes;
use crate::fs::io::Seek;
use crate::fs::types::{Allocate, Found, OpenHow, SetAttr};
use crate::fs::{Fs, Result};
use crate::sys::wipe::Wiped;

/// How long the kernel may rely on what it was told: nobody else changes the volume while it is mounted.
const TTL: Duration = Duration::from_secs(24 * 3600);
/// Files keep their cached pages when they are opened again, for the same reason.
const OPEN: FopenFlags = FopenFlags::FOPEN_KEEP_CACHE;
const OPEN_DIRECTORY: FopenFlags = FopenFlags::FOPEN_KEEP_CACHE.union(FopenFlags::FOPEN_CACHE_DIR);

/// Serves a file system to the kernel.
pub struct Adapter {
    fs: Guarded,
    notifier: Arc<OnceLock<Notifier>>,
    flusher: Flusher,
    buffers: Arc<Buffers>,
    writes: Arc<Writes>,
}

impl Adapter {
    /// `notifier` is filled in when the mount is there.
    pub fn new(fs: Arc<Fs>, notifier: Arc<OnceLock<Notifier>>, buffers: Arc<Buffers>, writes: Arc<Writes>) -> Self {
        let flusher = Flusher::new(notifier.clone());
        Self {
            fs: Guarded::new(fs),
            notifier,
            flusher,
            buffers,
            writes,
        }
    }

    /// Makes the kernel ask again for the attributes of a file that was written: with its writeback cache it
    /// would report the old number of blocks otherwise.
    fn written(&self, ino: INodeNo) {
        if let Some(notifier) = self.notifier.get()
            && let Err(error) = notifier.inval_inode(ino, -1, 0)
        {
            tracing::debug!(%error, "the kernel keeps old attributes of {ino}");
        }
    }
}

fn how(flags: i32) -> OpenHow {
    OpenHow {
        truncate: flags & libc::O_TRUNC != 0,
        exclusive: flags & libc::O_EXCL != 0,
        write: flags & libc::O_ACCMODE != libc::O_RDONLY,
    }
}

fn generation(found: &Found) -> Generation {
    Generation(found.generation.into())
}

/// For how long the kernel may rely on what it is told of a node.
fn ttl(found: &Found) -> Duration {
    if found.readable { TTL } else { Duration::ZERO }
}

fn entry(reply: ReplyEntry, found: Found) {
    reply.entry(&ttl(&found), &attr(&found.attr), generation(&found));
}

/// For calls that answer with nothing but that they are done.
fn done<T>(fs: &Guarded, call: &'static str, reply: ReplyEmpty, work: impl FnOnce(&Fs) -> Result<T>) {
    answer!(reply, fs, call, work, |reply: ReplyEmpty, _| reply.ok());
}

/// Answers with an attribute's bytes, or their number when that is all the caller wants.
fn xattr(reply: ReplyXattr, size: u32, value: &[u8]) {
    match u32::try_from(value.len()) {
        Ok(len) if size == 0 => reply.size(len),
        Ok(len) if len <= size => reply.data(value),
        _ => reply.error(Errno::ERANGE),
    }
}

impl Filesystem for Adapter {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        negotiate(config)
    }

    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let _wiped = Wiped::after(name.as_bytes());
        match self.fs.call("lookup", |fs| fs.lookup(parent.0, name.as_bytes())) {
            Ok(found) => entry(reply, found),
            // Number 0 tells the kernel to remember that there is nothing.
            Err(errno) if i32::from(errno) == libc::ENOENT => {
                let nothing = bare_attr(0, crate::fs::types::Kind::File);
                reply.entry(&TTL, &nothing, Generation(0));
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn forget(&self, _req: &Request, ino: INodeNo, nlookup: u64) {
        let _ = self.fs.call("forget", |fs| {
            fs.forget(ino.0, nlookup);
            Ok(())
        });
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        answer!(
            reply,
            self.fs,
            "getattr",
            |fs| fs.get_attr(ino.0),
            |reply: ReplyAttr, found| {
                reply.attr(&TTL, &attr(&found));
            }
        );
    }

    fn setattr(
        &self,
        req: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let set = SetAttr {
            permissions: mode,
            uid,
            gid,
            size,
            accessed: atime.map(set_time),
            modified: mtime.map(set_time),
        };
        let caller = caller(req, 0);
        answer!(
            reply,
            self.fs,
            "setattr",
            |fs| fs.set_attr(ino.0, &set, &caller),
            |reply: ReplyAttr, found| {
                // Not for longer: it comes after writing too, to set the times, and the number of blocks is
                // still changing.
                reply.attr(&Duration::ZERO, &attr(&found));
            }
        );
    }

    fn readlink(&self, _req: &Request, ino: INodeNo, reply: ReplyData) {
        answer!(
            reply,
            self.fs,
            "readlink",
            |fs| fs.read_link(ino.0),
            |reply: ReplyData, target: Vec<u8>| {
                reply.data(&target);
            }
        );
    }

    fn mknod(&self, req: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, rdev: u32, reply: ReplyEntry) {
        let _wiped = Wiped::after(name.as_bytes());
        let Some(kind) = kind_of_mode(mode) else {
            return reply.error(Errno::EINVAL);
        };
        let (caller, special) = (caller(req, umask), device_numbers(rdev));
        let make = |fs: &Fs| fs.make_node(parent.0, name.as_bytes(), (kind, mode), special, &caller);
        answer!(reply, self.fs, "mknod", make, entry);
    }

    fn mkdir(&self, req: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        let _wiped = Wiped::after(name.as_bytes());
        let caller = caller(req, umask);
        let make = |fs: &Fs| fs.make_directory(parent.0, name.as_bytes(), mode, &caller);
        answer!(reply, self.fs, "mkdir", make, entry);
    }

    fn unlink(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let _wiped = Wiped::after(name.as_bytes());
        done(&self.fs, "unlink", reply, |fs| fs.unlink(parent.0, name.as_bytes()));
    }

    fn rmdir(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let _wiped = Wiped::after(name.as_bytes());
        done(&self.fs, "rmdir", reply, |fs| {
            fs.remove_directory(parent.0, name.as_bytes())
        });
    }

    fn symlink(&self, req: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        let _wiped = (
            Wiped::after(name.as_bytes()),
            Wiped::after(target.as_os_str().as_bytes()),
        );
        let caller = caller(req, 0o022);
        let target = target.as_os_str().as_bytes();
        let make = |fs: &Fs| fs.make_symlink(parent.0, name.as_bytes(), target, &caller);
        answer!(reply, self.fs, "symlink", make, entry);
    }

    fn rename(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: fuser::RenameFlags,
        reply: ReplyEmpty,
    ) {
        let _wiped = (Wiped::after(name.as_bytes()), Wiped::after(newname.as_bytes()));
        let how = match rename_how(flags, caller(req, 0)) {
            Ok(how) => how,
            Err(errno) => return reply.error(errno),
        };
        let from = (parent.0, name.as_bytes());
        let to = (newparent.0, newname.as_bytes());
        done(&self.fs, "rename", reply, |fs| fs.rename(from, to, how));
    }

    fn link(&self, _req: &Request, ino: INodeNo, newparent: INodeNo, newname: &OsStr, reply: ReplyEntry) {
        let _wiped = Wiped::after(newname.as_bytes());
        answer!(
            reply,
            self.fs,
            "link",
            |fs| fs.link(ino.0, newparent.0, newname.as_bytes()),
            entry
        );
    }

    fn open(&self, req: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let open = |fs: &Fs| fs.open(ino.0, how(flags.0), &caller(req, 0));
        answer!(reply, self.fs, "open", open, |reply: ReplyOpen, handle| {
            reply.opened(FileHandle(handle), OPEN);
        });
    }

    fn create(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let _wiped = Wiped::after(name.as_bytes());
        let caller = caller(req, umask);
        let create = |fs: &Fs| fs.create(parent.0, name.as_bytes(), mode, how(flags), &caller);
        answer!(
            reply,
            self.fs,
            "create",
            create,
            |reply: ReplyCreate, (found, handle): (Found, u64)| {
                let handle = FileHandle(handle);
                reply.created(&ttl(&found), &attr(&found.attr), generation(&found), handle, OPEN);
            }
        );
    }

    fn read(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.buffers.with(|buffer| {
            let read = self.fs.call("read", |fs| fs.read(fh.0, offset, size as usize, buffer));
            match read {
                Ok(()) => reply.data(buffer),
                Err(errno) => reply.error(errno),
            }
        });
    }

    fn write(
        &self,
        req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let _wiped = Wiped::after(data);
        let caller = caller(req, 0);
        let kill = write_flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID);
        // A request is 1 MiB at most.
        #[allow(clippy::cast_possible_truncation)]
        let len = data.len() as u32;
        let write = |fs: &Fs| fs.write(fh.0, offset, data, kill.then_some(&caller));
        self.writes.answer(reply, || self.fs.call("write", write).map(|()| len));
    }

    // `flush` is not implemented on purpose: the kernel writes its cache out before it would send one, and
    // after the first `ENOSYS` a close costs no request.
    fn flush(&self, _req: &Request, _ino: INodeNo, _fh: FileHandle, _owner: LockOwner, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn release(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        done(&self.fs, "release", reply, |fs| {
            fs.release(fh.0);
            Ok(())
        });
    }

    fn fsync(&self, _req: &Request, _ino: INodeNo, fh: FileHandle, datasync: bool, reply: ReplyEmpty) {
        done(&self.fs, "fsync", reply, |fs| fs.sync(fh.0, datasync));
    }

    fn opendir(&self, _req: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        answer!(
            reply,
            self.fs,
            "opendir",
            |fs| fs.open_directory(ino.0),
            |reply: ReplyOpen, handle| {
                reply.opened(FileHandle(handle), OPEN_DIRECTORY);
            }
        );
    }

    fn readdir(&self, _req: &Request, _ino: INodeNo, fh: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let list = self.fs.call("readdir", |fs| {
            fs.list(fh.0, offset, |item| {
                let name = OsStr::from_bytes(item.name);
                reply.add(INodeNo(item.ino), item.next, kind(item.kind), name)
            })
        });
        match list {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }

    fn readdirplus(&self, _req: &Request, _ino: INodeNo, fh: FileHandle, offset: u64, mut reply: ReplyDirectoryPlus) {
        let list = self.fs.call("readdirplus", |fs| {
            fs.list_plus(fh.0, offset, |item| {
                let (listed, name) = (item.listed, OsStr::from_bytes(item.listed.name));
                let dot = matches!(listed.name, b"." | b"..");
                let ttl = item.found.as_ref().map_or(TTL, ttl);
                let (attr, generation) = match &item.found {
                    Some(found) => (attr(&found.attr), generation(found)),
                    // The kernel does not take look-ups of these two; an entry that cannot be read has number 0.
                    None if dot => (bare_attr(listed.ino, listed.kind), Generation(0)),
                    None => (bare_attr(0, listed.kind), Generation(0)),
                };
                reply.add(attr.ino, listed.next, name, &ttl, &attr, generation)
            })
        });
        match list {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }

    fn releasedir(&self, _req: &Request, _ino: INodeNo, fh: FileHandle, _flags: OpenFlags, reply: ReplyEmpty) {
        done(&self.fs, "releasedir", reply, |fs| {
            fs.release_directory(fh.0);
            Ok(())
        });
    }

    fn fsyncdir(&self, _req: &Request, ino: INodeNo, fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        let fs = self.fs.clone();
        let sync = move |reply: ReplyEmpty| done(&fs, "fsyncdir", reply, |fs| fs.sync_directory(fh.0));
        if ino != INodeNo::ROOT {
            return sync(reply);
        }
        // It stands for everything, so also for what the kernel has not written yet.
        match self.fs.call("fsyncdir", |fs| Ok(fs.being_written())) {
            Ok(written) => {
                let written = written.into_iter().map(INodeNo).collect();
                self.flusher.after_writeback(written, move || sync(reply));
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn statfs(&self, _req: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        answer!(
            reply,
            self.fs,
            "statfs",
            |fs| fs.usage(),
            |reply: ReplyStatfs, usage: crate::fs::Usage| {
                reply.statfs(
                    usage.blocks,
                    usage.free,
                    usage.available,
                    usage.nodes,
                    usage.nodes_free,
                    usage.transfer,
                    usage.name_max,
                    usage.unit,
                );
            }
        );
    }

    fn setxattr(
        &self,
        req: &Request,
        ino: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        let _wiped = (Wiped::after(name.as_bytes()), Wiped::after(value));
        let caller = caller(req, 0);
        let (name, flags) = (name.as_bytes(), flags.cast_unsigned());
        let set = move |fs: &Fs, name: &[u8], value: &[u8]| fs.set_xattr(ino.0, name, value, flags, &caller);
        match self.fs.call("setxattr", |fs| Ok(fs.is_lost_by_writing(ino.0, name))) {
            Ok(false) => done(&self.fs, "setxattr", reply, |fs| set(fs, name, value)),
            // What the kernel holds back was written before this.
            Ok(true) => {
                let (fs, name, value) = (self.fs.clone(), name.to_vec(), value.to_vec());
                self.flusher.after_writeback(vec![ino], move || {
                    done(&fs, "setxattr", reply, |fs| set(fs, &name, &value));
                });
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn getxattr(&self, _req: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let _wiped = Wiped::after(name.as_bytes());
        let get = |fs: &Fs| fs.get_xattr(ino.0, name.as_bytes());
        answer!(reply, self.fs, "getxattr", get, |reply, value: Vec<u8>| xattr(
            reply, size, &value
        ));
    }

    fn listxattr(&self, req: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        let list = |fs: &Fs| fs.list_xattr(ino.0, &caller(req, 0));
        answer!(reply, self.fs, "listxattr", list, |reply, names: Vec<u8>| {
            xattr(reply, size, &names);
        });
    }

    fn removexattr(&self, _req: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let _wiped = Wiped::after(name.as_bytes());
        done(&self.fs, "removexattr", reply, |fs| {
            fs.remove_xattr(ino.0, name.as_bytes())
        });
    }

    fn fallocate(
        &self,
        req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let keep_size = mode & libc::FALLOC_FL_KEEP_SIZE != 0;
        let mode = match mode & !libc::FALLOC_FL_KEEP_SIZE {
            0 => Allocate::Reserve { keep_size },
            libc::FALLOC_FL_PUNCH_HOLE if keep_size => Allocate::PunchHole,
            libc::FALLOC_FL_ZERO_RANGE => Allocate::ZeroRange { keep_size },
            _ => return reply.error(Errno::EOPNOTSUPP),
        };
        let caller = caller(req, 0);
        let allocate = |fs: &Fs| fs.allocate(fh.0, mode, offset, length, &caller);
        done(&self.fs, "fallocate", reply, allocate);
        self.written(ino);
    }

    fn lseek(&self, _req: &Request, ino: INodeNo, fh: FileHandle, offset: i64, whence: i32, reply: ReplyLseek) {
        let to = match whence {
            libc::SEEK_DATA => Seek::Data,
            libc::SEEK_HOLE => Seek::Hole,
            _ => return reply.error(Errno::EINVAL),
        };
        let Ok(from) = u64::try_from(offset) else {
            return reply.error(Errno::ENXIO);
        };
        let fs = self.fs.clone();
        let seek = move |reply| {
            answer!(
                reply,
                fs,
                "lseek",
                |fs| fs.seek(fh.0, from, to),
                |reply: ReplyLseek, at: u64| {
                    reply.offset(at.cast_signed());
                }
            );
        };
        match self.fs.call("lseek", |fs| fs.has_writers(fh.0)) {
            Ok(true) => self.flusher.after_writeback(vec![ino], move || seek(reply)),
            Ok(false) => seek(reply),
            Err(errno) => reply.error(errno),
        }
    }

    fn copy_file_range(
        &self,
        req: &Request,
        _ino_in: INodeNo,
        fh_in: FileHandle,
        offset_in: u64,
        ino_out: INodeNo,
        fh_out: FileHandle,
        offset_out: u64,
        len: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        // The answer has 32 bits.
        let len = len.min(1 << 30);
        let caller = caller(req, 0);
        let (from, to) = ((fh_in.0, offset_in), (fh_out.0, offset_out));
        let copy = |fs: &Fs| fs.copy(from, to, len, &caller);
        #[allow(clippy::cast_possible_truncation)]
        {
            answer!(
                reply,
                self.fs,
                "copy_file_range",
                copy,
                |reply: ReplyWrite, copied: u64| {
                    reply.written(copied as u32);
                }
            );
        }
        self.written(ino_out);
    }
}
