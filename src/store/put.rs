//! A change to one file: what goes to its place at once, and what through the journal.

use std::collections::HashSet;
use std::sync::Arc;

use super::content::{Content, State};
use super::error::StoreError;
use super::journal::{Journal, Permit};
use super::place;
use super::plan::{self, Habit, Route};
use super::reach::{Extent, image_len};
use crate::format::PAGE;
use crate::format::journal::{Kind, Parts, Run};

/// Most bytes of one record, unless all of it must become durable at once.
const RECORD: usize = 1 << 20;

/// A change to one file. Readers see all of it or nothing, unless it is larger than half a segment of the
/// journal. After a crash that comes before the next sync, each chunk of it is there in its old or its new
/// version, by itself, unless the change is [`Change::together`].
#[derive(Debug, Default, Clone, Copy)]
pub struct Change<'a> {
    /// The new image of the head, sealed: 2048 bytes for a body in chunks, as far as the body reaches for an
    /// inline one. It becomes durable with the next sync, after everything that it refers to.
    pub head: Option<&'a [u8]>,
    /// The chunks, sealed. Those beyond the old head's size need a new head in the same change.
    pub runs: &'a [Run<'a>],
    /// Head and chunks become durable at the same time. It must be set when the new head refers to less
    /// than the old one did (a cut, groups that become absent), and when the body moves into page 0 or out
    /// of it; then there is a head, and the chunks are few: they must fit one segment of the journal.
    pub together: bool,
}

/// What a change needs.
struct Plan<'a> {
    /// To the places.
    place: Vec<Run<'a>>,
    /// To the journal.
    journal: Vec<Run<'a>>,
    /// Head and chunks go to the journal as one record.
    cut: bool,
    /// Most bytes that the records take.
    bytes: u64,
    /// Up to this record the journal should be synced first: then most chunks are fresh.
    worth_a_sync: Option<u64>,
    /// This is only a beginning: all of it would not fit the journal.
    partial: bool,
}

/// What a try at a change came to.
enum Tried {
    Done,
    Torn,
    Partly(Vec<u64>),
    SyncFile,
    SyncJournal(u64),
    Reserve(u64),
}

