//! Promotion: after the first commit of a file's content, its name is made to say so.
//!
//! From then on an empty stored file under that name is known to have been emptied by somebody else. It is one
//! rename within the directory, done in the background, under the directory's guard only.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::fs::{Timespec, Timestamps, UTIME_OMIT, fstat, futimens};
use rustix::io::Errno;

use super::error::Result;
use super::filesystem::Fs;
use super::inodes::{Inode, Link, Place};
use crate::format::stored_name::NameFlags;
use crate::names::{Entry, Lookup, label_of, remove_side};
use crate::sys::entries;
use crate::sys::quota::Unbound;

impl Fs {
    /// Promotes the names of all files whose content was committed for the first time since the last call.
    pub fn promote(&self) {
        // Names cannot be sealed while the keys are away; they are promoted after.
        if self.gate.is_shut() {
            return;
        }
        let mut nodes = std::mem::take(&mut *self.unpromoted.lock());
        nodes.extend(self.volume.store.drain_born());
        if self.volume.read_only {
            return;
        }
        for node in nodes {
            // A file that nobody knows any more is promoted when it is opened again.
            let Some(inode) = self.inodes.of_node(node) else {
                continue;
            };
            match self.promote_inode(&inode) {
                Ok(true) => {}
                Ok(false) => {
                    self.unpromoted.lock().insert(node);
                }
                Err(error) => {
                    tracing::debug!(%node, %error, "not promoted");
                    // Of what is gone nothing can be promoted; everything else is tried again the next time.
                    if !matches!(error.code(), Errno::NOENT | Errno::STALE) {
                        self.unpromoted.lock().insert(node);
                    }
                }
            }
        }
    }

    /// Answers `false` when the name was changed meanwhile, so that it has to be tried again.
    fn promote_inode(&self, inode: &Arc<Inode>) -> Result<bool> {
        let Place::Named(link) = self.inodes.place(inode.ino)? else {
            return Ok(true);
        };
        let parent = self.folder(link.parent)?;
        let mut names = self.names_mut(&parent.inode, &parent.open)?;
        let open = |keys: &_| label_of(keys, parent.open.as_fd(), parent.inode.node, &link.stored);
        let Some(label) = self.volume.keyring.with_volume(open)?? else {
            return Ok(false);
        };
        let entry = match names.get(&label.plain) {
            Lookup::Found(entry) if entry.stored == link.stored => entry.clone(),
            _ => return Ok(false),
        };
        if entry.flags.is_born() {
            inode.set_born();
            return Ok(true);
        }
        let flags = NameFlags::BORN;
        let times = Timestamps {
            last_access: OMIT,
            last_modification: modified(&parent.open)?,
        };
        // The directory may grow by it, and there is nobody to tell that this is too much for its owner.
        let _unbound = Unbound::enter();
        let placed = self.place(&parent.open, &parent.inode, inode.node, flags, &label)?;
        if let Err(error) = entries::rename(&parent.open, &entry.stored, &parent.open, &placed.stored) {
            remove_side(parent.open.as_fd(), &placed.stored);
            return Err(error.into());
        }
        // At once: a program that opens the file finds it where the table says.
        let promoted = Link {
            parent: link.parent,
            stored: placed.stored.clone(),
        };
        let gone = self.inodes.renamed(inode.ino, link.parent, &link.stored, promoted);
        names.insert(
            &label.plain,
            Entry {
                stored: placed.stored,
                flags,
                ..entry.clone()
            },
        );
        self.retire_side(&parent, &entry.stored);
        // To programs nothing has happened in this directory.
        let timed = futimens(&parent.open, &times);
        drop(names);
        self.let_go(gone);
        inode.set_born();
        self.tell_store(inode.ino);
        timed?;
        Ok(true)
    }
}

const OMIT: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: UTIME_OMIT,
};

/// When the directory was last changed.
fn modified(directory: &impl AsFd) -> Result<Timespec> {
    let stat = fstat(directory)?;
    Ok(Timespec {
        tv_sec: stat.st_mtime,
        tv_nsec: stat.st_mtime_nsec as _,
    })
}

/// A thread that promotes every now and then, until it is dropped.
pub struct Promoter {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Promoter {
    /// Starts the thread.
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn start(fs: Arc<Fs>, every: Duration) -> std::io::Result<Self> {
        let (stop, stopped) = channel();
        let run = move || {
            while stopped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                fs.promote();
            }
            fs.promote();
        };
        let thread = std::thread::Builder::new().name("kmsfs-promote".into()).spawn(run)?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Promoter {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that promotes names has panicked");
        }
    }
}
