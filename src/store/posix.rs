//! The medium that is a directory of a POSIX file system, by *at calls on its descriptor: the mount may
//! hide the directory, so no path leads there.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::{
    Dir, FallocateFlags, FileType, Mode, OFlags, StatVfsMountFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT,
};
use rustix::io::Errno;

use super::medium::{Found, Medium, Modified, StoredFile, StoredPath};
use crate::format::NodeId;
use crate::format::stored_name::RawName;
use crate::sys::entries;
use crate::sys::open::open_in_spite_of_mode;

/// The journal's name in the backing's root.
pub const JOURNAL: &str = "kmsfs.journal";

const FILE: OFlags = OFlags::RDWR
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK);
const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);

/// A backing directory.
#[derive(Debug)]
pub struct PosixMedium {
    root: OwnedFd,
}

impl PosixMedium {
    /// The medium below `root`, a directory.
    #[must_use]
    pub fn new(root: OwnedFd) -> Self {
        Self { root }
    }

    fn open_dir(&self, names: &[&[u8]]) -> io::Result<Option<OwnedFd>> {
        let mut dir = rustix::fs::openat(&self.root, ".", DIRECTORY, Mode::empty())?;
        for name in names {
            match rustix::fs::openat(&dir, *name, DIRECTORY, Mode::empty()) {
                Ok(next) => dir = next,
                Err(errno) if is_absent(errno) => return Ok(None),
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(Some(dir))
    }
}

/// Whether a path led nowhere, as opposed to a medium that failed.
fn is_absent(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG | Errno::NXIO | Errno::ISDIR
    )
}

fn open_file(dir: BorrowedFd<'_>, name: &[u8], node: NodeId) -> io::Result<Option<Box<dyn StoredFile>>> {
    if RawName::parse(name).is_none_or(|raw| raw.node != node) {
        return Ok(None);
    }
    // A file that its owner made read-only is still the store's to write, if the daemon may: it is root or the owner.
    let fd = match rustix::fs::openat(dir, name, FILE, Mode::empty()) {
        Ok(fd) => fd,
        Err(errno) if is_absent(errno) => return Ok(None),
        // The owner may not write a file of mode 0444, but a handle opened before may have: so the journal
        // can hold records of it.
        Err(Errno::ACCESS) => open_in_spite_of_mode(dir, name, FILE)?,
        Err(errno) => return Err(errno.into()),
    };
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode);
    Ok((kind == FileType::RegularFile).then(|| Box::new(PosixFile::new(fd)) as Box<dyn StoredFile>))
}

impl Medium for PosixMedium {
    fn journal(&self, create: bool) -> io::Result<Option<Box<dyn StoredFile>>> {
        let mode = Mode::RUSR | Mode::WUSR;
        let writable = if self.is_writable() {
            FILE
        } else {
            FILE.difference(OFlags::RDWR)
        };
        let fd = match rustix::fs::openat(&self.root, JOURNAL, writable, mode) {
            Err(Errno::NOENT) if create => {
                let fd = rustix::fs::openat(&self.root, JOURNAL, FILE | OFlags::CREATE | OFlags::EXCL, mode)?;
                rustix::fs::fsync(&fd)?;
                let root = rustix::fs::openat(&self.root, ".", DIRECTORY, Mode::empty())?;
                rustix::fs::fsync(&root)?;
                fd
            }
            Err(Errno::NOENT) => return Ok(None),
            opened => opened?,
        };
        if FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode) != FileType::RegularFile {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the journal is not a regular file",
            ));
        }
        Ok(Some(Box::new(PosixFile::new(fd))))
    }

    fn is_writable(&self) -> bool {
        rustix::fs::fstatvfs(&self.root).is_ok_and(|stat| !stat.f_flag.contains(StatVfsMountFlags::RDONLY))
    }

    fn sync_everything(&self) -> io::Result<()> {
        Ok(entries::sync_all(&self.root)?)
    }

    fn find(&self, node: NodeId, hint: &StoredPath) -> io::Result<Option<Box<dyn StoredFile>>> {
        let Some(names) = hint.names() else {
            return Ok(None);
        };
        let Some((last, parents)) = names.split_last() else {
            return Ok(None);
        };
        match self.open_dir(parents)? {
            Some(dir) => open_file(dir.as_fd(), last, node),
            None => Ok(None),
        }
    }

    fn find_all(&self, nodes: &BTreeSet<NodeId>, found: &mut Found<'_>) -> io::Result<()> {
        let mut missing = nodes.clone();
        let mut unseen: Vec<Vec<Vec<u8>>> = vec![Vec::new()];
        while let Some(path) = unseen.pop() {
            let names: Vec<&[u8]> = path.iter().map(Vec::as_slice).collect();
            let Some(dir) = self.open_dir(&names)? else {
                continue;
            };
            for item in Dir::read_from(&dir)? {
                let item = item?;
                let name = item.file_name().to_bytes();
                let Some(raw) = RawName::parse(name) else {
                    continue;
                };
                if missing.contains(&raw.node)
                    && let Some(file) = open_file(dir.as_fd(), name, raw.node)?
                {
                    found(raw.node, file)?;
                    missing.remove(&raw.node);
                    if missing.is_empty() {
                        return Ok(());
                    }
                } else if matches!(item.file_type(), FileType::Directory | FileType::Unknown) {
                    // What is no directory after all does not open as one.
                    unseen.push(path.iter().cloned().chain([name.to_vec()]).collect());
                }
            }
        }
        Ok(())
    }
}

/// An open file of a POSIX file system.
#[derive(Debug)]
pub struct PosixFile(File);

impl PosixFile {
    /// The open file `fd`, for reading and writing.
    #[must_use]
    pub fn new(fd: OwnedFd) -> Self {
        Self(File::from(fd))
    }
}

impl StoredFile for PosixFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buf.len() {
            match self.0.read_at(&mut buf[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(some) => done += some,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_all_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn punch_hole(&self, offset: u64, len: u64) -> io::Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let punch = |len| rustix::fs::fallocate(&self.0, flags, offset, len);
        match punch(len) {
            // It ends beyond the largest file that this backing can hold: nothing is there.
            Err(Errno::FBIG) => match self.len()?.saturating_sub(offset) {
                0 => Ok(()),
                len => optional(punch(len)),
            },
            punched => optional(punched),
        }
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        optional(rustix::fs::fallocate(&self.0, FallocateFlags::KEEP_SIZE, offset, len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all()
    }

    fn is_linked(&self) -> io::Result<bool> {
        Ok(rustix::fs::fstat(&self.0)?.st_nlink > 0)
    }

    fn modified(&self) -> io::Result<Modified> {
        let stat = rustix::fs::fstat(&self.0)?;
        Ok(Modified {
            seconds: stat.st_mtime,
            nanoseconds: stat.st_mtime_nsec as u32,
        })
    }

    fn set_modified(&self, when: Option<Modified>) -> io::Result<()> {
        let untouched = Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        };
        let modified = match when {
            None => Timespec {
                tv_sec: 0,
                tv_nsec: UTIME_NOW,
            },
            Some(when) => Timespec {
                tv_sec: when.seconds,
                tv_nsec: when.nanoseconds.into(),
            },
        };
        let times = Timestamps {
            last_access: untouched,
            last_modification: modified,
        };
        Ok(rustix::fs::futimens(&self.0, &times)?)
    }
}

/// A saving that a file system may not offer.
fn optional(result: rustix::io::Result<()>) -> io::Result<()> {
    match result {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        result => Ok(result?),
    }
}
