//! Bringing a full segment of the journal to the places, in an order that a crash may interrupt anywhere.
//!
//! 1) **Close** the segment: its records are synced, then the other segment is opened by writing its
//!    header. So whenever the newer segment is valid, the older one is whole, and recovery can tell a
//!    torn tail (of the newest) from damage.
//! 2) **Copy** what stands in it to the places, newest version only. What the newer segment has again is
//!    left out. A crash leaves torn places; the segment still has all of it, and recovery copies it again.
//!    Readers go on reading the journal, for the places are being torn.
//! 3) **Sync the files.**
//! 4) **Sync the journal**: what was left out in step 2 is durable in the newer segment only now.
//! 5) **Retire** the segment: its header is wiped, durably. From here on recovery does not see it.
//! 6) **Forget**: reads go to the places. Not before step 5, and that is what makes step 5 necessary: a
//!    chunk that is no longer remembered as journaled may count as fresh and be written in its place,
//!    and a segment that recovery still saw would bring its old bytes back over it.
//! 7) **Reuse** the segment's space.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::content::Content;
use super::error::StoreError;
use super::journal::Closed;
use super::shared::{MANY, Shared};
use crate::sys::quota::Unbound;

impl Shared {
    /// Empties the segment in use. Says whether there was anything in it.
    ///
    /// # Errors
    /// Those of the medium. Lack of space passes: the segment stays closed, and the next checkpoint goes on
    /// with it. Everything else latches the journal.
    pub(super) fn checkpoint(&self) -> Result<bool, StoreError> {
        let Some(journal) = &self.journal else {
            return Ok(false);
        };
        let _one = self.checkpointing.lock();
        let Some(closed) = journal.close_active()? else {
            return Ok(false);
        };
        // One user's quota must not keep what was acknowledged, of him and of everybody, from its place.
        let _unbound = Unbound::enter();
        match self.empty(closed) {
            Ok(()) => Ok(true),
            Err(error) if error.is_no_space() => {
                journal.stall();
                Err(error)
            }
            Err(error) => {
                journal.fail(error.errno());
                Err(error)
            }
        }
    }

    /// Steps 2 to 7.
    fn empty(&self, closed: Closed) -> Result<(), StoreError> {
        let Some(journal) = &self.journal else {
            return Ok(());
        };
        // A file that was dropped may get its name back by a crash, as long as its removal is not durable; so
        // the segment must not go before that is. The flag is taken first: later ones are in the newer segment
        // too, or will be asked again.
        let mut everything = self.dropped.swap(false, Ordering::AcqRel);
        let mut copied = Vec::new();
        for content in self.busy() {
            if !content.has_records(closed.last_sequence) {
                continue;
            }
            // Also those that have no name any more: somebody may have them open still.
            content.copy_to_place(closed.last_sequence)?;
            match content.is_linked()? {
                true => copied.push(content),
                false => everything = true,
            }
        }
        // One that was dropped while the others were being copied.
        everything |= self.dropped.swap(false, Ordering::AcqRel);
        let synced = self.sync_copied(&copied, everything);
        if synced.is_err() && everything {
            self.dropped.store(true, Ordering::Release);
        }
        synced?;
        journal.sync_all()?;
        journal.retire(closed)?;
        for content in self.busy() {
            content.forget_placed(closed.last_sequence);
        }
        journal.reuse();
        self.sweep();
        Ok(())
    }

    fn sync_copied(&self, copied: &[Arc<Content>], everything: bool) -> Result<(), StoreError> {
        let each = self.sync_each.load(Ordering::Relaxed);
        if everything || (copied.len() > MANY && !each) {
            let synced = self.sync_everything();
            synced.map_err(|source| StoreError::Backing { doing: "sync", source })?;
            if !each {
                return Ok(());
            }
        }
        copied.iter().try_for_each(|content| content.sync_copied())
    }
}

impl Content {
    pub(super) fn is_linked(&self) -> Result<bool, StoreError> {
        let linked = self.file.is_linked();
        linked.map_err(|source| self.file_error(&self.state.read(), "look at", source))
    }

    fn has_records(&self, last: u64) -> bool {
        let state = self.state.read();
        let head = state
            .journaled_head
            .as_ref()
            .is_some_and(|(sequence, _)| *sequence <= last);
        head || state.overlay.has_up_to(last)
    }

    fn sync_copied(&self) -> Result<(), StoreError> {
        let _one = self.syncing.lock();
        self.file.sync_data().map_err(|source| {
            let mut state = self.state.write();
            state.failed = Some(source.raw_os_error().unwrap_or(libc::EIO));
            self.file_error(&state, "sync", source)
        })
    }
}
