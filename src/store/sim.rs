//! A simulated medium: what is cached apart from what is durable. It loses power at the n-th operation and
//! keeps a random part of what was not synced, each write torn at any byte; or fails an operation.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::medium::{Found, Medium, Modified, StoredFile, StoredPath};
use crate::format::NodeId;
use crate::format::stored_name::RawName;

/// Random numbers by a seed (SplitMix64).
#[derive(Debug, Clone)]
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// True once in `n` times.
    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// What an operation that is not synced yet did.
#[derive(Debug, Clone)]
enum Op {
    Write(u64, Vec<u8>),
    SetLen(u64),
    Punch(u64, u64),
}

#[derive(Debug, Clone)]
enum DirOp {
    Create(Vec<u8>, u64),
    Rename(Vec<u8>, Vec<u8>),
    Unlink(Vec<u8>),
}

#[derive(Debug, Default, Clone)]
struct Inode {
    cached: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Op>,
    modified: i64,
    /// Space is promised up to here.
    allocated: u64,
}

/// How an operation goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The power is gone, before this and every later operation.
    PowerCut,
    /// This one operation fails; a write has been done in part.
    Error(i32),
    /// From this operation on there is no space left, or no quota: a file grows no more.
    Full(i32),
    /// From this operation on every one fails, as on a medium that has turned read-only.
    Broken(i32),
}

#[derive(Debug, Default)]
struct Disk {
    inodes: BTreeMap<u64, Inode>,
    names: BTreeMap<Vec<u8>, u64>,
    durable_names: BTreeMap<Vec<u8>, u64>,
    pending: Vec<DirOp>,
    next_inode: u64,
    clock: i64,
    operations: u64,
    fault: Option<(u64, Fault)>,
    dead: bool,
}

/// A simulated medium; clones are the same one.
#[derive(Debug, Clone, Default)]
pub(super) struct SimMedium(Arc<Mutex<Disk>>);

const JOURNAL: &[u8] = b"kmsfs.journal";

impl Op {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write(offset, data) => {
                let (start, end) = (*offset as usize, *offset as usize + data.len());
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[start..end].copy_from_slice(data);
            }
            Self::SetLen(len) => content.resize(*len as usize, 0),
            Self::Punch(offset, len) => {
                let end = (*offset + *len).min(content.len() as u64) as usize;
                let start = (*offset as usize).min(end);
                content[start..end].fill(0);
            }
        }
    }

    /// What a crash may leave of it: nothing, all, or parts.
    fn tear(&self, rng: &mut Rng) -> Vec<Op> {
        let Self::Write(offset, data) = self else {
            return if rng.one_in(2) { vec![self.clone()] } else { Vec::new() };
        };
        let part = |from: usize, to: usize| Self::Write(offset + from as u64, data[from..to].to_vec());
        match rng.below(6) {
            0 | 1 => Vec::new(),
            2 | 3 => vec![self.clone()],
            4 => {
                let cut = rng.below(data.len() as u64 + 1) as usize;
                let keep = if rng.one_in(2) { (0, cut) } else { (cut, data.len()) };
                vec![part(keep.0, keep.1)]
            }
            _ => (0..data.len())
                .step_by(512)
                .filter(|_| rng.one_in(2))
                .map(|at| part(at, (at + 512).min(data.len())))
                .collect(),
        }
    }
}

impl DirOp {
    fn apply(&self, names: &mut BTreeMap<Vec<u8>, u64>) {
        match self {
            Self::Create(path, inode) => {
                names.insert(path.clone(), *inode);
            }
            Self::Rename(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
            Self::Unlink(path) => {
                names.remove(path);
            }
        }
    }
}

impl Disk {
    /// Counts an operation that changes something, and says how it goes wrong.
    fn step(&mut self, grows: bool) -> io::Result<Option<i32>> {
        if self.dead {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        self.operations += 1;
        self.clock += 1;
        match self.fault {
            Some((at, Fault::PowerCut)) if self.operations >= at => {
                self.dead = true;
                Err(io::Error::from_raw_os_error(libc::EIO))
            }
            Some((at, Fault::Error(errno))) if self.operations == at => Ok(Some(errno)),
            Some((at, Fault::Full(errno))) if self.operations >= at && grows => Ok(Some(errno)),
            Some((at, Fault::Broken(errno))) if self.operations >= at => Ok(Some(errno)),
            _ => Ok(None),
        }
    }

    fn has_no_room(&self, inode: u64, end: u64) -> bool {
        let inode = self.inodes.get(&inode);
        inode.is_none_or(|inode| end > inode.allocated.max(inode.cached.len() as u64))
    }

    fn sync(&mut self, inode: u64) {
        if let Some(inode) = self.inodes.get_mut(&inode) {
            for op in std::mem::take(&mut inode.pending) {
                op.apply(&mut inode.durable);
            }
        }
    }

    /// A sync that failed: what was dirty passes for clean from now on, as on Linux, but is not durable.
    fn forget_dirty(&mut self, inode: u64) {
        if let Some(inode) = self.inodes.get_mut(&inode) {
            inode.pending.clear();
        }
    }

    fn sync_names(&mut self) {
        self.durable_names.clone_from(&self.names);
        self.pending.clear();
    }
}

impl SimMedium {
    /// Operations that changed something, since `fail_at`.
    pub(super) fn operations(&self) -> u64 {
        self.0.lock().operations
    }

