//! Where a mount begins: the directory of a volume and the KMS of its keys.

use std::fs::File;
use std::sync::Arc;

use super::make::make;
use super::spool::Spool;
use super::{Failure, dead, kms_client};
use crate::config::MountSettings;
use crate::format::descriptor::KmsKind;
use crate::kms::Kms;
use crate::volume::{self, VolumeError};

/// A volume to be mounted.
pub struct Origin {
    /// Its directory, opened before anything lies over it.
    pub root: File,
    /// Who wrapped its keys.
    pub kms: Arc<dyn Kms>,
    /// Of which kind that is.
    pub kind: KmsKind,
    /// What goes when the mount ends.
    pub spool: Option<Spool>,
    /// What the user should read.
    pub notes: Vec<String>,
}

impl Origin {
    /// The volume that lies in a directory, made first if that was asked for.
    ///
    /// # Errors
    /// It is none, or cannot be made; the KMS's.
    pub fn stored(settings: &MountSettings) -> Result<Self, Failure> {
        let root = File::from(dead::open_below(&settings.backing)?);
        let notes = create_if_asked(settings, &root)?;
        let (kms, kind) = kms_of(settings, &root)?;
        Ok(Self {
            root,
            kms,
            kind,
            spool: None,
            notes,
        })
    }
}

fn create_if_asked(settings: &MountSettings, root: &File) -> Result<Vec<String>, Failure> {
    match (&settings.init, volume::read_descriptor(root)) {
        (Some(new), Err(VolumeError::NotAVolume)) => make(&settings.backing, new, &settings.kms),
        _ => Ok(Vec::new()),
    }
}

/// The KMS that the volume's descriptor names.
fn kms_of(settings: &MountSettings, root: &File) -> Result<(Arc<dyn Kms>, KmsKind), Failure> {
    let raw = volume::read_descriptor(root).map_err(|error| Failure::volume(&settings.backing, error))?;
    let kms = kms_client::of_volume(&settings.kms, &settings.backing, &raw.descriptor)?;
    Ok((kms, raw.descriptor.kms))
}
