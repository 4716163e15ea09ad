//! A backing that can lose power. It watches the calls that change directories, keeps what is durable apart from what
//! is only done, and before each of them lays out directories as a crash would leave them: of the calls on a
//! directory that were not synced, any may be there and any not. What files hold is as it was: that a crash
//! tears content apart is the business of `store::crash`.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, fstat, openat};
use tempfile::TempDir;

use crate::store::Rng;
use crate::sys::entries::Call;
use crate::sys::entries::watch::{self, Moment};

/// Entries of directories: inode numbers by name, by inode number of the directory.
type Tree = HashMap<u64, BTreeMap<String, u64>>;
type Key = (u64, String);

#[derive(Clone)]
enum Done {
    Make(Key, u64),
    Rename(Key, Key, u64),
    Remove(Key, u64),
}

/// A sync that is left out, to show that it would be missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    Nothing,
    /// After a rename.
    AfterRename,
    /// After a removal.
    AfterRemoval,
    /// After a side file was made.
    AfterSide,
    /// After moves were written down.
    AfterMoves,
}

struct State {
    root: u64,
    nodes: HashMap<u64, OwnedFd>,
    durable: Tree,
    cached: Tree,
    pending: Vec<Done>,
    rng: Rng,
    crashes: Vec<TempDir>,
    missing: Missing,
    last: Missing,
    /// A program asked for the sync that comes next, so it is not left out.
    asked: bool,
    paused: bool,
}

/// See the module; it watches until it is dropped.
pub struct Power(Rc<RefCell<State>>);

impl Drop for Power {
    fn drop(&mut self) {
        watch::set(None);
    }
}

impl Power {
    /// Watches what this thread does with the directories below `root`, of which everything is durable.
    pub fn watch(root: &Path, rng: Rng, missing: Missing) -> Self {
        let mut state = State {
            root: 0,
            nodes: HashMap::new(),
            durable: Tree::new(),
            cached: Tree::new(),
            pending: Vec::new(),
            rng,
            crashes: Vec::new(),
            missing,
            last: Missing::Nothing,
            asked: false,
            paused: false,
        };
        let open = fs::File::open(root).unwrap();
        state.root = inode(open.as_fd());
        let entries = fs::read_dir(root).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let known = names.map(|name| (name.clone(), state.know(open.as_fd(), &name)));
        let known: BTreeMap<String, u64> = known.collect();
        state.cached.insert(state.root, known);
        state.durable = state.cached.clone();
        let state = Rc::new(RefCell::new(state));
        let watched = state.clone();
        watch::set(Some(Box::new(move |call, moment| {
            watched.borrow_mut().told(call, moment);
        })));
        Self(state)
    }

    /// What crashes since the last call of this have left.
    pub fn crashes(&self) -> Vec<TempDir> {
        std::mem::take(&mut self.0.borrow_mut().crashes)
    }

    /// Does something that it does not watch.
    pub fn aside<T>(&self, something: impl FnOnce() -> T) -> T {
        self.0.borrow_mut().paused = true;
        let done = something();
        self.0.borrow_mut().paused = false;
        done
    }

    /// Whether the next syncs are a program's own.
    pub fn asked(&self, asked: bool) {
        self.0.borrow_mut().asked = asked;
    }
}

fn inode(descriptor: BorrowedFd<'_>) -> u64 {
    fstat(descriptor).unwrap().st_ino
}

impl Done {
    fn keys(&self) -> Vec<&Key> {
        match self {
            Self::Make(key, _) | Self::Remove(key, _) => vec![key],
            Self::Rename(from, to, _) => vec![from, to],
        }
    }

    fn inode(&self) -> u64 {
        match self {
            Self::Make(_, inode) | Self::Rename(_, _, inode) | Self::Remove(_, inode) => *inode,
        }
    }

    /// Applies it to `tree`, if it can be: a call whose beginnings are not there is not there either.
    fn apply(&self, tree: &mut Tree, root: u64) {
        let there =
            |tree: &Tree, (directory, name): &Key| tree.get(directory).and_then(|names| names.get(name)).copied();
        let linked = self
            .keys()
            .iter()
            .all(|(directory, _)| is_below(tree, *directory, root));
        match self {
            Self::Make(key, inode) if linked && there(tree, key).is_none() => put(tree, key, *inode),
            Self::Remove(key, inode) if linked && there(tree, key) == Some(*inode) && is_empty(tree, *inode) => {
                take(tree, key);
            }
            Self::Rename(from, to, inode) if linked && there(tree, from) == Some(*inode) => {
                let free = there(tree, to).is_none_or(|other| is_empty(tree, other));
                if free && !is_below(tree, to.0, *inode) {
                    take(tree, from);
                    put(tree, to, *inode);
                }
            }
            _ => {}
        }
    }
}

fn put(tree: &mut Tree, (directory, name): &Key, inode: u64) {
    tree.entry(*directory).or_default().insert(name.clone(), inode);
}

fn take(tree: &mut Tree, (directory, name): &Key) {
    if let Some(names) = tree.get_mut(directory) {
        names.remove(name);
    }
}

fn is_empty(tree: &Tree, inode: u64) -> bool {
    tree.get(&inode).is_none_or(BTreeMap::is_empty)
}

/// The entry of a directory.
fn entry_of(tree: &Tree, inode: u64) -> Option<Key> {
    let named = |(directory, names): (&u64, &BTreeMap<String, u64>)| {
        let name = names.iter().find(|(_, other)| **other == inode)?.0;
        Some((*directory, name.clone()))
    };
    tree.iter().find_map(named)
}

