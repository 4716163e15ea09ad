//! The crash loop: a random workload, cut off before every single operation of the medium, recovered
//! (and cut off again while recovering), and every file held against the states that it may be in.
//!
//! A file may be in the state of its last acknowledged sync or any later one; each chunk by itself, but
//! always one that opens. `KMSFS_CRASH_SECONDS` and `KMSFS_CRASH_SEEDS` make it run longer, beginning with seed
//! `KMSFS_CRASH_FROM`; a failure names its seed and its crash point, and `KMSFS_CRASH_SEED` runs that seed alone.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::content::Content;
use super::error::StoreError;
use super::medium::StoredPath;
use super::open::Store;
use super::shared::Settings;
use super::sim::{Fault, Rng, SimMedium};
use super::toy::{HOLE, Model, Value, geometry};
use crate::format::NodeId;
use crate::format::descriptor::Overwrite;
use crate::format::head::INLINE_MAX;
use crate::format::stored_name::{NameFlags, RawName, Sealed};

const FILES: u8 = 4;
pub(super) const STEPS: usize = 30;
/// The place of an inline body among the chunks of a history.
const BODY: u64 = u64::MAX;

/// What of a head decides what is there.
type Shape = (u64, bool, BTreeSet<u64>);

/// The states that a file may be found in.
#[derive(Debug, Default, Clone)]
struct Allowed {
    shapes: Vec<Shape>,
    chunks: BTreeMap<u64, BTreeSet<u64>>,
}

impl Allowed {
    /// Only this one.
    fn only(model: &Model) -> Self {
        let mut allowed = Self::default();
        allowed.also(model);
        allowed
    }

    /// This one too.
    fn also(&mut self, model: &Model) {
        self.shapes.push(shape(model));
        if let Some(body) = model.body {
            self.chunks.entry(BODY).or_default().insert(body.0);
        }
        for chunk in 0..model.chunk_count() {
            let value = model.chunks.get(&chunk).copied().unwrap_or(HOLE);
            self.chunks.entry(chunk).or_default().insert(value.0);
        }
    }

    /// Those too.
    fn or(&mut self, other: Self) {
        self.shapes.extend(other.shapes);
        for (chunk, versions) in other.chunks {
            self.chunks.entry(chunk).or_default().extend(versions);
        }
    }

    fn check(&self, found: &Model) -> Result<(), String> {
        if !self.shapes.contains(&shape(found)) {
            return Err(format!(
                "a head that was never synced or lost: {:?} of {:?}",
                shape(found),
                self.shapes
            ));
        }
        let mut values: Vec<(u64, Value)> = found.body.iter().map(|body| (BODY, *body)).collect();
        for chunk in 0..found.chunk_count() {
            if !found.absent.contains(&geometry().group_of(chunk)) {
                values.push((chunk, found.chunks.get(&chunk).copied().unwrap_or(HOLE)));
            }
        }
        for (chunk, value) in values {
            let versions = self.chunks.get(&chunk);
            if versions.is_none_or(|versions| !versions.contains(&value.0)) {
                return Err(format!("chunk {chunk} is of version {}, not of {versions:?}", value.0));
            }
        }
        Ok(())
    }
}

fn shape(model: &Model) -> Shape {
    (model.size, model.inline, model.absent.clone())
}

/// A file, as the workload knows it.
pub(super) struct File {
    node: NodeId,
    pub(super) path: Vec<u8>,
    pub(super) handle: Option<Arc<Content>>,
    pub(super) model: Model,
    allowed: Allowed,
    /// It has a name; one that a crash can not take away.
    exists: bool,
    durable_name: bool,
    /// Its removal may be forgotten by a crash.
    removed: bool,
    /// A change was refused since the last sync: on a medium that has failed it may have torn what was not synced.
    refused: bool,
}

