//! The redo journal while the volume is mounted: space, appends, and the sync that many commits share.
//!
//! Two segments are used in turn. Records go to the *active* one; when it is full the checkpointer closes
//! it, opens the other, copies the closed one's content to its places and retires it. The order of these
//! steps, and why, stands in `store::checkpoint`. Who waits for space here must hold no guard of a file:
//! the checkpointer needs those to make space.

use std::io;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::error::StoreError;
use super::medium::{StoredFile, fill};
use crate::format::Geometry;
use crate::format::ids::random_bytes;
use crate::format::journal::{Parts, RECORD_MAX, RECORDS_OFFSET, SEGMENT_HEADER_LEN, SegmentHeader};

/// The smallest journal: two segments, each with room for one change of a few chunks.
pub const JOURNAL_MIN: u64 = 2 * 32 * 1024;

/// How long who asks what it looks like waits for one who writes to it: the disk may hang.
const PATIENCE: Duration = Duration::from_millis(100);

/// The journal of a mounted volume.
pub struct Journal {
    file: Box<dyn StoredFile>,
    segment_len: u64,
    state: Mutex<State>,
    /// Something that somebody waits for has changed: space, a sync's end, the last permit's return.
    changed: Condvar,
    /// There is work for the checkpointer.
    work: Condvar,
    /// What it looked like when somebody last asked.
    seen: Mutex<JournalUse>,
}

struct State {
    active: Active,
    /// The segment that is being copied to its places.
    closed: Option<Closed>,
    /// No permits are given out: the active segment is being closed.
    closing: bool,
    /// A writer found the active segment full.
    full: bool,
    /// A checkpoint was asked for, full or not.
    wanted: bool,
    /// The last checkpoint lacked space.
    stalled: bool,
    next_sequence: u64,
    synced: u64,
    syncing: bool,
    failed: Option<i32>,
    checkpoints: u64,
    scratch: Vec<u8>,
}

struct Active {
    header: SegmentHeader,
    /// Bytes of the segment with records in them, its header too.
    used: u64,
    /// Bytes promised to permits.
    reserved: u64,
    permits: u32,
}

/// A segment that takes no more records and has not been retired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed {
    index: u8,
    /// The sequence number of its last record.
    pub last_sequence: u64,
}

/// Space in the active segment, promised to one change. It must be used or dropped soon, and never be
/// held while waiting for anything but a file's guard: closing a segment waits for it.
pub struct Permit<'a> {
    journal: &'a Journal,
    left: u64,
    /// The use of the segment that the space is in; a path hint is said once in each.
    pub epoch: u64,
}

/// Where an appended record lies.
#[derive(Debug)]
pub struct Appended {
    /// Its sequence number.
    pub sequence: u64,
    /// The offset in the journal at which the data of each run begins.
    pub data: Vec<u64>,
}

/// What the journal looks like from outside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct JournalUse {
    /// Bytes of the journal.
    pub size: u64,
    /// Bytes that hold records which are not all in their places.
    pub used: u64,
    /// Segments used since the volume was mounted.
    pub epoch: u64,
    /// Records appended since the volume was mounted.
    pub records: u64,
    /// Checkpoints since the volume was mounted.
    pub checkpoints: u64,
    /// The last checkpoint lacked space.
    pub stalled: bool,
    /// The errno with which the journal failed, for good.
    pub failed: Option<i32>,
}

impl Journal {
    /// Lays out an empty journal of `size` bytes in `file`, in which recovery has left no segment in use.
    ///
    /// # Errors
    /// Those of the medium; `ENOSPC` when there is no room for it.
    pub fn create(file: Box<dyn StoredFile>, size: u64) -> Result<Self, StoreError> {
        let segment_len = segment_len(size);
        let failed = |doing| {
            move |source| StoreError::Journal {
                doing,
                offset: 0,
                source,
            }
        };
        let fresh = file.len().map_err(failed("measure"))? != 2 * segment_len;
        if fresh {
            file.set_len(2 * segment_len).map_err(failed("size"))?;
        }
        file.allocate(0, 2 * segment_len).map_err(failed("reserve space for"))?;
        if fresh {
            fill(file.as_ref(), 2 * segment_len).map_err(failed("fill"))?;
        }
        file.sync_all().map_err(failed("sync"))?;
        let first = SegmentHeader {
            index: 0,
            epoch: 1,
            first_sequence: 1,
            salt: salt(),
            segment_len,
        };
        let journal = Self {
            file,
            segment_len,
            state: Mutex::new(State {
                active: Active::new(first),
                closed: None,
                closing: false,
                full: false,
                wanted: false,
                stalled: false,
                next_sequence: 1,
                synced: 0,
                syncing: false,
                failed: None,
                checkpoints: 0,
                scratch: Vec::new(),
            }),
            changed: Condvar::new(),
            work: Condvar::new(),
            seen: Mutex::default(),
        };
        journal.write_header(&first)?;
        let _ = journal.usage();
        Ok(journal)
    }