impl Content {
    /// Makes a change. It is durable after the next [`Content::sync`].
    ///
    /// # Errors
    /// [`StoreError::File`] and [`StoreError::Journal`] when the medium fails or lacks space: then nothing
    /// durable has changed, nor has the head; a chunk that was never synced may be lost if the medium failed
    /// while it was being overwritten. [`StoreError::JournalLatched`], [`StoreError::TooLarge`],
    /// [`StoreError::Misuse`].
    pub fn put(self: &Arc<Self>, change: &Change<'_>) -> Result<(), StoreError> {
        let (mut made_room, mut synced) = (false, false);
        let mut done = HashSet::new();
        let mut permit = None;
        loop {
            match self.try_put(change, &mut permit, &done, synced) {
                Ok(Tried::Done) => return Ok(()),
                Ok(Tried::Partly(chunks)) => {
                    permit = None;
                    done.extend(chunks);
                }
                Ok(Tried::Torn) => permit = None,
                Ok(Tried::SyncFile) => {
                    permit = None;
                    self.sync_place_now()?;
                }
                Ok(Tried::SyncJournal(sequence)) => {
                    permit = None;
                    synced = true;
                    self.shared.sync_journal(sequence)?;
                }
                Ok(Tried::Reserve(bytes)) => {
                    // Never hold one permit while waiting for another.
                    permit = None;
                    permit.replace(self.shared.reserve(bytes)?);
                }
                Err(error) if error.is_no_space() && !made_room => {
                    permit = None;
                    made_room = true;
                    self.shared.make_room();
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn try_put<'a>(
        self: &'a Arc<Self>,
        change: &Change<'_>,
        permit: &mut Option<Permit<'a>>,
        done: &HashSet<u64>,
        synced: bool,
    ) -> Result<Tried, StoreError> {
        let mut state = self.change()?;
        self.check(&state, change)?;
        self.settle(&mut state);
        let plan = state.plan(change, done, self.shared.journal.as_ref());
        if let Some(sequence) = plan.worth_a_sync
            && !synced
        {
            return Ok(Tried::SyncJournal(sequence));
        }
        if plan.cut && state.fresh_written != state.fresh_synced {
            // The record would make a head durable that refers to chunks which are not.
            return Ok(Tried::SyncFile);
        }
        if plan.bytes > permit.as_ref().map_or(0, Permit::left) {
            return Ok(Tried::Reserve(plan.bytes));
        }
        self.mark_busy(&mut state);
        self.reserve_places(&mut state, &plan)?;
        let torn = state.torn.len();
        match self.write_fresh(&mut state, &plan.place) {
            // Once more, now through the journal: it has its space.
            Err(_) if state.torn.len() > torn => return Ok(Tried::Torn),
            result => result?,
        }
        if let Some(permit) = permit {
            self.write_journal(&mut state, &plan, change, permit)?;
        }
        if plan.partial {
            return Ok(Tried::Partly(plan.journal.iter().flat_map(chunks).collect()));
        }
        state.take_head(change, &plan);
        Ok(Tried::Done)
    }

    fn check(&self, state: &State, change: &Change<'_>) -> Result<(), StoreError> {
        let misuse = |detail| {
            Err(StoreError::Misuse {
                place: Box::new(self.place(state)),
                detail,
            })
        };
        if !change.runs.iter().all(|run| run.is_sound(state.geometry)) {
            return misuse("entries that do not describe the data");
        }
        match change.head.map(Extent::of) {
            Some(Extent::Unborn | Extent::Unknown) => misuse("a head that is not well-formed"),
            None if change.together => misuse("together with no head"),
            Some(_) if change.head.is_some_and(|head| image_len(head) != head.len()) => {
                misuse("a head and what is not of it")
            }
            _ => Ok(()),
        }
    }

    /// Finds the space now that the checkpoint will need: later nobody could be told that there is none.
    fn reserve_places(&self, state: &mut State, plan: &Plan<'_>) -> Result<(), StoreError> {
        if !state.page_reserved {
            let zeros = [0; PAGE];
            let written = self.file.write_all_at(&zeros, 0);
            written.map_err(|source| self.file_error(state, "reserve page 0 of", source))?;
            state.page_reserved = true;
            state.fresh_written += 1;
        }
        plan.journal.iter().try_for_each(|run| self.reserve_place(state, run))
    }

    fn reserve_place(&self, state: &mut State, run: &Run<'_>) -> Result<(), StoreError> {
        let geometry = state.geometry;
        if !state.reserved.covers(geometry, run) {
            place::reserve(self.file(), geometry, run).map_err(|failed| self.failed(state, failed))?;
            state.reserved.reserved(geometry, run);
        }
        Ok(())
    }

    /// Writes fresh chunks to their places. Those that no reader has seen yet come first, and those that readers have
    /// seen get their space before they are touched: so that who lacks space finds them whole.
    fn write_fresh(&self, state: &mut State, runs: &[Run<'_>]) -> Result<(), StoreError> {
        let geometry = state.geometry;
        let mut pieces = plan::cut(runs, geometry, |chunk| state.extent.refers_to(geometry, chunk));
        pieces.sort_by_key(|(seen, _)| *seen);
        for (seen, run) in pieces {
            if seen {
                self.reserve_place(state, &run)?;
            }
            state.fresh_written += 1;
            state.fresh_bytes = state.fresh_bytes.saturating_add(run.data.len() as u64);
            if let Err(failed) = place::write(self.file(), geometry, &run) {
                if seen && self.shared.journal.is_some() {
                    state.torn.extend(chunks(&run));
                }
                return Err(self.failed(state, failed));
            }
            if run.data.is_empty() && self.shared.journal.is_none() {
                // With a journal the checkpoint does.
                place::punch(self.file(), geometry, chunks(&run)).map_err(|failed| self.failed(state, failed))?;
                state.reserved.given_back(geometry, &run);
            }
            state.reserved.written(geometry, &run);
        }
        Ok(())
    }

    fn write_journal(
        &self,
        state: &mut State,
        plan: &Plan<'_>,
        change: &Change<'_>,
        permit: &mut Permit<'_>,
    ) -> Result<(), StoreError> {
        if plan.place.is_empty() && (plan.cut || !plan.journal.is_empty()) {
            // The stored file is not written to, but it is what its times are about. First, for it may fail.
            let touched = self.file.set_modified(None);
            touched.map_err(|source| self.file_error(state, "set the times of", source))?;
            state.metadata = true;
        }
        if plan.cut {
            let extent = change.head.map_or(Extent::Unborn, Extent::of);
            let sequence = self.append(state, permit, Kind::Cut, change.head, &plan.journal)?;
            state.frees_space |= plan.journal.iter().any(|run| run.data.is_empty())
                || matches!(&extent, Extent::Chunked { absent, .. } if !absent.is_empty());
            state.trim = Some(sequence);
        } else {
            for batch in plan::batches(&plan.journal, state.geometry, RECORD) {
                self.append(state, permit, Kind::Write, None, &batch)?;
            }
        }
        Ok(())
    }

    /// Appends one record, and takes what it says up into the state.
    pub(super) fn append(
        &self,
        state: &mut State,
        permit: &mut Permit<'_>,
        kind: Kind,
        head: Option<&[u8]>,
        runs: &[Run<'_>],
    ) -> Result<u64, StoreError> {
        let journal = permit.journal();
        let hint = if state.hint_epoch == permit.epoch {
            &[][..]
        } else {
            state.hint.as_bytes()
        };
        let parts = Parts {
            kind,
            node: self.node,
            geometry: state.geometry,
            hint,
            head,
            runs,
        };
        let appended = journal.append(permit, &parts)?;
        state.hint_epoch = permit.epoch;
        state.last_sequence = appended.sequence;
        if kind == Kind::Cut {
            let extent = head.map_or(Extent::Unborn, Extent::of);
            state.overlay.cut(state.geometry, &extent);
            let geometry = state.geometry;
            state.torn.retain(|chunk| !extent.voids(geometry, *chunk));
        }
        for chunk in runs.iter().flat_map(chunks) {
            state.torn.remove(&chunk);
        }
        for (run, offset) in runs.iter().zip(&appended.data) {
            state.overlay.insert(run, *offset, appended.sequence);
            state.reserved.given_back(state.geometry, run);
        }
        if let Some(image) = head {
            state.journaled_head = Some((appended.sequence, image.into()));
        }
        Ok(appended.sequence)
    }
}

impl State {
    fn plan<'a>(&self, change: &Change<'a>, done: &HashSet<u64>, journal: Option<&Journal>) -> Plan<'a> {
        let mut plan = Plan {
            place: Vec::new(),
            journal: Vec::new(),
            cut: false,
            bytes: 0,
            worth_a_sync: None,
            partial: false,
        };
        let Some(journal) = journal else {
            plan.place = change.runs.to_vec();
            return plan;
        };
        // As long as recovery would find no head, nothing is there that could be torn apart.
        plan.cut = change.together && (self.reach.is_born() || !self.overlay.is_empty());
        if plan.cut {
            plan.journal = change.runs.to_vec();
        } else {
            self.route(change, done, &mut plan);
        }
        plan.bytes = self.bytes(change, &plan);
        // The hint is in `bytes` too, but what is written is at most one record of this size.
        let most = (journal.capacity() / 2) as usize;
        if plan.bytes > most as u64 && !plan.cut {
            let batches = plan::batches(&plan.journal, self.geometry, most.min(RECORD));
            plan.journal = batches.into_iter().next().unwrap_or_default();
            plan.place.clear();
            plan.partial = true;
            plan.bytes = self.bytes(change, &plan);
        }
        plan
    }

    fn route<'a>(&self, change: &Change<'a>, done: &HashSet<u64>, plan: &mut Plan<'a>) {
        let taken = |chunk| {
            self.reach.refers_to(self.geometry, chunk) || self.overlay.contains(chunk) || self.torn.contains(&chunk)
        };
        let bytes = change.runs.iter().map(|run| run.weight() as u64).sum();
        let habit = Habit {
            syncs: if self.reach.is_born() { self.syncs } else { 0 },
            fresh_bytes: self.fresh_bytes,
            outstanding: self.fresh_written != self.fresh_synced,
        };
        let fresh = plan::route_fresh(habit, bytes);
        let route = |chunk| {
            if !done.is_empty() && done.contains(&chunk) {
                Route::Done
            } else if taken(chunk) {
                Route::Journal
            } else {
                fresh
            }
        };
        let mut journaled = 0;
        for (route, run) in plan::cut(change.runs, self.geometry, route) {
            match route {
                Route::Done => {}
                Route::Place => plan.place.push(run),
                Route::Journal => {
                    journaled += run.data.len() as u64;
                    if journaled > plan::SMALL && !self.overlay.contains(run.first) {
                        plan.worth_a_sync = self.reach.freed_by(self.geometry, run.first);
                    }
                    plan.journal.push(run);
                }
            }
        }
    }

    fn bytes(&self, change: &Change<'_>, plan: &Plan<'_>) -> u64 {
        let parts = |head, runs| Parts {
            kind: Kind::Write,
            node: crate::format::NodeId([0; 16]),
            geometry: self.geometry,
            hint: self.hint.as_bytes(),
            head,
            runs,
        };
        if plan.cut {
            return parts(change.head, &plan.journal).len_at_most() as u64;
        }
        let batches = plan::batches(&plan.journal, self.geometry, RECORD);
        batches.iter().map(|runs| parts(None, runs).len_at_most() as u64).sum()
    }

    /// Takes the head of a change that has been made.
    fn take_head(&mut self, change: &Change<'_>, plan: &Plan<'_>) {
        let Some(image) = change.head else {
            return;
        };
        let extent = Extent::of(image);
        self.version += 1;
        self.head = Some(image.into());
        self.reserved.keep(self.geometry, &extent);
        self.extent = extent.clone();
        if plan.cut {
            self.appended = self.version;
            self.reach.appended(self.version, extent, self.last_sequence);
        } else if change.together {
            self.trim.get_or_insert(0);
        }
    }
}

fn chunks(run: &Run<'_>) -> std::ops::Range<u64> {
    run.first..run.first + run.entries.len() as u64
}
