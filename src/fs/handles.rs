//! Open files and directories, by the number that the transport carries.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use rustix::io::Errno;

use super::error::{FsError, Result};
use super::inodes::Inode;
use super::io::File;
use super::types::Kind;

/// An open file.
pub struct FileHandle {
    /// Whose content it is.
    pub inode: Arc<Inode>,
    /// The content, shared by all who have it open.
    pub file: Arc<File>,
    write: bool,
}

impl Drop for FileHandle {
    fn drop(&mut self) {
        if self.write {
            self.inode.remove_writer();
        }
    }
}

/// A name in the listing of an open directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The name.
    pub plain: Box<[u8]>,
    /// Inode number.
    pub ino: u64,
    /// What it is.
    pub kind: Kind,
}

/// An open directory.
pub struct DirectoryHandle {
    /// The directory.
    pub inode: Arc<Inode>,
    /// What a listing from the beginning saw, so that offsets mean the same while entries come and go.
    pub listing: Mutex<Option<Arc<[Item]>>>,
}

/// All of them.
#[derive(Default)]
pub struct Handles {
    last: AtomicU64,
    files: RwLock<HashMap<u64, Arc<FileHandle>>>,
    directories: RwLock<HashMap<u64, Arc<DirectoryHandle>>>,
}

impl Handles {
    fn number(&self) -> u64 {
        self.last.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A number for an open file; `write` says that it may be written to.
    pub fn add_file(&self, inode: Arc<Inode>, file: Arc<File>, write: bool) -> u64 {
        let number = self.number();
        if write {
            inode.add_writer();
        }
        let handle = Arc::new(FileHandle { inode, file, write });
        self.files.write().insert(number, handle);
        number
    }

    /// A number for an open directory.
    pub fn add_directory(&self, inode: Arc<Inode>) -> u64 {
        let number = self.number();
        let listing = Mutex::default();
        let handle = Arc::new(DirectoryHandle { inode, listing });
        self.directories.write().insert(number, handle);
        number
    }

    /// The open file `number`.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn file(&self, number: u64) -> Result<Arc<FileHandle>> {
        let files = self.files.read();
        files.get(&number).cloned().ok_or(FsError::errno(Errno::BADF))
    }

    /// The open directory `number`.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn directory(&self, number: u64) -> Result<Arc<DirectoryHandle>> {
        let directories = self.directories.read();
        directories.get(&number).cloned().ok_or(FsError::errno(Errno::BADF))
    }

    /// Forgets what listings have seen; gives back the directories that somebody is about to list.
    pub fn forget_listings(&self) -> Vec<Arc<DirectoryHandle>> {
        let mut busy: Vec<_> = self.directories.read().values().cloned().collect();
        busy.retain(|directory| directory.listing.try_lock().map(|mut seen| *seen = None).is_none());
        busy
    }

    /// Takes `number` out; what it stood for closes when the last call that uses it is done.
    pub fn remove_file(&self, number: u64) -> Option<Arc<FileHandle>> {
        self.files.write().remove(&number)
    }

    /// Takes `number` out.
    pub fn remove_directory(&self, number: u64) -> Option<Arc<DirectoryHandle>> {
        self.directories.write().remove(&number)
    }
}
