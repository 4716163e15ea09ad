//! Real files, torn: what the backing holds before and after one commit, mixed sector by sector, in every prefix and
//! in many random subsets. Each mixture is opened as after a crash and read: every chunk and the size are old or new,
//! and real seals say so.
//!
//! A commit has syncs in it, so it is mixed phase by phase: within a phase any sector may have reached the medium and
//! any other not; the phases before are there whole, those behind not at all. Which phases there are is what the
//! documentation of the store's `commit` and `checkpoint` promises.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::File;
use super::tests::{Bench, content, name, pattern};
use crate::format::NodeId;
use crate::store::JOURNAL;
use crate::volume::Volume;
use crate::volume::testing::open_with_journal;

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;
const CHUNK: usize = 4096;
const JOURNAL_BYTES: u64 = 256 << 10;
/// More than the journal takes of fresh bytes.
const LARGE: usize = 70_000;
/// Random subsets of each phase.
const SUBSETS: u64 = 100;

/// What the backing holds: its files by name.
type State = BTreeMap<String, Vec<u8>>;

/// What may reach the medium by itself.
enum Piece {
    Sector(String, usize),
    Len(String),
}

/// Any part of the way from one state to the other may be on the medium.
struct Phase {
    what: &'static str,
    from: State,
    to: State,
}

fn sector(bytes: &[u8], index: usize) -> &[u8] {
    let start = (index * SECTOR).min(bytes.len());
    &bytes[start..bytes.len().min(start + SECTOR)]
}

impl Phase {
    fn pieces(&self) -> Vec<Piece> {
        let mut pieces = Vec::new();
        for (name, to) in &self.to {
            let from = &self.from[name];
            if from.len() != to.len() {
                pieces.push(Piece::Len(name.clone()));
            }
            for index in 0..to.len().div_ceil(SECTOR) {
                if sector(from, index) != sector(to, index) {
                    pieces.push(Piece::Sector(name.clone(), index));
                }
            }
        }
        pieces
    }

    /// `from` with these pieces as they are in `to`.
    fn mixed<'a>(&self, chosen: impl Iterator<Item = &'a Piece> + Clone) -> State {
        let mut state = self.from.clone();
        for piece in chosen.clone() {
            let Piece::Sector(name, index) = piece else {
                continue;
            };
            let new = sector(&self.to[name], *index);
            let (file, start) = (state.get_mut(name).unwrap(), index * SECTOR);
            file.resize(file.len().max(start + new.len()), 0);
            file[start..start + new.len()].copy_from_slice(new);
        }
        let grown = chosen
            .filter_map(|piece| match piece {
                Piece::Len(name) => Some(name),
                Piece::Sector(..) => None,
            })
            .collect::<Vec<_>>();
        for (name, file) in &mut state {
            let len = if grown.contains(&name) {
                &self.to[name]
            } else {
                &self.from[name]
            };
            file.resize(len.len(), 0);
        }
        state
    }
}

/// A volume with one file, and what the file may be.
struct Torn {
    bench: Bench,
    node: NodeId,
    old: Vec<u8>,
    new: Vec<u8>,
    phases: Vec<Phase>,
}

impl Torn {
    /// A file of `len` bytes, of which one chunk (or byte) was overwritten with a sync, so that the journal is not empty.
    fn new(len: usize) -> (Self, Arc<Volume>, File) {
        let bench = Bench::new(CHUNK as u32);
        let node = NodeId::random();
        let volume = open_with_journal(bench.dir.path(), JOURNAL_BYTES);
        let file = bench.file(&volume, node, false).unwrap();
        file.write(0, &pattern(3, len)).unwrap();
        file.sync(false).unwrap();
        volume.store.checkpoint().unwrap();
        file.write(len as u64 / 2, b"acknowledged").unwrap();
        file.sync(true).unwrap();
        let old = content(&file).unwrap();
        let torn = Self {
            bench,
            node,
            new: old.clone(),
            old,
            phases: Vec::new(),
        };
        (torn, volume, file)
    }

