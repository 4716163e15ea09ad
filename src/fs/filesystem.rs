//! What a mounted file system consists of. The calls are in the other files, by kind.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use lru::LruCache;
use parking_lot::Mutex;
use rustix::io::Errno;

use super::ahead::Ahead;
use super::error::{FsError, Result};
use super::gate::Gate;
use super::handles::Handles;
use super::inodes::{Gone, Inode, Inodes};
use super::names::Budget;
use super::past::Past;
use super::report::Listener;
use super::types::{Kind, ROOT};
use crate::format::NodeId;
use crate::sys::stat::{Stat, stat};
use crate::volume::Volume;

/// Directories of the backing that are kept open.
const OPEN_DIRECTORIES: NonZeroUsize = NonZeroUsize::new(256).unwrap();

/// A volume as a file system, to be served by a transport.
pub struct Fs {
    pub(super) volume: Arc<Volume>,
    /// Who wants to know what is opened.
    pub(super) listener: OnceLock<Listener>,
    /// Closed while the volume is locked.
    pub(super) gate: Gate,
    pub(super) inodes: Inodes,
    pub(super) handles: Handles,
    /// Open directories of the backing, the latest used ones.
    pub(super) directories: Mutex<LruCache<u64, Arc<OwnedFd>>>,
    /// Which directories have their names in memory.
    pub(super) budget: Mutex<Budget>,
    /// Nodes whose names do not say yet that their content was committed.
    pub(super) unpromoted: Mutex<HashSet<NodeId>>,
    /// What a crash could bring back.
    pub(super) past: Past,
    /// One set of moves at a time.
    pub(super) moving: Mutex<()>,
    /// One is half done, and the rest is for the next mount.
    pub(super) half_moved: AtomicBool,
    /// Fetches keys ahead of opens; none where the KMS is as fast.
    pub(super) ahead: Option<Ahead>,
    device: (u32, u32),
    root_inode: u64,
}

impl Fs {
    /// A file system of `volume`.
    ///
    /// # Errors
    /// When the backing's root does not answer.
    pub fn new(volume: Arc<Volume>) -> Result<Self> {
        let root = volume.root.try_clone()?;
        let Stat { device, inode, .. } = stat(root.as_fd(), "")?;
        Ok(Self {
            inodes: Inodes::new(volume.root_node, Arc::new(root)),
            handles: Handles::default(),
            gate: Gate::default(),
            listener: OnceLock::new(),
            directories: Mutex::new(LruCache::new(OPEN_DIRECTORIES)),
            budget: Mutex::new(Budget::default()),
            unpromoted: Mutex::default(),
            past: Past::default(),
            moving: Mutex::default(),
            half_moved: AtomicBool::new(false),
            ahead: Ahead::new(&volume),
            device,
            root_inode: inode,
            volume,
        })
    }

    /// The volume that is served.
    #[must_use]
    pub fn volume(&self) -> &Arc<Volume> {
        &self.volume
    }

    /// The gate that every call goes through.
    #[must_use]
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// The inode numbers that the kernel may have something cached of.
    #[must_use]
    pub fn known_inodes(&self) -> Vec<u64> {
        self.inodes.known()
    }

    /// How many inodes the kernel may have something cached of.
    #[must_use]
    pub fn inode_count(&self) -> usize {
        self.inodes.count()
    }

    /// Whether whoever serves the file system may hold written data of `ino` back: somebody has it open for writing.
    #[must_use]
    pub fn may_have_dirty_pages(&self, ino: u64) -> bool {
        self.inodes.peek(ino).is_some_and(|inode| inode.has_writers())
    }

    /// The inode numbers of files that somebody has open for writing: only of those the kernel may hold pages back.
    #[must_use]
    pub fn being_written(&self) -> Vec<u64> {
        let mut known = self.inodes.known();
        known.retain(|ino| self.may_have_dirty_pages(*ino));
        known
    }

    /// The kernel forgets `count` look-ups of `ino`.
    pub fn forget(&self, ino: u64, count: u64) {
        let gone = self.inodes.forget(ino, count);
        self.let_go(gone);
        if self.inodes.shrink() {
            crate::sys::memory::give_back();
        }
    }

    /// Closes what belonged to inodes that have left the table.
    pub(super) fn let_go(&self, gone: Gone) {
        for ino in gone.inodes() {
            let open = self.directories.lock().pop(&ino);
            drop(open);
            self.budget.lock().release(ino);
        }
    }

    /// Tells the store, for its recovery, where the file `ino` is now.
    pub(super) fn tell_store(&self, ino: u64) {
        if let Some(inode) = self.inodes.peek(ino)
            && inode.kind == Kind::File
        {
            let path = self.stored_path(&inode);
            self.volume.store.renamed(inode.node, path);
        }
    }

    pub(super) fn inode(&self, ino: u64) -> Result<Arc<Inode>> {
        self.inodes.get(ino)
    }

    /// # Errors
    /// `EROFS` for a volume that is served read-only.
    pub(super) fn writable(&self) -> Result<()> {
        match self.volume.read_only {
            true => Err(FsError::errno(Errno::ROFS)),
            false => Ok(()),
        }
    }

    /// The inode number for clients. The root is 1 to them, so what is 1 in the backing bears the root's number.
    pub(super) fn ino_of(&self, backing: u64) -> u64 {
        match backing {
            inode if inode == self.root_inode => ROOT,
            ROOT => self.root_inode,
            inode => inode,
        }
    }

    /// Checks that `stat` is of this volume's file system.
    ///
    /// # Errors
    /// `EXDEV` when somebody mounted another one inside of the backing.
    pub(super) fn same_device(&self, stat: &Stat) -> Result<()> {
        if stat.device == self.device {
            return Ok(());
        }
        let what = "another file system is mounted inside of the backing directory";
        Err(FsError::failed(Errno::XDEV, what))
    }
}
