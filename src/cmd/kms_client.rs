//! The KMS that settings name, or that a volume's descriptor names: one way for every command to get it.

use std::path::Path;
use std::sync::Arc;

use super::{Exit, Failure, keystore};
use crate::cli::VolumeOptions;
use crate::config::{KmsSettings, Sources};
use crate::format::descriptor::{Descriptor, KmsKind};
use crate::kms::KmsService;

/// The KMS of `settings`. Nothing is asked of it yet.
///
/// # Errors
/// The key store is not there or does not open, or the settings do not say enough.
pub fn open(settings: &KmsSettings) -> Result<Arc<dyn KmsService>, Failure> {
    match settings.kind {
        KmsKind::Local => Ok(Arc::new(keystore::open(settings)?)),
        KmsKind::Ephemeral => Err(Failure::internal("an ephemeral mount has no KMS to open")),
        KmsKind::Alibaba => Err(unspoken("the master keys are in Alibaba Cloud KMS")),
    }
}

/// As [`open`]; an embedded key store that is not there is made.
///
/// # Errors
/// As there, or it cannot be made.
pub fn open_or_create(settings: &KmsSettings) -> Result<Arc<dyn KmsService>, Failure> {
    match settings.kind {
        KmsKind::Local => Ok(Arc::new(keystore::open_or_create(settings)?)),
        KmsKind::Alibaba | KmsKind::Ephemeral => open(settings),
    }
}

/// The KMS that holds the master key of the volume in `dir`: its descriptor says which, `settings` say the rest.
///
/// # Errors
/// As [`open`].
pub fn of_volume(settings: &KmsSettings, dir: &Path, descriptor: &Descriptor) -> Result<Arc<dyn KmsService>, Failure> {
    match descriptor.kms {
        KmsKind::Local => Ok(Arc::new(keystore::open(settings)?)),
        KmsKind::Ephemeral => Err(Failure::new(
            Exit::KeyDenied,
            format!(
                "{} was the store of an ephemeral mount, whose key is gone",
                dir.display()
            ),
            "remove it: nobody can read it any more",
        )),
        KmsKind::Alibaba => Err(unspoken(&format!(
            "{}: its master key is in Alibaba Cloud KMS",
            dir.display()
        ))),
    }
}

/// The KMS, and the master key of what is new: the one that was `asked` for, or else the one of the environment or the
/// configuration file, or else `alias/kmsfs`, which is made on first use.
///
/// # Errors
/// As [`open_or_create`]; or the key cannot be made.
pub fn open_with_key(
    settings: &KmsSettings,
    asked: Option<String>,
    sources: &Sources,
) -> Result<(Arc<dyn KmsService>, String), Failure> {
    let options = VolumeOptions {
        key_id: asked,
        ..VolumeOptions::default()
    };
    match sources.complete(options)?.key_id {
        Some(key) => Ok((open(settings)?, key)),
        None => {
            let kms = open_or_create(settings)?;
            let key = keystore::default_key(&*kms)?;
            Ok((kms, key))
        }
    }
}

fn unspoken(what: &str) -> Failure {
    Failure::new(Exit::NewerFormat, what, "use a kmsfs that speaks to Alibaba Cloud KMS")
}
