//! A mount: begun, waited for, ended.

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use fuser::{Config, MountOption, SessionACL};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use super::adapter::Adapter;
use super::buffers::Buffers;
use super::caches::Caches;
use super::direct;
use super::writes::Writes;
use crate::fs::{Fs, Promoter};

/// How often names are promoted.
const PROMOTE_EVERY: Duration = Duration::from_secs(1);
const SUBTYPE: &str = "kmsfs";

/// How a volume is mounted.
#[derive(Debug, Clone)]
#[allow(clippy::struct_excessive_bools)] // Each is a mount option of its own.
pub struct MountOptions {
    /// Nothing can be changed.
    pub read_only: bool,
    /// Others than the user who mounts may use it.
    pub allow_other: bool,
    /// Device nodes work.
    pub dev: bool,
    /// Setuid and setgid count.
    pub suid: bool,
    /// Nothing can be executed.
    pub no_exec: bool,
    /// Access times are not kept.
    pub no_atime: bool,
    /// Every write is durable before it returns.
    pub sync: bool,
    /// Every change of a directory is.
    pub dir_sync: bool,
    /// Threads that serve requests.
    pub threads: usize,
    /// What the mount table shows as the source.
    pub fs_name: String,
}

impl Default for MountOptions {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Self {
            read_only: false,
            allow_other: false,
            dev: false,
            suid: false,
            no_exec: false,
            no_atime: false,
            sync: false,
            dir_sync: false,
            // Measured on two cores: with fewer than three, two readers wait for each other; with more, a
            // single one is slower, because each of its requests wakes another thread.
            threads: (cores + 1).clamp(2, 16),
            fs_name: SUBTYPE.to_owned(),
        }
    }
}

impl MountOptions {
    pub(super) fn config(&self) -> Config {
        let either = |on, yes, no| if on { yes } else { no };
        let mut config = Config::default();
        config.mount_options = vec![
            MountOption::FSName(self.fs_name.clone()),
            MountOption::Subtype(SUBTYPE.to_owned()),
            MountOption::DefaultPermissions,
            either(self.read_only, MountOption::RO, MountOption::RW),
            either(self.dev, MountOption::Dev, MountOption::NoDev),
            either(self.suid, MountOption::Suid, MountOption::NoSuid),
            either(self.no_exec, MountOption::NoExec, MountOption::Exec),
            either(self.no_atime, MountOption::NoAtime, MountOption::Atime),
            either(self.sync, MountOption::Sync, MountOption::Async),
        ];
        if self.dir_sync {
            config.mount_options.push(MountOption::DirSync);
        }
        config.acl = match self.allow_other {
            true => SessionACL::All,
            false => SessionACL::Owner,
        };
        config.n_threads = Some(self.threads.max(1));
        config.clone_fd = true;
        config
    }
}

/// A running mount. Dropping it unmounts, lazily if somebody still uses it, and waits.
pub struct Session {
    thread: Option<JoinHandle<io::Result<()>>>,
    unmounter: Unmounter,
    caches: Caches,
    promoter: Option<Promoter>,
}

/// Ends a mount from any thread.
#[derive(Debug, Clone)]
pub struct Unmounter {
    mountpoint: PathBuf,
}

impl Unmounter {
    /// Unmounts; see [`unmount`].
    ///
    /// # Errors
    /// `EBUSY` while somebody uses it, unless `lazy`.
    pub fn unmount(&self, lazy: bool) -> io::Result<()> {
        unmount(&self.mountpoint, lazy)
    }
}

impl Session {
    /// Mounts `fs` on `mountpoint`. When this returns, the mount answers.
    ///
    /// # Errors
    /// When the kernel, or `fusermount3` for an ordinary user, does not mount it.
    pub fn mount(fs: Arc<Fs>, mountpoint: &Path, options: &MountOptions) -> io::Result<Self> {
        let mountpoint = mountpoint.canonicalize()?;
        let later = Arc::new(OnceLock::new());
        let buffers = Arc::new(Buffers::default());
        let writes = Arc::new(Writes::default());
        let adapter = Adapter::new(fs.clone(), later.clone(), buffers.clone(), writes.clone());
        let session = match rustix::process::geteuid().is_root() {
            true => direct::mount(adapter, &mountpoint, options)?,
            // `fusermount3` mounts, which is allowed to.
            false => fuser::Session::new(adapter, &mountpoint, &options.config())?,
        };
        // Before anything is answered: a file that is open already keeps what it was opened with.
        super::readahead::raise(&mountpoint);
        let notifier = session.notifier();
        let _ = later.set(notifier.clone());
        let caches = Caches::new(notifier, session.as_fd(), buffers, writes, fs.clone())?;
        let promoter = Promoter::start(fs, PROMOTE_EVERY)?;
        let thread = std::thread::Builder::new()
            .name("kmsfs-session".into())
            .spawn(move || session.run())?;
        Ok(Self {
            thread: Some(thread),
            unmounter: Unmounter { mountpoint },
            caches,
            promoter: Some(promoter),
        })
    }

    /// Something that ends the mount from any thread.
    #[must_use]
    pub fn unmounter(&self) -> Unmounter {
        self.unmounter.clone()
    }

    /// What the kernel has cached of the mount.
    #[must_use]
    pub fn caches(&self) -> Caches {
        self.caches.clone()
    }

    /// Waits until the mount is ended by somebody.
    ///
    /// # Errors
    /// When serving it failed.
    pub fn join(mut self) -> io::Result<()> {
        self.wait()
    }

    fn wait(&mut self) -> io::Result<()> {
        let served = match self.thread.take() {
            Some(thread) => thread
                .join()
                .map_err(|_| io::Error::other("the thread that serves the mount has panicked"))
                .flatten(),
            None => Ok(()),
        };
        drop(self.promoter.take());
        served
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.thread.is_none() {
            return;
        }
        if let Err(error) = self.unmounter.unmount(true) {
            tracing::debug!(%error, "not unmounted; perhaps somebody else did");
        }
        if let Err(error) = self.wait() {
            tracing::error!(%error, "serving the mount failed");
        }
    }
}

/// Unmounts `mountpoint`, as root directly and as an ordinary user through `fusermount3`. `lazy` takes it out of
/// the tree at once and ends it when the last user is gone.
///
/// # Errors
/// `EBUSY` while somebody uses it; `EINVAL` when it is no mount point.
pub fn unmount(mountpoint: &Path, lazy: bool) -> io::Result<()> {
    let flags = match lazy {
        true => UnmountFlags::NOFOLLOW | UnmountFlags::DETACH,
        false => UnmountFlags::NOFOLLOW,
    };
    match rustix::mount::unmount(mountpoint, flags) {
        Err(Errno::PERM) => unmount_as_user(mountpoint, lazy),
        other => Ok(other?),
    }
}

fn unmount_as_user(mountpoint: &Path, lazy: bool) -> io::Result<()> {
    let mut command = Command::new("fusermount3");
    command.arg("-u");
    if lazy {
        command.arg("-z");
    }
    let output = command.arg("--").arg(mountpoint).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    match said.contains("busy") {
        true => Err(Errno::BUSY.into()),
        false => Err(io::Error::other(said)),
    }
}
