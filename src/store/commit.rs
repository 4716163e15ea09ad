//! Making a file durable, in an order that a crash may interrupt anywhere.
//!
//! 1) **Announce the head.** Under the guard, the head as it is now is noted and counted among those that
//!    recovery could find, so from here on no writer touches a chunk of it in its place. Later would be too
//!    late: the sync of step 2 could catch a chunk half overwritten, and step 3 make it count.
//! 2) **Sync the file**, if fresh chunks were written to their places, or the file is new. Data before
//!    size: the head of step 3 refers to these chunks. A crash here leaves the old head, which refers to
//!    none of them.
//! 3) **Append the head** to the journal, unless a newer one was meanwhile. Never write it to page 0: a head
//!    that is torn there takes the whole file with it. The checkpoint does so while the journal has a copy.
//! 4) **Sync the journal**: one sync for all who wait for it. This is the moment at which the commit happens:
//!    a record is there whole or, by its checksum, not at all; and all records before it are.
//! 5) **Settle**: chunks that only older heads referred to are fresh again, and what lies beyond a cut is
//!    given back. Not before step 4: until then a crash brings the older head back.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::content::{Content, State};
use super::error::StoreError;
use super::journal::Journal;
use super::overlay;
use super::reach::Extent;
use super::shared::{MANY, Shared};
use crate::format::journal::{Kind, Parts};

/// A file as a commit found it.
pub(super) struct Snapshot {
    version: u64,
    /// The head, if the journal does not have it yet.
    head: Option<Arc<[u8]>>,
    fresh: u64,
    /// What the file itself needs.
    pub(super) needs: Needs,
}

/// Which sync a stored file needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Needs {
    Nothing,
    Data,
    All,
}

impl Content {
    /// Makes durable what was put before: content and size; without `data_only` also the file's times,
    /// mode and owner.
    ///
    /// # Errors
    /// Those of the medium. A sync of a file that failed stays failed ([`StoreError::FileLatched`]) until
    /// nobody has the file open any more; one of the journal until the volume is mounted anew.
    pub fn sync(self: &Arc<Self>, data_only: bool) -> Result<(), StoreError> {
        let snapshot = self.snapshot(data_only)?;
        self.commit(&snapshot)?;
        let mut state = self.state.write();
        state.syncs += 1;
        state.fresh_bytes = 0;
        Ok(())
    }

    pub(super) fn commit(&self, snapshot: &Snapshot) -> Result<(), StoreError> {
        let committed = self.try_commit(snapshot);
        if committed.is_err() {
            self.withdraw(snapshot);
        }
        committed
    }

    fn try_commit(&self, snapshot: &Snapshot) -> Result<(), StoreError> {
        #[cfg(test)]
        if super::mutation::is(super::mutation::Mutation::SizeBeforeData) {
            let upto = self.append_head(snapshot)?;
            self.shared.sync_journal(upto)?;
            return self.sync_place(snapshot).map(|()| self.settle(&mut self.state.write()));
        }
        self.sync_place(snapshot)?;
        let upto = self.append_head(snapshot)?;
        self.shared.sync_journal(upto)?;
        self.release()
    }

    /// Step 1.
    pub(super) fn snapshot(&self, data_only: bool) -> Result<Snapshot, StoreError> {
        let mut state = self.change()?;
        self.check_latch(&state)?;
        if !state.torn.is_empty() {
            let torn = io::Error::from_raw_os_error(libc::EIO);
            return Err(self.file_error(&state, "make durable a torn chunk of", torn));
        }
        let (version, extent) = (state.version, state.extent.clone());
        let head = (version > state.appended).then(|| state.head.clone()).flatten();
        let announced = head.is_some();
        #[cfg(test)]
        let announced = announced && !super::mutation::is(super::mutation::Mutation::NoAnnouncement);
        if announced {
            state.reach.announce(version, extent);
        }
        let needs = if state.created || (state.metadata && !data_only) {
            Needs::All
        } else if state.fresh_written != state.fresh_synced {
            Needs::Data
        } else {
            Needs::Nothing
        };
        if needs == Needs::All {
            // A change from now on is another sync's business.
            state.metadata = false;
        }
        Ok(Snapshot {
            version,
            head,
            fresh: state.fresh_written,
            needs,
        })
    }

    /// Takes back what step 1 announced: the commit has failed.
    pub(super) fn withdraw(&self, snapshot: &Snapshot) {
        if snapshot.head.is_some() {
            self.state.write().reach.withdraw(snapshot.version);
        }
    }

