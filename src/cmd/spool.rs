//! Where an ephemeral mount stores what it holds: a private directory that is removed when the mount ends. What a
//! crash has left is removed by the next mount at the same place; nobody could read it, its key is gone.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use data_encoding::HEXLOWER;
use rustix::fs::{AtFlags, Dir, FlockOperation, Gid, Mode, Stat, Uid, fchmod, fchown, flock, mkdirat, openat, statat};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::format::ids::random_bytes;
use crate::sys::open::DIRECTORY;

const PREFIX: &str = ".kmsfs-ephemeral-";
/// The volume within the private directory: its mode is that of the mount point, which may let everybody in.
const VOLUME: &str = "volume";

/// The private directory of a mount, removed when this is dropped.
pub struct Spool {
    location: OwnedFd,
    name: String,
    /// Locked as long as the mount lives.
    directory: OwnedFd,
}

impl Spool {
    /// Makes one below `location`; what crashed mounts have left there is removed. `like` is what the root of the
    /// mount shall look like. Also gives the empty directory for the volume.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn make(location: OwnedFd, like: &Stat) -> io::Result<(Spool, File)> {
        sweep(&location)?;
        let name = format!("{PREFIX}{}", HEXLOWER.encode(&random_bytes::<8>()));
        mkdirat(&location, &name, Mode::RWXU)?;
        let directory = openat(&location, &name, DIRECTORY, Mode::empty())?;
        flock(&directory, FlockOperation::NonBlockingLockExclusive)?;
        let spool = Spool {
            location,
            name,
            directory,
        };
        mkdirat(&spool.directory, VOLUME, Mode::RWXU)?;
        let root = openat(&spool.directory, VOLUME, DIRECTORY, Mode::empty())?;
        let (uid, gid) = (Uid::from_raw(like.st_uid), Gid::from_raw(like.st_gid));
        match fchown(&root, Some(uid), Some(gid)) {
            // An ordinary user makes it for itself.
            Err(Errno::PERM) | Ok(()) => {}
            Err(errno) => return Err(errno.into()),
        }
        fchmod(&root, Mode::from_raw_mode(like.st_mode & 0o7777))?;
        Ok((spool, File::from(root)))
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.location, &self.name) {
            tracing::warn!(
                "{} stays behind, unreadable, until the next mount there: {error}",
                self.name
            );
        }
    }
}

/// Removes what mounts have left whose daemon has died. Only what belongs to this user: others may write here too.
fn sweep(location: &OwnedFd) -> io::Result<()> {
    for entry in Dir::read_from(location)? {
        let entry = entry?;
        let name = entry.file_name().to_str().unwrap_or_default();
        if name.starts_with(PREFIX) && is_abandoned(location, name) {
            remove(location, name)?;
            tracing::info!("removed {name}, which an ephemeral mount has left behind");
        }
    }
    Ok(())
}

fn is_abandoned(location: &OwnedFd, name: &str) -> bool {
    let facts = statat(location, name, AtFlags::SYMLINK_NOFOLLOW);
    if !facts.is_ok_and(|facts| facts.st_uid == geteuid().as_raw()) {
        return false;
    }
    let directory = openat(location, name, DIRECTORY, Mode::empty());
    directory.is_ok_and(|directory| flock(&directory, FlockOperation::NonBlockingLockExclusive).is_ok())
}

/// By descriptor: the mount may lie over the location, so that no path leads there.
fn remove(location: &OwnedFd, name: &str) -> io::Result<()> {
    let location = location.as_fd().as_raw_fd();
    std::fs::remove_dir_all(format!("/proc/self/fd/{location}/{name}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::path::Path;

    use super::*;

    fn location(path: &Path) -> OwnedFd {
        File::open(path).unwrap().into()
    }

    fn names(path: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(path).unwrap().flatten();
        entries.map(|entry| entry.file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_spool_is_private_looks_like_the_mount_point_and_goes() {
        let place = tempfile::tempdir().unwrap();
        std::fs::set_permissions(place.path(), PermissionsExt::from_mode(0o1777)).unwrap();
        let like = rustix::fs::stat(place.path()).unwrap();
        let (spool, root) = Spool::make(location(place.path()), &like).unwrap();
        assert_eq!(root.metadata().unwrap().mode() & 0o7777, 0o1777);
        let [name] = &names(place.path())[..] else { panic!() };
        let outer = place.path().join(name);
        assert_eq!(outer.metadata().unwrap().mode() & 0o777, 0o700);
        std::fs::create_dir_all(outer.join("volume/a/b")).unwrap();
        // A second mount at the same place leaves the first one alone.
        let (second, _root) = Spool::make(location(place.path()), &like).unwrap();
        assert_eq!(names(place.path()).len(), 2);
        drop((spool, second));
        assert!(names(place.path()).is_empty());
    }

    #[test]
    fn only_what_a_crash_left_is_removed() {
        let place = tempfile::tempdir().unwrap();
        let like = rustix::fs::stat(place.path()).unwrap();
        let in_place = |name: &str| place.path().join(name);
        std::fs::create_dir_all(in_place(".kmsfs-ephemeral-dead/volume/a")).unwrap();
        std::fs::create_dir(in_place("kept")).unwrap();
        std::fs::write(in_place("kept/file"), "").unwrap();
        symlink("kept", in_place(".kmsfs-ephemeral-link")).unwrap();
        drop(Spool::make(location(place.path()), &like).unwrap());
        let mut left = names(place.path());
        left.sort();
        assert_eq!(left, [".kmsfs-ephemeral-link", "kept"]);
        assert!(in_place("kept/file").exists());
    }
}
