//! Content against a model, and against somebody who edits the backing.

use std::fs::OpenOptions;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use proptest::prelude::*;
use tempfile::TempDir;

use super::{ContentError, File, Seek, stored_size};
use crate::format::head::INLINE_MAX;
use crate::format::{Geometry, NodeId};
use crate::store::StoredPath;
use crate::volume::Volume;
use crate::volume::testing::{create, open};

/// A directory with a volume in it, and stored files that have no names of their own.
pub(super) struct Bench {
    pub(super) dir: TempDir,
    chunk_size: u32,
}

impl Bench {
    pub(super) fn new(chunk_size: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        create(dir.path(), Geometry::new(chunk_size).unwrap());
        Self { dir, chunk_size }
    }

    fn volume(&self) -> Arc<Volume> {
        open(self.dir.path())
    }

    fn path(&self, node: NodeId) -> PathBuf {
        self.dir.path().join(name(node))
    }

    pub(super) fn file(&self, volume: &Arc<Volume>, node: NodeId, born: bool) -> Result<File, ContentError> {
        let path = self.path(node);
        let open = || {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(path)?;
            Ok((OwnedFd::from(file), StoredPath::new(name(node).into_bytes())))
        };
        File::open(volume, node, born, open)
    }
}

/// A stored name that recovery can read the node from. Nobody opens it as a name here.
pub(super) fn name(node: NodeId) -> String {
    use crate::format::stored_name::{NameFlags, RawName, Sealed};
    RawName {
        node,
        flags: NameFlags::NONE,
        sealed: Sealed::Short(vec![0; 20]),
    }
    .text()
}

pub(super) fn content(file: &File) -> Result<Vec<u8>, ContentError> {
    let mut all = Vec::new();
    file.read(0, usize::MAX >> 1, &mut all)?;
    Ok(all)
}

pub(super) fn pattern(seed: u64, len: usize) -> Vec<u8> {
    (0..len as u64)
        .map(|at| (at.wrapping_mul(seed | 1) >> 3) as u8 | 1)
        .collect()
}

#[derive(Debug, Clone)]
enum Step {
    Write(u64, usize, u64),
    Read(u64, usize),
    Resize(u64),
    Punch(u64, u64),
    Seek(u64),
    Sync,
    Checkpoint,
    Reopen,
}

fn offset() -> impl Strategy<Value = u64> {
    prop_oneof![
        3 => 0u64..5000,
        2 => (0u64..200).prop_map(|chunk| chunk * 4096),
        2 => 250_000u64..290_000,
        1 => 0u64..3_000_000,
    ]
}

fn length() -> impl Strategy<Value = usize> {
    prop_oneof![3 => 1usize..300, 2 => (1usize..40).prop_map(|n| n * 4096), 1 => 1usize..400_000]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (offset(), length(), any::<u64>()).prop_map(|(at, len, seed)| Step::Write(at, len, seed)),
        4 => (offset(), length()).prop_map(|(at, len)| Step::Read(at, len)),
        2 => offset().prop_map(Step::Resize),
        2 => (offset(), length()).prop_map(|(at, len)| Step::Punch(at, len as u64)),
        1 => offset().prop_map(Step::Seek),
        1 => Just(Step::Sync),
        1 => Just(Step::Checkpoint),
        1 => Just(Step::Reopen),
    ]
}

