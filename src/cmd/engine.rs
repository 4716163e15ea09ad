//! The rooms put together: a volume made, a volume mounted, and what the control socket may ask of it.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{Exit, Failure, init, keystore};
use crate::config::{KernelOption, KmsSettings, MountSettings, NewVolume};
use crate::control::{Handler, JournalStatus, KeyStatus, KmsStatus, Refusal, State, Status};
use crate::format::Geometry;
use crate::format::descriptor::{KmsKind, Overwrite};
use crate::fs::Fs;
use crate::fuse::{Caches, MountOptions, Session};
use crate::keys::{self, KeyError, ReusePolicy};
use crate::kms::Kms;
use crate::kms::api::time_text;
use crate::volume::{self, Creation, Opening, Volume, VolumeError};

/// Makes the empty directory `dir`, opened as `root`, a volume; returns what the user should read.
///
/// # Errors
/// The key store's, the KMS's, or the directory's.
pub fn create(dir: &Path, root: &File, new: &NewVolume, kms: &KmsSettings) -> Result<Vec<String>, Failure> {
    let store = keystore::open_or_create(kms)?;
    let master_key = match &new.key_id {
        Some(key) => key.clone(),
        None => keystore::default_key(&store)?,
    };
    let geometry = Geometry::new(new.chunk_size).ok_or_else(|| Failure::internal("the chunk size was not checked"))?;
    let creation = Creation {
        geometry,
        overwrite: new.overwrite,
        kms: kms.kind,
        region: String::new(),
        endpoint: String::new(),
        master_key,
    };
    let id = volume::create(root, &store, &creation).map_err(|error| of_volume(dir, error))?;
    Ok(vec![format!("{} is a volume now: {id}", dir.display()), keystore::note(kms)])
}

/// A mounted volume.
pub struct Mounted {
    /// What the control socket may ask.
    pub handler: Arc<dyn Handler>,
    /// Waits until it is unmounted, then makes everything durable and lets go of the volume.
    pub wait: Box<dyn FnOnce() -> io::Result<()> + Send>,
    /// What the user should read.
    pub notes: Vec<String>,
}

/// Mounts a volume, after making it if that was asked for.
///
/// # Errors
/// Why it is not mounted.
pub fn mount(settings: &MountSettings) -> Result<Mounted, Failure> {
    let dir = &settings.backing;
    // Opened before anything lies over it.
    let root = File::open(dir).map_err(|error| Failure::io("opening", dir, &error))?;
    let notes = create_if_asked(settings, &root)?;
    let kms = kms_of(settings, &root)?;
    let volume = Volume::open(OwnedFd::from(root), Arc::clone(&kms), opening(settings));
    let volume = Arc::new(volume.map_err(|error| of_volume(dir, error))?);
    let fs = Fs::new(Arc::clone(&volume)).map_err(|error| Failure::internal(format!("{}: {error}", dir.display())))?;
    let fs = Arc::new(fs);
    let session = Session::mount(Arc::clone(&fs), &settings.mountpoint, &options(settings));
    let session = session.map_err(|error| not_mounted(&settings.mountpoint, &error))?;
    let handler = Arc::new(Daemon {
        mountpoint: settings.mountpoint.clone(),
        backing: dir.clone(),
        since: now(),
        ttl_seconds: settings.key_ttl.as_secs(),
        key_capacity: settings.key_cache as u64,
        kms,
        fs,
        caches: session.caches(),
    });
    let wait = move || {
        let served = session.join();
        volume.store.close().map_err(io::Error::other)?;
        served
    };
    Ok(Mounted { handler, wait: Box::new(wait), notes })
}

fn create_if_asked(settings: &MountSettings, root: &File) -> Result<Vec<String>, Failure> {
    match (&settings.init, volume::read_descriptor(root)) {
        (Some(new), Err(VolumeError::NotAVolume)) => init::make(&settings.backing, new, &settings.kms),
        _ => Ok(Vec::new()),
    }
}

/// The KMS that the volume's descriptor names.
fn kms_of(settings: &MountSettings, root: &File) -> Result<Arc<dyn Kms>, Failure> {
    let raw = volume::read_descriptor(root).map_err(|error| of_volume(&settings.backing, error))?;
    match raw.descriptor.kms {
        KmsKind::Local => Ok(Arc::new(keystore::open(&settings.kms)?)),
        KmsKind::Alibaba => {
            let what = format!("{}: its master key is in Alibaba Cloud KMS", settings.backing.display());
            Err(Failure::new(Exit::NewerFormat, what, "use a kmsfs that speaks to Alibaba Cloud KMS"))
        }
    }
}

