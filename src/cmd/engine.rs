//! The rooms put together: a volume mounted.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::handler::MountHandler;
use super::locking::Locking;
use super::origin::Origin;
use super::{Exit, Failure, dead, ephemeral, idle, recover};
use crate::cli::MetricsPlace;
use crate::config::{KernelOption, MountSettings};
use crate::control::{self, Audit, Event, Handler, Place};
use crate::format::descriptor::KmsKind;
use crate::fs::Fs;
use crate::fuse::{MountOptions, Session};
use crate::keys::{self, ReusePolicy, Watcher};
use crate::sys::limits;
use crate::volume::{Opening, Volume};

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
    let origin = match settings.ephemeral {
        true => ephemeral::origin(settings)?,
        false => Origin::stored(settings)?,
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
