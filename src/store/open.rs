//! The store of a mounted volume, from opening to closing.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::content::Content;
use super::error::StoreError;
use super::journal::{Journal, JournalUse, least};
use super::medium::{Medium, StoredFile, StoredPath};
use super::recovery::{Recovery, recover};
use super::shared::{Settings, Shared};
use crate::format::NodeId;
use crate::format::descriptor::Overwrite;
use crate::format::journal::{Kind, Parts};

/// How long the checkpointer waits before it tries again on a full backing.
const AFTER_NO_SPACE: Duration = Duration::from_millis(500);

/// All stored files of a mounted volume. Dropping it without [`Store::close`] is a crash.
pub struct Store {
    shared: Arc<Shared>,
    recovery: Recovery,
    /// In the order in which they end: a commit may have to wait for a checkpoint.
    threads: Mutex<Vec<Thread>>,
}

/// A thread of the store, and the word that ends it.
struct Thread {
    stop: Arc<Stop>,
    handle: JoinHandle<()>,
}

#[derive(Default)]
struct Stop {
    asked: Mutex<bool>,
    changed: Condvar,
}

/// How the store does, for `status`.
#[derive(Debug, Clone, serde::Serialize)]
pub struct StoreStatus {
    /// How overwrites are treated.
    pub overwrite: Overwrite,
    /// The journal; none when overwrites are in place or the mount is read-only.
    pub journal: Option<JournalUse>,
    /// Files with changes that are not all in their places.
    pub busy_files: usize,
    /// What recovery did when the volume was mounted.
    pub recovery: Recovery,
}

impl Store {
    /// Recovers what a crash has left behind, then opens the store.
    ///
    /// # Errors
    /// Those of the medium; [`StoreError::NeedsRecovery`] when the medium can not be written to but would
    /// have to be; [`StoreError::Damaged`].
    pub fn open(medium: Box<dyn Medium>, settings: Settings) -> Result<Arc<Self>, StoreError> {
        let journal_error = |source| StoreError::Journal {
            doing: "open",
            offset: 0,
            source,
        };
        let backing_error = |source| StoreError::Backing { doing: "sync", source };
        let wanted = !settings.read_only && settings.overwrite == Overwrite::Journal;
        let file = medium.journal(wanted).map_err(journal_error)?;
        let recovery = match &file {
            Some(file) => recover(medium.as_ref(), file.as_ref())?,
            None => Recovery::default(),
        };
        if !wanted && !settings.read_only && !settings.volatile {
            // Nothing says whether the last mount ended well, so what it has done to names may not be durable.
            medium.sync_everything().map_err(backing_error)?;
        }
        let journal = match file {
            Some(file) if wanted => Some(Journal::create(
                file,
                settings.journal_bytes.max(least(settings.geometry)),
            )?),
            _ => None,
        };
        let store = Arc::new(Self {
            shared: Arc::new(Shared::new(medium, journal, settings)),
            recovery,
            threads: Mutex::default(),
        });
        if settings.background && !settings.read_only {
            store.start()?;
        }
        Ok(store)
    }

