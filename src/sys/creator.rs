//! Acting as the caller while something is created: owner, group and umask of this thread, for a moment.
//!
//! So the backing's own kernel decides owner, group (setgid directories), umask and default ACLs, in one
//! atomic call. Only the identity for *new* files is lent: the capabilities stay, because who may do what
//! has been decided above the mount.

use std::cell::Cell;

use rustix::fs::Mode;
use rustix::io;
use rustix::process::{getegid, geteuid, umask};
use rustix::thread::{UnshareFlags, capabilities, set_capabilities};

use super::quota::Unbound;

thread_local! {
    /// Whether this thread has a umask of its own: all threads of a process share one otherwise.
    static APART: Cell<bool> = const { Cell::new(false) };
}

/// While it lives, this thread creates files as somebody else. Dropping it gives the daemon's own identity and umask back,
/// because what the daemon makes for itself is nobody's but its own.
#[derive(Debug)]
pub struct Creator {
    umask: Mode,
    identity: Option<Identity>,
    /// Root is bound by no quota.
    _unbound: Option<Unbound>,
}

#[derive(Debug)]
struct Identity {
    uid: u32,
    gid: u32,
}

impl Creator {
    /// Creates as `uid`, `gid` with the file mode mask `mask` from here on.
    ///
    /// A daemon that is not root creates as itself: it serves its own user.
    ///
    /// # Errors
    /// When the kernel refuses; then nothing is changed.
    pub fn enter(uid: u32, gid: u32, mask: u32) -> io::Result<Self> {
        stand_apart()?;
        let mut guard = Self {
            umask: umask(Mode::from_raw_mode(mask & 0o777)),
            identity: None,
            _unbound: (uid == 0).then(Unbound::enter),
        };
        let (own_uid, own_gid) = (geteuid().as_raw(), getegid().as_raw());
        if own_uid != 0 || (uid, gid) == (own_uid, own_gid) {
            return Ok(guard);
        }
        let own = capabilities(None)?;
        guard.identity = Some(Identity {
            uid: own_uid,
            gid: own_gid,
        });
        set_fs_ids(uid, gid);
        // The kernel took the file system capabilities away with the user 0.
        set_capabilities(None, own)?;
        Ok(guard)
    }
}

impl Drop for Creator {
    fn drop(&mut self) {
        if let Some(own) = &self.identity {
            set_fs_ids(own.uid, own.gid);
        }
        umask(self.umask);
    }
}

/// Gives this thread an own place for its umask.
fn stand_apart() -> io::Result<()> {
    if !APART.get() {
        // SAFETY: what is unshared is the working directory, the root and the umask: no memory and no
        // descriptor; nothing in this process relies on a shared working directory.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::FS)? };
        APART.set(true);
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
    fn the_callers_umask_goes_with_the_caller() {
        let directory = tempfile::tempdir().unwrap();
        let mode = |name: &str| {
            let made = std::fs::File::create(directory.path().join(name)).unwrap();
            made.metadata().unwrap().mode() & 0o777
        };
        let before = mode("before");
        let creator = Creator::enter(geteuid().as_raw(), getegid().as_raw(), 0o777).unwrap();
        assert_eq!(mode("theirs"), 0);
        drop(creator);
        assert_eq!(mode("after"), before);
    }

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
