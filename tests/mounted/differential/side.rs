//! One of the two directories, and how a call is made in it.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    Access, AtFlags, FallocateFlags, FileType, Gid, Mode, OFlags, RawDir, RenameFlags, SeekFrom, Timespec, Timestamps,
    Uid, XattrFlags,
};
use rustix::io::Errno;
use rustix::mm::{MapFlags, MsyncFlags, ProtFlags};

use super::calls::{Call, Name, Range, SLOTS, User, What};

/// Attributes that the calls use.
const XATTRS: [&str; 5] = [
    "user.a",
    "user.b",
    "user.a long name of an attribute",
    "trusted.t",
    "security.kmsfs",
];

/// What a call came back with.
pub type Outcome = Result<Value, Errno>;

/// A result that must be the same on both sides.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing to compare.
    Done,
    /// A number of bytes.
    Count(u64),
    /// What was read.
    Bytes(Vec<u8>),
    /// The entries of a directory, sorted, with their kinds.
    Names(Vec<(Vec<u8>, String)>),
}

/// A directory, and the files that are open in it.
pub struct Side {
    root: PathBuf,
    directory: OwnedFd,
    open: [Option<OwnedFd>; SLOTS],
}

impl Side {
    /// Makes the directory `root` and works in it.
    pub fn new(root: PathBuf) -> Self {
        std::fs::create_dir(&root).unwrap();
        rustix::fs::chmod(&root, Mode::from_raw_mode(0o777)).unwrap();
        let directory = rustix::fs::open(&root, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        Self {
            root,
            directory,
            open: Default::default(),
        }
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Makes `call` here.
    pub fn make(&mut self, call: &Call) -> Outcome {
        let _caller = As::enter(call.by);
        match &call.what {
            What::Open {
                slot,
                path,
                flags,
                mode,
            } => self.open(*slot, path, *flags, *mode),
            What::Close { slot } => {
                self.open[*slot].take();
                Ok(Value::Done)
            }
            What::Umask { mask } => {
                rustix::process::umask(Mode::from_raw_mode(*mask));
                Ok(Value::Done)
            }
            What::Read { .. } | What::Write { .. } | What::Append { .. } | What::Map { .. } | What::Seek { .. } => {
                self.data(&call.what)
            }
            What::Sync { .. }
            | What::FTruncate { .. }
            | What::Allocate { .. }
            | What::Copy { .. }
            | What::FChmod { .. } => self.space(&call.what),
            other => self.named(other),
        }
    }

    fn file(&self, slot: usize) -> Result<&OwnedFd, Errno> {
        self.open[slot].as_ref().ok_or(Errno::BADF)
    }

    fn open(&mut self, slot: usize, path: &Name, flags: u32, mode: u32) -> Outcome {
        // A pipe would be waited for.
        let flags = OFlags::from_bits_retain(flags) | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.directory, &*path.0, flags, Mode::from_raw_mode(mode))?;
        self.open[slot] = Some(file);
        Ok(Value::Done)
    }

    fn data(&self, what: &What) -> Outcome {
        match what {
            What::Read { slot, range } => read(self.file(*slot)?, *range).map(Value::Bytes),
            What::Write { slot, range, seed } => {
                let count = rustix::io::pwrite(self.file(*slot)?, &pattern(range.len, *seed), range.at)?;
                Ok(Value::Count(count as u64))
            }
            What::Append { slot, len, seed } => {
                let file = self.file(*slot)?;
                rustix::fs::seek(file, SeekFrom::End(0))?;
                Ok(Value::Count(rustix::io::write(file, &pattern(*len, *seed))? as u64))
            }
            What::Map { slot, range, write } => map(self.file(*slot)?, *range, *write),
            What::Seek { slot, at, data } => seek(self.file(*slot)?, *at, *data),
            _ => Ok(Value::Done),
        }
    }

    fn space(&self, what: &What) -> Outcome {
        match what {
            What::Sync { slot, data_only: true } => rustix::fs::fdatasync(self.file(*slot)?)?,
            What::Sync { slot, .. } => rustix::fs::fsync(self.file(*slot)?)?,
            What::FTruncate { slot, len } => rustix::fs::ftruncate(self.file(*slot)?, *len)?,
            What::FChmod { slot, mode } => rustix::fs::fchmod(self.file(*slot)?, Mode::from_raw_mode(*mode))?,
            What::Allocate { slot, mode, range } => {
                let mode = FallocateFlags::from_bits_retain(*mode);
                rustix::fs::fallocate(self.file(*slot)?, mode, range.at, range.len)?;
            }
            What::Copy { from, at, to, range } => {
                let (mut from_at, mut to_at) = (*at, range.at);
                let (from, to) = (self.file(*from)?, self.file(*to)?);
                let len = usize::try_from(range.len).unwrap();
                let copied = rustix::fs::copy_file_range(from, Some(&mut from_at), to, Some(&mut to_at), len)?;
                return Ok(Value::Count(copied as u64));
            }
            _ => {}
        }
        Ok(Value::Done)
    }

    fn named(&self, what: &What) -> Outcome {
        let at = self.directory.as_fd();
        let none = AtFlags::empty();
        let mode = |mode: &u32| Mode::from_raw_mode(*mode);
        match what {
            What::Truncate { path, len } => {
                // Not open(2) and ftruncate(2): that asks for other permissions.
                let path = std::ffi::CString::new(self.path(path).as_os_str().as_bytes()).unwrap();
                // SAFETY: a path that ends in NUL, and a number.
                if unsafe { libc::truncate(path.as_ptr(), len.cast_signed()) } != 0 {
                    return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap());
                }
            }
            What::Mkdir { path, mode: bits } => rustix::fs::mkdirat(at, &*path.0, mode(bits))?,
            What::Mknod { path, kind, mode: bits } => {
                rustix::fs::mknodat(at, &*path.0, FileType::from_raw_mode(*kind), mode(bits), 0)?;
            }
            What::Symlink { path, target } => rustix::fs::symlinkat(&*target.0, at, &*path.0)?,
            What::Link { from, to, follow } => {
                let flags = if *follow { AtFlags::SYMLINK_FOLLOW } else { none };
                rustix::fs::linkat(at, &*from.0, at, &*to.0, flags)?;
            }
            What::LinkOpen { slot, to } => {
                let from = format!("/proc/self/fd/{}", self.file(*slot)?.as_raw_fd());
                rustix::fs::linkat(rustix::fs::CWD, &*from, at, &*to.0, AtFlags::SYMLINK_FOLLOW)?;
            }
            What::Unlink { path } => rustix::fs::unlinkat(at, &*path.0, none)?,
            What::Rmdir { path } => rustix::fs::unlinkat(at, &*path.0, AtFlags::REMOVEDIR)?,
            What::Rename { from, to, flags } => {
                rustix::fs::renameat_with(at, &*from.0, at, &*to.0, RenameFlags::from_bits_retain(*flags))?;
            }
            What::ReadLink { path } => {
                return Ok(Value::Bytes(
                    rustix::fs::readlinkat(at, &*path.0, Vec::new())?.into_bytes(),
                ));
            }
            What::List { path } => return list(at, &path.0).map(Value::Names),
            other => return self.attribute(other),
        }
        Ok(Value::Done)
    }