    /// Recovers what a crash has left behind, and nothing else: needs no key, makes no journal.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn recover_only(medium: &dyn Medium) -> Result<Recovery, StoreError> {
        let file = medium.journal(false).map_err(|source| StoreError::Journal {
            doing: "open",
            offset: 0,
            source,
        })?;
        match file {
            Some(file) => recover(medium, file.as_ref()),
            None => Ok(Recovery::default()),
        }
    }

    /// What recovery did when the store was opened.
    #[must_use]
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// The content of `node`: the one that is in use, or a new one of the file that `open` opens, together
    /// with its path from the backing's root.
    ///
    /// # Errors
    /// Those of `open`.
    pub fn content(
        &self,
        node: NodeId,
        open: impl FnOnce() -> io::Result<(Box<dyn StoredFile>, StoredPath)>,
    ) -> io::Result<Arc<Content>> {
        self.shared.content(node, open)
    }

    /// The content of `node`, if it is in use. If it is, what stands in the backing may be old.
    #[must_use]
    pub fn peek(&self, node: NodeId) -> Option<Arc<Content>> {
        self.shared.peek(node)
    }

    /// Says that `node` has a new name. Recovery finds the file faster for it, but finds it anyway.
    pub fn renamed(&self, node: NodeId, path: StoredPath) {
        if let Some(content) = self.shared.peek(node) {
            content.moved(path);
            self.note_name(&content);
        }
    }

    /// Says that a name of `node` was removed. If it was the last, and nobody has the file open, the
    /// store lets go of it, which frees its space.
    pub fn unlinked(&self, node: NodeId) {
        if let Some(content) = self.shared.peek(node)
            && matches!(content.file().is_linked(), Ok(false))
        {
            drop(content);
            self.shared.drop_unlinked(node);
        }
    }

    /// Appends a record that only saves recovery a search; so it does not matter if it can not be.
    fn note_name(&self, content: &Content) {
        let Some(journal) = &self.shared.journal else {
            return;
        };
        let mut state = content.state.write();
        if state.overlay.is_empty() && state.journaled_head.is_none() {
            return;
        }
        let hint = state.hint.clone();
        let parts = Parts {
            kind: Kind::Named,
            node: content.node(),
            geometry: state.geometry,
            hint: hint.as_bytes(),
            head: None,
            runs: &[],
        };
        // Not `reserve`: a guard is held.
        if let Ok(Some(mut permit)) = journal.try_reserve(parts.len_at_most() as u64)
            && let Ok(appended) = journal.append(&mut permit, &parts)
        {
            state.hint_epoch = permit.epoch;
            state.last_sequence = appended.sequence;
        }
    }

    /// Makes everything durable that has been put (`sync`, `syncfs`).
    ///
    /// # Errors
    /// The first error, after everything else has been tried.
    pub fn commit_all(&self) -> Result<(), StoreError> {
        let result = self.shared.commit_all();
        self.shared.sweep();
        result
    }

    /// Brings everything that the journal holds to its place.
    ///
    /// # Errors
    /// Those of the medium.
    pub fn checkpoint(&self) -> Result<(), StoreError> {
        self.shared.checkpoint().map(|_| ())
    }

    /// The nodes whose first head became durable since this was asked last.
    #[must_use]
    pub fn drain_born(&self) -> Vec<NodeId> {
        std::mem::take(&mut *self.shared.born.lock())
    }

    /// How the store does.
    #[must_use]
    pub fn status(&self) -> StoreStatus {
        StoreStatus {
            overwrite: self.shared.settings.overwrite,
            journal: self.shared.journal.as_ref().map(Journal::usage),
            busy_files: self.shared.busy_len(),
            recovery: self.recovery.clone(),
        }
    }

    /// Makes everything durable, brings it to its place and leaves an empty journal.
    ///
    /// # Errors
    /// Those of the medium. What could not be brought to its place is still in the journal, and the next
    /// mount recovers it.
    pub fn close(&self) -> Result<(), StoreError> {
        // While the threads are there: a commit may have to wait for a checkpoint.
        let committed = self.shared.commit_all();
        self.stop();
        // Twice at most: a checkpoint that failed before may have left a segment closed.
        while self.shared.checkpoint()? {}
        if !self.shared.settings.volatile && !self.shared.settings.read_only {
            let synced = self.shared.sync_everything();
            synced.map_err(|source| StoreError::Backing { doing: "sync", source })?;
        }
        if let Some(journal) = &self.shared.journal {
            journal.end()?;
        }
        self.shared.clear();
        committed
    }

    fn start(&self) -> Result<(), StoreError> {
        let spawn = |name: &str, body: fn(&Shared, &Stop)| {
            let (shared, stop) = (self.shared.clone(), Arc::<Stop>::default());
            let its_stop = stop.clone();
            let thread = std::thread::Builder::new().name(name.to_owned());
            let handle = thread.spawn(move || body(&shared, &its_stop))?;
            Ok(Thread { stop, handle })
        };
        let failed = |source| StoreError::Backing {
            doing: "start a thread for",
            source,
        };
        let mut threads = self.threads.lock();
        threads.push(spawn("kmsfs-commit", commit_now_and_then).map_err(failed)?);
        threads.push(spawn("kmsfs-checkpoint", checkpoint_when_full).map_err(failed)?);
        Ok(())
    }

    fn stop(&self) {
        for Thread { stop, handle } in std::mem::take(&mut *self.threads.lock()) {
            *stop.asked.lock() = true;
            stop.changed.notify_all();
            if let Some(journal) = &self.shared.journal {
                journal.want_checkpoint();
            }
            if handle.join().is_err() {
                tracing::error!("a thread of the store has panicked");
            }
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.stop();
        // Files in use refer to `shared`, which lists them.
        self.shared.clear();
    }
}

impl Stop {
    /// Waits for `longest`, or until it is asked for.
    fn wait(&self, longest: Duration) -> bool {
        let mut asked = self.asked.lock();
        if !*asked {
            self.changed.wait_for(&mut asked, longest);
        }
        *asked
    }
}

/// Its own thread, because a commit may have to wait for a checkpoint.
fn commit_now_and_then(shared: &Shared, stop: &Stop) {
    while !stop.wait(shared.settings.commit_interval) {
        if let Err(error) = shared.commit_all() {
            tracing::error!(%error, "a background commit failed");
        }
        shared.sweep();
    }
}

fn checkpoint_when_full(shared: &Shared, stop: &Stop) {
    let Some(journal) = &shared.journal else {
        return;
    };
    while !stop.wait(Duration::ZERO) {
        if !journal.wait_for_work(Duration::from_secs(1)) {
            continue;
        }
        let checkpoint = catch_unwind(AssertUnwindSafe(|| shared.checkpoint()));
        let checkpoint = checkpoint.unwrap_or_else(|_| {
            // Or whoever waits for room would wait for ever.
            journal.fail(libc::EIO);
            Err(StoreError::JournalLatched { errno: libc::EIO })
        });
        match checkpoint {
            Ok(_) => {}
            Err(error) if error.is_no_space() => {
                tracing::warn!(%error, "no space to bring the journal to its places; trying again");
                stop.wait(AFTER_NO_SPACE);
            }
            Err(error) => {
                tracing::error!(%error, "a checkpoint failed; the volume takes no more writes");
            }
        }
    }
}
