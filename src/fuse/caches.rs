//! What the kernel has cached of a mount, and making it forget.
//!
//! Every order may have to wait for the backing (pages that are dirty are written first, pages that are being read are
//! waited for), so each has a deadline: what hangs is left behind, and the rest is done.

use std::ffi::OsStr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::time::Instant;

use fuser::{INodeNo, Notifier};

use super::answer::ended;
use super::buffers::Buffers;
use super::doorman::{Doorman, Leaving};
use super::writes::Writes;
use crate::fs::Fs;
use crate::sys::fuse_device::clone_of;

/// A file whose pages hang holds one of these up, not all.
const WORKERS: usize = 4;
/// `FUSE_NOTIFY_INC_EPOCH` of `linux/fuse.h`, since Linux 6.16; `fuser` does not have it.
const INC_EPOCH: i32 = 8;

/// What the kernel has cached of a mount, to be dropped from any thread.
#[derive(Clone)]
pub struct Caches {
    notifier: Notifier,
    device: Arc<OwnedFd>,
    buffers: Arc<Buffers>,
    writes: Arc<Writes>,
    fs: Arc<Fs>,
}

/// What to drop of an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// Its attributes; and its pages if nobody may write to it, so that none of them is dirty.
    Clean,
    /// Its pages too, after writing those that are dirty.
    All,
}

impl Caches {
    pub(super) fn new(
        notifier: Notifier,
        device: BorrowedFd<'_>,
        buffers: Arc<Buffers>,
        writes: Arc<Writes>,
        fs: Arc<Fs>,
    ) -> std::io::Result<Self> {
        let device = Arc::new(clone_of(device)?);
        Ok(Self {
            notifier,
            device,
            buffers,
            writes,
            fs,
        })
    }

    /// Refuses the writes that are under way, and has somebody see to it that no request waits for a thread that hangs.
    /// For a volume that is dark, until what this gives is dropped.
    ///
    /// # Errors
    /// There is nobody for it.
    pub fn refuse(&self) -> std::io::Result<Doorman> {
        self.writes.refuse();
        let fs = Arc::clone(&self.fs);
        let see_off = move |leaving| match leaving {
            Leaving::Inode(ino, count) => fs.forget(ino, count),
            Leaving::File(handle) => fs.release(handle),
            Leaving::Directory(handle) => fs.release_directory(handle),
        };
        Doorman::start(Arc::clone(&self.device), ended, see_off)
    }

    /// Whether a write that was refused still waits for the disk.
    pub fn has_late_writes(&self) -> bool {
        self.writes.are_at_work()
    }

    /// Makes the kernel forget attributes, so that it asks before it accepts another write; and the pages of all files
    /// that nobody has open for writing. Answers whether nothing hung.
    pub fn drop_clean(&self, until: Instant) -> bool {
        self.drop_inodes(What::Clean, until)
    }

    /// Makes the kernel forget every page, attribute and ACL. Dirty pages are written first; one that cannot be written
    /// is gone too, and its writer is told by the next sync. Mappings lose their pages. Answers whether nothing hung.
    pub fn drop_pages(&self, until: Instant) -> bool {
        self.drop_inodes(What::All, until)
    }

    /// Makes the kernel ask again for every name, also for those that do not exist.
    pub fn drop_names(&self) {
        if let Err(error) = self.new_epoch() {
            tracing::debug!(%error, "this kernel has no epochs of names; they are dropped one by one");
            self.fs.known_names(|parent, name| {
                if let Err(error) = self.notifier.inval_entry(INodeNo(parent), OsStr::from_bytes(name)) {
                    tracing::debug!(parent, %error, "the kernel keeps a name");
                }
            });
        }
    }

    /// Wipes the buffers that hold what was read last.
    pub fn wipe_buffers(&self) {
        self.buffers.wipe();
    }

    fn new_epoch(&self) -> std::io::Result<()> {
        // struct fuse_out_header: length, code of the notification, no request that it answers.
        let mut message = [0; 16];
        message[..4].copy_from_slice(&16u32.to_ne_bytes());
        message[4..8].copy_from_slice(&INC_EPOCH.to_ne_bytes());
        rustix::io::write(&self.device, &message)?;
        Ok(())
    }

    fn drop_inodes(&self, what: What, until: Instant) -> bool {
        let inodes = Arc::new(self.fs.known_inodes());
        let next = Arc::new(AtomicUsize::new(0));
        let (done, finished) = channel();
        let mut workers = 0;
        for _ in 0..WORKERS.min(inodes.len()) {
            let (caches, inodes, next, done) = (self.clone(), inodes.clone(), next.clone(), done.clone());
            let work = move || {
                while let Some(ino) = inodes.get(next.fetch_add(1, Ordering::Relaxed)) {
                    caches.drop_inode(*ino, what);
                }
                // Nobody listens any more when it took too long.
                let _ = done.send(());
            };
            match std::thread::Builder::new().name("kmsfs-caches".into()).spawn(work) {
                Ok(_) => workers += 1,
                Err(error) => tracing::warn!(%error, "a thread less that drops what the kernel has cached"),
            }
        }
        let left = || until.saturating_duration_since(Instant::now());
        workers > 0 && (0..workers).all(|_| finished.recv_timeout(left()).is_ok())
    }

    fn drop_inode(&self, ino: u64, what: What) {
        // Before the beginning: attributes only.
        let from = match what == What::All || !self.fs.may_have_dirty_pages(ino) {
            true => 0,
            false => -1,
        };
        if let Err(error) = self.notifier.inval_inode(INodeNo(ino), from, 0) {
            tracing::debug!(ino, %error, "the kernel keeps what it has cached");
        }
    }
}