    /// Most bytes of one record.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        (self.segment_len - RECORDS_OFFSET).min(RECORD_MAX)
    }

    /// Promises `need` bytes of the active segment; `None` when they are not there now.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] when they never will be; [`StoreError::JournalLatched`].
    pub fn try_reserve(&self, need: u64) -> Result<Option<Permit<'_>>, StoreError> {
        let mut state = self.state.lock();
        self.check(&state, need)?;
        Ok(self.promise(&mut state, need))
    }

    /// Promises `need` bytes of the active segment, and waits for the checkpointer to make room.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] and [`StoreError::JournalLatched`]; `ENOSPC` when the checkpointer can
    /// make no room because the backing has none.
    pub fn reserve(&self, need: u64) -> Result<Permit<'_>, StoreError> {
        let mut state = self.state.lock();
        loop {
            self.check(&state, need)?;
            if let Some(permit) = self.promise(&mut state, need) {
                return Ok(permit);
            }
            if state.stalled {
                let source = io::Error::from_raw_os_error(libc::ENOSPC);
                return Err(StoreError::Journal {
                    doing: "make room in",
                    offset: 0,
                    source,
                });
            }
            state.full = true;
            self.work.notify_all();
            self.changed.wait(&mut state);
        }
    }

    fn check(&self, state: &State, need: u64) -> Result<(), StoreError> {
        state.check()?;
        if need > self.capacity() {
            return Err(StoreError::TooLarge {
                need,
                have: self.capacity(),
            });
        }
        Ok(())
    }

    fn promise(&self, state: &mut State, need: u64) -> Option<Permit<'_>> {
        let active = &mut state.active;
        if state.closing || active.used + active.reserved + need > self.segment_len {
            return None;
        }
        active.reserved += need;
        active.permits += 1;
        // So early that writers seldom meet the end of the segment before the checkpointer does.
        if active.used > self.segment_len / 4 * 3 {
            self.work.notify_all();
        }
        Some(Permit {
            journal: self,
            left: need,
            epoch: active.header.epoch,
        })
    }

    /// Appends a record. It survives the end of this process; [`Journal::sync`] makes it survive the
    /// machine's.
    ///
    /// # Errors
    /// Those of the medium, and [`StoreError::JournalLatched`]. The journal takes no more records after a
    /// failure: one that was written in part would hide those behind it.
    pub fn append(&self, permit: &mut Permit<'_>, parts: &Parts<'_>) -> Result<Appended, StoreError> {
        let mut state = self.state.lock();
        state.check()?;
        let sequence = state.next_sequence;
        let mut scratch = std::mem::take(&mut state.scratch);
        scratch.clear();
        let places = parts.write(sequence, state.active.header.salt, &mut scratch);
        let len = scratch.len() as u64;
        let offset = self.base(state.active.header.index) + state.active.used;
        // Under the guard: a record behind a gap would be lost if the process ended now.
        let written = if len > permit.left {
            Err(io::Error::from(io::ErrorKind::InvalidInput))
        } else {
            self.file.write_all_at(&scratch, offset)
        };
        state.scratch = scratch;
        if let Err(source) = written {
            state.failed = Some(source.raw_os_error().unwrap_or(libc::EIO));
            self.changed.notify_all();
            return Err(StoreError::Journal {
                doing: "append to",
                offset,
                source,
            });
        }
        permit.left -= len;
        state.active.reserved -= len;
        state.active.used += len;
        state.next_sequence += 1;
        let data = places.iter().map(|place| offset + *place as u64).collect();
        Ok(Appended { sequence, data })
    }

    /// Makes every record up to `upto` durable. Whoever comes first syncs for all who have appended by
    /// then; who comes during a sync waits for it, and one of those who are left syncs next.
    ///
    /// # Errors
    /// Those of the medium. A sync that failed stays failed: what it left behind can not be known.
    pub fn sync(&self, upto: u64) -> Result<(), StoreError> {
        let mut state = self.state.lock();
        while state.synced < upto {
            state.check()?;
            if state.syncing {
                self.changed.wait(&mut state);
                continue;
            }
            state.syncing = true;
            let target = state.next_sequence - 1;
            // Appends go on meanwhile, for the next sync.
            let result = MutexGuard::unlocked(&mut state, || self.sync_file());
            state.syncing = false;
            self.changed.notify_all();
            match result {
                Ok(()) => state.synced = target,
                Err(source) => {
                    state.failed = Some(source.raw_os_error().unwrap_or(libc::EIO));
                    self.work.notify_all();
                    return Err(StoreError::Journal {
                        doing: "sync",
                        offset: 0,
                        source,
                    });
                }
            }
        }
        Ok(())
    }

    fn sync_file(&self) -> io::Result<()> {
        #[cfg(test)]
        if super::mutation::is(super::mutation::Mutation::NoJournalSync) {
            return Ok(());
        }
        self.file.sync_data()
    }

    /// Makes every record that has been appended durable.
    ///
    /// # Errors
    /// As [`Journal::sync`].
    pub fn sync_all(&self) -> Result<(), StoreError> {
        let last = self.state.lock().next_sequence - 1;
        self.sync(last)
    }

    /// The last record known to be durable.
    #[must_use]
    pub fn synced(&self) -> u64 {
        self.state.lock().synced
    }

    /// Reads the data of a record, at an offset that [`Journal::append`] gave out.
    ///
    /// # Errors
    /// Those of the medium.
    pub fn read(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        match self.file.read_at(buf, offset)? {
            len if len == buf.len() => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Closes the active segment, durably whole, and opens the other. The segment that an earlier,
    /// failed checkpoint left closed comes first. `None` when there is nothing to checkpoint.
    ///
    /// # Errors
    /// Those of the medium.
    pub fn close_active(&self) -> Result<Option<Closed>, StoreError> {
        let mut state = self.state.lock();
        state.check()?;
        state.wanted = false;
        if state.closed.is_some() {
            return Ok(state.closed);
        }
        if state.active.used == RECORDS_OFFSET && state.active.permits == 0 {
            // Whoever found no room may have waited for permits that were given back unused.
            state.full = false;
            self.changed.notify_all();
            return Ok(None);
        }
        state.closing = true;
        while state.active.permits > 0 {
            self.changed.wait(&mut state);
        }
        let last_sequence = state.next_sequence - 1;
        let result = MutexGuard::unlocked(&mut state, || self.sync(last_sequence));
        let result = result.and_then(|()| self.open_next(&mut state, last_sequence));
        state.closing = false;
        self.changed.notify_all();
        result?;
        Ok(state.closed)
    }

    fn open_next(&self, state: &mut State, last_sequence: u64) -> Result<(), StoreError> {
        let old = state.active.header;
        let header = SegmentHeader {
            index: 1 - old.index,
            epoch: old.epoch + 1,
            first_sequence: last_sequence + 1,
            salt: salt(),
            ..old
        };
        if let Err(error) = self.write_header(&header) {
            state.failed = Some(error.errno());
            return Err(error);
        }
        state.active = Active::new(header);
        state.full = false;
        state.closed = Some(Closed {
            index: old.index,
            last_sequence,
        });
        Ok(())
    }

    /// Makes a closed segment, whose content is durable in its places, invisible to recovery, durably. Its
    /// space is not given out before [`Journal::reuse`].
    ///
    /// # Errors
    /// Those of the medium.
    pub fn retire(&self, closed: Closed) -> Result<(), StoreError> {
        #[cfg(test)]
        if super::mutation::is(super::mutation::Mutation::NoRetirement) {
            return Ok(());
        }
        self.wipe(closed.index)
    }

    /// Zeroes the header of a segment, durably.
    fn wipe(&self, index: u8) -> Result<(), StoreError> {
        let offset = self.base(index);
        let result = self.file.write_all_at(&[0; SEGMENT_HEADER_LEN], offset);
        let result = result.and_then(|()| self.sync_file());
        result.map_err(|source| {
            self.fail(source.raw_os_error().unwrap_or(libc::EIO));
            StoreError::Journal {
                doing: "retire a segment of",
                offset,
                source,
            }
        })
    }

    /// Says, durably, that the mount has ended well: recovery will see no segment. Nothing may be appended after.
    ///
    /// # Errors
    /// Those of the medium.
    pub fn end(&self) -> Result<(), StoreError> {
        let index = self.state.lock().active.header.index;
        self.retire(Closed {
            index,
            last_sequence: 0,
        })
    }

    /// Gives the space of a retired segment, of which nobody remembers a place any more, to the next.
    pub fn reuse(&self) {
        let mut state = self.state.lock();
        state.closed = None;
        state.stalled = false;
        state.checkpoints += 1;
        self.changed.notify_all();
    }

    /// Says that a checkpoint lacked space: writers that find no room are told so until one succeeds.
    pub fn stall(&self) {
        self.state.lock().stalled = true;
        self.changed.notify_all();
    }

    /// Latches the journal: from now on everything that would have to be durable fails with `errno`.
    pub fn fail(&self, errno: i32) {
        self.state.lock().failed.get_or_insert(errno);
        self.changed.notify_all();
        self.work.notify_all();
    }

    /// Asks the checkpointer to run, even if there is room.
    pub fn want_checkpoint(&self) {
        self.state.lock().wanted = true;
        self.work.notify_all();
    }

    /// Waits until there is something to checkpoint, or for `longest`.
    pub fn wait_for_work(&self, longest: std::time::Duration) -> bool {
        let mut state = self.state.lock();
        if !self.has_work(&state) {
            self.work.wait_for(&mut state, longest);
        }
        self.has_work(&state)
    }

    fn has_work(&self, state: &State) -> bool {
        let filling = state.active.used > self.segment_len / 4 * 3;
        state.failed.is_none() && (state.full || state.wanted || filling || state.closed.is_some())
    }

    /// What the journal looks like from outside; while its file hangs, what it looked like before.
    #[must_use]
    pub fn usage(&self) -> JournalUse {
        let Some(state) = self.state.try_lock_for(PATIENCE) else {
            return *self.seen.lock();
        };
        let closed = if state.closed.is_some() { self.segment_len } else { 0 };
        let usage = JournalUse {
            size: 2 * self.segment_len,
            used: closed + state.active.used - RECORDS_OFFSET,
            epoch: state.active.header.epoch,
            records: state.next_sequence - 1,
            checkpoints: state.checkpoints,
            stalled: state.stalled,
            failed: state.failed,
        };
        *self.seen.lock() = usage;
        usage
    }

    fn base(&self, index: u8) -> u64 {
        u64::from(index) * self.segment_len
    }

    fn write_header(&self, header: &SegmentHeader) -> Result<(), StoreError> {
        let offset = self.base(header.index);
        let written = self.file.write_all_at(&header.to_bytes(), offset);
        written.map_err(|source| StoreError::Journal {
            doing: "open a segment of",
            offset,
            source,
        })
    }
}

impl State {
    fn check(&self) -> Result<(), StoreError> {
        self.failed
            .map_or(Ok(()), |errno| Err(StoreError::JournalLatched { errno }))
    }
}

impl Active {
    fn new(header: SegmentHeader) -> Self {
        Self {
            header,
            used: RECORDS_OFFSET,
            reserved: 0,
            permits: 0,
        }
    }
}

impl<'a> Permit<'a> {
    /// The journal that the space is in.
    #[must_use]
    pub fn journal(&self) -> &'a Journal {
        self.journal
    }

    /// Bytes that are left of what was promised.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.left
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut state = self.journal.state.lock();
        state.active.reserved -= self.left;
        state.active.permits -= 1;
        if state.closing && state.active.permits == 0 {
            self.journal.changed.notify_all();
        }
    }
}

