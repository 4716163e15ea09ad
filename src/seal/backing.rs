//! The volume in whose backing directory a stored file lies: what its descriptor, its journal and its names say of
//! the file. It is only read, and locked against a mount meanwhile.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::SealError;
use crate::crypto::descriptor::open_descriptor;
use crate::crypto::{VolumeKeys, volume_keys};
use crate::format::NodeId;
use crate::format::descriptor::{Descriptor, FILE_NAME, RawDescriptor};
use crate::format::stored_name::RawName;
use crate::kms::{EncryptionContext, Kms};
use crate::names::label_of;
use crate::volume::{self, ReadLock, VolumeError};

/// The nearest directory above `path` that is a backing.
#[must_use]
pub fn volume_around(path: &Path) -> Option<PathBuf> {
    let dirs = path.ancestors().skip(1);
    let mut found = dirs.filter(|dir| fs::symlink_metadata(dir.join(FILE_NAME)).is_ok());
    found.next().map(Path::to_owned)
}

/// A backing that is being read without a mount, its volume key at hand.
pub struct Backing {
    dir: PathBuf,
    /// Authenticated.
    descriptor: Descriptor,
    master_key: String,
    keys: VolumeKeys,
    pending: BTreeSet<NodeId>,
    _lock: ReadLock,
}

impl Backing {
    /// What the descriptor in `dir` claims: well-formed, not yet authenticated. It tells which KMS to ask.
    ///
    /// # Errors
    /// [`SealError::Volume`].
    pub fn claims(dir: &Path) -> Result<RawDescriptor, SealError> {
        Ok(volume::read_descriptor(open_dir(dir)?)?)
    }

    /// The volume in `dir`, whose volume key `kms` unwraps.
    ///
    /// # Errors
    /// [`SealError::Volume`] when it is mounted, edited, or cannot be read; [`SealError::Kms`].
    pub fn open(dir: &Path, kms: &dyn Kms) -> Result<Self, SealError> {
        let root = open_dir(dir)?;
        let lock = ReadLock::take(&root)?;
        let raw = volume::read_descriptor(&root)?;
        let id = raw.descriptor.volume;
        let wrapped = raw.descriptor.volume_key()?;
        let key = kms.decrypt(&wrapped, &EncryptionContext::volume_key(id))?;
        let keys = volume_keys(&key, id);
        Ok(Self {
            dir: dir.to_owned(),
            descriptor: open_descriptor(raw, &keys).map_err(|_| VolumeError::Tampered)?,
            master_key: wrapped.master_key,
            keys,
            pending: volume::pending(&root)?,
            _lock: lock,
        })
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    pub(super) fn keys(&self) -> &VolumeKeys {
        &self.keys
    }

    pub(super) fn check_master_key(&self, named: &str) -> Result<(), SealError> {
        match named == self.master_key {
            true => Ok(()),
            false => Err(SealError::NotAllowed(named.chars().take(64).collect())),
        }
    }

    pub(super) fn check_settled(&self, node: NodeId) -> Result<(), SealError> {
        match self.pending.contains(&node) {
            true => Err(SealError::Pending(self.dir.clone())),
            false => Ok(()),
        }
    }

    /// The plain name of the stored file at `path`, a canonical path below the directory. `None` when its name does not
    /// open there: it was renamed, or moved here from another directory.
    ///
    /// # Errors
    /// [`SealError::Input`] when its directory, or the side file of a long name, cannot be read.
    pub fn plain_name(&self, path: &Path) -> Result<Option<PathBuf>, SealError> {
        let stored = path.file_name().and_then(OsStr::to_str);
        let (Some(stored), Some(parent), Some(dir)) = (stored, self.parent(path), path.parent()) else {
            return Ok(None);
        };
        let dir = File::open(dir).map_err(SealError::input("opening its directory"))?;
        let label = label_of(&self.keys, dir.as_fd(), parent, stored);
        let label = label.map_err(|errno| SealError::input("reading its side file")(errno.into()))?;
        Ok(label.map(|label| OsStr::from_bytes(&label.plain).into()))
    }

    /// The node of the directory that `path` is in.
    fn parent(&self, path: &Path) -> Option<NodeId> {
        match path.parent()? {
            root if root == self.dir => Some(self.descriptor.root),
            parent => stored_name(parent).map(|name| name.node),
        }
    }
}

/// The stored name that `path` ends with.
pub(super) fn stored_name(path: &Path) -> Option<RawName> {
    RawName::parse(path.file_name()?.as_bytes())
}

fn open_dir(dir: &Path) -> Result<File, SealError> {
    Ok(File::open(dir).map_err(|source| VolumeError::Io {
        what: "opening the volume",
        source,
    })?)
}