impl File {
    fn new(node: NodeId) -> Self {
        Self {
            node,
            path: Vec::new(),
            handle: None,
            model: Model::default(),
            allowed: Allowed::only(&Model::default()),
            exists: false,
            durable_name: false,
            removed: false,
            refused: false,
        }
    }
}

pub(super) struct World {
    rng: Rng,
    pub(super) medium: SimMedium,
    pub(super) store: Arc<Store>,
    pub(super) files: Vec<File>,
    version: u64,
    renames: u8,
}

fn settings() -> Settings {
    Settings {
        journal_bytes: 1,
        overwrite: Overwrite::Journal,
        background: false,
        max_busy: 2,
        ..Settings::new(geometry())
    }
}

fn name(node: NodeId, renames: u8, rng: &mut Rng) -> Vec<u8> {
    let sealed = Sealed::Short(vec![renames; 20]);
    let name = RawName {
        node,
        flags: NameFlags::NONE,
        sealed,
    }
    .text();
    let parent = if rng.one_in(2) { "" } else { "dir/" };
    format!("{parent}{name}").into_bytes()
}

type Step = Result<(), StoreError>;

impl World {
    pub(super) fn new(seed: u64, medium: SimMedium) -> Result<Self, StoreError> {
        let store = Store::open(Box::new(medium.clone()), settings())?;
        let files = (1..=FILES).map(|number| File::new(NodeId([number; 16]))).collect();
        Ok(Self {
            rng: Rng(seed),
            medium,
            store,
            files,
            version: 0,
            renames: 0,
        })
    }

    pub(super) fn content(&mut self, file: usize) -> Result<Arc<Content>, StoreError> {
        let (medium, file) = (&self.medium, &mut self.files[file]);
        if let Some(content) = &file.handle {
            return Ok(content.clone());
        }
        let path = StoredPath::new(file.path.clone());
        let content = self
            .store
            .content(file.node, || {
                let found = medium.lookup(path.as_bytes());
                Ok((found.ok_or(std::io::ErrorKind::NotFound)?, path.clone()))
            })
            .map_err(|source| StoreError::Backing { doing: "open", source })?;
        file.handle = Some(content.clone());
        Ok(content)
    }

    pub(super) fn step(&mut self) -> Step {
        let file = self.rng.below(u64::from(FILES)) as usize;
        if self.files[file].removed {
            return self.step_without_name(file);
        }
        if !self.files[file].exists {
            return self.create(file);
        }
        match self.rng.below(26) {
            0..8 => self.write(file),
            8..10 => self.cut(file),
            10 => self.punch(file),
            11 => self.extend(file),
            12..16 => self.sync(file),
            16 => self.commit_all(),
            17 => self.store.checkpoint(),
            18 => self.rename(file),
            19 => self.sync_names(),
            20 => self.unlink(file),
            21 => {
                self.files[file].handle = None;
                Ok(())
            }
            22..24 => self.slow_sync(file),
            _ => self.look(file),
        }
    }

    /// A file that was removed and is still open goes on as any other.
    fn step_without_name(&mut self, file: usize) -> Step {
        if self.files[file].handle.is_none() {
            return Ok(());
        }
        match self.rng.below(8) {
            0..3 => self.write(file),
            3..5 => self.sync(file),
            5 => self.store.checkpoint(),
            6 => self.look(file),
            _ => {
                self.files[file].handle = None;
                self.store.unlinked(self.files[file].node);
                Ok(())
            }
        }
    }

    pub(super) fn create(&mut self, file: usize) -> Step {
        let path = name(self.files[file].node, 0, &mut self.rng);
        let created = self.medium.create(&path);
        created.map_err(|source| StoreError::Backing {
            doing: "create",
            source,
        })?;
        let file = &mut self.files[file];
        (file.exists, file.path) = (true, path);
        Ok(())
    }

