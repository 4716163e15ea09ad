//! Mounts whose daemon has died. One stays where it is until it is mounted anew, and programs get `ENOTCONN`: better
//! than to find the bare directory below and write plain text into it. So the new daemon has the volume open,
//! keys and all, before it takes the dead mount away.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::statfs;
use rustix::io::Errno;

use super::mounts::{Mount, Mounts};
use super::{Failure, unmount};
use crate::sys::beneath;

/// Whether a mount of kmsfs lies at `path` whose daemon has died.
pub fn is_at(path: &Path, mounts: &Mounts) -> bool {
    mounts.at(path).is_some_and(Mount::is_ours) && statfs(path).err() == Some(Errno::NOTCONN)
}

/// Opens the directory `path`: the one below, if a dead mount lies over it.
///
/// # Errors
/// It cannot be opened.
pub fn open_below(path: &Path) -> Result<OwnedFd, Failure> {
    if is_at(path, &Mounts::read()?) {
        match beneath::open(path) {
            // An ordinary user has no other way than to take it away first.
            Err(Errno::PERM) => clear(path)?,
            opened => return opened.map_err(|errno| Failure::io("opening", path, &errno.into())),
        }
    }
    let opened = File::open(path).map_err(|error| Failure::io("opening", path, &error))?;
    Ok(opened.into())
}

/// Takes the dead mount at `path` away, if there is one.
///
/// # Errors
/// It cannot be unmounted.
pub fn clear(path: &Path) -> Result<(), Failure> {
    while is_at(path, &Mounts::read()?) {
        unmount::detach(path)?;
        tracing::warn!("{}: took a mount away whose daemon had died", path.display());
    }
    Ok(())
}