    /// From now on, the `at`-th operation goes wrong.
    pub(super) fn fail_at(&self, at: u64, fault: Fault) {
        let mut disk = self.0.lock();
        disk.operations = 0;
        disk.fault = Some((at, fault));
    }

    /// Space is there again, and nothing fails any more.
    pub(super) fn heal(&self) {
        let mut disk = self.0.lock();
        disk.fault = None;
    }

    /// Whether the power is gone.
    pub(super) fn is_dead(&self) -> bool {
        self.0.lock().dead
    }

    /// Whether every operation fails.
    pub(super) fn is_broken(&self) -> bool {
        matches!(self.0.lock().fault, Some((_, Fault::Broken(_))))
    }

    /// What a crash leaves, on a medium of its own. `kill` is the end of the process alone: nothing is lost.
    pub(super) fn crash(&self, rng: &mut Rng, kill: bool) -> Self {
        let disk = self.0.lock();
        let mut names = disk.durable_names.clone();
        for op in &disk.pending {
            if kill || rng.one_in(2) {
                op.apply(&mut names);
            }
        }
        // Some crashes are kind, some lose everything.
        let mood = rng.below(4);
        let mut after = Disk {
            next_inode: disk.next_inode,
            clock: disk.clock,
            ..Disk::default()
        };
        for (number, inode) in &disk.inodes {
            let mut content = if kill {
                inode.cached.clone()
            } else {
                inode.durable.clone()
            };
            if !kill && mood > 0 {
                for op in inode.pending.iter().flat_map(|op| op.tear(rng)) {
                    op.apply(&mut content);
                }
            }
            let modified = inode.modified;
            let inode = Inode {
                cached: content.clone(),
                durable: content,
                pending: Vec::new(),
                modified,
                allocated: 0,
            };
            after.inodes.insert(*number, inode);
        }
        after.names.clone_from(&names);
        after.durable_names = names;
        Self(Arc::new(Mutex::new(after)))
    }

    fn open(&self, inode: u64) -> Box<dyn StoredFile> {
        Box::new(SimFile {
            disk: self.0.clone(),
            inode,
        })
    }

    /// Creates a file.
    pub(super) fn create(&self, path: &[u8]) -> io::Result<Box<dyn StoredFile>> {
        let mut disk = self.0.lock();
        if let Some(errno) = disk.step(true)? {
            return Err(io::Error::from_raw_os_error(errno));
        }
        disk.next_inode += 1;
        let inode = disk.next_inode;
        disk.inodes.insert(inode, Inode::default());
        disk.names.insert(path.to_vec(), inode);
        disk.pending.push(DirOp::Create(path.to_vec(), inode));
        drop(disk);
        Ok(self.open(inode))
    }

    /// Opens a file by its path.
    pub(super) fn lookup(&self, path: &[u8]) -> Option<Box<dyn StoredFile>> {
        let inode = *self.0.lock().names.get(path)?;
        Some(self.open(inode))
    }

    /// The path of `node`, if it has a name.
    pub(super) fn path_of(&self, node: NodeId) -> Option<Vec<u8>> {
        let names = self.0.lock().names.clone();
        names.into_keys().find(|path| is_of(path, node))
    }

    /// Renames a file.
    pub(super) fn rename(&self, from: &[u8], to: &[u8]) -> io::Result<()> {
        self.change_names(DirOp::Rename(from.to_vec(), to.to_vec()))
    }

    /// Removes a file.
    pub(super) fn unlink(&self, path: &[u8]) -> io::Result<()> {
        self.change_names(DirOp::Unlink(path.to_vec()))
    }

    fn change_names(&self, op: DirOp) -> io::Result<()> {
        let mut disk = self.0.lock();
        if let Some(errno) = disk.step(false)? {
            return Err(io::Error::from_raw_os_error(errno));
        }
        op.apply(&mut disk.names);
        disk.pending.push(op);
        Ok(())
    }

