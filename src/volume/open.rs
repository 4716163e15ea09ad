//! Opening a volume: lock, descriptor, volume key, journal.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;

use super::{VolumeError, VolumeLock, moves};
use crate::crypto::descriptor::open_descriptor;
use crate::crypto::volume_keys;
use crate::format::descriptor::{Descriptor, FILE_NAME, LEN_MAX, RawDescriptor};
use crate::format::{Geometry, NodeId, VolumeId};
use crate::keys::{self, Keyring};
use crate::kms::{EncryptionContext, Kms};
use crate::store::{self, PosixMedium, Store};

/// A volume in use by this process.
pub struct Volume {
    /// Its identity.
    pub id: VolumeId,
    /// The identity of its root directory.
    pub root_node: NodeId,
    /// How its files are laid out.
    pub geometry: Geometry,
    /// The backing's root, opened before anything was mounted over it.
    pub root: OwnedFd,
    /// Its keys.
    pub keyring: Keyring,
    /// Its content.
    pub store: Arc<Store>,
    /// Whether nothing may be written.
    pub read_only: bool,
    /// Whether nothing has to be durable.
    pub volatile: bool,
    /// What it is, authenticated.
    pub descriptor: Descriptor,
    _lock: VolumeLock,
}

/// How to open a volume.
#[derive(Debug, Clone)]
pub struct Opening {
    /// Nothing may be written (but the journal is still recovered).
    pub read_only: bool,
    /// Nothing has to outlive the mount, so nothing is synced.
    pub volatile: bool,
    /// For the keyring.
    pub keys: keys::Settings,
    /// Files that may be kept open for the journal's sake.
    pub max_busy: usize,
    /// Bytes of the journal.
    pub journal_bytes: u64,
    /// How often everything is made durable that nobody has synced.
    pub commit_interval: Duration,
}

/// Reads the descriptor of the volume in `root`: well-formed, not yet authenticated. It tells which KMS to ask.
///
/// # Errors
/// [`VolumeError::NotAVolume`], [`VolumeError::Format`] or [`VolumeError::Io`].
pub fn read_descriptor(root: impl AsFd) -> Result<RawDescriptor, VolumeError> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = match openat(root, FILE_NAME, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Err(VolumeError::NotAVolume),
        Err(errno) => return Err(VolumeError::io("opening kmsfs.volume")(errno)),
    };
    let mut bytes = Vec::new();
    let read = file.take(LEN_MAX as u64 + 1).read_to_end(&mut bytes);
    read.map_err(VolumeError::std("reading kmsfs.volume"))?;
    Ok(RawDescriptor::parse(&bytes)?)
}

impl Volume {
    /// Opens the volume in `root`, recovering its journal if the last mount did not end well.
    ///
    /// # Errors
    /// [`VolumeError`]: held by another mount, the KMS gives no key, the descriptor is not authentic, or the
    /// backing fails.
    pub fn open(root: OwnedFd, kms: Arc<dyn Kms>, opening: Opening) -> Result<Self, VolumeError> {
        let lock = VolumeLock::take(&root)?;
        let raw = read_descriptor(&root)?;
        let newer = raw.descriptor.read_only_features();
        if !newer.is_empty() && !opening.read_only {
            return Err(VolumeError::ReadOnly(newer.join(", ")));
        }
        let id = raw.descriptor.volume;
        let wrapped = raw.descriptor.volume_key()?;
        let volume_key = kms.decrypt(&wrapped, &EncryptionContext::volume_key(id))?;
        let subkeys = volume_keys(&volume_key, id);
        let descriptor = open_descriptor(raw, &subkeys).map_err(|_| VolumeError::Tampered)?;
        let geometry = descriptor.geometry()?;
        moves::finish(&root, descriptor.root)?;
        // Opened anew: of an error of the medium, syncfs tells everybody who has a description of his own, once.
        let backing = openat(&root, ".", OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let backing = backing.map_err(|errno| VolumeError::std("opening the backing")(errno.into()))?;
        let medium = Box::new(PosixMedium::new(backing));
        let settings = store::Settings {
            geometry,
            overwrite: descriptor.overwrite,
            read_only: opening.read_only,
            volatile: opening.volatile,
            max_busy: opening.max_busy,
            journal_bytes: opening.journal_bytes,
            commit_interval: opening.commit_interval,
            ..store::Settings::new(geometry)
        };
        let store = Store::open(medium, settings)?;
        Ok(Self {
            id,
            root_node: descriptor.root,
            geometry,
            keyring: Keyring::new(kms, id, volume_key, wrapped, opening.keys),
            store,
            read_only: opening.read_only,
            volatile: opening.volatile,
            descriptor,
            root,
            _lock: lock,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::testing;

    #[test]
    fn a_read_only_feature_is_named_before_anything_is_written() {
        let dir = tempfile::tempdir().unwrap();
        testing::create(dir.path(), Geometry::new(4096).unwrap());
        let path = dir.path().join(FILE_NAME);
        let text = std::fs::read_to_string(&path).unwrap();
        let newer = text.replacen("\"read_only\": []", "\"read_only\": [\"tree\"]", 1);
        assert_ne!(text, newer);
        std::fs::write(&path, newer).unwrap();
        let open = |read_only| testing::try_open(dir.path(), read_only).err().unwrap();
        assert!(matches!(open(false), VolumeError::ReadOnly(name) if name == "tree"));
        // Only the MAC is in the way then.
        assert!(matches!(open(true), VolumeError::Tampered));
    }
}
