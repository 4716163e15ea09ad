//! From a name to a node that the kernel knows from then on.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::io::Errno;

use super::attr::{Subject, shown};
use super::error::{FsError, Result};
use super::filesystem::Fs;
use super::inodes::{Inode, Known, Link, generation};
use super::names::{check_name, entry};
use super::spot::Spot;
use super::types::Found;
use crate::names::Entry;

impl Fs {
    /// The node that `parent` calls `name`. Counts one look-up.
    ///
    /// # Errors
    /// `ENOENT`, `ENAMETOOLONG`, `ENOTDIR`; `EIO` when what the backing holds is not what was written.
    pub fn lookup(&self, parent: u64, name: &[u8]) -> Result<Found> {
        let _pass = self.gate.enter()?;
        check_name(name)?;
        let parent = self.inode(parent)?;
        let directory = self.directory(&parent)?;
        let names = self.names(&parent)?;
        let entry = entry(&names, name)?;
        self.admit(&parent, &directory, entry)
    }

    /// Makes the node of `entry` known. Counts one look-up.
    pub(super) fn admit(&self, parent: &Inode, directory: &Arc<OwnedFd>, entry: &Entry) -> Result<Found> {
        let spot = Spot::Named(directory.clone(), entry.stored.clone());
        let stat = spot.stat().map_err(|errno| match errno {
            Errno::NOENT => FsError::failed(errno, format!("{} vanished from the backing", entry.stored)),
            other => other.into(),
        })?;
        let subject = Subject {
            ino: self.ino_of(stat.inode),
            node: entry.node,
            born: entry.flags.is_born(),
        };
        let (attr, readable) = match self.attr_of(subject, &stat, &spot) {
            Ok(attr) => (attr, true),
            // Its name is whole: it can still be listed, renamed and removed.
            Err(error) if error.code() == Errno::IO => {
                error.log("lookup");
                (shown(subject, &stat, 0), false)
            }
            Err(error) => return Err(error),
        };
        self.inodes.found(Known {
            ino: subject.ino,
            node: entry.node,
            kind: stat.kind,
            born: subject.born,
            link: Link {
                parent: parent.ino,
                stored: entry.stored.clone(),
            },
        })?;
        Ok(Found {
            generation: generation(entry.node),
            attr,
            readable,
        })
    }
}
