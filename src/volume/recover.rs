//! Recovering a volume without opening it: no key, no KMS, no mount.

use std::os::fd::OwnedFd;

use super::{VolumeError, VolumeLock, read_descriptor};
use crate::store::{PosixMedium, Recovery, Store};

/// Brings the files of the volume in `root` up to date with its journal, as the next mount would, and leaves the
/// journal empty. The descriptor is only seen to be well-formed: that it is authentic takes a key, and what recovery
/// copies opens or not, whoever copied it.
///
/// # Errors
/// [`VolumeError`]: not a volume, of a newer format, mounted somewhere, or the backing fails or is read-only.
pub fn recover(root: OwnedFd) -> Result<Recovery, VolumeError> {
    // First, so that nothing is made in a directory that is no volume.
    read_descriptor(&root)?.descriptor.geometry()?;
    let _lock = VolumeLock::take(&root)?;
    Ok(Store::recover_only(&PosixMedium::new(root))?)
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