    fn state(&self) -> State {
        let files = fs::read_dir(self.bench.dir.path()).unwrap();
        let read = files.map(|entry| {
            let entry = entry.unwrap();
            let bytes = fs::read(entry.path()).unwrap();
            (entry.file_name().into_string().unwrap(), bytes)
        });
        read.filter(|(name, _)| name != "kmsfs.lock").collect()
    }

    fn phase(&mut self, what: &'static str, from: State, to: State) {
        self.phases.push(Phase { what, from, to });
    }

    /// `state` with the journal of `other`.
    fn with_journal(state: &State, other: &State) -> State {
        let mut state = state.clone();
        state.insert(JOURNAL.into(), other[JOURNAL].clone());
        state
    }

    fn put_back(&self, state: &State) {
        for (name, bytes) in state {
            let file = OpenOptions::new().write(true).open(self.bench.dir.path().join(name));
            let file = file.unwrap();
            file.set_len(bytes.len() as u64).unwrap();
            file.write_all_at(bytes, 0).unwrap();
        }
    }

    /// What a reader finds after a crash that left `state`.
    fn found(&self, state: &State) -> Result<Vec<u8>, String> {
        self.put_back(state);
        let volume = open_with_journal(self.bench.dir.path(), JOURNAL_BYTES);
        let file = self.bench.file(&volume, self.node, true);
        file.and_then(|file| content(&file)).map_err(|error| error.to_string())
    }

    fn check(&self, state: &State) -> Result<(), String> {
        let found = self.found(state)?;
        if found.len() != self.old.len() && found.len() != self.new.len() {
            return Err(format!("{} bytes long", found.len()));
        }
        for (index, is) in found.chunks(CHUNK).enumerate() {
            let was = |plain: &[u8]| plain.get(index * CHUNK..).is_some_and(|rest| rest.starts_with(is));
            if !was(&self.old) && !was(&self.new) {
                return Err(format!("chunk {index} is neither old nor new"));
            }
        }
        Ok(())
    }

    /// Opens every mixture of every phase; the volume must have been dropped before.
    fn tear(&self) -> Result<(), String> {
        let (first, last) = (self.phases.first().unwrap(), self.phases.last().unwrap());
        assert_eq!(self.found(&first.from), Ok(self.old.clone()), "before");
        assert_eq!(self.found(&last.to), Ok(self.new.clone()), "after");
        self.phases.iter().try_for_each(|phase| self.tear_phase(phase))
    }

    fn tear_phase(&self, phase: &Phase) -> Result<(), String> {
        let pieces = phase.pieces();
        assert!(!pieces.is_empty(), "{}: nothing happens in it", phase.what);
        let check = |state: &State, which: &str| {
            let count = pieces.len();
            self.check(state)
                .map_err(|reason| format!("{}, {which} of {count} pieces: {reason}", phase.what))
        };
        for count in 0..=pieces.len() {
            let (begin, rest) = pieces.split_at(count);
            check(&phase.mixed(begin.iter()), &format!("the first {count}"))?;
            check(&phase.mixed(rest.iter()), &format!("all but the first {count}"))?;
        }
        for seed in 1..=SUBSETS {
            let chosen = subset(seed, pieces.len());
            let chosen = pieces.iter().zip(&chosen).filter(|(_, chosen)| **chosen);
            let mixed = phase.mixed(chosen.map(|(piece, _)| piece));
            check(&mixed, &format!("subset {seed}"))?;
        }
        Ok(())
    }
}

/// Some subsets are nearly everything, some nearly nothing.
fn subset(seed: u64, count: usize) -> Vec<bool> {
    let mut dice = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut throw = || {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        dice % 8 < 1 + seed % 7
    };
    (0..count).map(|_| throw()).collect()
}

