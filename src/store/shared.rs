//! What all files of a mounted volume share: medium, journal, and the list of files that must stay open.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use super::content::{Content, State};
use super::error::StoreError;
use super::journal::{Journal, Permit};
use super::medium::{Medium, StoredFile, StoredPath};
use crate::format::descriptor::Overwrite;
use crate::format::{Geometry, NodeId};

/// Files from which on one sync of everything is cheaper than one sync each.
pub(super) const MANY: usize = 16;

/// What a mounted volume's store is told.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// The geometry of new files.
    pub geometry: Geometry,
    /// Bytes of the journal.
    pub journal_bytes: u64,
    /// How overwrites are treated.
    pub overwrite: Overwrite,
    /// Nothing will be changed, except by recovery.
    pub read_only: bool,
    /// Nothing has to outlive this process: syncs are left out.
    pub volatile: bool,
    /// How often everything is made durable that nobody has synced.
    pub commit_interval: Duration,
    /// Files that may be kept open for the journal's sake before a checkpoint is made early.
    pub max_busy: usize,
    /// Commits and checkpoints run in threads of their own; without, a change that finds the journal
    /// full makes the checkpoint itself.
    pub background: bool,
}

impl Settings {
    /// The defaults: a journal of 64 MiB, a commit every 5 seconds, 512 files kept open.
    #[must_use]
    pub fn new(geometry: Geometry) -> Self {
        Self {
            geometry,
            journal_bytes: 64 << 20,
            overwrite: Overwrite::Journal,
            read_only: false,
            volatile: false,
            commit_interval: Duration::from_secs(5),
            max_busy: 512,
            background: true,
        }
    }
}

/// See the module.
pub(super) struct Shared {
    pub(super) medium: Box<dyn Medium>,
    pub(super) journal: Option<Journal>,
    pub(super) settings: Settings,
    live: Mutex<Live>,
    /// Nodes whose first head became durable.
    pub(super) born: Mutex<Vec<NodeId>>,
    /// One checkpoint at a time.
    pub(super) checkpointing: Mutex<()>,
    /// A file was dropped without its chunks being in their places, because it has no name any more.
    pub(super) dropped: AtomicBool,
    /// A sync of everything has failed. What the medium says of that it says once; so from then on each file is asked
    /// by itself.
    pub(super) sync_each: AtomicBool,
}

#[derive(Default)]
struct Live {
    /// All files in use.
    known: HashMap<NodeId, Weak<Content>>,
    /// Those that must stay open although nobody may use them.
    busy: BTreeMap<NodeId, Arc<Content>>,
}

impl Shared {
    pub(super) fn new(medium: Box<dyn Medium>, journal: Option<Journal>, settings: Settings) -> Self {
        Self {
            medium,
            journal,
            settings,
            live: Mutex::default(),
            born: Mutex::default(),
            checkpointing: Mutex::default(),
            dropped: AtomicBool::new(false),
            sync_each: AtomicBool::new(false),
        }
    }

    /// The content of `node`, if it is in use.
    pub(super) fn peek(&self, node: NodeId) -> Option<Arc<Content>> {
        self.live.lock().known.get(&node)?.upgrade()
    }

    /// The content of `node`; the one that is in use, or what `open` opens.
    pub(super) fn content(
        self: &Arc<Self>,
        node: NodeId,
        open: impl FnOnce() -> io::Result<(Box<dyn StoredFile>, StoredPath)>,
    ) -> io::Result<Arc<Content>> {
        if let Some(content) = self.peek(node) {
            return Ok(content);
        }
        // Not under the guard: opening may take long, and others want other files.
        let (file, path) = open()?;
        let mut live = self.live.lock();
        if let Some(content) = live.known.get(&node).and_then(Weak::upgrade) {
            return Ok(content);
        }
        if live.known.len() >= 64 && live.known.len() == live.known.capacity() {
            live.known.retain(|_, content| content.strong_count() > 0);
        }
        let content = Arc::new(Content::new(node, self.clone(), file, path));
        live.known.insert(node, Arc::downgrade(&content));
        Ok(content)
    }

    /// Keeps a file open until everything of it is in its place.
    pub(super) fn keep(&self, content: Arc<Content>) {
        let mut live = self.live.lock();
        live.busy.insert(content.node(), content);
        if live.busy.len() > self.settings.max_busy
            && let Some(journal) = &self.journal
        {
            journal.want_checkpoint();
        }
    }

    /// Files that must stay open.
    pub(super) fn busy(&self) -> Vec<Arc<Content>> {
        self.live.lock().busy.values().cloned().collect()
    }

    /// How many they are.
    pub(super) fn busy_len(&self) -> usize {
        self.live.lock().busy.len()
    }

    /// Lets go of files of which everything is in its place; and of those that have failed when nobody has them open any
    /// more: whoever opens them next finds what was durable.
    pub(super) fn sweep(&self) {
        for content in self.busy() {
            // A file's guard before the list's, here as in `mark_busy`.
            let mut state = content.state.write();
            let lost = state.has_failed() && state.is_placed() && content.is_unused();
            if lost {
                let file = content.place(&state);
                tracing::error!("{file}: what was written since the last sync that succeeded is lost");
            }
            if lost || state.is_idle() {
                state.busy = false;
                let let_go = self.live.lock().busy.remove(&content.node());
                drop(state);
                // Closing a file may take long.
                drop(let_go);
            }
        }
    }

    /// Lets go of a file that has no name and no user any more.
    pub(super) fn drop_unlinked(&self, node: NodeId) {
        let mut live = self.live.lock();
        let unused = live
            .busy
            .get(&node)
            .is_some_and(|content| Arc::strong_count(content) == 1);
        if unused {
            self.dropped.store(true, Ordering::Release);
            let content = live.busy.remove(&node);
            drop(live);
            drop(content);
        }
    }

    /// Lets go of everything: the store is closed.
    pub(super) fn clear(&self) {
        let live = std::mem::take(&mut *self.live.lock());
        drop(live);
    }

    /// Space in the journal. The caller holds no guard of a file, and no permit.
    pub(super) fn reserve(&self, need: u64) -> Result<Permit<'_>, StoreError> {
        let Some(journal) = &self.journal else {
            return Err(StoreError::JournalLatched { errno: libc::EROFS });
        };
        if self.settings.background {
            return journal.reserve(need);
        }
        loop {
            if let Some(permit) = journal.try_reserve(need)? {
                return Ok(permit);
            }
            self.checkpoint()?;
        }
    }

    pub(super) fn sync_journal(&self, upto: u64) -> Result<(), StoreError> {
        self.journal.as_ref().map_or(Ok(()), |journal| journal.sync(upto))
    }

    pub(super) fn synced(&self) -> u64 {
        self.journal.as_ref().map_or(0, Journal::synced)
    }

    /// Gives back what can be given back, for somebody who lacks space.
    pub(super) fn make_room(&self) {
        // A file that was removed while it was open is let go of at its next checkpoint, which is too late here.
        for content in self.busy() {
            let (node, linked) = (content.node(), content.is_linked());
            drop(content);
            if matches!(linked, Ok(false)) {
                self.drop_unlinked(node);
            }
        }
        if let Err(error) = self.commit_all() {
            tracing::debug!(%error, "nothing could be given back");
        }
        if let Some(journal) = &self.journal {
            journal.want_checkpoint();
        }
    }
}

impl Content {
    /// Keeps the file open from its first change on.
    pub(super) fn mark_busy(self: &Arc<Self>, state: &mut State) {
        if !state.busy {
            state.busy = true;
            self.shared.keep(self.clone());
        }
    }
}
