//! One stored file in use: its head as it is now, where each chunk's newest version lies, and what of all
//! that is durable. Shared by everybody who has the file open.
//!
//! Reads hold the guard shared, changes hold it alone: so a reader sees each change whole, entries, bytes
//! and head. No guard is held while the journal is waited for, or a sync.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::error::{Place, StoreError};
use super::medium::{StoredFile, StoredPath};
use super::overlay::{self, Overlay};
use super::place::{self, Failed};
use super::reach::{Extent, Reach, image_len};
use super::reserved::Reserved;
use super::shared::Shared;
use crate::format::{Entry, Geometry, NodeId, PAGE};

/// A stored file in use.
pub struct Content {
    pub(super) node: NodeId,
    pub(super) shared: Arc<Shared>,
    pub(super) file: Box<dyn StoredFile>,
    pub(super) state: RwLock<State>,
    /// Held while the store writes without being seen in the file's times.
    times: Mutex<()>,
    /// Held over a sync of the file, until what came of it is noted.
    pub(super) syncing: Mutex<()>,
}

/// The guarded part.
pub(super) struct State {
    /// The head has been looked up in its place.
    loaded: bool,
    pub(super) geometry: Geometry,
    /// The image of the head as it is now, and its extent.
    pub(super) head: Option<Arc<[u8]>>,
    pub(super) extent: Extent,
    /// Counts the heads; the last one that the journal (or the place) has been given.
    pub(super) version: u64,
    pub(super) appended: u64,
    /// The head that the journal has and the place may not: its record and its image.
    pub(super) journaled_head: Option<(u64, Arc<[u8]>)>,
    /// All heads that recovery could find.
    pub(super) reach: Reach,
    pub(super) overlay: Overlay,
    /// Counts the writes of fresh chunks to their places; those that a sync of the file has covered.
    pub(super) fresh_written: u64,
    pub(super) fresh_synced: u64,
    /// The file itself may not be durable yet.
    pub(super) created: bool,
    /// Times, mode or owner may not be durable yet.
    pub(super) metadata: bool,
    /// The last record of this file.
    pub(super) last_sequence: u64,
    pub(super) hint: StoredPath,
    /// The use of a segment in which the hint was said last.
    pub(super) hint_epoch: u64,
    /// Syncs that somebody asked for, and fresh bytes since.
    pub(super) syncs: u64,
    pub(super) fresh_bytes: u64,
    /// Chunks that readers had seen and that the medium failed to overwrite in their places: they are nowhere
    /// whole until the journal has them, and the file can not be made durable.
    pub(super) torn: BTreeSet<u64>,
    /// Page 0 is there.
    pub(super) page_reserved: bool,
    /// Places that need no more space.
    pub(super) reserved: Reserved,
    /// The file may be longer than its head says; it may be cut once this record is durable.
    pub(super) trim: Option<u64>,
    /// Holes were made whose space a checkpoint will give back.
    pub(super) frees_space: bool,
    /// `Shared` keeps the file open.
    pub(super) busy: bool,
    /// The errno of the sync that failed.
    pub(super) failed: Option<i32>,
}

impl Content {
    pub(super) fn new(node: NodeId, shared: Arc<Shared>, file: Box<dyn StoredFile>, hint: StoredPath) -> Self {
        let state = State {
            loaded: false,
            geometry: shared.settings.geometry,
            head: None,
            extent: Extent::Unborn,
            version: 0,
            appended: 0,
            journaled_head: None,
            reach: Reach::new(Extent::Unborn),
            overlay: Overlay::default(),
            fresh_written: 0,
            fresh_synced: 0,
            created: false,
            metadata: false,
            last_sequence: 0,
            hint,
            hint_epoch: 0,
            syncs: 0,
            fresh_bytes: 0,
            torn: BTreeSet::new(),
            page_reserved: false,
            reserved: Reserved::default(),
            trim: None,
            frees_space: false,
            busy: false,
            failed: None,
        };
        Self {
            node,
            shared,
            file,
            state: RwLock::new(state),
            times: Mutex::new(()),
            syncing: Mutex::new(()),
        }
    }

    /// The node whose content this is.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// The stored file, for what concerns only the file itself: its metadata.
    #[must_use]
    pub fn file(&self) -> &dyn StoredFile {
        self.file.as_ref()
    }

    /// The image of the head as it is now: the first 2048 bytes of page 0 for a body in chunks, as far as the
    /// body reaches for an inline one, all that is there if it is neither. `None` when the file has no head.
    ///
    /// # Errors
    /// [`StoreError::File`] when the head can not be read.
    pub fn head(&self) -> Result<Option<Arc<[u8]>>, StoreError> {
        Ok(self.view()?.head.clone())
    }

    /// Whether recovery is sure to find a head: no crash from now on leaves an empty file.
    ///
    /// # Errors
    /// [`StoreError::File`] when the head can not be read.
    pub fn has_durable_head(&self) -> Result<bool, StoreError> {
        let mut state = self.change()?;
        self.settle(&mut state);
        Ok(state.reach.is_durable())
    }

    /// Reads the chunks from `first` on, as many as there are `entries`. Chunk `first + i` comes to `data`
    /// at `i` chunk sizes, as long as its entry says; `data` may end within the last. Chunks that the file
    /// does not have come with [`Entry::UNWRITTEN`].
    ///
    /// # Errors
    /// [`StoreError::File`], which names the chunk, when the medium fails.
    pub fn read(&self, first: u64, entries: &mut [Entry], data: &mut [u8]) -> Result<(), StoreError> {
        let state = self.view()?;
        let failed = |failed| self.failed(&state, failed);
        place::read(self.file(), state.geometry, first, entries, data).map_err(failed)?;
        let Some(journal) = &self.shared.journal else {
            return Ok(());
        };
        let read = |buf: &mut [u8], offset| journal.read(buf, offset);
        state
            .overlay
            .patch(state.geometry, first, entries, data, read)
            .map_err(failed)
    }

