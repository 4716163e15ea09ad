//! A store in a directory of its own, with one key and a clock that the test moves.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use crate::format::{DataKeyId, VolumeId, WrappedKey};
use crate::kms::clock::FakeClock;
use crate::kms::local::files::{self, Existing};
use crate::kms::local::{LocalStore, Root};
use crate::kms::{EncryptionContext, KeyState, Kms, KmsAdmin, KmsError, NewKey};

pub(super) const DAY: Duration = Duration::from_secs(86_400);

pub(super) struct Scene {
    pub(super) dir: tempfile::TempDir,
    pub(super) clock: Arc<FakeClock>,
    pub(super) store: LocalStore,
    pub(super) key: String,
}

impl Scene {
    pub(super) fn new() -> Scene {
        let dir = tempfile::tempdir().unwrap();
        let clock = FakeClock::new();
        let root = Root::File(dir.path().join("store.root"));
        let store = LocalStore::create_with(&dir.path().join("store"), &root, clock.clone()).unwrap();
        let key = store.create_key(&NewKey::default()).unwrap().id;
        Scene { dir, clock, store, key }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    pub(super) fn root(&self) -> Root {
        Root::File(self.dir.path().join("store.root"))
    }

    pub(super) fn open(&self) -> Result<LocalStore, KmsError> {
        LocalStore::open_with(&self.path(), &self.root(), self.clock.clone())
    }

    pub(super) fn wrap(&self) -> WrappedKey {
        self.store.generate_data_key(&self.key, &context()).unwrap().wrapped
    }

    pub(super) fn state(&self) -> KeyState {
        self.store.describe_key(&self.key).unwrap().state
    }
}

pub(super) fn context() -> EncryptionContext {
    EncryptionContext::data_key(VolumeId([1; 16]), DataKeyId([2; 16]))
}

pub(super) fn code<T>(outcome: Result<T, KmsError>) -> String {
    outcome.err().map_or("ok".to_owned(), |error| error.code().to_owned())
}

pub(super) fn rewrite(path: &Path, bytes: &[u8]) {
    files::publish(files::prepare(path, bytes).unwrap(), path, Existing::Replace).unwrap();
}

/// Runs openssl in `dir`; whether it succeeded.
pub(super) fn openssl(dir: &Path, args: &str) -> bool {
    let outcome = Command::new("openssl")
        .args(args.split(' '))
        .current_dir(dir)
        .output()
        .unwrap();
    outcome.status.success()
}
