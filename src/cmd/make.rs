//! Making a volume: an absent or empty directory becomes one, and the key store is made on first use.

use std::fs::{self, File};
use std::path::Path;

use rustix::fs::{StatVfsMountFlags, fstatvfs};

use super::mounts::Mounts;
use super::{Exit, Failure, keystore, kms_client, preflight};
use crate::config::{KmsSettings, NewVolume};
use crate::format::Geometry;
use crate::format::descriptor::KmsKind;
use crate::volume::{self, Creation};

/// Makes `dir` a volume, and the key store if there is none; returns what the user should read. When it fails, the
/// directory is as it was.
///
/// # Errors
/// The key store's, the KMS's, or the directory's.
pub fn make(dir: &Path, volume: &NewVolume, kms: &KmsSettings) -> Result<Vec<String>, Failure> {
    let absent = fs::symlink_metadata(dir).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound);
    if absent {
        preflight::make_directory(dir)?;
    }
    let made = make_in(dir, volume, kms);
    if made.is_err() && absent {
        // Empty again, or not ours to remove.
        let _ = fs::remove_dir(dir);
    }
    made
}

fn make_in(dir: &Path, volume: &NewVolume, kms: &KmsSettings) -> Result<Vec<String>, Failure> {
    let dir = preflight::directory(dir)?;
    preflight::check_backing(&dir, &Mounts::read()?)?;
    let root = File::open(&dir).map_err(|error| Failure::io("opening", &dir, &error))?;
    check_writable(&dir, &root)?;
    check_empty(&dir)?;
    check_key_store_is_outside(&dir, kms)?;
    create(&dir, &root, volume, kms)
}

fn create(dir: &Path, root: &File, new: &NewVolume, kms: &KmsSettings) -> Result<Vec<String>, Failure> {
    let service = kms_client::open_or_create(kms)?;
    let master_key = match &new.key_id {
        Some(key) => key.clone(),
        None => kms_client::default_key(kms, &*service)?,
    };
    let geometry = Geometry::new(new.chunk_size).ok_or_else(|| Failure::internal("the chunk size was not checked"))?;
    let cloud = |text: &Option<String>| match kms.kind {
        KmsKind::Local | KmsKind::Ephemeral => String::new(),
        KmsKind::Alibaba => text.clone().unwrap_or_default(),
    };
    let creation = Creation {
        geometry,
        overwrite: new.overwrite,
        kms: kms.kind,
        region: cloud(&kms.cloud.region),
        endpoint: cloud(&kms.cloud.endpoint),
        master_key,
    };
    let id = volume::create(root, &*service, &creation).map_err(|error| Failure::volume(dir, error))?;
    let note = match kms.kind {
        KmsKind::Local | KmsKind::Ephemeral => keystore::note(kms),
        KmsKind::Alibaba => format!(
            "note: the master key is {} in {}; without it the data is lost",
            creation.master_key,
            service.describe()
        ),
    };
    Ok(vec![format!("{} is a volume now: {id}", dir.display()), note])
}

fn check_writable(dir: &Path, root: &File) -> Result<(), Failure> {
    match fstatvfs(root) {
        Ok(facts) if !facts.f_flag.contains(StatVfsMountFlags::RDONLY) => Ok(()),
        Ok(_) => Err(Failure::io("making a volume in", dir, &rustix::io::Errno::ROFS.into())),
        Err(errno) => Err(Failure::io("looking at", dir, &errno.into())),
    }
}

/// Before the key store is touched; the volume room has the last word.
fn check_empty(dir: &Path) -> Result<(), Failure> {
    if dir.join(crate::format::descriptor::FILE_NAME).exists() {
        let what = format!("{} is a volume already", dir.display());
        return Err(Failure::new(
            Exit::NotEmpty,
            what,
            format!("mount it: kmsfs mount {}", dir.display()),
        ));
    }
    let entries = fs::read_dir(dir).map_err(|error| Failure::io("listing", dir, &error))?;
    let name = entries.flatten().map(|entry| entry.file_name()).find(|name| {
        // What a fresh ext4 holds, and what an interrupted init left.
        name != "lost+found" && name != "kmsfs.volume.new"
    });
    match name {
        Some(name) => Err(Failure::not_empty(dir, &name.to_string_lossy())),
        None => Ok(()),
    }
}

fn check_key_store_is_outside(dir: &Path, kms: &KmsSettings) -> Result<(), Failure> {
    if kms.kind == KmsKind::Alibaba {
        return Ok(());
    }
    let parent = kms.key_store.parent().and_then(|parent| parent.canonicalize().ok());
    if !parent.is_some_and(|parent| parent.starts_with(dir)) {
        return Ok(());
    }
    let what = format!(
        "the key store {} would lie inside of the volume it opens",
        kms.key_store.display()
    );
    Err(Failure::new(
        Exit::Usage,
        what,
        "name a place elsewhere with --key-store, best on another disk",
    ))
}
