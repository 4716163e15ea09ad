//! Making a mounted volume dark, and bright again: by command, or because the watcher says so.
//!
//! What the kernel has accepted is written back first, while the keys are there and nothing new gets in; then the
//! keys are wiped, and what the kernel has cached is dropped. Nothing that hangs keeps the volume bright.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use parking_lot::Mutex;

use super::Failure;
use crate::control::{Audit, Event};
use crate::fs::Fs;
use crate::fuse::Caches;
use crate::keys::{KeyError, Reason, Unlocked, Warden};

/// How long requests that have begun may take to end before a lock goes on without them.
const LAST_REQUESTS: Duration = Duration::from_millis(500);
/// How long clean pages may take to go.
const CLEAN_PAGES: Duration = Duration::from_millis(500);
/// How long writing back may take when the key was withdrawn. What is not written by then fails, and its writer's next
/// sync says so. (The kernel holds little back of a FUSE mount: 1 % of its limit for dirty pages.)
const WRITE_BACK: Duration = Duration::from_secs(5);
/// The same by command: who gave it waits, and the backing may be slow.
const WRITE_BACK_BY_COMMAND: Duration = Duration::from_secs(60);
/// How long the pages that are left may take to go.
const LAST_PAGES: Duration = Duration::from_secs(1);

/// Locks and unlocks one mount.
pub struct Locking {
    mountpoint: PathBuf,
    backing: PathBuf,
    fs: Arc<Fs>,
    caches: Caches,
    audit: Option<Arc<Audit>>,
    /// Held by who locks, and by who has unlocked the keyring until all else is open too.
    turn: Mutex<()>,
    reason: Mutex<Option<Reason>>,
}

impl Locking {
    pub fn new(mountpoint: &Path, backing: &Path, fs: Arc<Fs>, caches: Caches, audit: Option<Arc<Audit>>) -> Locking {
        Locking {
            mountpoint: mountpoint.to_owned(),
            backing: backing.to_owned(),
            fs,
            caches,
            audit,
            turn: Mutex::default(),
            reason: Mutex::default(),
        }
    }

    /// Why the volume is locked, while it is.
    pub fn reason(&self) -> Option<Reason> {
        self.reason.lock().clone()
    }

    /// Makes everything durable that was written.
    ///
    /// # Errors
    /// The backing's.
    pub fn flush(&self) -> Result<(), Failure> {
        // What a locked mount held was written back when it was locked.
        if self.reason().is_none() {
            write_back(&self.mountpoint, &self.backing)?;
        }
        commit(&self.fs, &self.backing)
    }

    /// Locks the volume, whatever else happens.
    ///
    /// # Errors
    /// It is locked, but not everything that was written is durable.
    pub fn lock(&self, reason: Reason) -> Result<(), Failure> {
        let _turn = self.turn.lock();
        let known = self.reason();
        if let Some(known) = known {
            // It is dark; an unlock that is under way must not succeed any more.
            self.fs.volume().keyring.lock();
            self.change_reason(&known, reason);
            return Ok(());
        }
        let gate = self.fs.gate();
        if !gate.close(LAST_REQUESTS) {
            tracing::warn!("locking goes on although a request has not ended");
        }
        if !self.caches.drop_clean(CLEAN_PAGES) {
            tracing::warn!("locking goes on although the kernel has not dropped all clean pages yet");
        }
        let written = self.write_back_within(match &reason {
            Reason::Command | Reason::Idle(_) => WRITE_BACK_BY_COMMAND,
            Reason::Denied(_) | Reason::Silence(..) => WRITE_BACK,
        });
        if !self.fs.volume().keyring.lock() {
            tracing::warn!("a key is still in use for a moment, and will be wiped then");
        }
        gate.darken();
        *self.reason.lock() = Some(reason.clone());
        self.note_lock(&reason);
        if !self.caches.drop_pages(LAST_PAGES) {
            tracing::warn!("the kernel has not dropped all pages yet; it does as soon as the backing answers");
        }
        self.caches.drop_names();
        self.fs.forget_names();
        self.caches.wipe_buffers();
        match &reason {
            Reason::Command | Reason::Idle(_) => tracing::info!("locked, {reason}"),
            Reason::Denied(_) | Reason::Silence(..) => tracing::error!("locked, {reason}"),
        }
        written
    }

    fn note_lock(&self, reason: &Reason) {
        if let Reason::Denied(why) = reason {
            self.note(&Event::Denied { reason: why.clone() });
        }
        self.note(&Event::Lock {
            reason: reason.to_string(),
        });
    }

