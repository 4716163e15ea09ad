//! Taking a mount away, and saying why it stays.

use std::path::Path;

use rustix::io::Errno;

use super::{Exit, Failure, holders};
use crate::fuse;

/// Unmounts `mountpoint` if nobody uses it.
///
/// # Errors
/// [`Exit::Busy`] with those who do, or why it cannot be unmounted.
pub fn unmount(mountpoint: &Path) -> Result<(), Failure> {
    fuse::unmount(mountpoint, false).map_err(|error| match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::BUSY) => busy(mountpoint),
        Some(_) => Failure::io("unmounting", mountpoint, &error),
        None => refused(mountpoint, &error),
    })
}

/// Takes `mountpoint` out of the tree now; it ends when its last user has gone.
///
/// # Errors
/// Why it cannot be unmounted.
pub fn detach(mountpoint: &Path) -> Result<(), Failure> {
    fuse::unmount(mountpoint, true).map_err(|error| refused(mountpoint, &error))
}

fn refused(mountpoint: &Path, error: &std::io::Error) -> Failure {
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
