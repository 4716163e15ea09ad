//! Taking a mount away, and saying why it stays.

use std::io;
use std::path::Path;

use rustix::io::Errno;

use super::{Exit, Failure, holders};
use crate::fuse;

/// Unmounts `mountpoint` if nobody uses it, after `flush` has made everything durable.
///
/// A lock that begins in between writes back through the mount, and so uses it for a moment. `flush` waits for locks;
/// so it is done once more where the mount is in use.
///
/// # Errors
/// What `flush` says; [`Exit::Busy`] with those who use it, or why it cannot be unmounted.
pub fn unmount(mountpoint: &Path, flush: impl Fn() -> Result<(), Failure>) -> Result<(), Failure> {
    flush()?;
    let mut unmounted = fuse::unmount(mountpoint, false);
    if errno(&unmounted) == Some(Errno::BUSY) {
        flush()?;
        unmounted = fuse::unmount(mountpoint, false);
    }
    match (errno(&unmounted), unmounted) {
        (_, Ok(())) => Ok(()),
        (Some(Errno::BUSY), Err(_)) => Err(busy(mountpoint)),
        (Some(_), Err(error)) => Err(Failure::io("unmounting", mountpoint, &error)),
        (None, Err(error)) => Err(refused(mountpoint, &error)),
    }
}

fn errno(unmounted: &io::Result<()>) -> Option<Errno> {
    let error = unmounted.as_ref().err()?;
    error.raw_os_error().map(Errno::from_raw_os_error)
}

/// Takes `mountpoint` out of the tree now; it ends when its last user has gone.
///
/// # Errors
/// Why it cannot be unmounted.
pub fn detach(mountpoint: &Path) -> Result<(), Failure> {
    fuse::unmount(mountpoint, true).map_err(|error| refused(mountpoint, &error))
}

fn refused(mountpoint: &Path, error: &io::Error) -> Failure {
    let what = format!("{} cannot be unmounted: {error}", mountpoint.display());
    Failure::new(
        Exit::Permission,
        what,
        "unmount it as the user who mounted it, or as root",
    )
}

fn busy(mountpoint: &Path) -> Failure {
    let users = holders::of(mountpoint);
    let by = match users.is_empty() {
        true => String::new(),
        false => format!(" by {}", users.join(", ")),
    };
    let what = format!("{} is in use{by}", mountpoint.display());
    Failure::new(
        Exit::Busy,
        what,
        "end these programs, or let them leave the directory, and try again",
    )
}
