//! The rooms put together: a volume made, a volume mounted.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::handler::MountHandler;
use super::locking::Locking;
use super::spool::Spool;
use super::{Exit, Failure, dead, ephemeral, idle, init, keystore, kms_client, recover};
use crate::cli::MetricsPlace;
use crate::config::{KernelOption, KmsSettings, MountSettings, NewVolume};
use crate::control::{self, Audit, Event, Handler, Place};
use crate::format::Geometry;
use crate::format::descriptor::KmsKind;
use crate::fs::Fs;
use crate::fuse::{MountOptions, Session};
use crate::keys::{self, ReusePolicy, Watcher};
use crate::kms::Kms;
use crate::sys::limits;
use crate::volume::{self, Creation, Opening, Volume, VolumeError};

/// Makes the empty directory `dir`, opened as `root`, a volume; returns what the user should read.
///
/// # Errors
/// The key store's, the KMS's, or the directory's.
pub fn create(dir: &Path, root: &File, new: &NewVolume, kms: &KmsSettings) -> Result<Vec<String>, Failure> {
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

/// A mounted volume.
pub struct Mounted {
    /// What the control socket may ask.
    pub handler: Arc<dyn Handler>,
    /// Waits until it is unmounted, then makes everything durable and lets go of the volume.
    pub wait: Box<dyn FnOnce() -> io::Result<()> + Send>,
    /// What the user should read.
    pub notes: Vec<String>,
}

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

/// Mounts a volume, after making it if that was asked for.
///
/// # Errors
/// Why it is not mounted.
pub fn mount(settings: &MountSettings) -> Result<Mounted, Failure> {
    let dir = &settings.backing;
    let origin = match settings.ephemeral {
        true => ephemeral::origin(settings)?,
        false => stored(settings)?,
    };
    let Origin {
        root,
        kms,
        kind,
        spool,
        mut notes,
    } = origin;
    let volume = Volume::open(OwnedFd::from(root), Arc::clone(&kms), opening(settings, kind));
    let volume = Arc::new(volume.map_err(|error| Failure::volume(dir, error))?);
    if let Some(note) = recover::note(dir, volume.store.recovery()) {
        tracing::warn!("{note}");
        notes.push(note);
    }
    let fs = Fs::new(Arc::clone(&volume)).map_err(|error| Failure::internal(format!("{}: {error}", dir.display())))?;
    let fs = Arc::new(fs);
    let audit = audit(settings, &fs)?;
    dead::clear(&settings.mountpoint)?;
    let session = Session::mount(Arc::clone(&fs), &settings.mountpoint, &options(settings));
    let session = session.map_err(|error| not_mounted(&settings.mountpoint, &error))?;
    let locking = Locking::new(&settings.mountpoint, dir, Arc::clone(&fs), session.caches(), audit);
    let locking = Arc::new(locking);
    let watcher = Watcher::start(&volume.keyring, settings.revocation, locking.clone());
    let watcher = watcher.map_err(|error| Failure::internal(format!("the master key cannot be watched: {error}")))?;
    if let Some((timeout, action)) = settings.idle {
        idle::start(timeout, action, Arc::clone(&fs), locking.clone())
            .map_err(|error| Failure::internal(format!("nobody looks whether the mount is in use: {error}")))?;
    }
    let handler = Arc::new(MountHandler::new(settings, kms, Arc::clone(&fs), locking, watcher));
    serve_metrics(settings, &handler)?;
    let wait = move || {
        let served = session.join();
        if spool.is_some() {
            // Nothing of it is needed any more. It is removed here.
            drop(spool);
            return served;
        }
        // What is committed only now gets its name only now. An error comes again from `close`.
        let _ = volume.store.commit_all();
        fs.promote();
        volume.store.close().map_err(io::Error::other)?;
        served
    };
    Ok(Mounted {
        handler,
        wait: Box::new(wait),
        notes,
    })
}

/// The audit log, and who writes opens to it.
fn audit(settings: &MountSettings, fs: &Arc<Fs>) -> Result<Option<Arc<Audit>>, Failure> {
    let Some(path) = &settings.audit_log else {
        return Ok(None);
    };
    let audit = Audit::open(path, &settings.mountpoint, fs.volume().id.to_string());
    let audit = Arc::new(audit.map_err(|error| Failure::io("opening the audit log", path, &error))?);
    if settings.audit_opens {
        let writer = Arc::clone(&audit);
        fs.on_open(Box::new(move |opened| {
            writer.note(&Event::Open {
                uid: opened.caller.uid,
                pid: opened.caller.pid,
                path: String::from_utf8_lossy(&opened.path).into_owned(),
                write: opened.write,
            });
        }));
    }
    Ok(Some(audit))
}

fn serve_metrics(settings: &MountSettings, handler: &Arc<MountHandler>) -> Result<(), Failure> {
    let (place, named) = match &settings.metrics {
        None => return Ok(()),
        Some(MetricsPlace::Loopback(address)) => (Place::Loopback(*address), PathBuf::from(address.to_string())),
        Some(MetricsPlace::Socket(path)) => (Place::Socket(path.clone()), path.clone()),
    };
    let handler: Arc<dyn Handler> = handler.clone();
    control::serve(&place, handler).map_err(|error| Failure::io("serving metrics at", &named, &error))
}

/// The volume that lies in a directory.
fn stored(settings: &MountSettings) -> Result<Origin, Failure> {
    let root = File::from(dead::open_below(&settings.backing)?);
    let notes = create_if_asked(settings, &root)?;
    let (kms, kind) = kms_of(settings, &root)?;
    Ok(Origin {
        root,
        kms,
        kind,
        spool: None,
        notes,
    })
}

fn create_if_asked(settings: &MountSettings, root: &File) -> Result<Vec<String>, Failure> {
    match (&settings.init, volume::read_descriptor(root)) {
        (Some(new), Err(VolumeError::NotAVolume)) => init::make(&settings.backing, new, &settings.kms),
        _ => Ok(Vec::new()),
    }
}

/// The KMS that the volume's descriptor names.
fn kms_of(settings: &MountSettings, root: &File) -> Result<(Arc<dyn Kms>, KmsKind), Failure> {
    let raw = volume::read_descriptor(root).map_err(|error| Failure::volume(&settings.backing, error))?;
    let kms = kms_client::of_volume(&settings.kms, &settings.backing, &raw.descriptor)?;
    Ok((kms, raw.descriptor.kms))
}

fn opening(settings: &MountSettings, kind: KmsKind) -> Opening {
    let reuse = settings.key_reuse.map(|reuse| ReusePolicy {
        files: reuse.files,
        seconds: reuse.time.as_secs(),
        bytes: reuse.bytes,
    });
    let descriptors = limits::raise_descriptors();
    let usual = keys::Settings::default();
    let (pool, ahead) = match kind {
        // They answer in microseconds: to ask ahead would cost more than it saves.
        KmsKind::Local | KmsKind::Ephemeral => (0, 0),
        KmsKind::Alibaba => (usual.pool, usual.ahead),
    };
    let keys = keys::Settings {
        pool,
        ahead,
        capacity: settings.key_cache,
        ttl: settings.key_ttl,
        reuse,
        ..usual
    };
    Opening {
        read_only: settings.read_only,
        volatile: settings.ephemeral,
        keys,
        max_busy: (descriptors / 4).clamp(64, 4096) as usize,
        journal_bytes: settings.journal_size,
        commit_interval: settings.commit_interval,
    }
}

/// What the settings say for the kernel.
pub fn options(settings: &MountSettings) -> MountOptions {
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
            Failure::new(
                Exit::NoFuse,
                what,
                "see what fusermount3 says, and whether this user may mount there",
            )
        }
    }
}