/// Least bytes of a journal: a change that must be one record, with up to four chunks, fits a segment.
#[must_use]
pub fn least(geometry: Geometry) -> u64 {
    2 * (RECORDS_OFFSET + 4 * geometry.chunk_size() + 8192)
}

/// Bytes of a segment of a journal of `size` bytes.
#[must_use]
pub fn segment_len(size: u64) -> u64 {
    size.max(JOURNAL_MIN) / 2 / RECORDS_OFFSET * RECORDS_OFFSET
}

fn salt() -> u64 {
    u64::from_le_bytes(random_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::geometry::{CHUNK_SIZE_MAX, CHUNK_SIZE_MIN};
    use crate::format::head::ENTRIES_OFFSET;
    use crate::format::journal::{HINT_MAX, RECORD_HEADER_LEN};

    /// With chunks of 1 MiB and a journal of 1 MiB no overwrite fitted a segment: fsync said EIO, and nobody could
    /// unmount.
    #[test]
    fn regression_the_least_journal_takes_four_of_the_largest_chunks() {
        for chunk in [CHUNK_SIZE_MIN, CHUNK_SIZE_MAX] {
            let geometry = Geometry::new(chunk).unwrap();
            let record = RECORD_HEADER_LEN + HINT_MAX + ENTRIES_OFFSET + 4 * (chunk as usize + 48);
            assert!(
                segment_len(least(geometry)) - RECORDS_OFFSET >= record as u64,
                "{chunk}"
            );
        }
    }
}