    /// Keeps the store from putting back the file's time of modification as long as the guard lives. Who
    /// sets times holds it meanwhile.
    pub fn times(&self) -> MutexGuard<'_, ()> {
        self.times.lock()
    }

    /// Says that times, mode or owner were changed: the next full sync makes them durable.
    pub fn metadata_changed(&self) {
        self.state.write().metadata = true;
    }

    /// Says where the file is now.
    pub(super) fn moved(&self, hint: StoredPath) {
        let mut state = self.state.write();
        state.hint = hint;
        state.hint_epoch = 0;
    }

    /// Whether only the list of busy files has it, and whoever goes through that list.
    pub(super) fn is_unused(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) <= 2
    }

    /// The state, for looking at.
    pub(super) fn view(&self) -> Result<RwLockReadGuard<'_, State>, StoreError> {
        let state = self.state.read();
        if state.loaded {
            return Ok(state);
        }
        drop(state);
        Ok(RwLockWriteGuard::downgrade(self.change()?))
    }

    /// The state, for changing.
    pub(super) fn change(&self) -> Result<RwLockWriteGuard<'_, State>, StoreError> {
        let mut state = self.state.write();
        if !state.loaded {
            self.load(&mut state)?;
        }
        Ok(state)
    }

    /// Looks the head up, at the first use and not when the file is opened: only then it is sure that no
    /// other `Content` of this file exists that could still change it.
    fn load(&self, state: &mut State) -> Result<(), StoreError> {
        let mut page = vec![0; PAGE];
        let read = self.file.read_at(&mut page, 0);
        let have = read.map_err(|source| self.file_error(state, "read the head of", source))?;
        page.truncate(have);
        state.extent = Extent::of(&page);
        page.truncate(image_len(&page));
        state.page_reserved = have == PAGE;
        state.head = (!page.is_empty()).then(|| page.into());
        state.reach = Reach::new(state.extent.clone());
        state.created = state.extent == Extent::Unborn;
        // A crash may have left fresh chunks behind.
        state.trim = (state.created && have == PAGE).then_some(0);
        state.loaded = true;
        Ok(())
    }

    /// Copies to their places what stands in records up to `last`. The file's time of modification stays.
    ///
    /// # Errors
    /// Those of the medium.
    pub(super) fn copy_to_place(&self, last: u64) -> Result<(), StoreError> {
        let Some(journal) = &self.shared.journal else {
            return Ok(());
        };
        let mut first = Some(0);
        let mut with_head = true;
        while let Some(chunk) = first {
            let times = self.times.lock();
            // The guard keeps changes out, so what is copied is the newest; it is dropped between batches.
            let state = self.state.read();
            let doing = "keep the times of";
            let modified = self.file.modified().map_err(|e| self.file_error(&state, doing, e))?;
            if let Some((sequence, image)) = &state.journaled_head
                && *sequence <= last
                && with_head
            {
                let settled = !state.reach.is_waiting() && state.version == state.appended;
                overlay::copy_head(self.file(), state.geometry, image, settled)
                    .map_err(|failed| self.failed(&state, failed))?;
            }
            with_head = false;
            let read = |buf: &mut [u8], offset| journal.read(buf, offset);
            let copied = state.overlay.copy(self.file(), state.geometry, chunk, last, read);
            first = copied.map_err(|failed| self.failed(&state, failed))?;
            let put_back = self.file.set_modified(Some(modified));
            put_back.map_err(|e| self.file_error(&state, doing, e))?;
            drop(times);
        }
        Ok(())
    }

    /// Forgets that records up to `last` ever were.
    pub(super) fn forget_placed(&self, last: u64) {
        let mut state = self.state.write();
        state.overlay.forget(last);
        if state
            .journaled_head
            .as_ref()
            .is_some_and(|(sequence, _)| *sequence <= last)
        {
            state.journaled_head = None;
        }
    }

    /// An error that says where.
    pub(super) fn failed(&self, state: &State, failed: Failed) -> StoreError {
        StoreError::File {
            doing: failed.doing,
            place: Box::new(Place {
                node: self.node,
                path: state.hint.clone(),
                chunk: Some(failed.chunk),
                offset: failed.offset,
            }),
            source: failed.source,
        }
    }

    /// An error of the file as a whole.
    pub(super) fn file_error(&self, state: &State, doing: &'static str, source: std::io::Error) -> StoreError {
        StoreError::File {
            doing,
            place: Box::new(self.place(state)),
            source,
        }
    }

    pub(super) fn place(&self, state: &State) -> Place {
        Place {
            node: self.node,
            path: state.hint.clone(),
            chunk: None,
            offset: 0,
        }
    }
}

impl State {
    /// Whether the file can not be made durable any more: a sync has failed, or the medium has torn a chunk.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.is_some() || !self.torn.is_empty()
    }

    /// Whether the journal has nothing that its place has not.
    pub(super) fn is_placed(&self) -> bool {
        self.overlay.is_empty() && self.journaled_head.is_none()
    }

    /// Whether everything is in its place, durably: nobody needs to keep the file open.
    pub(super) fn is_idle(&self) -> bool {
        self.is_placed()
            && !self.reach.is_waiting()
            && self.version == self.appended
            && self.fresh_written == self.fresh_synced
            && self.trim.is_none()
    }
}