    /// Step 2.
    pub(super) fn sync_place(&self, snapshot: &Snapshot) -> Result<(), StoreError> {
        if snapshot.needs == Needs::Nothing {
            return Ok(());
        }
        // One at a time: the medium tells only one of two that it has lost something.
        let _one = self.syncing.lock();
        let state = self.state.read();
        self.check_latch(&state)?;
        if snapshot.needs == Needs::Data && state.fresh_synced >= snapshot.fresh {
            return Ok(());
        }
        drop(state);
        let result = match snapshot.needs {
            _ if self.shared.settings.volatile => Ok(()),
            Needs::All => self.file.sync_all(),
            _ => self.file.sync_data(),
        };
        self.synced_place(snapshot, result)
    }

    /// The end of step 2: the file has been synced, by itself or with all others.
    pub(super) fn synced_place(&self, snapshot: &Snapshot, result: io::Result<()>) -> Result<(), StoreError> {
        let mut state = self.state.write();
        if let Err(source) = result {
            state.failed = Some(source.raw_os_error().unwrap_or(libc::EIO));
            return Err(self.file_error(&state, "sync", source));
        }
        state.fresh_synced = state.fresh_synced.max(snapshot.fresh);
        if snapshot.needs == Needs::All {
            state.created = false;
        }
        // Another sync of this file may have failed meanwhile.
        self.check_latch(&state)
    }

    /// Step 2 by itself, for a change that must not overtake fresh chunks.
    pub(super) fn sync_place_now(&self) -> Result<(), StoreError> {
        let state = self.change()?;
        self.check_latch(&state)?;
        let needs = if state.created { Needs::All } else { Needs::Data };
        let snapshot = Snapshot {
            version: 0,
            head: None,
            fresh: state.fresh_written,
            needs,
        };
        drop(state);
        self.sync_place(&snapshot)
    }

    /// Step 3. Returns the record that makes the snapshot durable.
    pub(super) fn append_head(&self, snapshot: &Snapshot) -> Result<u64, StoreError> {
        let Some(image) = &snapshot.head else {
            return Ok(self.state.read().last_sequence);
        };
        if self.shared.journal.is_none() {
            return self.write_head(snapshot, image);
        }
        if let Some(sequence) = self.state.write().overtaken(snapshot) {
            return Ok(sequence);
        }
        let need = self.head_record_len(image);
        let mut permit = self.shared.reserve(need)?;
        let mut state = self.state.write();
        if let Some(sequence) = state.overtaken(snapshot) {
            return Ok(sequence);
        }
        let sequence = self.append(&mut state, &mut permit, Kind::Write, Some(image), &[])?;
        state.reach.appended(snapshot.version, Extent::of(image), sequence);
        state.appended = snapshot.version;
        Ok(sequence)
    }

    fn head_record_len(&self, image: &[u8]) -> u64 {
        let state = self.state.read();
        let parts = Parts {
            kind: Kind::Write,
            node: self.node,
            geometry: state.geometry,
            hint: state.hint.as_bytes(),
            head: Some(image),
            runs: &[],
        };
        // The file may get a longer name before the record is written.
        let rename = crate::format::journal::HINT_MAX - state.hint.as_bytes().len();
        (parts.len_at_most() + rename) as u64
    }

    /// Steps 3 and 4 without a journal: whoever chose that gave crash safety up.
    fn write_head(&self, snapshot: &Snapshot, image: &[u8]) -> Result<u64, StoreError> {
        let _one = self.syncing.lock();
        let mut state = self.state.write();
        if state.overtaken(snapshot).is_some() {
            return Ok(0);
        }
        let newest = snapshot.version == state.version;
        let written = overlay::copy_head(self.file(), state.geometry, image, newest).map_err(|failed| failed.source);
        let written = written.and_then(|()| match self.shared.settings.volatile {
            true => Ok(()),
            false => self.file.sync_data(),
        });
        if let Err(source) = written {
            state.failed = Some(source.raw_os_error().unwrap_or(libc::EIO));
            return Err(self.file_error(&state, "write the head of", source));
        }
        state.appended = snapshot.version;
        state.reach.appended(snapshot.version, Extent::of(image), 0);
        Ok(0)
    }

    /// Step 5.
    pub(super) fn release(&self) -> Result<(), StoreError> {
        let mut state = self.state.write();
        self.settle(&mut state);
        let synced = self.shared.synced();
        if state.trim.is_some_and(|sequence| sequence <= synced)
            && (state.version == state.appended || state.extent == Extent::Unborn)
            && !state.reach.is_waiting()
        {
            state.trim = None;
            self.cut_file(&mut state)?;
        }
        if std::mem::take(&mut state.frees_space)
            && let Some(journal) = &self.shared.journal
        {
            journal.want_checkpoint();
        }
        Ok(())
    }

