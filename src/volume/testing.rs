//! Volumes for the unit tests of the rooms above: a KMS in memory, default settings.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use super::{Creation, Opening, Volume, VolumeError};
use crate::format::Geometry;
use crate::format::descriptor::{KmsKind, Overwrite};
use crate::keys;
use crate::kms::Kms;
use crate::kms::scripted::ScriptedKms;

/// The KMS of all volumes of a test run.
fn kms() -> Arc<ScriptedKms> {
    static KMS: OnceLock<Arc<ScriptedKms>> = OnceLock::new();
    Arc::clone(KMS.get_or_init(|| Arc::new(ScriptedKms::new())))
}

fn root(dir: &Path) -> OwnedFd {
    OwnedFd::from(std::fs::File::open(dir).unwrap())
}

/// Makes the empty directory `dir` a volume.
pub(crate) fn create(dir: &Path, geometry: Geometry) {
    create_on(dir, geometry, &kms());
}

/// The same, with a KMS of its own.
pub(crate) fn create_on(dir: &Path, geometry: Geometry, kms: &ScriptedKms) {
    let creation = Creation {
        geometry,
        overwrite: Overwrite::Journal,
        kms: KmsKind::Local,
        region: String::new(),
        endpoint: String::new(),
        master_key: crate::kms::scripted::MASTER_KEY.into(),
    };
    super::create(root(dir), kms, &creation).unwrap();
}

/// Opens the volume in `dir`.
pub(crate) fn open(dir: &Path) -> Arc<Volume> {
    open_with_journal(dir, 8 << 20)
}

/// Opens the volume in `dir` with a journal of that many bytes.
pub(crate) fn open_with_journal(dir: &Path, journal_bytes: u64) -> Arc<Volume> {
    let opening = opening(journal_bytes, false);
    Arc::new(Volume::open(root(dir), kms(), opening).unwrap())
}

/// Opens the volume in `dir` with a KMS of its own, fetching up to `ahead` keys ahead of opens.
pub(crate) fn open_on(dir: &Path, kms: &Arc<ScriptedKms>, ahead: usize) -> Arc<Volume> {
    let mut opening = opening(8 << 20, false);
    opening.keys.ahead = ahead;
    Arc::new(Volume::open(root(dir), Arc::clone(kms) as Arc<dyn Kms>, opening).unwrap())
}

/// Opens the volume in `dir`, if it can be.
pub(crate) fn try_open(dir: &Path, read_only: bool) -> Result<Volume, VolumeError> {
    Volume::open(root(dir), kms(), opening(8 << 20, read_only))
}

fn opening(journal_bytes: u64, read_only: bool) -> Opening {
    Opening {
        read_only,
        volatile: false,
        // No thread of it may outlive a test that opens the same directory again.
        keys: keys::Settings {
            ahead: 0,
            ..keys::Settings::default()
        },
        max_busy: 64,
        journal_bytes,
        commit_interval: std::time::Duration::from_secs(5),
    }
}
