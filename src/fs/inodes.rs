//! The table of nodes that somebody knows: the kernel by look-ups, children by being below.
//!
//! An inode lives here exactly as long as the kernel has look-ups of it that it has not forgotten, or an inode
//! below it does. It does no I/O. Its one guard is held for map operations only; what leaves the table is handed
//! out, so that descriptors are closed after the guard is gone.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};
use rustix::io::Errno;

use super::error::{FsError, Result};
use super::io::File;
use super::types::{Kind, ROOT};
use crate::format::NodeId;
use crate::names::Index;

/// Room for this many is never given back.
const ROOM_MIN: usize = 4096;

/// A node that somebody knows.
pub struct Inode {
    /// Inode number: the backing's.
    pub ino: u64,
    /// Identity.
    pub node: NodeId,
    /// What it is.
    pub kind: Kind,
    born: AtomicBool,
    touched: AtomicBool,
    capable: AtomicBool,
    writers: AtomicU32,
    body: Body,
}

enum Body {
    /// The names, once somebody asked for one. The guard is the directory's: held over each change of it.
    Directory(RwLock<Option<Index>>),
    /// The content, while somebody has it open. The guard makes openers wait for the first one.
    File(Mutex<Weak<File>>),
    Other,
}

impl Inode {
    fn new(known: Known) -> Self {
        Self {
            ino: known.ino,
            node: known.node,
            kind: known.kind,
            born: AtomicBool::new(known.born),
            touched: AtomicBool::new(false),
            capable: AtomicBool::new(known.kind == Kind::File),
            writers: AtomicU32::new(0),
            body: match known.kind {
                Kind::Directory => Body::Directory(RwLock::default()),
                Kind::File => Body::File(Mutex::default()),
                _ => Body::Other,
            },
        }
    }

    /// The names of a directory.
    ///
    /// # Errors
    /// `ENOTDIR` for anything else.
    pub fn names(&self) -> Result<&RwLock<Option<Index>>> {
        match &self.body {
            Body::Directory(names) => Ok(names),
            Body::File(_) | Body::Other => Err(FsError::errno(Errno::NOTDIR)),
        }
    }

    /// The content of a regular file.
    ///
    /// # Errors
    /// `EISDIR` for a directory, `EINVAL` for anything else.
    pub fn content(&self) -> Result<&Mutex<Weak<File>>> {
        match &self.body {
            Body::File(content) => Ok(content),
            Body::Directory(_) => Err(FsError::errno(Errno::ISDIR)),
            Body::Other => Err(FsError::errno(Errno::INVAL)),
        }
    }

    /// Whether one of its names says that the content has been committed once.
    pub fn is_born(&self) -> bool {
        self.born.load(Ordering::Relaxed)
    }

    /// Notes a change that has to become durable with the next full sync.
    pub fn touch(&self) {
        self.touched.store(true, Ordering::Relaxed);
    }

    /// Whether there was one; whoever opens the content tells it.
    pub fn is_touched(&self) -> bool {
        self.touched.load(Ordering::Relaxed)
    }

    /// Whether there was one; whoever asks makes it durable.
    pub fn take_touched(&self) -> bool {
        self.touched.swap(false, Ordering::Relaxed)
    }

    /// Notes that it may have file capabilities.
    pub fn set_capable(&self) {
        self.capable.store(true, Ordering::Relaxed);
    }

    /// Whether it may have some; whoever asks takes them away.
    pub fn take_capable(&self) -> bool {
        self.capable.load(Ordering::Relaxed) && self.capable.swap(false, Ordering::Relaxed)
    }

