//! A further descriptor of a FUSE connection.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, open};
use rustix::io;
use rustix::ioctl::{Opcode, Setter, ioctl, opcode};

/// `FUSE_DEV_IOC_CLONE` of `linux/fuse.h`.
const CLONE: Opcode = opcode::read::<u32>(229, 0);

/// Another descriptor by which requests of the connection of `device` can be taken, and never waited for. What is taken
/// by it is answered by it.
///
/// # Errors
/// Those of opening /dev/fuse.
pub fn clone_of(device: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let clone = open("/dev/fuse", flags, Mode::empty())?;
    let source = device.as_raw_fd().cast_unsigned();
    // SAFETY: the call reads one number, and that is what it is given.
    unsafe { ioctl(&clone, Setter::<CLONE, u32>::new(source))? };
    Ok(clone)
}