    /// Writes a line of the audit log, if there is one.
    pub fn note(&self, event: &Event) {
        if let Some(audit) = &self.audit {
            audit.note(event);
        }
    }

    /// Opens the audit log anew, if there is one.
    pub fn reopen_audit(&self) {
        if let Some(audit) = &self.audit {
            audit.reopen();
        }
    }

    /// Where the volume is mounted.
    pub fn mountpoint(&self) -> &Path {
        &self.mountpoint
    }

    fn change_reason(&self, known: &Reason, reason: Reason) {
        let weight = |reason: &Reason| match reason {
            Reason::Silence(..) => 0,
            Reason::Denied(_) => 1,
            Reason::Idle(_) => 2,
            Reason::Command => 3,
        };
        if weight(&reason) > weight(known) {
            tracing::info!("stays locked, {reason}");
            self.note_lock(&reason);
            *self.reason.lock() = Some(reason);
        }
    }

    /// Writes back while the keys are there. It runs on a thread of its own, which is left behind when the backing hangs.
    fn write_back_within(&self, patience: Duration) -> Result<(), Failure> {
        let (fs, caches) = (Arc::clone(&self.fs), self.caches.clone());
        let (mountpoint, backing) = (self.mountpoint.clone(), self.backing.clone());
        let (done, finished) = channel();
        let work = move || {
            let written = write_back(&mountpoint, &backing);
            // What mappings have made dirty since is written now; and they get no page any more.
            caches.drop_pages(patience);
            // Nobody listens any more when it took too long.
            let _ = done.send(written.and(commit(&fs, &backing)));
        };
        let failed = |what: String| Err(Failure::internal(format!("{}: {what}", self.backing.display())));
        match std::thread::Builder::new().name("kmsfs-writeback".into()).spawn(work) {
            Ok(_) => finished.recv_timeout(patience).unwrap_or_else(|_| {
                let seconds = patience.as_secs();
                failed(format!("not everything was written back within {seconds} s"))
            }),
            Err(error) => failed(format!("no thread to write back: {error}")),
        }
        .map_err(|failure| Failure {
            what: format!("locked, but not everything could be made durable: {}", failure.what),
            ..failure
        })
    }

    /// Asks the KMS for the keys and lets everybody in again.
    ///
    /// # Errors
    /// [`KeyError`], and then all stays locked; `Locked` when somebody has locked it meanwhile.
    pub fn unlock(&self) -> Result<Unlocked, KeyError> {
        self.unlock_unless(|_| false)
    }

    fn unlock_unless(&self, stays: impl Fn(&Reason) -> bool) -> Result<Unlocked, KeyError> {
        let keyring = &self.fs.volume().keyring;
        let unlocked = keyring.unlock()?;
        let _turn = self.turn.lock();
        let mut reason = self.reason.lock();
        if reason.as_ref().is_some_and(stays) {
            keyring.lock();
        }
        if keyring.status().locked {
            return Err(KeyError::Locked);
        }
        self.fs.gate().open();
        if reason.take().is_some() {
            self.note(&Event::Unlock);
            for error in &unlocked.failed {
                tracing::warn!("an open file stays locked until it is opened again: {error}");
            }
            tracing::info!("unlocked, {} open files have their keys again", unlocked.refilled);
        }
        Ok(unlocked)
    }
}

impl Warden for Locking {
    fn locked(&self) -> Option<Reason> {
        self.reason()
    }

    fn lock(&self, reason: Reason) {
        if let Err(failure) = Locking::lock(self, reason) {
            tracing::error!("{}", failure.what);
        }
    }

    fn unlock(&self) {
        if let Err(error) = self.unlock_unless(Reason::stays) {
            tracing::warn!("stays locked: {error}");
        }
    }
}

/// Has the kernel write its dirty pages to this daemon.
fn write_back(mountpoint: &Path, backing: &Path) -> Result<(), Failure> {
    let written = File::open(mountpoint).and_then(|root| Ok(rustix::fs::syncfs(&root)?));
    written.map_err(|error| undone("writing back", backing, &error, &error))
}

fn commit(fs: &Fs, backing: &Path) -> Result<(), Failure> {
    fs.commit_all().map_err(|error| {
        let errno = io::Error::from_raw_os_error(error.code().raw_os_error());
        undone("making everything durable in", backing, &errno, &error)
    })
}

fn undone(doing: &str, backing: &Path, errno: &io::Error, why: &dyn std::fmt::Display) -> Failure {
    Failure {
        what: format!("{doing} {}: {why}", backing.display()),
        ..Failure::io(doing, backing, errno)
    }
}
