//! The embedded key store as the commands use it: where its root key is, and what is made on first use.

use std::path::PathBuf;

use super::{Failure, fence, passphrase};
use crate::config::KmsSettings;
use crate::kms::local::{LocalStore, Root};
use crate::kms::{KmsError, KmsService, NewKey};

/// The master key of volumes for which none is named.
pub const DEFAULT_ALIAS: &str = "alias/kmsfs";

/// Opens the key store.
///
/// # Errors
/// It is not there or does not open.
pub fn open(settings: &KmsSettings) -> Result<LocalStore, Failure> {
    let root = root(settings)?;
    // After the passphrase is read: an inherited descriptor can be opened again only by a process that may be
    // looked into.
    fence::keep_out_of_dumps();
    Ok(LocalStore::open(&settings.key_store, &root)?)
}

/// Opens the key store, or makes it if it is not there.
///
/// # Errors
/// It does not open, or cannot be made.
pub fn open_or_create(settings: &KmsSettings) -> Result<LocalStore, Failure> {
    let root = root(settings)?;
    let is = |code: &'static str| move |error: &KmsError| error.code() == code;
    match LocalStore::open(&settings.key_store, &root) {
        Err(error) if is("KeyStore.NotFound")(&error) => {}
        opened => return Ok(opened?),
    }
    match LocalStore::create(&settings.key_store, &root) {
        // Another command was faster.
        Err(error) if is("KeyStore.Exists")(&error) => Ok(LocalStore::open(&settings.key_store, &root)?),
        made => Ok(made?),
    }
}

/// The master key for new volumes, made if there is none yet.
///
/// # Errors
/// The key store's.
pub fn default_key(store: &dyn KmsService) -> Result<String, Failure> {
    match store.describe_key(DEFAULT_ALIAS) {
        Err(error) if error.code() == "Forbidden.AliasNotFound" => {}
        found => return found.map(|key| key.id).map_err(Failure::from),
    }
    let key = store.create_key(&NewKey {
        description: "made by kmsfs init".into(),
        ..NewKey::default()
    })?;
    match store.create_alias(DEFAULT_ALIAS, &key.id) {
        // Another command was faster; its key will do, and this one harms nobody.
        Err(error) if error.code() == "AliasAlreadyExists" => Ok(store.describe_key(DEFAULT_ALIAS)?.id),
        made => Ok(made.map(|()| key.id)?),
    }
}

/// What the key store protects against, and what not, in one line.
pub fn note(settings: &KmsSettings) -> String {
    let store = settings.key_store.display();
    match settings.passphrase {
        Some(_) => format!(
            "note: the master key lies in {store}, under the passphrase: whoever takes the disks cannot read the volume, \
             but root on this host can while it is mounted; keep a copy of the key store, without it the data is lost"
        ),
        None => format!(
            "note: the master key lies in {store} on this host: whoever gets the volume's disk or its backups alone cannot \
             read it, but whoever gets this host can; --passphrase-file adds a passphrase. Keep a copy of {store} and \
             {}, without them the data is lost",
            root_file(settings).display()
        ),
    }
}

fn root(settings: &KmsSettings) -> Result<Root, Failure> {
    match &settings.passphrase {
        Some(source) => Ok(Root::Passphrase(passphrase::read(source, |name| {
            std::env::var_os(name)
        })?)),
        None => Ok(Root::File(root_file(settings))),
    }
}

fn root_file(settings: &KmsSettings) -> PathBuf {
    let mut name = settings.key_store.clone().into_os_string();
    name.push(".root");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::KmsOptions;
    use crate::config::Sources;

    #[test]
    fn store_and_default_key_are_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let options = KmsOptions {
            key_store: Some(dir.path().join("state/keystore")),
            ..KmsOptions::default()
        };
        let sources = Sources::load(Some(std::path::Path::new("/dev/null")), &|_| None).unwrap();
        let settings = KmsSettings::resolve(options, &sources).unwrap();
        assert_eq!(open(&settings).err().unwrap().exit(), super::super::Exit::KeyStore);
        let first = default_key(&open_or_create(&settings).unwrap()).unwrap();
        let again = default_key(&open_or_create(&settings).unwrap()).unwrap();
        assert_eq!(first, again);
        assert!(root_file(&settings).exists());
        assert!(!note(&settings).contains('\n'));
    }
}