    /// Counts a handle that may write.
    pub fn add_writer(&self) {
        self.writers.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one less.
    pub fn remove_writer(&self) {
        self.writers.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether somebody has it open for writing.
    pub fn has_writers(&self) -> bool {
        self.writers.load(Ordering::Relaxed) > 0
    }

    /// Notes that one of its names says so.
    pub fn set_born(&self) {
        self.born.store(true, Ordering::Relaxed);
    }
}

/// The generation of a node: from its identity, so the same for as long as the volume lives.
#[must_use]
pub fn generation(node: NodeId) -> u32 {
    let [a, b, c, d, ..] = node.0;
    u32::from_le_bytes([a, b, c, d])
}

/// Where an inode can be found: one of its names. The table knows stored names only: it outlives a lock of the
/// volume, and a plain name must not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Inode number of the directory.
    pub parent: u64,
    /// The name there, as it is in the backing.
    pub stored: Box<str>,
}

impl Link {
    fn is(&self, parent: u64, stored: &str) -> bool {
        self.parent == parent && *self.stored == *stored
    }
}

/// What a look-up has found.
#[derive(Debug, Clone)]
pub struct Known {
    /// Inode number.
    pub ino: u64,
    /// Identity.
    pub node: NodeId,
    /// What it is.
    pub kind: Kind,
    /// Whether the name says that the content has been committed once.
    pub born: bool,
    /// The name it was found under.
    pub link: Link,
}

/// How an inode is reached in the backing.
#[derive(Debug, Clone)]
pub enum Place {
    /// By a name.
    Named(Link),
    /// By a descriptor, because it has no name that is known.
    Held(Arc<OwnedFd>),
}

struct Slot {
    inode: Arc<Inode>,
    lookups: u64,
    children: u64,
    place: Place,
}

/// What has left the table; its descriptors close when it is dropped.
#[must_use = "drop it where closing descriptors may take its time"]
#[derive(Default)]
pub struct Gone(Vec<Slot>, Vec<Place>);

impl Gone {
    /// The inode numbers that nobody knows any more.
    pub fn inodes(&self) -> impl Iterator<Item = u64> {
        self.0.iter().map(|slot| slot.inode.ino)
    }
}

/// The table.
pub struct Inodes {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    slots: HashMap<u64, Slot>,
    by_node: HashMap<NodeId, u64>,
}

impl Inodes {
    /// A table that knows the root only, and never forgets it.
    #[must_use]
    pub fn new(root: NodeId, backing: Arc<OwnedFd>) -> Self {
        let place = Place::Held(backing);
        let known = Known {
            ino: ROOT,
            node: root,
            kind: Kind::Directory,
            born: false,
            link: Link {
                parent: ROOT,
                stored: Box::default(),
            },
        };
        let slot = Slot {
            inode: Arc::new(Inode::new(known)),
            lookups: 1,
            children: 0,
            place,
        };
        let mut state = State::default();
        state.by_node.insert(root, ROOT);
        state.slots.insert(ROOT, slot);
        Self {
            state: Mutex::new(state),
        }
    }

    /// The inode `ino`.
    ///
    /// # Errors
    /// `ESTALE` when nobody knows it.
    pub fn get(&self, ino: u64) -> Result<Arc<Inode>> {
        let state = self.state.lock();
        let slot = state.slots.get(&ino).ok_or(FsError::errno(Errno::STALE))?;
        Ok(slot.inode.clone())
    }

    /// The inode of `node`, if somebody knows it.
    #[must_use]
    pub fn of_node(&self, node: NodeId) -> Option<Arc<Inode>> {
        let state = self.state.lock();
        let slot = state.slots.get(state.by_node.get(&node)?)?;
        Some(slot.inode.clone())
    }

    /// The inode `ino`, if somebody knows it.
    #[must_use]
    pub fn peek(&self, ino: u64) -> Option<Arc<Inode>> {
        self.state.lock().slots.get(&ino).map(|slot| slot.inode.clone())
    }

    /// How `ino` is reached.
    ///
    /// # Errors
    /// `ESTALE` when nobody knows it.
    pub fn place(&self, ino: u64) -> Result<Place> {
        let state = self.state.lock();
        let slot = state.slots.get(&ino).ok_or(FsError::errno(Errno::STALE))?;
        Ok(slot.place.clone())
    }

    /// Counts one look-up that the kernel will forget some day.
    ///
    /// # Errors
    /// `EIO` when the backing has two nodes for one inode number: somebody linked a file there.
    pub fn found(&self, known: Known) -> Result<Arc<Inode>> {
        let mut state = self.state.lock();
        if let Some(slot) = state.slots.get_mut(&known.ino) {
            if (slot.inode.node, slot.inode.kind) != (known.node, known.kind) {
                let what = format!("{} bears the inode number of another node", known.link.stored);
                return Err(FsError::damaged(what));
            }
            slot.lookups += 1;
            if known.born {
                slot.inode.set_born();
            }
            let inode = slot.inode.clone();
            let held = matches!(slot.place, Place::Held(_)) && known.ino != ROOT;
            let old = held.then(|| state.relink(known.ino, known.link));
            drop(state);
            drop(old);
            return Ok(inode);
        }
        let Known { ino, node, .. } = known;
        let place = Place::Named(known.link.clone());
        state.hold(known.link.parent);
        let inode = Arc::new(Inode::new(known));
        let slot = Slot {
            inode: inode.clone(),
            lookups: 1,
            children: 0,
            place,
        };
        state.by_node.insert(node, ino);
        state.slots.insert(ino, slot);
        Ok(inode)
    }

