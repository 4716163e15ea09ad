//! Recovering a volume without opening it: no key, no KMS, no mount.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;

use super::{VolumeError, VolumeLock, moves, read_descriptor};
use crate::format::NodeId;
use crate::store::{self, JOURNAL, PosixFile, PosixMedium, Recovery, Store};

/// Brings the files of the volume in `root` up to date with its journal, as the next mount would, and leaves the
/// journal empty. The descriptor is only seen to be well-formed: that it is authentic takes a key, and what recovery
/// copies opens or not, whoever copied it.
///
/// # Errors
/// [`VolumeError`]: not a volume, of a newer format, mounted somewhere, or the backing fails or is read-only.
pub fn recover(root: OwnedFd) -> Result<Recovery, VolumeError> {
    // First, so that nothing is made in a directory that is no volume.
    let descriptor = read_descriptor(&root)?.descriptor;
    descriptor.geometry()?;
    let _lock = VolumeLock::take(&root)?;
    moves::finish(&root, descriptor.root)?;
    Ok(Store::recover_only(&PosixMedium::new(root))?)
}

/// The files of the volume in `root` whose newest content is in its journal and not in their places.
///
/// # Errors
/// [`VolumeError`]: the journal cannot be read, or is damaged.
pub fn pending(root: impl AsFd) -> Result<BTreeSet<NodeId>, VolumeError> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    match openat(root, JOURNAL, flags, Mode::empty()) {
        Ok(journal) => Ok(store::pending(&PosixFile::new(journal))?),
        // Overwrites are in place, or it was left out of a copy on purpose.
        Err(Errno::NOENT) => Ok(BTreeSet::new()),
        Err(errno) => Err(VolumeError::io("opening kmsfs.journal")(errno)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::path::Path;

    use super::*;
    use crate::format::Geometry;
    use crate::volume::testing;

    fn root(dir: &Path) -> OwnedFd {
        OwnedFd::from(File::open(dir).unwrap())
    }

    #[test]
    fn what_is_no_volume_stays_untouched() {
        let dir = tempfile::tempdir().unwrap();
        let refused = recover(root(dir.path()));
        assert!(matches!(refused, Err(VolumeError::NotAVolume)));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_mounted_volume_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        testing::create(dir.path(), Geometry::new(4096).unwrap());
        let volume = testing::open(dir.path());
        let refused = recover(root(dir.path()));
        assert!(matches!(refused, Err(VolumeError::Held(_))));
        drop(volume);
        assert_eq!(recover(root(dir.path())).unwrap().records, 0);
    }
}
