//! What the control socket may ask of a mount: status, lock, unlock, flush.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Failure;
use super::locking::Locking;
use crate::config::MountSettings;
use crate::control::{Event, Handler, JournalStatus, KeyStatus, KmsStatus, Refusal, RevocationStatus, State, Status};
use crate::format::descriptor::Overwrite;
use crate::fs::Fs;
use crate::keys::{Reason, WatchStatus, Watcher};
use crate::kms::api::time_text;
use crate::kms::{Clock, Kms};
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
    locking: Arc<Locking>,
    watcher: Watcher,
}

impl MountHandler {
    /// The handler of a mount that was just made as `settings` say.
    pub fn new(
        settings: &MountSettings,
        kms: Arc<dyn Kms>,
        fs: Arc<Fs>,
        locking: Arc<Locking>,
        watcher: Watcher,
    ) -> MountHandler {
        MountHandler {
            mountpoint: settings.mountpoint.clone(),
            backing: settings.backing.clone(),
            since: now(),
            ttl_seconds: settings.key_ttl.as_secs(),
            key_capacity: settings.key_cache as u64,
            kms,
            fs,
            locking,
            watcher,
        }
    }

    fn volume(&self) -> &Volume {
        self.fs.volume()
    }
}

impl Handler for MountHandler {
    fn status(&self) -> Status {
        let volume = self.volume();
        let keys = volume.keyring.status();
        let reason = self.locking.reason();
        let master_key = volume.descriptor.volume_key().map(|key| key.master_key);
        Status {
            mountpoint: self.mountpoint.display().to_string(),
            backing: self.backing.display().to_string(),
            volume: volume.id.to_string(),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            since: time_text(self.since),
            read_only: volume.read_only,
            state: match &reason {
                Some(_) => State::Locked,
                None => State::Unlocked,
            },
            reason: reason.map(|reason| reason.to_string()),
            kms: KmsStatus {
                name: self.kms.describe(),
                master_key: master_key.unwrap_or_default(),
                last_contact: keys.last_contact.map(time_text),
                calls: keys.kms_calls,
                failures: keys.kms_failures,
                seconds: keys.kms_time.as_secs_f64(),
            },
            revocation: watch_status(&self.watcher.status(), &*volume.keyring.clock()),
            inodes: self.fs.inode_count() as u64,
            keys: KeyStatus {
                cached: keys.cached as u64,
                open_files: keys.open_files as u64,
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
        let locked = self.locking.lock(Reason::Command);
        self.watcher.look(None);
        Ok(locked?)
    }

    fn unlock(&self) -> Result<(), Refusal> {
        let asked = self.volume().keyring.clock().uptime();
        self.locking.unlock().map_err(|error| {
            let what = format!("{} stays locked: {error}", self.mountpoint.display());
            Failure::key(what, error)
        })?;
        self.watcher.look(Some(asked));
        Ok(())
    }

    fn flush(&self) -> Result<(), Refusal> {
        Ok(self.locking.flush()?)
    }

    fn reopen_logs(&self) {
        self.locking.reopen_audit();
    }

    fn note(&self, event: &Event) {
        self.locking.note(event);
    }
}

/// What the watcher knows; its uptimes as times of day.
fn watch_status(watch: &WatchStatus, clock: &dyn Clock) -> RevocationStatus {
    let time = |at: Duration| {
        let (now, unix) = (clock.uptime(), clock.unix());
        let since = |a: Duration, b: Duration| i64::try_from(a.saturating_sub(b).as_secs()).unwrap_or(0);
        time_text(unix - since(now, at) + since(at, now))
    };
    RevocationStatus {
        check_seconds: watch.settings.interval.as_secs_f64(),
        grace_seconds: watch.settings.grace.map(|grace| grace.as_secs_f64()),
        last_contact: time(watch.contact),
        next_check: time(watch.next),
        trouble: watch.trouble.clone(),
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
