//! What the control socket may ask of a mount: status, lock, unlock, flush.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::Failure;
use crate::config::MountSettings;
use crate::control::{Handler, JournalStatus, KeyStatus, KmsStatus, Refusal, State, Status};
use crate::format::descriptor::Overwrite;
use crate::fs::Fs;
use crate::fuse::Caches;
use crate::kms::Kms;
use crate::kms::api::time_text;
use crate::volume::Volume;

/// What the control socket reaches.
pub struct MountHandler {
    mountpoint: PathBuf,
    backing: PathBuf,
    since: i64,
    ttl_seconds: u64,
    key_capacity: u64,
    kms: Arc<dyn Kms>,
    fs: Arc<Fs>,
    caches: Caches,
}

impl MountHandler {
    /// The handler of a mount that was just made as `settings` say.
    pub fn new(settings: &MountSettings, kms: Arc<dyn Kms>, fs: Arc<Fs>, caches: Caches) -> MountHandler {
        MountHandler {
            mountpoint: settings.mountpoint.clone(),
            backing: settings.backing.clone(),
            since: now(),
            ttl_seconds: settings.key_ttl.as_secs(),
            key_capacity: settings.key_cache as u64,
            kms,
            fs,
            caches,
        }
    }

    fn volume(&self) -> &Volume {
        self.fs.volume()
    }

    fn is_locked(&self) -> bool {
        self.volume().keyring.status().locked
    }

    fn refuse(&self, doing: &str, errno: i32, why: impl std::fmt::Display) -> Refusal {
        let failure = Failure::io(doing, &self.backing, &io::Error::from_raw_os_error(errno));
        Failure {
            what: format!("{doing} {}: {why}", self.backing.display()),
            ..failure
        }
        .into()
    }

    /// Has the kernel write its dirty pages to this daemon.
    fn write_back(&self) -> Result<(), Refusal> {
        let written = File::open(&self.mountpoint).and_then(|root| Ok(rustix::fs::syncfs(&root)?));
        written.map_err(|error| self.refuse("writing back", error.raw_os_error().unwrap_or(libc::EIO), &error))
    }
}

impl Handler for MountHandler {
    fn status(&self) -> Status {
        let volume = self.volume();
        let keys = volume.keyring.status();
        let master_key = volume.descriptor.volume_key().map(|key| key.master_key);
        Status {
            mountpoint: self.mountpoint.display().to_string(),
            backing: self.backing.display().to_string(),
            volume: volume.id.to_string(),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            since: time_text(self.since),
            read_only: volume.read_only,
            state: if keys.locked { State::Locked } else { State::Unlocked },
            reason: keys.locked.then(|| "by command".to_owned()),
            kms: KmsStatus {
                name: self.kms.describe(),
                master_key: master_key.unwrap_or_default(),
                last_contact: keys.last_contact.map(time_text),
                calls: keys.kms_calls,
                failures: keys.kms_failures,
            },
            keys: KeyStatus {
                cached: keys.cached as u64,
                capacity: self.key_capacity,
                ttl_seconds: self.ttl_seconds,
                hits: keys.hits,
                misses: keys.misses,
                pool: keys.pool as u64,
                memory_locked: keys.memory_locked,
            },
            journal: journal_status(volume),
        }
    }

    fn lock(&self) -> Result<(), Refusal> {
        if self.is_locked() {
            return Ok(());
        }
        self.flush()?;
        if !self.volume().keyring.lock() {
            tracing::warn!("a key is still in use for a moment, and will be wiped then");
        }
        self.fs.forget_names();
        self.caches.drop_all();
        tracing::info!("locked");
        Ok(())
    }

    fn unlock(&self) -> Result<(), Refusal> {
        let unlocked = self.volume().keyring.unlock();
        let unlocked = unlocked.map_err(|error| {
            Refusal::from(Failure::key(
                format!("{} stays locked: {error}", self.mountpoint.display()),
                error,
            ))
        })?;
        for error in &unlocked.failed {
            tracing::warn!("an open file stays locked until it is opened again: {error}");
        }
        tracing::info!("unlocked, {} open files have their keys again", unlocked.refilled);
        Ok(())
    }

    fn flush(&self) -> Result<(), Refusal> {
        // What a locked mount held was written back when it was locked.
        if !self.is_locked() {
            self.write_back()?;
        }
        let committed = self.fs.commit_all();
        committed.map_err(|error| self.refuse("making everything durable in", error.code().raw_os_error(), &error))
    }
}

fn journal_status(volume: &Volume) -> JournalStatus {
    let status = volume.store.status();
    let mode = match status.overwrite {
        Overwrite::Journal => "journal",
        Overwrite::InPlace => "in-place",
    };
    JournalStatus {
        mode: mode.to_owned(),
        bytes: status.journal.map_or(0, |journal| journal.used),
        capacity: status.journal.map_or(0, |journal| journal.size),
        records: status.journal.map_or(0, |journal| journal.records),
        checkpoints: status.journal.map_or(0, |journal| journal.checkpoints),
        recovered: status.recovery.records,
        recovered_bytes: status.recovery.bytes,
        recovered_files: status.recovery.files,
        recovered_missing: status.recovery.missing,
        recovery_seconds: status.recovery.duration.as_secs_f64(),
        failed: status.journal.and_then(|journal| journal.failed),
    }
}

fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs().cast_signed())
}