fn run(chunk_size: u32, steps: Vec<Step>) {
    let bench = Bench::new(chunk_size);
    let node = NodeId::random();
    let mut volume = bench.volume();
    let mut file = bench.file(&volume, node, false).unwrap();
    let mut model: Vec<u8> = Vec::new();
    for step in steps {
        match step {
            Step::Write(at, len, seed) => {
                let data = pattern(seed, len);
                file.write(at, &data).unwrap();
                let end = at as usize + len;
                model.resize(model.len().max(end), 0);
                model[at as usize..end].copy_from_slice(&data);
            }
            Step::Read(at, len) => {
                let mut out = vec![9; 3];
                file.read(at, len, &mut out).unwrap();
                let from = model.len().min(at as usize);
                assert!(out == model[from..model.len().min(from + len)], "read {at} {len}");
            }
            Step::Resize(size) => {
                file.resize(size).unwrap();
                model.resize(size as usize, 0);
            }
            Step::Punch(at, len) => {
                file.punch(at..at + len).unwrap();
                let from = model.len().min(at as usize);
                let to = model.len().min((at + len) as usize);
                model[from..to].fill(0);
            }
            Step::Seek(at) => check_seek(&file, &model, at),
            Step::Sync => file.sync(true).unwrap(),
            Step::Checkpoint => volume.store.checkpoint().unwrap(),
            Step::Reopen => {
                drop(file);
                volume.store.close().unwrap();
                drop(volume);
                volume = bench.volume();
                let read = |page: &mut [u8]| std::fs::File::open(bench.path(node))?.read_at(page, 0);
                assert_eq!(stored_size(&volume, node, false, read).unwrap(), model.len() as u64);
                file = bench.file(&volume, node, false).unwrap();
            }
        }
        assert_eq!(file.size(), model.len() as u64);
    }
    assert!(content(&file).unwrap() == model);
}

/// Data is never reported as a hole; where a hole is reported, there are zeros.
fn check_seek(file: &File, model: &[u8], at: u64) {
    let data = file.seek(at, Seek::Data).unwrap();
    let hole = file.seek(at, Seek::Hole).unwrap();
    if at >= model.len() as u64 {
        assert_eq!((data, hole), (None, None));
        return;
    }
    let until = data.unwrap_or(model.len() as u64);
    assert!(model[at as usize..until as usize].iter().all(|byte| *byte == 0));
    assert!(hole.unwrap() <= model.len() as u64);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 400, ..ProptestConfig::default() })]
    #[test]
    fn proptest_content_against_a_model(large in any::<bool>(), steps in proptest::collection::vec(step(), 1..40)) {
        run(if large { 16384 } else { 4096 }, steps);
    }
}

/// A volume with one file, committed, in its place.
fn with_file(plain: &[u8], holes: &[std::ops::Range<u64>]) -> (Bench, NodeId) {
    let bench = Bench::new(4096);
    let node = NodeId::random();
    let volume = bench.volume();
    let file = bench.file(&volume, node, false).unwrap();
    file.write(0, plain).unwrap();
    for hole in holes {
        file.punch(hole.clone()).unwrap();
    }
    file.sync(false).unwrap();
    drop(file);
    volume.store.close().unwrap();
    (bench, node)
}

/// Whether a reader gets an error or exactly `plain`, after `edit` of the stored bytes.
fn error_or_same(bench: &Bench, volume: &Arc<Volume>, node: NodeId, plain: &[u8], stored: &[u8]) -> bool {
    std::fs::write(bench.path(node), stored).unwrap();
    let read = |page: &mut [u8]| std::fs::File::open(bench.path(node))?.read_at(page, 0);
    if let Ok(size) = stored_size(volume, node, true, read) {
        assert_eq!(size, plain.len() as u64);
    }
    let file = bench.file(volume, node, true);
    file.and_then(|file| content(&file)).map_or(true, |read| read == plain)
}

#[test]
fn attack_cut_at_every_byte() {
    for plain in [pattern(5, 700), pattern(7, 5000)] {
        let (bench, node) = with_file(&plain, &[]);
        let stored = std::fs::read(bench.path(node)).unwrap();
        let volume = bench.volume();
        for len in 0..stored.len() {
            assert!(
                error_or_same(&bench, &volume, node, &plain, &stored[..len]),
                "cut to {len}"
            );
        }
        let longer = [&stored[..], &[0; 5000]].concat();
        assert!(error_or_same(&bench, &volume, node, &plain, &longer));
    }
}

#[test]
fn attack_zero_every_stretch() {
    for (plain, holes) in [
        (pattern(5, 700), vec![]),
        (pattern(7, 300_000), vec![8192..40_960, 266_240..280_000]),
    ] {
        let mut plain = plain;
        let (bench, node) = with_file(&plain, &holes);
        for hole in holes {
            plain[hole.start as usize..hole.end as usize].fill(0);
        }
        let stored = std::fs::read(bench.path(node)).unwrap();
        let volume = bench.volume();
        for len in [32, 512, 4096] {
            for at in (0..stored.len()).step_by(len) {
                let mut edited = stored.clone();
                let end = stored.len().min(at + len);
                edited[at..end].fill(0);
                assert!(
                    error_or_same(&bench, &volume, node, &plain, &edited),
                    "zeros at {at}, {len} bytes"
                );
            }
        }
        assert!(error_or_same(&bench, &volume, node, &plain, &vec![0; stored.len()]));
    }
}

