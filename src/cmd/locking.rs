//! Making a mounted volume dark, and bright again: by command, or because the watcher says so.
//!
//! What the kernel has accepted is written back first, while the keys are there and nothing new gets in; then the
//! keys are wiped, and what the kernel has cached is dropped. Nothing that hangs keeps the volume bright.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::{Exit, Failure};
use crate::control::{Audit, Event};
use crate::fs::Fs;
use crate::fuse::{Caches, Doorman};
use crate::keys::{KeyError, LAST_USES, LOCK_DEADLINE, Reason, Unlocked, Warden};
use crate::sys::patience::within;

/// What each step of a lock may take, but for writing back, which has all the rest of the lock's time.
const STEP: Duration = LAST_USES;
/// From the end of writing back to the end of a lock: the last uses of keys, pages, the kernel's names, our names.
const AFTER_WRITING_BACK: Duration = STEP.saturating_mul(4);
const AFTER_PAGES: Duration = STEP.saturating_mul(2);
/// How long a lock by command may take: who gave it waits, and the backing may be slow. One that follows a withdrawal
/// has [`LOCK_DEADLINE`]. What is not written back by then fails, and its writer's next sync says so. (The kernel holds
/// little back of a FUSE mount: 1 % of its limit for dirty pages.)
const LOCK_BY_COMMAND: Duration = Duration::from_secs(60);

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
    /// Who answers while it is dark and nobody else does.
    doorman: Mutex<Option<Doorman>>,
    /// When the lock under way has to be done. Who is in more of a hurry than who has the turn brings it forward.
    due: Mutex<Option<Instant>>,
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
            doorman: Mutex::default(),
            due: Mutex::default(),
        }
    }

    /// Why the volume is locked, while it is.
    pub fn reason(&self) -> Option<Reason> {
        self.reason.lock().clone()
    }

    /// Makes everything durable that was written, after the end of a lock that is under way.
    ///
    /// # Errors
    /// The backing's.
    pub fn flush(&self) -> Result<(), Failure> {
        // Not kept: whoever locks now does not wait for the backing.
        drop(self.turn.lock());
        // What a locked mount held was written back when it was locked.
        if self.reason().is_none() {
            write_back(&self.mountpoint, &self.backing)?;
        }
        commit(&self.fs, &self.backing)
    }

    /// Locks the volume, whatever else happens, and whatever hangs in time.
    ///
    /// # Errors
    /// It is locked, but not everything that was written is durable.
    pub fn lock(&self, reason: Reason) -> Result<(), Failure> {
        let due = Instant::now()
            + match &reason {
                Reason::Command | Reason::Idle(_) => LOCK_BY_COMMAND,
                Reason::Denied(_) | Reason::Silence(..) => LOCK_DEADLINE,
            };
        self.hurry(due);
        let _turn = self.turn.lock();
        // Once more: who had the turn before has done with it.
        self.hurry(due);
        let locked = match self.reason() {
            Some(known) => {
                // It is dark; an unlock that is under way must not succeed any more.
                self.fs.volume().keyring.lock();
                self.change_reason(&known, reason);
                Ok(())
            }
            None => self.darken(&reason),
        };
        *self.due.lock() = None;
        locked
    }

    /// Makes everything dark. Nothing is logged before it is: a log may hang as well.
    fn darken(&self, reason: &Reason) -> Result<(), Failure> {
        let mut hung = Vec::new();
        let mut note = |done: bool, what: &'static str| {
            if !done {
                hung.push(what);
            }
        };
        let gate = self.fs.gate();
        note(gate.close(STEP), "a request has not ended");
        note(
            self.caches.drop_clean(Instant::now() + STEP),
            "the kernel has not dropped all clean pages",
        );
        let written = self.write_back();
        note(
            self.fs.volume().keyring.lock(),
            "a key is still in use, and will be wiped then",
        );
        gate.darken();
        *self.reason.lock() = Some(reason.clone());
        let doorman = self.caches.refuse();
        note(doorman.is_ok(), "nobody answers when no thread does");
        *self.doorman.lock() = doorman.ok();
        note(
            self.caches.drop_pages(self.due_before(AFTER_PAGES)),
            "the kernel has not dropped all pages",
        );
        note(self.forget_names(), "not all names are forgotten");
        self.caches.wipe_buffers();
        self.note_lock(reason);
        for what in hung {
            tracing::warn!("locked, but {what} yet: something hangs");
        }
        match reason {
            Reason::Command | Reason::Idle(_) => tracing::info!("locked, {reason}"),
            Reason::Denied(_) | Reason::Silence(..) => tracing::error!("locked, {reason}"),
        }
        written
    }

    /// Has a lock that is under way done by `due` at the latest.
    fn hurry(&self, due: Instant) {
        let mut known = self.due.lock();
        *known = Some(known.map_or(due, |known| known.min(due)));
    }

    /// When a step has to be done after which others take `rest`.
    fn due_before(&self, rest: Duration) -> Instant {
        let due = self.due.lock().unwrap_or_else(Instant::now);
        due.checked_sub(rest).unwrap_or(due)
    }

    /// Has the names forgotten, the kernel's first: before Linux 6.16 it has to be told them one by one.
    fn forget_names(&self) -> bool {
        let (caches, fs) = (self.caches.clone(), Arc::clone(&self.fs));
        let kernel = within("kmsfs-names", || self.due_before(STEP), move || caches.drop_names());
        let own = within(
            "kmsfs-names",
            || self.due_before(Duration::ZERO),
            move || fs.forget_names(),
        );
        matches!((kernel, own), (Ok(Some(())), Ok(Some(()))))
    }

    fn note_lock(&self, reason: &Reason) {
        let denied = match reason {
            Reason::Denied(why) => Some(Event::Denied { reason: why.clone() }),
            _ => None,
        };
        let lock = Event::Lock {
            reason: reason.to_string(),
        };
        self.note_in_time(denied.into_iter().chain([lock]).collect());
    }

    /// Writes lines of the audit log, if there is one, without waiting for a disk that hangs.
    fn note_in_time(&self, events: Vec<Event>) {
        let Some(audit) = self.audit.clone() else {
            return;
        };
        let until = Instant::now() + STEP;
        let write = move || events.iter().for_each(|event| audit.note(event));
        if !matches!(within("kmsfs-audit", || until, write), Ok(Some(()))) {
            tracing::warn!("the audit log does not take what is noted of a lock or an unlock");
        }
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

    /// Writes back while the keys are there; what hangs is left behind.
    fn write_back(&self) -> Result<(), Failure> {
        let (fs, caches) = (Arc::clone(&self.fs), self.caches.clone());
        let (mountpoint, backing) = (self.mountpoint.clone(), self.backing.clone());
        let until = self.due_before(AFTER_WRITING_BACK);
        let work = move || {
            let written = write_back(&mountpoint, &backing);
            // What mappings have made dirty since is written now; and they get no page any more.
            caches.drop_pages(until);
            written.and(commit(&fs, &backing))
        };
        let place = self.backing.display();
        let written = match within("kmsfs-writeback", || self.due_before(AFTER_WRITING_BACK), work) {
            Ok(Some(written)) => written,
            Ok(None) => Err(Failure::new(
                Exit::Disk,
                format!("{place} did not take what was to be written in time"),
                "look at the disk; what is missing was not written, and its writer's next sync says so",
            )),
            Err(error) => Err(Failure::internal(format!("{place}: no thread to write back: {error}"))),
        };
        written.map_err(|failure| Failure {
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
        if self.caches.has_late_writes() {
            tracing::warn!("stays locked: a write that began before still waits for the disk");
            keyring.lock();
        }
        if keyring.status().locked {
            return Err(KeyError::Locked);
        }
        drop(self.doorman.lock().take());
        self.fs.gate().open();
        if reason.take().is_some() {
            self.note_in_time(vec![Event::Unlock]);
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
