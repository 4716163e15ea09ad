//! Making an empty directory a volume.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, Dir, Mode, OFlags, RenameFlags, fsync, openat, renameat_with, unlinkat};
use rustix::io::Errno;

use super::VolumeError;
use crate::crypto::descriptor::seal_descriptor;
use crate::crypto::volume_keys;
use crate::format::descriptor::{Descriptor, FILE_NAME, KmsKind, Overwrite};
use crate::format::{Geometry, VolumeId};
use crate::kms::{EncryptionContext, Kms};

const NEW_NAME: &str = "kmsfs.volume.new";

/// What a new volume is to be.
#[derive(Debug, Clone)]
pub struct Creation {
    /// Plain bytes of a chunk.
    pub geometry: Geometry,
    /// How durable chunks are overwritten.
    pub overwrite: Overwrite,
    /// Which KMS holds the master key.
    pub kms: KmsKind,
    /// The KMS's region; empty for the embedded key store.
    pub region: String,
    /// The KMS's address, if it is not the region's own.
    pub endpoint: String,
    /// Identifier or alias of the master key.
    pub master_key: String,
}

/// Makes the empty directory `root` a volume, whose volume key `kms` generates and wraps. Either the whole
/// descriptor is durable afterwards, or the directory is as it was.
///
/// # Errors
/// [`VolumeError`]: the directory is not empty, the KMS refuses, or the backing fails.
pub fn create(root: impl AsFd, kms: &dyn Kms, creation: &Creation) -> Result<VolumeId, VolumeError> {
    check_empty(&root)?;
    let id = VolumeId::random();
    let context = EncryptionContext::volume_key(id);
    let generated = kms.generate_data_key(&creation.master_key, &context)?;
    let mut descriptor = Descriptor::new(id, creation.geometry, &generated.wrapped);
    descriptor.overwrite = creation.overwrite;
    descriptor.kms = creation.kms;
    descriptor.region.clone_from(&creation.region);
    descriptor.endpoint.clone_from(&creation.endpoint);
    let keys = volume_keys(&generated.key, id);
    write(&root, &seal_descriptor(&descriptor, &keys)?)?;
    Ok(id)
}

fn check_empty(root: impl AsFd) -> Result<(), VolumeError> {
    let listing = Dir::read_from(&root).map_err(VolumeError::io("listing the directory"))?;
    for entry in listing {
        let entry = entry.map_err(VolumeError::io("listing the directory"))?;
        let name = entry.file_name().to_bytes();
        // `lost+found` is what a freshly made ext4 holds; NEW_NAME is what a creation that was cut short left.
        let harmless: [&[u8]; 4] = [b".", b"..", b"lost+found", NEW_NAME.as_bytes()];
        if !harmless.contains(&name) {
            return Err(VolumeError::NotEmpty(String::from_utf8_lossy(name).into_owned()));
        }
    }
    Ok(())
}

fn write(root: impl AsFd, bytes: &[u8]) -> Result<(), VolumeError> {
    let done = write_new(&root, bytes);
    if done.is_err() {
        // It may not even be there.
        let _ = unlinkat(&root, NEW_NAME, AtFlags::empty());
    }
    done
}

fn write_new(root: impl AsFd, bytes: &[u8]) -> Result<(), VolumeError> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
    let file = openat(&root, NEW_NAME, flags, mode);
    let mut file = File::from(file.map_err(VolumeError::io("making kmsfs.volume"))?);
    file.write_all(bytes)
        .map_err(VolumeError::std("writing kmsfs.volume"))?;
    file.sync_all().map_err(VolumeError::std("writing kmsfs.volume"))?;
    match renameat_with(&root, NEW_NAME, &root, FILE_NAME, RenameFlags::NOREPLACE) {
        Ok(()) => {}
        Err(Errno::EXIST) => return Err(VolumeError::NotEmpty(FILE_NAME.into())),
        Err(errno) => return Err(VolumeError::io("naming kmsfs.volume")(errno)),
    }
    let directory = openat(
        &root,
        ".",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    );
    let directory = directory.map_err(VolumeError::io("opening the directory"))?;
    fsync(&directory).map_err(VolumeError::io("syncing the directory"))
}