    fn next_version(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    /// Makes a change: its outcome is allowed from before it is tried.
    fn change(&mut self, file: usize, next: Model, touched: &BTreeSet<u64>, together: bool) -> Step {
        let content = self.content(file)?;
        let file = &mut self.files[file];
        file.allowed.also(&next);
        let with_head = together || next.inline || shape(&next) != shape(&file.model);
        let put = next.put(&content, touched, with_head, together);
        file.refused |= put.is_err();
        put?;
        file.model = next;
        Ok(())
    }

    fn write(&mut self, file: usize) -> Step {
        let version = self.next_version();
        let model = &self.files[file].model;
        let small = model.size == 0 || model.inline;
        if small && self.rng.one_in(2) {
            let size = self.rng.below(INLINE_MAX as u64 + 1).max(self.files[file].model.size);
            let mut next = self.files[file].model.clone();
            let together = !next.inline;
            next.become_inline(size, version);
            return self.change(file, next, &BTreeSet::new(), together);
        }
        self.leave_page_0(file, version)?;
        let first = match self.rng.below(8) {
            0 => 60 + self.rng.below(8),
            1 => 190 + self.rng.below(6),
            2 => self.files[file].model.chunk_count(),
            _ => self.rng.below(6),
        };
        let many = if self.rng.one_in(10) { 30 } else { 4 };
        let range = first..first + 1 + self.rng.below(many);
        let slack = if self.rng.one_in(2) { 0 } else { self.rng.below(4096) };
        let mut next = self.files[file].model.clone();
        let (touched, _) = next.write(range.clone(), range.end * 4096 - slack, version);
        self.change(file, next, &touched, false)
    }

    fn leave_page_0(&mut self, file: usize, version: u64) -> Step {
        if !self.files[file].model.inline {
            return Ok(());
        }
        let mut next = self.files[file].model.clone();
        let size = next.size;
        let (touched, _) = next.write(0..0, size, version);
        self.change(file, next, &touched, true)
    }

    fn extend(&mut self, file: usize) -> Step {
        let version = self.next_version();
        self.leave_page_0(file, version)?;
        let mut next = self.files[file].model.clone();
        let size = next.size + self.rng.below(100 * 4096);
        let (touched, _) = next.write(0..0, size, version);
        self.change(file, next, &touched, false)
    }

    fn cut(&mut self, file: usize) -> Step {
        let version = self.next_version();
        let mut next = self.files[file].model.clone();
        let size = if self.rng.one_in(3) {
            0
        } else {
            self.rng.below(next.size + 1)
        };
        if size < 3000 && self.rng.one_in(2) {
            next.become_inline(size, version);
            return self.change(file, next, &BTreeSet::new(), true);
        }
        let touched = next.cut(size, version);
        self.change(file, next, &touched, true)
    }

    fn punch(&mut self, file: usize) -> Step {
        let mut next = self.files[file].model.clone();
        let start = self.rng.below(next.chunk_count() + 1);
        let len = if self.rng.one_in(2) { 3 } else { 200 };
        let touched = next.punch(start..start + len);
        self.change(file, next, &touched, true)
    }

    fn sync(&mut self, file: usize) -> Step {
        let data_only = self.rng.one_in(2);
        self.content(file)?.sync(data_only)?;
        let file = &mut self.files[file];
        (file.allowed, file.refused) = (Allowed::only(&file.model), false);
        Ok(())
    }

    /// A sync during which the file is changed, as another thread would.
    fn slow_sync(&mut self, file: usize) -> Step {
        let content = self.content(file)?;
        let snapshot = content.snapshot(true)?;
        let now = Allowed::only(&self.files[file].model);
        let before = std::mem::replace(&mut self.files[file].allowed, now);
        let cuts = self.rng.one_in(4);
        let changed = if cuts { self.cut(file) } else { self.write(file) };
        let committed = changed.and_then(|()| content.commit(&snapshot));
        if committed.is_err() {
            self.files[file].allowed.or(before);
        }
        committed
    }

    fn commit_all(&mut self) -> Step {
        self.store.commit_all()?;
        // A file whose removal a crash may forget is nobody's business, but it must open.
        for file in self.files.iter_mut().filter(|file| !file.removed) {
            file.allowed = Allowed::only(&file.model);
        }
        self.sync_names()
    }

    fn sync_names(&mut self) -> Step {
        let synced = self.medium.sync_names();
        synced.map_err(|source| StoreError::Backing { doing: "sync", source })?;
        for file in &mut self.files {
            file.durable_name = file.exists;
        }
        Ok(())
    }

    fn rename(&mut self, file: usize) -> Step {
        self.renames += 1;
        let to = name(self.files[file].node, self.renames, &mut self.rng);
        let renamed = self.medium.rename(&self.files[file].path, &to);
        renamed.map_err(|source| StoreError::Backing {
            doing: "rename",
            source,
        })?;
        self.files[file].path.clone_from(&to);
        self.store.renamed(self.files[file].node, StoredPath::new(to));
        Ok(())
    }

    fn unlink(&mut self, file: usize) -> Step {
        if !self.rng.one_in(3) {
            return Ok(());
        }
        self.files[file].removed = true;
        let unlinked = self.medium.unlink(&self.files[file].path);
        unlinked.map_err(|source| StoreError::Backing {
            doing: "unlink",
            source,
        })?;
        if self.rng.one_in(2) {
            self.files[file].handle = None;
        }
        self.store.unlinked(self.files[file].node);
        Ok(())
    }

    /// What a reader sees is what was written last.
    fn look(&mut self, file: usize) -> Step {
        let content = self.content(file)?;
        match Model::observe(&content) {
            Ok(found) => assert_eq!(found, self.files[file].model, "a reader sees something else"),
            Err(reason) => {
                let torn = self.files[file].refused && self.medium.is_broken();
                assert!(torn || self.medium.is_dead(), "a reader sees nothing: {reason}");
            }
        }
        Ok(())
    }

    pub(super) fn run(&mut self, steps: usize) -> Step {
        (0..steps).try_for_each(|_| self.step())
    }

    /// Reopens every file after a crash and holds it against what is allowed.
    fn check(&mut self) -> Result<(), String> {
        for index in 0..self.files.len() {
            let node = self.files[index].node;
            let Some(path) = self.medium.path_of(node) else {
                let file = &self.files[index];
                if file.durable_name && !file.removed {
                    return Err(format!("file {node} is gone"));
                }
                self.files[index] = File::new(node);
                continue;
            };
            self.files[index].path = path;
            let content = self.content(index).map_err(|e| e.to_string())?;
            let found = Model::observe(&content).map_err(|e| format!("file {node}: {e}"))?;
            let file = &mut self.files[index];
            file.allowed.check(&found).map_err(|e| format!("file {node}: {e}"))?;
            (file.exists, file.removed, file.durable_name) = (true, false, true);
            file.allowed = Allowed::only(&found);
            file.model = found;
        }
        Ok(())
    }

    /// The same world on another medium, after a mount.
    fn remount(&mut self, medium: SimMedium) -> Result<(), StoreError> {
        for file in &mut self.files {
            file.handle = None;
        }
        self.medium = medium;
        self.store = Store::open(Box::new(self.medium.clone()), settings())?;
        Ok(())
    }

    /// Loses power, recovers (losing power again now and then), and checks.
    pub(super) fn crash_and_check(&mut self, rng: &mut Rng) -> Result<(), String> {
        let mut after = self.medium.crash(rng, rng.clone().one_in(5));
        loop {
            let again = rng.one_in(3);
            if again {
                after.fail_at(1 + rng.below(25), Fault::PowerCut);
            }
            match self.remount(after.clone()) {
                Ok(()) => {
                    after.heal();
                    break;
                }
                Err(_) if after.is_dead() => after = after.crash(rng, false),
                Err(error) => return Err(format!("recovery: {error}")),
            }
        }
        self.check()
    }
}

/// One life, cut off before operation `at`; then a second one to its end. `Ok(false)` when the first life
/// has fewer operations.
fn crash_once(seed: u64, at: u64) -> Result<bool, String> {
    let medium = SimMedium::default();
    let mut world = World::new(seed, medium.clone()).map_err(|e| e.to_string())?;
    medium.fail_at(at, Fault::PowerCut);
    let ended = world.run(STEPS);
    if !medium.is_dead() {
        ended.map_err(|e| e.to_string())?;
        return Ok(false);
    }
    let mut rng = Rng(seed ^ at.rotate_left(32));
    world.crash_and_check(&mut rng)?;
    // What recovery left behind must do no harm to what is written next.
    world.rng = rng.clone();
    world.run(STEPS / 2).map_err(|e| format!("second life: {e}"))?;
    if rng.one_in(2) {
        world
            .crash_and_check(&mut rng)
            .map_err(|e| format!("second life: {e}"))?;
    } else {
        close_and_check(&mut world).map_err(|e| format!("second life: {e}"))?;
    }
    Ok(true)
}

/// A clean end: everything is there, and nothing is left to recover.
pub(super) fn close_and_check(world: &mut World) -> Result<(), String> {
    let medium = world.medium.clone();
    world.store.close().map_err(|e| e.to_string())?;
    for file in &mut world.files {
        file.allowed = Allowed::only(&file.model);
    }
    world.remount(medium).map_err(|e| e.to_string())?;
    match world.store.recovery().records {
        0 => world.check(),
        records => Err(format!("{records} records after a clean end")),
    }
}

/// Every crash point of a seed.
pub(super) fn crash_everywhere(seed: u64) -> Result<u64, String> {
    for at in 1.. {
        let outcome = std::panic::catch_unwind(|| crash_once(seed, at));
        let outcome = outcome.unwrap_or_else(|_| Err("panic".into()));
        match outcome.map_err(|reason| format!("seed {seed}, crash point {at}: {reason}"))? {
            true => {}
            false => return Ok(at),
        }
    }
    Ok(0)
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn nothing_durable_is_lost_wherever_the_power_fails() {
    if let Some(seed) = number("KMSFS_CRASH_SEED") {
        crash_everywhere(seed).unwrap();
        return;
    }
    let seconds = number("KMSFS_CRASH_SECONDS").unwrap_or(20);
    let seeds = number("KMSFS_CRASH_SEEDS").unwrap_or(if seconds > 20 { u64::MAX } else { 10_000 });
    let began = Instant::now();
    let first = number("KMSFS_CRASH_FROM").unwrap_or(0);
    let (mut points, mut seed) = (0, first);
    while seed - first < seeds
        && (began.elapsed() < Duration::from_secs(seconds) || number("KMSFS_CRASH_SEEDS").is_some())
    {
        points += crash_everywhere(seed).unwrap();
        seed += 1;
    }
    say(&format!(
        "{} seeds from {first} on, {points} crash points",
        seed - first
    ));
}

/// A crash forgot a rename and the removal after it; recovery believed the removal and did not look for the file
/// under its old name, which so came back without what had been synced.
#[test]
fn regression_a_removal_that_a_crash_forgets_does_not_hide_the_file() {
    crash_everywhere(20_210).unwrap();
}

impl World {
    /// After a change that failed: of each chunk the old or the new version is there.
    pub(super) fn accept_what_is_there(&mut self) {
        for index in 0..self.files.len() {
            if !self.files[index].exists || self.files[index].removed {
                continue;
            }
            let content = self.content(index).unwrap();
            let found = Model::observe(&content).unwrap();
            self.files[index].allowed.check(&found).unwrap();
            self.files[index].model = found;
        }
    }
}

/// Tells who runs the loop by hand what it did.
pub(super) fn say(what: &str) {
    let _ = writeln!(std::io::stderr(), "{what}");
}
