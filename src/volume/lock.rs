//! One mount at a time: a lock on `kmsfs.lock` in the backing's root, with the holder's name in the file.
//!
//! The lock is the kernel's (flock(2)), so a holder that crashed is no obstacle; what the file says is only
//! for the message.

use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FlockOperation, Mode, OFlags, flock, openat};
use rustix::io::Errno;

use super::VolumeError;

const FILE_NAME: &str = "kmsfs.lock";
const TEXT_MAX: u64 = 512;

/// Who holds a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder(String);

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The right to write to a volume; given up when dropped.
#[derive(Debug)]
pub struct VolumeLock {
    _file: File,
}

impl VolumeLock {
    /// Takes the lock of the volume whose backing is `root`.
    ///
    /// # Errors
    /// [`VolumeError::Held`] with pid and host of the holder; [`VolumeError::Io`] when the backing fails.
    pub fn take(root: impl AsFd) -> Result<Self, VolumeError> {
        let mut file = File::from(open(root)?);
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(VolumeError::Held(read_holder(&mut file))),
            Err(errno) => return Err(VolumeError::io("locking kmsfs.lock")(errno)),
        }
        // Only for the message of whoever comes second: a full disk must not keep a volume from being mounted.
        let _ = write_holder(&mut file);
        Ok(Self { _file: file })
    }
}

/// Keeps writers away from a volume whose stored files are read without a mount; given up when dropped.
#[derive(Debug)]
pub struct ReadLock {
    _file: Option<File>,
}

impl ReadLock {
    /// Takes the lock together with other readers. A copy of a volume that was never mounted has none to take, and
    /// nothing is made in it.
    ///
    /// # Errors
    /// [`VolumeError::Held`] when the volume is mounted; [`VolumeError::Io`] when the backing fails.
    pub fn take(root: impl AsFd) -> Result<Self, VolumeError> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let mut file = match openat(&root, FILE_NAME, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Ok(Self { _file: None }),
            Err(errno) => return Err(VolumeError::io("opening kmsfs.lock")(errno)),
        };
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(Self { _file: Some(file) }),
            Err(Errno::WOULDBLOCK) => Err(VolumeError::Held(read_holder(&mut file))),
            Err(errno) => Err(VolumeError::io("locking kmsfs.lock")(errno)),
        }
    }
}

fn open(root: impl AsFd) -> Result<OwnedFd, VolumeError> {
    let flags = OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let create = OFlags::RDWR | OFlags::CREATE | flags;
    match openat(&root, FILE_NAME, create, Mode::RUSR | Mode::WUSR) {
        // A read-only medium has nobody to keep out, but a holder on another mount of it is still seen.
        Err(Errno::ROFS) => openat(&root, FILE_NAME, OFlags::RDONLY | flags, Mode::empty()),
        other => other,
    }
    .map_err(VolumeError::io("opening kmsfs.lock"))
}

fn write_holder(file: &mut File) -> std::io::Result<()> {
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy().into_owned();
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "process {} on host {host}", std::process::id())
}

fn read_holder(file: &mut File) -> Holder {
    let mut text = String::new();
    let read = file.take(TEXT_MAX).read_to_string(&mut text);
    let line = text.lines().next().unwrap_or_default();
    let plain: String = line.chars().filter(|c| !c.is_control()).collect();
    match (read, plain.is_empty()) {
        (Ok(_), false) => Holder(plain),
        _ => Holder("a process that has not said its name".into()),
    }
}
