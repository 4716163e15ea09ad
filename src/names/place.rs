//! A stored name on its way into the backing: sealed, with its side file written and durable before it is used.

use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::{self, Errno};

use crate::crypto::names::StoredName;
use crate::format::stored_name::{LONG_PREFIX, side_file};
use crate::sys::entries;

/// A stored name whose side file, if it needs one, is in the backing.
#[derive(Debug)]
pub struct Placed {
    /// The stored name to create, link or rename to.
    pub stored: Box<str>,
}

/// Makes the sealed `name` ready for use in `directory`. No key is held: this may have to wait for the disk.
///
/// # Errors
/// When the side file of a long name cannot be written.
pub fn place(directory: BorrowedFd<'_>, name: StoredName) -> io::Result<Placed> {
    if let Some(side) = &name.side {
        write_side(directory, &side_file(&name.text), side)?;
    }
    Ok(Placed {
        stored: name.text.into(),
    })
}

/// Whether a stored name has a side file.
#[must_use]
pub fn is_long(stored: &str) -> bool {
    stored.starts_with(LONG_PREFIX)
}

/// Removes the side file of a stored name that is not in the backing, durably so: a crash must not bring the name back
/// without it. Failing leaves a leftover, which nobody reads.
pub fn remove_side(directory: BorrowedFd<'_>, stored: &str) {
    if is_long(stored)
        && let Err(error) = entries::unlink(directory, &side_file(stored), AtFlags::empty())
        && error != Errno::NOENT
    {
        tracing::debug!(stored, %error, "a side file stays behind");
    }
}

fn write_side(directory: BorrowedFd<'_>, name: &str, bytes: &[u8]) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(0o600);
    let file = match entries::create(directory, name, flags, mode) {
        Err(Errno::EXIST) => {
            // A leftover of an attempt that a crash cut short: whole or not, it is not in use.
            entries::unlink(directory, name, AtFlags::empty())?;
            entries::create(directory, name, flags, mode)?
        }
        other => other?,
    };
    let durable = || rustix::fs::fsync(&file).and_then(|()| entries::sync(directory));
    let written = write_all(&file, bytes).and_then(|()| durable());
    if written.is_err() {
        let _ = entries::unlink(directory, name, AtFlags::empty());
    }
    written
}

fn write_all(file: &std::os::fd::OwnedFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match io::retry_on_intr(|| io::write(file, bytes))? {
            0 => return Err(Errno::IO),
            written => bytes = bytes.get(written..).unwrap_or_default(),
        }
    }
    Ok(())
}