    /// Makes the names durable, as an fsync of the directories does.
    pub(super) fn sync_names(&self) -> io::Result<()> {
        let mut disk = self.0.lock();
        if let Some(errno) = disk.step(false)? {
            return Err(io::Error::from_raw_os_error(errno));
        }
        disk.sync_names();
        Ok(())
    }
}

fn is_of(path: &[u8], node: NodeId) -> bool {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    RawName::parse(name).is_some_and(|raw| raw.node == node)
}

impl Medium for SimMedium {
    fn journal(&self, create: bool) -> io::Result<Option<Box<dyn StoredFile>>> {
        if let Some(file) = self.lookup(JOURNAL) {
            return Ok(Some(file));
        }
        if !create {
            return Ok(None);
        }
        let file = self.create(JOURNAL)?;
        self.sync_names()?;
        Ok(Some(file))
    }

    fn is_writable(&self) -> bool {
        true
    }

    fn sync_everything(&self) -> io::Result<()> {
        let mut disk = self.0.lock();
        if let Some(errno) = disk.step(false)? {
            return Err(io::Error::from_raw_os_error(errno));
        }
        let inodes: Vec<u64> = disk.inodes.keys().copied().collect();
        inodes.into_iter().for_each(|inode| disk.sync(inode));
        disk.sync_names();
        Ok(())
    }

    fn find(&self, node: NodeId, hint: &StoredPath) -> io::Result<Option<Box<dyn StoredFile>>> {
        Ok(self.lookup(hint.as_bytes()).filter(|_| is_of(hint.as_bytes(), node)))
    }

    fn find_all(&self, nodes: &BTreeSet<NodeId>, found: &mut Found<'_>) -> io::Result<()> {
        for node in nodes {
            if let Some(file) = self.path_of(*node).and_then(|path| self.lookup(&path)) {
                found(*node, file)?;
            }
        }
        Ok(())
    }
}

struct SimFile {
    disk: Arc<Mutex<Disk>>,
    inode: u64,
}

impl SimFile {
    fn change(&self, op: Op) -> io::Result<()> {
        let mut disk = self.disk.lock();
        let end = if let Op::Write(offset, data) = &op {
            offset + data.len() as u64
        } else {
            0
        };
        let grows = disk.has_no_room(self.inode, end);
        let failure = disk.step(grows)?;
        let clock = disk.clock;
        let Some(inode) = disk.inodes.get_mut(&self.inode) else {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        };
        // A write that fails has been done in part.
        let op = match (failure, op) {
            (None, op) => op,
            (Some(_), Op::Write(offset, data)) => Op::Write(offset, data[..data.len() / 2].to_vec()),
            (Some(errno), _) => return Err(io::Error::from_raw_os_error(errno)),
        };
        op.apply(&mut inode.cached);
        inode.pending.push(op);
        inode.modified = clock;
        failure.map_or(Ok(()), |errno| Err(io::Error::from_raw_os_error(errno)))
    }

    fn sync(&self) -> io::Result<()> {
        let mut disk = self.disk.lock();
        if let Some(errno) = disk.step(false)? {
            disk.forget_dirty(self.inode);
            return Err(io::Error::from_raw_os_error(errno));
        }
        disk.sync(self.inode);
        Ok(())
    }

    fn with<T>(&self, f: impl FnOnce(&mut Inode) -> T) -> io::Result<T> {
        let mut disk = self.disk.lock();
        let dead = disk.dead;
        match disk.inodes.get_mut(&self.inode) {
            Some(inode) if !dead => Ok(f(inode)),
            _ => Err(io::Error::from_raw_os_error(libc::EIO)),
        }
    }
}

impl StoredFile for SimFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.with(|inode| {
            let start = (offset as usize).min(inode.cached.len());
            let end = (start + buf.len()).min(inode.cached.len());
            buf[..end - start].copy_from_slice(&inode.cached[start..end]);
            end - start
        })
    }

    fn write_all_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.change(Op::Write(offset, data.to_vec()))
    }

    fn len(&self) -> io::Result<u64> {
        self.with(|inode| inode.cached.len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(Op::SetLen(len))
    }

    fn punch_hole(&self, offset: u64, len: u64) -> io::Result<()> {
        self.change(Op::Punch(offset, len))
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        let mut disk = self.disk.lock();
        let grows = disk.has_no_room(self.inode, offset + len);
        if let Some(errno) = disk.step(grows)? {
            return Err(io::Error::from_raw_os_error(errno));
        }
        drop(disk);
        self.with(|inode| inode.allocated = inode.allocated.max(offset + len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync()
    }

    fn is_linked(&self) -> io::Result<bool> {
        let disk = self.disk.lock();
        Ok(disk.names.values().any(|inode| *inode == self.inode))
    }

    fn modified(&self) -> io::Result<Modified> {
        self.with(|inode| Modified {
            seconds: inode.modified,
            nanoseconds: 0,
        })
    }

    fn set_modified(&self, when: Option<Modified>) -> io::Result<()> {
        let now = self.disk.lock().clock;
        self.with(|inode| inode.modified = when.map_or(now, |when| when.seconds))
    }
}
