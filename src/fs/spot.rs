//! One node of the backing, reached by directory and name or by a descriptor: the calls that change or read it.
//!
//! None of them follows a symlink that somebody put into the backing.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Timestamps, Uid, chownat, openat, readlinkat, utimensat};
use rustix::io::{self, Errno};

use crate::sys::open::open_in_spite_of_mode;
use crate::sys::stat::{Kind, Stat, stat};

/// Where a node is, for the length of a call.
#[derive(Debug, Clone)]
pub enum Spot {
    /// An entry of an open directory.
    Named(Arc<OwnedFd>, Box<str>),
    /// An open node, perhaps with no name left.
    Held(Arc<OwnedFd>),
}

impl Spot {
    /// What the backing says of it.
    ///
    /// # Errors
    /// As statx(2).
    pub fn stat(&self) -> io::Result<Stat> {
        match self {
            Self::Named(directory, name) => stat(directory.as_fd(), name),
            Self::Held(node) => stat(node.as_fd(), ""),
        }
    }

    /// Opens it if it is a file or directory; never blocks on a pipe that is in its place.
    ///
    /// # Errors
    /// As openat(2).
    pub fn open(&self, flags: OFlags) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        match self {
            Self::Named(directory, name) => {
                let flags = flags | OFlags::NOFOLLOW;
                match openat(directory, &**name, flags, Mode::empty()) {
                    Err(Errno::ACCESS) => open_in_spite_of_mode(directory, &**name, flags),
                    other => other,
                }
            }
            Self::Held(node) => rustix::fs::open(descriptor_path(node), flags, Mode::empty()),
        }
    }

    /// A descriptor that only names it, for holding it when its names are gone.
    ///
    /// # Errors
    /// As openat(2).
    pub fn hold(&self) -> io::Result<Arc<OwnedFd>> {
        match self {
            Self::Named(directory, name) => {
                let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                openat(directory, &**name, flags, Mode::empty()).map(Arc::new)
            }
            Self::Held(node) => Ok(node.clone()),
        }
    }

    /// A path for calls that have no `*at` form. It follows nothing in the backing when used with a call that
    /// does not follow the last element ([`Spot::path_follows`] says whether it must).
    #[must_use]
    pub fn path(&self) -> String {
        match self {
            Self::Named(directory, name) => format!("{}/{name}", descriptor_path(directory)),
            Self::Held(node) => descriptor_path(node),
        }
    }

    /// Whether [`Spot::path`] ends in one of proc's own links, which has to be followed.
    #[must_use]
    pub fn path_follows(&self) -> bool {
        matches!(self, Self::Held(_))
    }

    /// Sets the permission bits.
    ///
    /// # Errors
    /// As chmod(2); `EOPNOTSUPP` for a symlink.
    pub fn chmod(&self, permissions: u32) -> io::Result<()> {
        let node = self.hold()?;
        if stat(node.as_fd(), "")?.kind == Kind::Symlink {
            return Err(Errno::OPNOTSUPP);
        }
        rustix::fs::chmod(descriptor_path(&node), Mode::from_raw_mode(permissions & 0o7777))
    }

    /// Sets owner and group.
    ///
    /// # Errors
    /// As chown(2).
    pub fn chown(&self, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
        let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
        match self {
            Self::Named(directory, name) => chownat(directory, &**name, uid, gid, AtFlags::SYMLINK_NOFOLLOW),
            Self::Held(node) => chownat(node, "", uid, gid, AtFlags::EMPTY_PATH),
        }
    }

    /// Sets the times.
    ///
    /// # Errors
    /// As utimensat(2).
    pub fn set_times(&self, times: &Timestamps) -> io::Result<()> {
        match self {
            Self::Named(directory, name) => utimensat(directory, &**name, times, AtFlags::SYMLINK_NOFOLLOW),
            Self::Held(node) => utimensat(rustix::fs::CWD, descriptor_path(node), times, AtFlags::empty()),
        }
    }

    /// What a symlink points to in the backing.
    ///
    /// # Errors
    /// As readlinkat(2).
    pub fn read_link(&self) -> io::Result<Vec<u8>> {
        let target = match self {
            Self::Named(directory, name) => readlinkat(directory, &**name, Vec::new()),
            Self::Held(node) => readlinkat(node, "", Vec::new()),
        };
        target.map(std::ffi::CString::into_bytes)
    }
}

fn descriptor_path(descriptor: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", descriptor.as_raw_fd())
}