fn is_below(tree: &Tree, inode: u64, above: u64) -> bool {
    let mut at = inode;
    while at != above {
        match entry_of(tree, at) {
            Some((parent, _)) => at = parent,
            None => return false,
        }
    }
    true
}

impl State {
    /// Holds the node `name` of `directory`, so that it can be laid out when it has no name any more.
    fn know(&mut self, directory: BorrowedFd<'_>, name: &str) -> u64 {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let node = openat(directory, name, flags, Mode::empty()).unwrap();
        let inode = inode(node.as_fd());
        if FileType::from_raw_mode(fstat(&node).unwrap().st_mode) == FileType::Directory {
            self.cached.entry(inode).or_default();
        }
        self.nodes.entry(inode).or_insert(node);
        inode
    }

    fn told(&mut self, call: Call<'_>, moment: Moment) {
        if self.paused {
            return;
        }
        if moment == Moment::Before {
            for _ in 0..2 {
                let crash = self.crash();
                self.crashes.push(crash);
            }
            return;
        }
        let at = |directory: BorrowedFd<'_>, name: &str| (inode(directory), name.to_owned());
        let known = |state: &Self, key: &Key| state.cached[&key.0][&key.1];
        let done = match call {
            Call::Make(directory, name) => {
                self.last = match name {
                    _ if name.ends_with(".name") => Missing::AfterSide,
                    "kmsfs.moves" => Missing::AfterMoves,
                    _ => Missing::Nothing,
                };
                Done::Make(at(directory, name), self.know(directory, name))
            }
            Call::Rename(from, old, to, new) => {
                self.last = Missing::AfterRename;
                let from = at(from, old);
                let inode = known(self, &from);
                Done::Rename(from, at(to, new), inode)
            }
            Call::Remove(directory, name) => {
                self.last = Missing::AfterRemoval;
                let key = at(directory, name);
                let inode = known(self, &key);
                Done::Remove(key, inode)
            }
            Call::Sync(directory) => return self.sync(inode(directory)),
            Call::SyncAll => {
                self.durable.clone_from(&self.cached);
                self.pending.clear();
                return;
            }
        };
        done.apply(&mut self.cached, self.root);
        self.pending.push(done);
    }

    /// Makes durable what was done in `directory`, and what that is built on.
    fn sync(&mut self, directory: u64) {
        if !self.asked && self.missing != Missing::Nothing && self.missing == self.last {
            return;
        }
        let mut keys: HashSet<Key> = HashSet::new();
        // Directories that must be found by their paths.
        let mut directories: HashSet<u64> = [directory].into();
        let (mut now, mut later) = (Vec::new(), Vec::new());
        for done in std::mem::take(&mut self.pending).into_iter().rev() {
            let here = |key: &&Key| key.0 == directory || keys.contains(*key);
            if done.keys().iter().any(here) || directories.contains(&done.inode()) {
                directories.extend(done.keys().iter().map(|key| key.0));
                keys.extend(done.keys().into_iter().cloned());
                now.push(done);
            } else {
                later.push(done);
            }
        }
        now.iter()
            .rev()
            .for_each(|done| done.apply(&mut self.durable, self.root));
        later.reverse();
        self.pending = later;
    }

    /// Lays out what a crash leaves now.
    fn crash(&mut self) -> TempDir {
        let mut tree = self.durable.clone();
        let keeps = self.rng.below(5);
        for done in &self.pending {
            if self.rng.below(4) < keeps {
                done.apply(&mut tree, self.root);
            }
        }
        let crash = super::bench::in_memory();
        self.lay_out(&tree, self.root, crash.path(), &mut HashMap::new());
        crash
    }

    fn lay_out(&self, tree: &Tree, directory: u64, path: &Path, laid: &mut HashMap<u64, std::path::PathBuf>) {
        for (name, inode) in tree.get(&directory).into_iter().flatten() {
            let path = path.join(name);
            if let Some(other) = laid.get(inode) {
                rustix::fs::linkat(rustix::fs::CWD, other, rustix::fs::CWD, &path, AtFlags::empty()).unwrap();
                continue;
            }
            let node = &self.nodes[inode];
            let held = format!("/proc/self/fd/{}", node.as_raw_fd());
            let stat = fstat(node).unwrap();
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => {
                    fs::create_dir(&path).unwrap();
                    self.lay_out(tree, *inode, &path, laid);
                    continue;
                }
                FileType::RegularFile => {
                    fs::copy(&held, &path).unwrap();
                    copy_attributes(&held, &path);
                }
                FileType::Symlink => {
                    let target = rustix::fs::readlinkat(node, "", Vec::new()).unwrap();
                    rustix::fs::symlinkat(target, rustix::fs::CWD, &path).unwrap();
                }
                kind => {
                    let mode = Mode::from_raw_mode(stat.st_mode);
                    rustix::fs::mknodat(rustix::fs::CWD, &path, kind, mode, stat.st_rdev).unwrap();
                }
            }
            laid.insert(*inode, path);
        }
    }
}

fn copy_attributes(from: &str, to: &Path) {
    let mut names = vec![0; 4096];
    let len = rustix::fs::listxattr(from, &mut names[..]).unwrap();
    for name in names[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 65536];
        let len = rustix::fs::getxattr(from, name, &mut value[..]).unwrap();
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(to, name, &value[..len], flags).unwrap();
    }
}