/// SEEK_DATA and SEEK_HOLE believed entries that nobody had authenticated. Somebody zeroed entries in the backing, and
/// `cp`, which does not read what it takes for holes, made a copy full of zeros without a word.
#[test]
fn regression_a_hole_is_believed_only_when_its_entry_opens() {
    let (bench, node) = with_file(&pattern(7, 100_000), std::slice::from_ref(&(40_960..81_920)));
    let file = bench.file(&bench.volume(), node, true).unwrap();
    assert_eq!(file.seek(0, Seek::Hole).unwrap(), Some(40_960));
    assert_eq!(file.seek(40_960, Seek::Data).unwrap(), Some(81_920));
    let stored = OpenOptions::new().write(true).open(bench.path(node)).unwrap();
    let entry = Geometry::new(4096).unwrap().entry_offset(3);
    stored.write_all_at(&[0; 32], entry).unwrap();
    for (from, what) in [(0, Seek::Hole), (5000, Seek::Hole), (3 * 4096, Seek::Data)] {
        assert!(matches!(
            file.seek(from, what),
            Err(ContentError::Chunk { chunk: 3, .. })
        ));
    }
    assert_eq!(file.seek(0, Seek::Data).unwrap(), Some(0));
}

#[test]
fn attack_move_chunks_and_heads() {
    let (plain, other) = (pattern(5, 60_000), pattern(9, 60_000));
    let (bench, node) = with_file(&plain, &[]);
    let volume = bench.volume();
    let second = NodeId::random();
    let file = bench.file(&volume, second, false).unwrap();
    file.write(0, &other).unwrap();
    file.sync(false).unwrap();
    drop(file);
    volume.store.close().unwrap();
    drop(volume);
    let volume = bench.volume();
    let stored = std::fs::read(bench.path(node)).unwrap();
    let foreign = std::fs::read(bench.path(second)).unwrap();
    let piece = |bytes: &[u8], from: usize, to: usize, len: usize, source: &[u8]| {
        let mut edited = bytes.to_vec();
        edited[to..to + len].copy_from_slice(&source[from..from + len]);
        edited
    };
    let g = Geometry::new(4096).unwrap();
    let place = |chunk| g.chunk_offset(chunk) as usize;
    let entry = |chunk| g.entry_offset(chunk) as usize;
    for (from, to) in [(0, 1), (1, 0), (3, 9)] {
        for source in [&stored, &foreign] {
            let moved = piece(&stored, place(from), place(to), 4096, source);
            assert!(error_or_same(&bench, &volume, node, &plain, &moved));
            let moved = piece(&moved, entry(from), entry(to), 32, source);
            assert!(error_or_same(&bench, &volume, node, &plain, &moved));
        }
    }
    // Another file as a whole, another head, another wrapped key, another size.
    for (from, len) in [(0, foreign.len()), (0, 1024), (128, 328), (80, 8), (960, 32), (64, 16)] {
        let moved = piece(&stored, from, from, len, &foreign);
        assert!(
            error_or_same(&bench, &volume, node, &plain, &moved),
            "from {from}, {len} bytes"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn attack_flip_any_bit(len in prop_oneof![1usize..=INLINE_MAX, 4000usize..20_000], at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let plain = pattern(3, len);
        let (bench, node) = with_file(&plain, &[]);
        let mut stored = std::fs::read(bench.path(node)).unwrap();
        let at = at.index(stored.len());
        stored[at] ^= 1 << bit;
        prop_assert!(error_or_same(&bench, &bench.volume(), node, &plain, &stored));
    }
}

#[test]
fn sparse_files_cost_next_to_nothing() {
    let bench = Bench::new(4096);
    let node = NodeId::random();
    let volume = bench.volume();
    let file = bench.file(&volume, node, false).unwrap();
    file.resize(8 << 30).unwrap();
    file.write(5 << 30, b"in the middle").unwrap();
    let mut out = Vec::new();
    file.read((5 << 30) - 4, 20, &mut out).unwrap();
    assert_eq!(out, b"\0\0\0\0in the middle\0\0\0");
    assert_eq!(file.seek(0, Seek::Data).unwrap(), Some(5 << 30));
    file.sync(false).unwrap();
    drop(file);
    volume.store.close().unwrap();
    use std::os::unix::fs::MetadataExt;
    let blocks = std::fs::metadata(bench.path(node)).unwrap().blocks();
    assert!(blocks * 512 < 100_000, "{blocks} blocks of 512 bytes");
    assert_eq!(bench.chunk_size, 4096);
}

/// With more holes than the head has room for, the smallest got an entry for each chunk, all of them sealed in memory at once:
/// gigabytes for a file of terabytes. Now parts of it come first, and the file reads the same after each.
#[test]
fn regression_long_holes_become_entries_a_part_at_a_time() {
    let bench = Bench::new(4096);
    let (node, volume) = (NodeId::random(), bench.volume());
    let file = bench.file(&volume, node, false).unwrap();
    let hole = 300 << 20;
    let mut written: Vec<u64> = (2..=130).map(|n| n * hole).collect();
    // A hole at the end that is smaller than all others, and one that is cut out of the first.
    written.extend([130 * hole + (270 << 20), 330 << 20]);
    for at in &written {
        file.write(*at, b"x").unwrap();
    }
    // And one that is not written behind.
    let size = 130 * hole + (540 << 20);
    file.resize(size).unwrap();
    written.sort_unstable();
    file.sync(false).unwrap();
    drop(file);
    volume.store.close().unwrap();
    drop(volume);
    let file = bench.file(&bench.volume(), node, true).unwrap();
    let mut from = 0;
    for at in written {
        assert_eq!(file.seek(from, Seek::Data).unwrap(), Some(at));
        let mut out = Vec::new();
        file.read(at - 1, 3, &mut out).unwrap();
        assert_eq!(out, b"\0x\0");
        from = at + 4096;
    }
    assert_eq!((file.seek(from, Seek::Data).unwrap(), file.size()), (None, size));
}

/// A search for data looked at each group of a hole, and a thread was busy for minutes in a file of a petabyte.
#[test]
fn regression_a_search_for_data_passes_over_a_hole_at_once() {
    let bench = Bench::new(4096);
    let file = bench.file(&bench.volume(), NodeId::random(), false).unwrap();
    file.resize(1 << 50).unwrap();
    assert_eq!(file.seek(0, Seek::Data).unwrap(), None);
    assert_eq!(file.seek(5000, Seek::Hole).unwrap(), Some(5000));
}

#[test]
fn too_large_is_refused_and_changes_nothing() {
    let bench = Bench::new(4096);
    let volume = bench.volume();
    let file = bench.file(&volume, NodeId::random(), false).unwrap();
    file.write(0, b"kept").unwrap();
    assert!(matches!(file.resize(u64::MAX), Err(ContentError::TooLarge { .. })));
    assert!(matches!(
        file.write(u64::MAX - 1, b"ab"),
        Err(ContentError::TooLarge { .. })
    ));
    assert_eq!(content(&file).unwrap(), b"kept");
}

#[test]
fn a_file_with_a_read_only_feature_is_read_but_not_written() {
    let bench = Bench::new(4096);
    let volume = bench.volume();
    let node = NodeId::random();
    let file = bench.file(&volume, node, false).unwrap();
    file.write(0, &[7; 9000]).unwrap();
    let mut live = file.exclusive().unwrap();
    let mut newer = live.clone().unwrap();
    newer.head.features.read_only.set(1);
    file.put(&mut live, newer, super::file::Edit::default()).unwrap();
    drop(live);
    drop(file);
    volume.store.commit_all().unwrap();
    let file = bench.file(&volume, node, true).unwrap();
    let refused = |result: Result<(), ContentError>| assert!(matches!(result, Err(ContentError::ReadOnly { .. })));
    refused(file.write(0, b"lost").map(drop));
    refused(file.resize(0).map(drop));
    assert_eq!(content(&file).unwrap(), [7; 9000]);
}