fn opening(settings: &MountSettings) -> Opening {
    let reuse = settings.key_reuse.map(|reuse| ReusePolicy {
        files: reuse.files,
        seconds: reuse.time.as_secs(),
        bytes: reuse.bytes,
    });
    let keys = keys::Settings {
        capacity: settings.key_cache,
        ttl: settings.key_ttl,
        reuse,
        ..keys::Settings::default()
    };
    Opening {
        read_only: settings.read_only,
        keys,
        journal_bytes: settings.journal_size,
        commit_interval: settings.commit_interval,
    }
}

fn options(settings: &MountSettings) -> MountOptions {
    let mut options = MountOptions {
        read_only: settings.read_only,
        allow_other: settings.allow_other,
        threads: settings.threads,
        ..MountOptions::default()
    };
    for option in &settings.kernel {
        match option {
            KernelOption::Dev => options.dev = true,
            KernelOption::NoDev => options.dev = false,
            KernelOption::Suid => options.suid = true,
            KernelOption::NoSuid => options.suid = false,
            KernelOption::Exec => options.no_exec = false,
            KernelOption::NoExec => options.no_exec = true,
            KernelOption::Atime => options.no_atime = false,
            KernelOption::NoAtime => options.no_atime = true,
            KernelOption::DirSync => options.dir_sync = true,
            KernelOption::Sync => options.sync = true,
            KernelOption::Async => options.sync = false,
        }
    }
    options
}

fn not_mounted(mountpoint: &Path, error: &io::Error) -> Failure {
    match error.raw_os_error() {
        Some(_) => Failure::io("mounting at", mountpoint, error),
        None => {
            let what = format!("{} cannot be mounted: {error}", mountpoint.display());
            Failure::new(Exit::NoFuse, what, "see what fusermount3 says, and whether this user may mount there")
        }
    }
}

/// The failure of a volume in `dir`.
fn of_volume(dir: &Path, error: VolumeError) -> Failure {
    let place = dir.display();
    let what = format!("{place}: {error}");
    let damaged = "restore the volume from a backup or snapshot; nothing was changed";
    match error {
        VolumeError::NotAVolume => {
            let help = format!("`kmsfs init {place}` makes an empty directory a volume; see that no other disk belongs there");
            Failure::new(Exit::NotAVolume, what, help)
        }
        VolumeError::NotEmpty(name) => init::not_empty(dir, &name),
        VolumeError::Format(crate::format::FormatError::Newer { .. }) => {
            Failure::new(Exit::NewerFormat, what, "use a newer kmsfs; nothing was changed")
        }
        VolumeError::Format(_) | VolumeError::Tampered => Failure::new(Exit::Damaged, what, damaged),
        VolumeError::Held(_) => {
            Failure::new(Exit::Busy, what, "use it where it is mounted (`kmsfs status` there), or unmount it first")
        }
        VolumeError::Kms(error) => Failure { what, ..error.into() },
        VolumeError::Key(error) => of_key(what, error),
        VolumeError::Store(error) => {
            let failure = Failure::io("opening the volume", dir, &io::Error::from_raw_os_error(error.errno()));
            Failure { what, ..failure }
        }
        VolumeError::Io { source, .. } => Failure { what, ..Failure::io("opening", dir, &source) },
    }
}

fn of_key(what: String, error: KeyError) -> Failure {
    match error {
        KeyError::Kms(error) => Failure { what, ..error.into() },
        KeyError::Locked => Failure::new(Exit::KeyDenied, what, error.help()),
        KeyError::NotAllowed { .. } => Failure::new(Exit::Damaged, what, error.help()),
    }
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs().cast_signed())
}

/// What the control socket reaches.
struct Daemon {
    mountpoint: PathBuf,
    backing: PathBuf,
    since: i64,
    ttl_seconds: u64,
    key_capacity: u64,
    kms: Arc<dyn Kms>,
    fs: Arc<Fs>,
    caches: Caches,
}

impl Daemon {
    fn volume(&self) -> &Volume {
        self.fs.volume()
    }

    fn is_locked(&self) -> bool {
        self.volume().keyring.status().locked
    }

    fn refuse(&self, doing: &str, errno: i32, why: impl std::fmt::Display) -> Refusal {
        let failure = Failure::io(doing, &self.backing, &io::Error::from_raw_os_error(errno));
        Failure { what: format!("{doing} {}: {why}", self.backing.display()), ..failure }.into()
    }

    /// Has the kernel write its dirty pages to this daemon.
    fn write_back(&self) -> Result<(), Refusal> {
        let written = File::open(&self.mountpoint).and_then(|root| Ok(rustix::fs::syncfs(&root)?));
        written.map_err(|error| self.refuse("writing back", error.raw_os_error().unwrap_or(libc::EIO), &error))
    }
}

impl Handler for Daemon {
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
            Refusal::from(of_key(format!("{} stays locked: {error}", self.mountpoint.display()), error))
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
        let committed = self.volume().store.commit_all();
        committed.map_err(|error| self.refuse("making everything durable in", error.errno(), &error))
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
    }
}
