//! `statx` of a backing entry as a plain value. Not the attributes a client sees: those are `fs::attr`'s.

use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, FileType, Statx, StatxFlags, StatxTimestamp, statx};
use rustix::io;

/// What a directory entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
}

impl Kind {
    /// The kind of a file type, if it is one that a directory can hold.
    #[must_use]
    pub fn of(file_type: FileType) -> Option<Self> {
        Some(match file_type {
            FileType::RegularFile => Self::File,
            FileType::Directory => Self::Directory,
            FileType::Symlink => Self::Symlink,
            FileType::Fifo => Self::Fifo,
            FileType::Socket => Self::Socket,
            FileType::CharacterDevice => Self::CharDevice,
            FileType::BlockDevice => Self::BlockDevice,
            FileType::Unknown => return None,
        })
    }
}

/// A point in time: seconds since the epoch (negative before it) and nanoseconds below one second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Time {
    /// Whole seconds, rounded down.
    pub seconds: i64,
    /// 0 to 999,999,999.
    pub nanoseconds: u32,
}

impl From<StatxTimestamp> for Time {
    fn from(time: StatxTimestamp) -> Self {
        Self {
            seconds: time.tv_sec,
            nanoseconds: time.tv_nsec,
        }
    }
}

/// What the backing says of one of its entries.
#[derive(Debug, Clone, Copy)]
pub struct Stat {
    /// Major and minor number of the file system it lies on.
    pub device: (u32, u32),
    /// Inode number there.
    pub inode: u64,
    /// What it is.
    pub kind: Kind,
    /// Permission bits, with setuid, setgid and sticky (07777).
    pub permissions: u16,
    /// Hard links.
    pub links: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Major and minor number that a device node stands for.
    pub special: (u32, u32),
    /// Stored size in bytes.
    pub size: u64,
    /// Allocated units of 512 bytes.
    pub blocks: u64,
    /// Last access.
    pub accessed: Time,
    /// Last change of content.
    pub modified: Time,
    /// Last change of attributes.
    pub changed: Time,
    /// Creation, where the backing records it.
    pub created: Time,
}

/// The entry `name` of `directory`, never following a symlink; the directory itself when `name` is empty.
///
/// # Errors
/// As statx(2); `EIO` for an entry of no known kind.
pub fn stat(directory: BorrowedFd<'_>, name: &str) -> io::Result<Stat> {
    let mut flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    if name.is_empty() {
        flags |= AtFlags::EMPTY_PATH;
    }
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    convert(&statx(directory, name, flags, wanted)?)
}

fn convert(stat: &Statx) -> io::Result<Stat> {
    let mode = stat.stx_mode;
    Ok(Stat {
        device: (stat.stx_dev_major, stat.stx_dev_minor),
        inode: stat.stx_ino,
        kind: Kind::of(FileType::from_raw_mode(u32::from(mode))).ok_or(io::Errno::IO)?,
        permissions: mode & 0o7777,
        links: stat.stx_nlink,
        uid: stat.stx_uid,
        gid: stat.stx_gid,
        special: (stat.stx_rdev_major, stat.stx_rdev_minor),
        size: stat.stx_size,
        blocks: stat.stx_blocks,
        accessed: stat.stx_atime.into(),
        modified: stat.stx_mtime.into(),
        changed: stat.stx_ctime.into(),
        created: stat.stx_btime.into(),
    })
}
