//! The KMS that settings name, or that a volume's descriptor names: one way for every command to get it.

use std::path::Path;
use std::sync::Arc;

use super::{Exit, Failure, fence, keystore};
use crate::cli::VolumeOptions;
use crate::config::{CloudSettings, KmsSettings, Sources};
use crate::format::descriptor::{Descriptor, KmsKind};
use crate::kms::alibaba::{AlibabaKms, Network, Settings, Signature, is_harmless};
use crate::kms::{KmsError, KmsService};

/// The KMS of `settings`. Nothing is asked of it yet.
///
/// # Errors
/// The key store is not there or does not open, or the settings do not say enough.
pub fn open(settings: &KmsSettings) -> Result<Arc<dyn KmsService>, Failure> {
    match settings.kind {
        KmsKind::Local => Ok(Arc::new(keystore::open(settings)?)),
        KmsKind::Ephemeral => Err(Failure::internal("an ephemeral mount has no KMS to open")),
        KmsKind::Alibaba => cloud(client_settings(&settings.cloud)),
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

/// The KMS that holds the master key of the volume in `dir`: its descriptor says which and where, `settings` say the
/// rest, and may give another address.
///
/// # Errors
/// As [`open`]; and when the descriptor, which nobody has authenticated yet, leads to a strange address.
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
        KmsKind::Alibaba => {
            let stored = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
            let mut client = client_settings(&settings.cloud);
            // The region is where the key lives: only the address may be another one.
            client.region = stored(&descriptor.region).or(client.region);
            if client.endpoint.is_none()
                && let Some(endpoint) = stored(&descriptor.endpoint)
            {
                check_harmless(dir, &endpoint)?;
                client.endpoint = Some(endpoint);
            }
            cloud(client)
        }
    }
}

/// The KMS, and the master key of what is new: the one that was `asked` for, or else the one of the environment or the
/// configuration file, or else `alias/kmsfs`.
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
            let key = default_key(settings, &*kms)?;
            Ok((kms, key))
        }
    }
}

/// The master key when none is named: `alias/kmsfs`, which the embedded key store makes on first use. In the cloud a
/// key costs money and needs an owner: none is made there without being asked for.
///
/// # Errors
/// The key store's.
pub fn default_key(settings: &KmsSettings, kms: &dyn KmsService) -> Result<String, Failure> {
    match settings.kind {
        KmsKind::Alibaba => Ok(keystore::DEFAULT_ALIAS.to_owned()),
        KmsKind::Local | KmsKind::Ephemeral => keystore::default_key(kms),
    }
}

/// Whoever can write the descriptor could lead requests to a KMS of their own, which would then know the keys of what
/// is written from now on.
fn check_harmless(dir: &Path, endpoint: &str) -> Result<(), Failure> {
    if is_harmless(endpoint) {
        return Ok(());
    }
    let message = format!(
        "{}: its descriptor leads to {endpoint:?}, which is neither in aliyuncs.com nor on this host",
        dir.display()
    );
    let help = format!("if it is the right one, confirm it with --endpoint {endpoint}");
    Err(Failure {
        help,
        ..KmsError::new("Kms.Endpoint", message).into()
    })
}

fn client_settings(cloud: &CloudSettings) -> Settings {
    Settings {
        region: cloud.region.clone(),
        endpoint: cloud.endpoint.clone(),
        network: if cloud.vpc { Network::Vpc } else { Network::Public },
        ca_file: cloud.ca_file.clone(),
        signature: if cloud.signature_v1 {
            Signature::V1
        } else {
            Signature::V3
        },
        rate: cloud.rate,
        connect_timeout: cloud.connect_timeout,
        answer_timeout: cloud.timeout,
        deadline: cloud.deadline,
    }
}

fn cloud(settings: Settings) -> Result<Arc<dyn KmsService>, Failure> {
    fence::keep_out_of_dumps();
    let environment = Arc::new(|name: &str| std::env::var_os(name));
    Ok(Arc::new(AlibabaKms::new(settings, environment)?))
}
