//! The volume in whose backing directory a stored file lies: what its descriptor, its journal and its names say of
//! the file. It is only read, and locked against a mount meanwhile.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::SealError;
use crate::crypto::descriptor::open_descriptor;
use crate::crypto::names::open_name;
use crate::crypto::{VolumeKeys, volume_keys};
use crate::format::NodeId;
use crate::format::descriptor::{Descriptor, FILE_NAME, RawDescriptor};
use crate::format::stored_name::{RawName, Sealed, side_file};
use crate::kms::{EncryptionContext, Kms};
use crate::names::Label;
use crate::volume::{self, ReadLock, VolumeError};

/// Most bytes of a side file: the longest label, and room for a tag.
const SIDE_MAX: u64 = 512;

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
    /// [`SealError::Input`] when the side file of a long name cannot be read.
    pub fn plain_name(&self, path: &Path) -> Result<Option<PathBuf>, SealError> {
        let (Some(raw), Some(parent)) = (stored_name(path), self.parent(path)) else {
            return Ok(None);
        };
        let side = match raw.sealed {
            Sealed::Short(_) => None,
            Sealed::Long(_) => read_side(path).map_err(SealError::input("reading its side file"))?,
        };
        let label = open_name(&self.keys, parent, &raw, side.as_deref()).ok();
        let label = label.and_then(|bytes| Label::parse(&bytes));
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

/// The sealed bytes of a long name; `None` when there are none of a plausible size.
fn read_side(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let Some(stored) = path.file_name().and_then(OsStr::to_str) else {
        return Ok(None);
    };
    let side = path.with_file_name(side_file(stored));
    if !fs::symlink_metadata(&side).is_ok_and(|facts| facts.is_file()) {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    File::open(side)?.take(SIDE_MAX).read_to_end(&mut bytes)?;
    Ok(((bytes.len() as u64) < SIDE_MAX).then_some(bytes))
}