    /// The kernel forgets `count` look-ups of `ino`.
    pub fn forget(&self, ino: u64, count: u64) -> Gone {
        let mut state = self.state.lock();
        if ino == ROOT {
            return Gone::default();
        }
        if let Some(slot) = state.slots.get_mut(&ino) {
            slot.lookups = slot.lookups.saturating_sub(count);
        }
        state.sweep(ino)
    }

    /// Gives room back if most of it is not needed any more. Says whether it did.
    pub fn shrink(&self) -> bool {
        let mut state = self.state.lock();
        let wanted = state.slots.len() * 2;
        let shrinks = state.slots.capacity() > ROOM_MIN.max(wanted * 4);
        if shrinks {
            state.slots.shrink_to(wanted);
            state.by_node.shrink_to(wanted);
        }
        shrinks
    }

    /// `ino` is called `link` from now on, if it was known by the name `stored` of `parent`.
    pub fn renamed(&self, ino: u64, parent: u64, stored: &str, link: Link) -> Gone {
        let mut state = self.state.lock();
        if state.is_named(ino, parent, stored) {
            state.relink(ino, link)
        } else {
            Gone::default()
        }
    }

    /// The name `stored` of `parent` is no more. If `ino` was known by it, it is `held` from now on.
    pub fn unnamed(&self, ino: u64, parent: u64, stored: &str, held: Option<Arc<OwnedFd>>) -> Gone {
        let mut state = self.state.lock();
        if !state.is_named(ino, parent, stored) {
            return Gone::default();
        }
        match held {
            Some(held) => state.replace(ino, Place::Held(held), parent),
            None => Gone::default(),
        }
    }

    /// How many somebody knows.
    #[must_use]
    pub fn count(&self) -> usize {
        self.state.lock().slots.len()
    }

    /// The inode numbers that somebody knows.
    #[must_use]
    pub fn known(&self) -> Vec<u64> {
        self.state.lock().slots.keys().copied().collect()
    }
}

impl State {
    fn hold(&mut self, ino: u64) {
        if let Some(slot) = self.slots.get_mut(&ino) {
            slot.children += 1;
        }
    }

    fn is_named(&self, ino: u64, parent: u64, stored: &str) -> bool {
        let place = self.slots.get(&ino).map(|slot| &slot.place);
        matches!(place, Some(Place::Named(link)) if link.is(parent, stored))
    }

    /// Gives `ino` a new name; its new directory is held by it and its old one no longer.
    fn relink(&mut self, ino: u64, link: Link) -> Gone {
        self.hold(link.parent);
        let old = match self.slots.get(&ino).map(|slot| &slot.place) {
            Some(Place::Named(old)) => Some(old.parent),
            _ => None,
        };
        let Some(slot) = self.slots.get_mut(&ino) else {
            return self.release(link.parent);
        };
        let place = std::mem::replace(&mut slot.place, Place::Named(link));
        let mut gone = old.map(|parent| self.release(parent)).unwrap_or_default();
        gone.1.push(place);
        gone
    }

    fn replace(&mut self, ino: u64, place: Place, parent: u64) -> Gone {
        let old = self
            .slots
            .get_mut(&ino)
            .map(|slot| std::mem::replace(&mut slot.place, place));
        let mut gone = self.release(parent);
        gone.1.extend(old);
        gone
    }

    fn release(&mut self, parent: u64) -> Gone {
        if let Some(slot) = self.slots.get_mut(&parent) {
            slot.children = slot.children.saturating_sub(1);
        }
        self.sweep(parent)
    }

    /// Takes `ino` out if nobody knows it any more, and then the directories that only it held.
    fn sweep(&mut self, ino: u64) -> Gone {
        let mut gone = Gone::default();
        let mut next = Some(ino);
        while let Some(ino) = next.take() {
            let unknown = |slot: &Slot| slot.lookups == 0 && slot.children == 0;
            if ino == ROOT || !self.slots.get(&ino).is_some_and(unknown) {
                break;
            }
            let Some(slot) = self.slots.remove(&ino) else {
                break;
            };
            self.by_node.remove(&slot.inode.node);
            if let Place::Named(link) = &slot.place
                && let Some(parent) = self.slots.get_mut(&link.parent)
            {
                parent.children = parent.children.saturating_sub(1);
                next = Some(link.parent);
            }
            gone.0.push(slot);
        }
        gone
    }
}

#[cfg(test)]
mod tests;