#[test]
fn a_torn_overwrite_is_old_or_new_in_every_chunk() {
    for len in [20 * CHUNK, 20 * CHUNK - 700, 900] {
        let (mut torn, volume, file) = Torn::new(len);
        let before = torn.state();
        file.write(len as u64 / 5, &pattern(11, len / 6)).unwrap();
        file.sync(true).unwrap();
        torn.new = content(&file).unwrap();
        let after = torn.state();
        assert_eq!(before[&name(torn.node)], after[&name(torn.node)], "not in its place");
        torn.phase("the journal sync of an overwrite", before, after);
        drop((file, volume));
        torn.tear().unwrap();
    }
}

#[test]
fn a_torn_checkpoint_changes_nothing() {
    let (mut torn, volume, file) = Torn::new(20 * CHUNK - 700);
    file.write(10_000, &pattern(11, 9000)).unwrap();
    file.sync(true).unwrap();
    (torn.old, torn.new) = (content(&file).unwrap(), content(&file).unwrap());
    let before = torn.state();
    volume.store.checkpoint().unwrap();
    let after = torn.state();
    // With the new segment opened and the old one not yet retired.
    let mut both = after.clone();
    let journal = both.get_mut(JOURNAL).unwrap();
    for (index, was) in before[JOURNAL].chunks(SECTOR).enumerate() {
        let is = &mut journal[index * SECTOR..][..was.len()];
        if is.starts_with(&[0; 64]) && !was.starts_with(&[0; 64]) {
            is.copy_from_slice(was);
        }
    }
    torn.phase("the copying of a checkpoint", before, both.clone());
    torn.phase("the end of a checkpoint", both, after);
    drop((file, volume));
    torn.tear().unwrap();
}

#[test]
fn a_torn_append_is_there_or_not() {
    // A small one goes through the journal, for the file has been synced before; a large one to its place.
    for (len, more, in_place) in [
        (20 * CHUNK, 15_000, false),
        (20 * CHUNK - 700, 15_000, false),
        (20 * CHUNK - 700, LARGE, true),
        (62 * CHUNK, LARGE, true),
    ] {
        let (mut torn, volume, file) = Torn::new(len);
        let before = torn.state();
        file.write(len as u64, &pattern(11, more)).unwrap();
        let written = torn.state();
        let stored = name(torn.node);
        assert_eq!(before[&stored] != written[&stored], in_place);
        torn.new = content(&file).unwrap();
        file.sync(true).unwrap();
        let after = torn.state();
        let data_only = Torn::with_journal(&written, &before);
        torn.phase("the data of an append", before, written);
        torn.phase("the size of an append", data_only, after);
        drop((file, volume));
        torn.tear().unwrap();
    }
}

#[test]
fn a_torn_truncation_is_there_or_not() {
    for len in [5 * CHUNK as u64 + 77, 5 * CHUNK as u64, 1000, 0] {
        let (mut torn, volume, file) = Torn::new(20 * CHUNK - 700);
        let before = torn.state();
        file.resize(len).unwrap();
        torn.new = content(&file).unwrap();
        file.sync(true).unwrap();
        let after = torn.state();
        let decided = Torn::with_journal(&before, &after);
        torn.phase("the journal sync of a truncation", before, decided.clone());
        torn.phase("the cut of a truncation", decided, after);
        drop((file, volume));
        torn.tear().unwrap();
    }
}

/// The order of the phases is what protects: without it the same mixtures lose data, and the test notices.
#[test]
fn without_the_order_the_tear_test_fails() {
    let (mut torn, volume, file) = Torn::new(20 * CHUNK);
    let before = torn.state();
    file.write(20 * CHUNK as u64, &pattern(11, LARGE)).unwrap();
    torn.new = content(&file).unwrap();
    file.sync(true).unwrap();
    torn.phase("an append whose size does not wait for its data", before, torn.state());
    drop((file, volume));
    torn.tear().unwrap_err();

    let (mut torn, volume, file) = Torn::new(20 * CHUNK - 700);
    let before = torn.state();
    volume.store.checkpoint().unwrap();
    torn.phase("a checkpoint that does not wait for its copies", before, torn.state());
    drop((file, volume));
    torn.tear().unwrap_err();
}