    /// Takes notice of what has become durable, through whichever sync.
    pub(super) fn settle(&self, state: &mut State) {
        if state.reach.is_waiting() && state.reach.settle(self.shared.synced()) {
            self.shared.born.lock().push(self.node);
        }
    }

    /// Cuts the stored file to what its head refers to and what the journal has for it.
    fn cut_file(&self, state: &mut State) -> Result<(), StoreError> {
        let keep = overlay::end(self.file(), state.geometry, &state.overlay, &state.extent);
        let Some(keep) = keep.map_err(|e| self.file_error(state, "read entries of", e))? else {
            return Ok(());
        };
        let len = self.file.len().map_err(|e| self.file_error(state, "measure", e))?;
        if len > keep {
            let modified = self.file.modified();
            let cut = self
                .file
                .set_len(keep)
                .and_then(|()| self.file.set_modified(Some(modified?)));
            cut.map_err(|e| self.file_error(state, "cut", e))?;
            state.reserved.clear();
        }
        Ok(())
    }

    fn check_latch(&self, state: &State) -> Result<(), StoreError> {
        match state.failed {
            Some(errno) => Err(StoreError::FileLatched {
                place: Box::new(self.place(state)),
                errno,
            }),
            None => Ok(()),
        }
    }
}

impl State {
    /// The record to wait for if a newer head than the snapshot's was appended.
    fn overtaken(&mut self, snapshot: &Snapshot) -> Option<u64> {
        let overtaken = snapshot.version <= self.appended;
        overtaken.then(|| {
            self.reach.withdraw(snapshot.version);
            self.last_sequence
        })
    }
}

impl Shared {
    /// Makes everything durable that has been put. The first error is returned, after everything else
    /// has been tried.
    pub(super) fn commit_all(&self) -> Result<(), StoreError> {
        let mut first_error = Ok(());
        let mut keep = |result: Result<(), StoreError>| {
            if first_error.is_ok() {
                first_error = result;
            }
        };
        let mut files = Vec::new();
        for content in self.busy() {
            // Who had it open was told.
            if content.is_unused() && content.state.read().has_failed() {
                continue;
            }
            match content.snapshot(true) {
                Ok(snapshot) => files.push((content, snapshot)),
                Err(error) => keep(Err(error)),
            }
        }
        let files = self.sync_places(files, &mut keep);
        let mut appended = Vec::new();
        for (content, snapshot) in files {
            match content.append_head(&snapshot) {
                Ok(_) => appended.push(content),
                Err(error) => {
                    content.withdraw(&snapshot);
                    keep(Err(error));
                }
            }
        }
        keep(self.journal.as_ref().map_or(Ok(()), Journal::sync_all));
        for content in appended {
            keep(content.release());
        }
        first_error
    }

    /// Step 2 of a commit for many files: those for which it succeeded.
    fn sync_places(
        &self,
        files: Vec<(Arc<Content>, Snapshot)>,
        keep: &mut impl FnMut(Result<(), StoreError>),
    ) -> Vec<(Arc<Content>, Snapshot)> {
        let needy = files
            .iter()
            .filter(|(_, snapshot)| snapshot.needs != Needs::Nothing)
            .count();
        let many = needy > MANY && !self.settings.volatile && !self.sync_each.load(Ordering::Relaxed);
        let together = many.then(|| self.sync_everything());
        let errno = |error: io::Error| error.raw_os_error().unwrap_or(libc::EIO);
        let together = together.map(|result| result.map_err(errno));
        let mut synced = Vec::new();
        for (content, snapshot) in files {
            let result = match together {
                None => content.sync_place(&snapshot),
                Some(result) => {
                    let result = result.map_err(io::Error::from_raw_os_error);
                    content.synced_place(&snapshot, result)
                }
            };
            match result {
                Ok(()) => synced.push((content, snapshot)),
                Err(error) => {
                    content.withdraw(&snapshot);
                    keep(Err(error));
                }
            }
        }
        synced
    }

    /// Makes everything durable, names too, whichever file it is of.
    pub(super) fn sync_everything(&self) -> io::Result<()> {
        let synced = self.medium.sync_everything();
        if synced.is_err() {
            self.sync_each.store(true, Ordering::Relaxed);
        }
        synced
    }
}
