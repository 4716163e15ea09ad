//! Opening what a mount hides.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::{self, Errno};
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_change, unmount};
use rustix::thread::UnshareFlags;

/// Opens the directory below the mount at `path`, which stays where it is. A thread takes the mount away in a mount
/// namespace of its own, and opens what is there then; the descriptor outlives both.
///
/// # Errors
/// `EPERM` for all but root; those of open(2).
pub fn open(path: &Path) -> io::Result<OwnedFd> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, || open_alone(path));
        thread.map_err(|_| Errno::AGAIN)?.join().map_err(|_| Errno::IO)?
    })
}

fn open_alone(path: &Path) -> io::Result<OwnedFd> {
    // SAFETY: the mount namespace, the root, the working directory and the umask are unshared, no memory and no
    // descriptor; this thread does nothing but what stands here.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS)? };
    // Else the others would lose the mount too.
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)?;
    unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_looked_below_and_stays() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().canonicalize().unwrap();
        std::fs::write(path.join("below"), "").unwrap();
        rustix::mount::mount("tmpfs", &path, "tmpfs", rustix::mount::MountFlags::empty(), None).unwrap();
        let opened = open(&path);
        let hidden = !path.join("below").exists();
        unmount(&path, UnmountFlags::DETACH).unwrap();
        assert!(hidden);
        let found = rustix::fs::statat(opened.unwrap(), "below", rustix::fs::AtFlags::empty());
        assert!(found.is_ok());
    }
}
