//! Values of the file system as values of the protocol, and back.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{Errno, FileAttr, FileType, INodeNo, Request, TimeOrNow};

use crate::fs::types::{Attr, Caller, Kind, RenameHow, SetTime, Time};

/// Unit of transfers that `stat` reports, in bytes.
const TRANSFER: u32 = 4096;

pub fn attr(attr: &Attr) -> FileAttr {
    FileAttr {
        ino: INodeNo(attr.ino),
        size: attr.size,
        blocks: attr.blocks,
        atime: time(attr.accessed),
        mtime: time(attr.modified),
        ctime: time(attr.changed),
        crtime: time(attr.created),
        kind: kind(attr.kind),
        perm: attr.permissions,
        nlink: attr.links,
        uid: attr.uid,
        gid: attr.gid,
        rdev: device(attr.special),
        blksize: TRANSFER,
        flags: 0,
    }
}

/// Attributes for a listed entry that comes without its node: the kernel takes number and kind from them.
pub fn bare_attr(ino: u64, what: Kind) -> FileAttr {
    FileAttr {
        ino: INodeNo(ino),
        size: 0,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: kind(what),
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 0,
        flags: 0,
    }
}

pub fn kind(kind: Kind) -> FileType {
    match kind {
        Kind::File => FileType::RegularFile,
        Kind::Directory => FileType::Directory,
        Kind::Symlink => FileType::Symlink,
        Kind::Fifo => FileType::NamedPipe,
        Kind::Socket => FileType::Socket,
        Kind::CharDevice => FileType::CharDevice,
        Kind::BlockDevice => FileType::BlockDevice,
    }
}

/// The kind that the mode of a `mknod` asks for.
pub fn kind_of_mode(mode: u32) -> Option<Kind> {
    match mode & libc::S_IFMT {
        0 | libc::S_IFREG => Some(Kind::File),
        libc::S_IFIFO => Some(Kind::Fifo),
        libc::S_IFSOCK => Some(Kind::Socket),
        libc::S_IFCHR => Some(Kind::CharDevice),
        libc::S_IFBLK => Some(Kind::BlockDevice),
        _ => None,
    }
}

/// A device number as the kernel packs it into 32 bits (`new_encode_dev`).
fn device((major, minor): (u32, u32)) -> u32 {
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

/// The major and minor number in 32 bits of the kernel's (`new_decode_dev`).
pub fn device_numbers(device: u32) -> (u32, u32) {
    let major = (device & 0xf_ff00) >> 8;
    let minor = (device & 0xff) | ((device >> 12) & 0xf_ff00);
    (major, minor)
}

fn time(time: Time) -> SystemTime {
    let nanoseconds = Duration::from_nanos(time.nanoseconds.into());
    let whole = Duration::from_secs(time.seconds.unsigned_abs());
    let seconds = match time.seconds < 0 {
        true => UNIX_EPOCH.checked_sub(whole),
        false => UNIX_EPOCH.checked_add(whole),
    };
    seconds
        .and_then(|seconds| seconds.checked_add(nanoseconds))
        .unwrap_or(UNIX_EPOCH)
}

/// A time to set.
///
/// `fuser` turns a time of the protocol (whole seconds rounded down, nanoseconds upward) before the epoch into
/// `epoch - (seconds + nanoseconds)`; this takes that back.
pub fn set_time(time: TimeOrNow) -> SetTime {
    let time = match time {
        TimeOrNow::Now => return SetTime::Now,
        TimeOrNow::SpecificTime(time) => time,
    };
    SetTime::At(match time.duration_since(UNIX_EPOCH) {
        Ok(after) => Time {
            seconds: after.as_secs().cast_signed(),
            nanoseconds: after.subsec_nanos(),
        },
        Err(before) => {
            let before = before.duration();
            Time {
                seconds: -before.as_secs().cast_signed(),
                nanoseconds: before.subsec_nanos(),
            }
        }
    })
}

pub fn caller(request: &Request, umask: u32) -> Caller {
    Caller {
        uid: request.uid(),
        gid: request.gid(),
        pid: request.pid(),
        umask,
    }
}

pub fn rename_how(flags: fuser::RenameFlags, caller: Caller) -> Result<RenameHow, Errno> {
    use fuser::RenameFlags as Flags;
    let (no_replace, exchange) = (Flags::RENAME_NOREPLACE, Flags::RENAME_EXCHANGE);
    match flags {
        flags if flags.is_empty() => Ok(RenameHow::Replace),
        flags if flags == no_replace => Ok(RenameHow::NoReplace),
        flags if flags == exchange => Ok(RenameHow::Exchange),
        flags if flags == Flags::RENAME_WHITEOUT => Ok(RenameHow::Whiteout(caller)),
        _ => Err(Errno::EINVAL),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_and_back() {
        for numbers in [(0, 0), (1, 3), (8, 255), (259, 70_000), (4095, 0xf_ffff)] {
            assert_eq!(device_numbers(device(numbers)), numbers);
        }
    }
}
