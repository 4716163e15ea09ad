//! Attributes: read, and set in all their forms.

use rustix::fs::{OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use rustix::io::{self, Errno};

use super::error::{FsError, Result};
use super::filesystem::Fs;
use super::inodes::Inode;
use super::io::stored_size;
use super::spot::Spot;
use super::types::{Attr, Caller, Kind, ROOT, SetAttr, SetTime};
use crate::format::NodeId;
use crate::sys::quota::Unbound;
use crate::sys::stat::Stat;

/// Whose attributes are asked for; known to the table or not yet.
#[derive(Debug, Clone, Copy)]
pub struct Subject {
    /// Inode number.
    pub ino: u64,
    /// Identity.
    pub node: NodeId,
    /// Whether a name says that the content has been committed once.
    pub born: bool,
}

impl From<&Inode> for Subject {
    fn from(inode: &Inode) -> Self {
        Self {
            ino: inode.ino,
            node: inode.node,
            born: inode.is_born(),
        }
    }
}

impl Fs {
    /// The attributes of `ino`.
    ///
    /// # Errors
    /// `EIO` when the head of a file is not what was written, and what the backing says.
    pub fn get_attr(&self, ino: u64) -> Result<Attr> {
        // The root answers also when the volume is locked, or nobody could reach the mount to unlock or unmount it.
        let _pass = (ino != ROOT).then(|| self.gate.enter()).transpose()?;
        self.attr_of_inode(&*self.inode(ino)?)
    }

    pub(super) fn attr_of_inode(&self, inode: &Inode) -> Result<Attr> {
        self.there(inode, |spot| self.attr_of(inode.into(), &spot.stat()?, spot))
    }

    /// The attributes of what is at `spot`, of which the backing says `stat`.
    pub(super) fn attr_of(&self, subject: Subject, stat: &Stat, spot: &Spot) -> Result<Attr> {
        self.same_device(stat)?;
        let size = match stat.kind {
            Kind::File => self.file_size(subject, stat, spot)?,
            Kind::Symlink => self.target_len(subject.node, stat.size)?,
            _ => stat.size,
        };
        Ok(shown(subject, stat, size))
    }

    fn file_size(&self, subject: Subject, stat: &Stat, spot: &Spot) -> Result<u64> {
        // Never waits for somebody who is opening the file: that may take a visit to the KMS.
        let live = self.inodes.peek(subject.ino).and_then(|inode| {
            let content = inode.content().ok()?.try_lock()?;
            content.upgrade()
        });
        if let Some(file) = live {
            return Ok(file.size());
        }
        if stat.links == 0 {
            // Nobody can read it any more. The kernel asks once more for every file that is removed, when it
            // writes back the times.
            return Ok(0);
        }
        let read = |page: &mut [u8]| match stat.size {
            0 => Ok(0),
            _ => Ok(read_head(spot, page)?),
        };
        Ok(stored_size(&self.volume, subject.node, subject.born, read)?)
    }

    /// Changes the attributes that `set` names, and answers with all of them.
    ///
    /// # Errors
    /// As ftruncate(2), chown(2), chmod(2), utimensat(2).
    pub fn set_attr(&self, ino: u64, set: &SetAttr, caller: &Caller) -> Result<Attr> {
        // By times alone the kernel hands over those of what it writes back.
        let _pass = match set.is_times_only() {
            true => self.gate.enter_to_write().map(|()| None)?,
            false => Some(self.gate.enter()?),
        };
        self.writable()?;
        let inode = self.inode(ino)?;
        if let Some(size) = set.size {
            self.content(&inode)?.resize(size)?;
            self.drop_privileges(&inode, caller)?;
        }
        // Also of a file that nobody has open and whose content is still on its way to its place.
        let content = self.volume.store.peek(inode.node);
        if *set == SetAttr::default() {
            self.change_nothing(&inode, caller)?;
        }
        if set.uid.is_some() || set.gid.is_some() {
            self.drop_capability(&inode)?;
            // Root may give somebody more than his quota.
            let _unbound = (caller.uid == 0).then(Unbound::enter);
            self.on(&inode, |spot| spot.chown(set.uid, set.gid))?;
        }
        if let Some(permissions) = set.permissions {
            self.on(&inode, |spot| spot.chmod(permissions))?;
        }
        if set.accessed.is_some() || set.modified.is_some() {
            let times = Timestamps {
                last_access: timespec(set.accessed),
                last_modification: timespec(set.modified),
            };
            // Or a checkpoint under way puts the old ones back.
            let _kept = content.as_ref().map(|content| content.times());
            self.on(&inode, |spot| spot.set_times(&times))?;
        }
        self.touched(&inode);
        self.attr_of_inode(&inode)
    }

    /// Notes that mode, owner, times or attributes have changed: the next fsync makes them durable too, also if the content
    /// is closed and opened again before.
    pub(super) fn touched(&self, inode: &Inode) {
        inode.touch();
        if let Some(content) = self.volume.store.peek(inode.node) {
            content.metadata_changed();
        }
    }
}

/// The attributes of a node whose plain size is `size` and of which the backing says `stat`.
pub(super) fn shown(subject: Subject, stat: &Stat, size: u64) -> Attr {
    Attr {
        ino: subject.ino,
        size,
        blocks: stat.blocks,
        accessed: stat.accessed,
        modified: stat.modified,
        changed: stat.changed,
        created: stat.created,
        kind: stat.kind,
        permissions: stat.permissions,
        links: stat.links,
        uid: stat.uid,
        gid: stat.gid,
        special: stat.special,
    }
}

/// Reads the beginning of the stored file at `spot`, leaving its access time alone where that is allowed.
pub(super) fn read_head(spot: &Spot, page: &mut [u8]) -> io::Result<usize> {
    let flags = OFlags::RDONLY | OFlags::NOATIME;
    let file = spot.open(flags).or_else(|error| match error {
        // Only the owner and root may leave the access time alone.
        Errno::PERM => spot.open(OFlags::RDONLY),
        other => Err(other),
    })?;
    let mut read = 0;
    while let Some(rest) = page.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match io::retry_on_intr(|| io::pread(&file, &mut *rest, read as u64))? {
            0 => break,
            count => read += count,
        }
    }
    Ok(read)
}

fn timespec(time: Option<SetTime>) -> Timespec {
    match time {
        None => Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        Some(SetTime::Now) => Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_NOW,
        },
        Some(SetTime::At(time)) => Timespec {
            tv_sec: time.seconds,
            tv_nsec: time.nanoseconds.into(),
        },
    }
}

/// Checks a size that a client asks for.
///
/// # Errors
/// `EFBIG` beyond what an offset can say.
pub fn check_end(offset: u64, len: u64) -> Result<u64> {
    offset
        .checked_add(len)
        .filter(|end| *end <= i64::MAX as u64)
        .ok_or(FsError::errno(Errno::FBIG))
}
