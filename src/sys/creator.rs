//! Acting as the caller while something is created: owner, group and umask of this thread, for a moment.
//!
//! So the backing's own kernel decides owner, group (setgid directories), umask and default ACLs, in one
//! atomic call. Only the identity for *new* files is lent: the capabilities stay, because who may do what
//! has been decided above the mount.

use std::cell::Cell;

use rustix::fs::Mode;
use rustix::io;
use rustix::process::{getegid, geteuid, umask};
use rustix::thread::{CapabilitySets, UnshareFlags, capabilities, set_capabilities};

use super::quota::Unbound;

thread_local! {
    /// The umask this thread has, once it has one of its own.
    static UMASK: Cell<Option<u32>> = const { Cell::new(None) };
}

/// While it lives, this thread creates files as somebody else. Dropping it gives the daemon's own identity back.
#[derive(Debug)]
pub struct Creator {
    restore: Option<Restore>,
    /// Root is bound by no quota.
    _unbound: Option<Unbound>,
}

#[derive(Debug)]
struct Restore {
    uid: u32,
    gid: u32,
    capabilities: CapabilitySets,
}

impl Creator {
    /// Creates as `uid`, `gid` with the file mode mask `mask` from here on.
    ///
    /// A daemon that is not root creates as itself: it serves its own user.
    ///
    /// # Errors
    /// When the kernel refuses; then nothing is changed.
    pub fn enter(uid: u32, gid: u32, mask: u32) -> io::Result<Self> {
        set_umask(mask)?;
        let unbound = (uid == 0).then(Unbound::enter);
        let (own_uid, own_gid) = (geteuid().as_raw(), getegid().as_raw());
        if own_uid != 0 || (uid, gid) == (own_uid, own_gid) {
            return Ok(Self {
                restore: None,
                _unbound: unbound,
            });
        }
        let restore = Restore {
            uid: own_uid,
            gid: own_gid,
            capabilities: capabilities(None)?,
        };
        let guard = Self {
            restore: Some(restore),
            _unbound: unbound,
        };
        set_fs_ids(uid, gid);
        if let Some(restore) = &guard.restore {
            // The kernel took the file system capabilities away with the user 0.
            set_capabilities(None, restore.capabilities)?;
        }
        Ok(guard)
    }
}

impl Drop for Creator {
    fn drop(&mut self) {
        if let Some(restore) = &self.restore {
            set_fs_ids(restore.uid, restore.gid);
        }
    }
}

/// Gives this thread `mask`, and an own place for it first: all threads of a process share one otherwise.
fn set_umask(mask: u32) -> io::Result<()> {
    let current = UMASK.get();
    if current.is_none() {
        // SAFETY: what is unshared is the working directory, the root and the umask: no memory and no
        // descriptor; nothing in this process relies on a shared working directory.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::FS)? };
    }
    if current != Some(mask) {
        umask(Mode::from_raw_mode(mask & 0o777));
        UMASK.set(Some(mask));
    }
    Ok(())
}

/// Group first: while the user is still 0 the kernel allows any group.
fn set_fs_ids(uid: u32, gid: u32) {
    // SAFETY: these calls take numbers, change credentials of this thread only and cannot fail in a way that
    // touches memory; root may take any identity, and takes its own back.
    unsafe {
        libc::setfsgid(gid);
        libc::setfsuid(uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn creates_as_the_caller_and_comes_back() {
        if !geteuid().is_root() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let theirs = directory.path().join("theirs");
        {
            let _guard = Creator::enter(1234, 5678, 0o027).unwrap();
            std::fs::create_dir(&theirs).unwrap(); // the directory belongs to root with mode 0700
        }
        let ours = directory.path().join("ours");
        std::fs::write(&ours, "").unwrap();
        let theirs = theirs.metadata().unwrap();
        assert_eq!((theirs.uid(), theirs.gid(), theirs.mode() & 0o777), (1234, 5678, 0o750));
        assert_eq!(ours.metadata().unwrap().uid(), 0);
    }
}
