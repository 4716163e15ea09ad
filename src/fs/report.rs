//! Telling somebody which files are opened, by whom and under which name: only if somebody wants to know.

use std::os::fd::AsFd;

use super::error::Result;
use super::filesystem::Fs;
use super::inodes::{Inode, Place};
use super::types::Caller;
use crate::names::label_of;

/// A file that was opened.
#[derive(Debug)]
pub struct Opened<'a> {
    /// By whom.
    pub caller: &'a Caller,
    /// Its plain path from the root, with a slash before each name; empty if it has no name any more.
    pub path: Vec<u8>,
    /// Whether it may be written to.
    pub write: bool,
}

/// Who is told.
pub type Listener = Box<dyn Fn(&Opened<'_>) + Send + Sync>;

impl Fs {
    /// Has `listener` told of every open from now on. The first one stays.
    pub fn on_open(&self, listener: Listener) {
        let _ = self.listener.set(listener);
    }

    pub(super) fn report_open(&self, inode: &Inode, write: bool, caller: &Caller) {
        if let Some(listener) = self.listener.get() {
            let path = self.plain_path(inode).unwrap_or_default();
            listener(&Opened { caller, path, write });
        }
    }

    /// By opening the stored names: the table of inodes knows no plain ones.
    fn plain_path(&self, inode: &Inode) -> Result<Vec<u8>> {
        let mut names = Vec::new();
        let mut at = inode.ino;
        while let Place::Named(link) = self.inodes.place(at)? {
            let parent = self.folder(link.parent)?;
            let open = |keys: &_| label_of(keys, parent.open.as_fd(), parent.inode.node, &link.stored);
            let Some(label) = self.volume.keyring.with_volume(open)?? else {
                break;
            };
            names.push(label.plain);
            at = link.parent;
        }
        Ok(names.iter().rev().flat_map(|name| [b"/", &**name].concat()).collect())
    }
}
