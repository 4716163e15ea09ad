//! Opening: how directories are opened, and what its owner may not open.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, chmodat, openat, statat};
use rustix::io::{self, Errno};

/// A directory, and nothing that is in its place.
pub const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Opens the file `name` of `directory` although its mode forbids it to this process, which owns it. Whether the
/// *caller* may was decided elsewhere; the daemon has to read sizes, and to write through handles that were open
/// before the mode was set. The mode is put back at once.
///
/// # Errors
/// `EACCES` when the file is somebody else's or no regular file; those of openat(2).
pub fn open_in_spite_of_mode<P: rustix::path::Arg + Copy>(
    directory: impl AsFd,
    name: P,
    flags: OFlags,
) -> io::Result<OwnedFd> {
    let stat = statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Errno::ACCESS);
    }
    let mode = Mode::from_raw_mode(stat.st_mode);
    let opened_up = chmodat(&directory, name, mode | Mode::RUSR | Mode::WUSR, AtFlags::empty());
    opened_up.map_err(|_| Errno::ACCESS)?;
    let opened = openat(&directory, name, flags, Mode::empty());
    chmodat(&directory, name, mode, AtFlags::empty())?;
    opened
}