    fn attribute(&self, what: &What) -> Outcome {
        let at = self.directory.as_fd();
        let none = AtFlags::empty();
        match what {
            What::Chmod { path, mode } => rustix::fs::chmodat(at, &*path.0, Mode::from_raw_mode(*mode), none)?,
            What::Chown { path, uid, gid } => {
                let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
                rustix::fs::chownat(at, &*path.0, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
            }
            What::Times {
                path,
                seconds,
                nanoseconds,
            } => {
                let time = Timespec {
                    tv_sec: *seconds,
                    tv_nsec: *nanoseconds,
                };
                let times = Timestamps {
                    last_access: time,
                    last_modification: time,
                };
                rustix::fs::utimensat(at, &*path.0, &times, AtFlags::SYMLINK_NOFOLLOW)?;
            }
            What::Access { path, how } => {
                rustix::fs::accessat(at, &*path.0, Access::from_bits_retain(*how), AtFlags::EACCESS)?;
            }
            What::SetXattr { path, name, len, flags } => {
                let flags = XattrFlags::from_bits_retain(*flags);
                rustix::fs::lsetxattr(self.path(path), XATTRS[*name], &pattern(*len as u64, 7), flags)?;
            }
            What::GetXattr { path, name } => {
                let mut value = vec![0; 1024];
                let len = rustix::fs::lgetxattr(self.path(path), XATTRS[*name], &mut value[..])?;
                value.truncate(len);
                return Ok(Value::Bytes(value));
            }
            What::RemoveXattr { path, name } => rustix::fs::lremovexattr(self.path(path), XATTRS[*name])?,
            What::SetAcl {
                path,
                default,
                user,
                bits,
            } => {
                let name = if *default {
                    "system.posix_acl_default"
                } else {
                    "system.posix_acl_access"
                };
                rustix::fs::setxattr(self.path(path), name, &acl(*user, *bits), XattrFlags::empty())?;
            }
            _ => {}
        }
        Ok(Value::Done)
    }

    fn path(&self, name: &Name) -> PathBuf {
        self.root.join(&name.0)
    }
}

/// While it lives, this thread is somebody else to file systems.
struct As(User);

impl As {
    fn enter(user: User) -> Self {
        // SAFETY: numbers, and credentials of this thread only; the kernel takes the capabilities away and gives
        // them back with user 0.
        unsafe {
            libc::setfsgid(user.0);
            libc::setfsuid(user.0);
        }
        Self(user)
    }
}

impl Drop for As {
    fn drop(&mut self) {
        if self.0 != User(0) {
            let _root = std::mem::ManuallyDrop::new(Self::enter(User(0)));
        }
    }
}

fn pattern(len: u64, seed: u8) -> Vec<u8> {
    (0..len).map(|n| (n % 251) as u8 ^ seed).collect()
}

fn read(file: &OwnedFd, range: Range) -> Result<Vec<u8>, Errno> {
    let mut out = vec![0; usize::try_from(range.len).unwrap()];
    let len = rustix::io::pread(file, &mut out[..], range.at)?;
    out.truncate(len);
    Ok(out)
}

/// Reads or writes through a shared mapping, within the file.
fn map(file: &OwnedFd, range: Range, write: Option<u8>) -> Outcome {
    let size = rustix::fs::fstat(file)?.st_size.cast_unsigned();
    let begin = range.at / 4096 * 4096;
    let end = (range.at + range.len).min(size);
    let Some(len) = end.checked_sub(begin).filter(|len| *len > 0) else {
        return Ok(Value::Done);
    };
    let len = usize::try_from(len).unwrap();
    let access = match write {
        Some(_) => ProtFlags::READ | ProtFlags::WRITE,
        None => ProtFlags::READ,
    };
    // SAFETY: a new mapping at an address of the kernel's choice; nobody cuts the file meanwhile, so every page of
    // it is there; it is unmapped below and no reference outlives that.
    unsafe {
        let at = rustix::mm::mmap(std::ptr::null_mut(), len, access, MapFlags::SHARED, file, begin)?;
        let bytes = std::slice::from_raw_parts_mut(at.cast::<u8>(), len);
        let skip = usize::try_from(range.at - begin).unwrap().min(len);
        let outcome = match write {
            None => Value::Bytes(bytes[skip..].to_vec()),
            Some(seed) => {
                bytes[skip..].copy_from_slice(&pattern((len - skip) as u64, seed));
                rustix::mm::msync(at, len, MsyncFlags::SYNC)?;
                Value::Done
            }
        };
        rustix::mm::munmap(at, len)?;
        Ok(outcome)
    }
}

/// Where holes are is a file system's own business; what it says must be true of the content. What is not comes out
/// as an error that no file system has.
fn seek(file: &OwnedFd, at: u64, data: bool) -> Outcome {
    let stat = rustix::fs::fstat(file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Ok(Value::Done);
    }
    let size = stat.st_size.cast_unsigned();
    let found = rustix::fs::seek(file, if data { SeekFrom::Data(at) } else { SeekFrom::Hole(at) });
    let holds = match (found, data) {
        (Err(Errno::NXIO), true) if at < size => zeros(file, at, size)?,
        (Err(error), _) => return Err(error),
        (Ok(found), true) => zeros(file, at, found)?,
        (Ok(found), false) if found < size => {
            let end = rustix::fs::seek(file, SeekFrom::Data(found)).unwrap_or(size);
            zeros(file, found, end)?
        }
        (Ok(found), false) => found == size,
    };
    match holds {
        true => Ok(Value::Done),
        false => Err(Errno::NOTRECOVERABLE),
    }
}

fn zeros(file: &OwnedFd, from: u64, to: u64) -> Result<bool, Errno> {
    match read(
        file,
        Range {
            at: from,
            len: to - from,
        },
    ) {
        Ok(bytes) => Ok(bytes.iter().all(|byte| *byte == 0)),
        // It is open for writing only.
        Err(Errno::BADF) => Ok(true),
        Err(error) => Err(error),
    }
}

fn list(at: impl AsFd, path: &str) -> Result<Vec<(Vec<u8>, String)>, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(at, path, flags, Mode::empty())?;
    let mut buffer = [MaybeUninit::uninit(); 2048];
    let mut entries = RawDir::new(directory, &mut buffer);
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = CStr::to_bytes(entry.file_name()).to_vec();
        // Their kinds and numbers say nothing.
        if name != b"." && name != b".." {
            names.push((name, format!("{:?}", entry.file_type())));
        }
    }
    names.sort();
    Ok(names)
}

/// A POSIX ACL as the kernel takes it: version, then tag, bits and id of each entry (`linux/posix_acl_xattr.h`).
fn acl(user: u32, (owner, named, group, mask, other): (u16, u16, u16, u16, u16)) -> Vec<u8> {
    const NOBODY: u32 = u32::MAX;
    let entries = [
        (1, owner, NOBODY),
        (2, named, user),
        (4, group, NOBODY),
        (16, mask, NOBODY),
        (32, other, NOBODY),
    ];
    let mut bytes = 2u32.to_le_bytes().to_vec();
    for (tag, bits, id) in entries {
        bytes.extend(u16::to_le_bytes(tag));
        bytes.extend(bits.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}
