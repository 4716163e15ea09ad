//! What goes over the counter of the file system: plain values, of no transport.

pub use crate::sys::stat::{Kind, Time};

/// Inode number of the root of the mount.
pub const ROOT: u64 = 1;
/// Most bytes of a name.
pub const NAME_MAX: usize = crate::format::stored_name::PLAIN_MAX;

/// Who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Caller {
    /// User for file access.
    pub uid: u32,
    /// Group for file access.
    pub gid: u32,
    /// Process, for the log.
    pub pid: u32,
    /// File mode mask, in calls that create.
    pub umask: u32,
}

/// The attributes of a node as a client sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attr {
    /// Inode number.
    pub ino: u64,
    /// Plain size in bytes.
    pub size: u64,
    /// Units of 512 bytes that the stored form takes on the disk.
    pub blocks: u64,
    /// Last access.
    pub accessed: Time,
    /// Last change of content.
    pub modified: Time,
    /// Last change of attributes.
    pub changed: Time,
    /// Creation.
    pub created: Time,
    /// What it is.
    pub kind: Kind,
    /// Permission bits (07777).
    pub permissions: u16,
    /// Hard links.
    pub links: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Major and minor number that a device node stands for.
    pub special: (u32, u32),
}

/// A node that the kernel knows from now on, until it forgets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Distinguishes nodes that bear the same inode number one after the other.
    pub generation: u32,
    /// Its attributes.
    pub attr: Attr,
    /// Whether its size could be told. If not, `attr` says 0, and whoever asks for the attributes again gets `EIO`.
    pub readable: bool,
}

/// A point in time to set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetTime {
    /// The backing's clock decides.
    Now,
    /// This.
    At(Time),
}

/// Attributes to change; `None` leaves one alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SetAttr {
    /// Permission bits.
    pub permissions: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Plain size.
    pub size: Option<u64>,
    /// Last access.
    pub accessed: Option<SetTime>,
    /// Last change of content.
    pub modified: Option<SetTime>,
}

impl SetAttr {
    /// Whether nothing but times is to be changed.
    #[must_use]
    pub fn is_times_only(&self) -> bool {
        self.permissions.is_none() && self.uid.is_none() && self.gid.is_none() && self.size.is_none()
    }
}

/// How a file is opened. Whether the caller may is decided above the mount.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OpenHow {
    /// Cut to nothing.
    pub truncate: bool,
    /// Fail when it is there (for `create`).
    pub exclusive: bool,
    /// Will be written to.
    pub write: bool,
}

/// How a rename treats what is in its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RenameHow {
    /// Replace it.
    Replace,
    /// Fail.
    NoReplace,
    /// Swap the two.
    Exchange,
    /// Replace it, and leave a whiteout (for overlay file systems) at the old name, made by this caller.
    Whiteout(Caller),
}

/// What is done to a range of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allocate {
    /// Space is reserved, and the file extended over it unless `keep_size`.
    Reserve {
        /// The size stays.
        keep_size: bool,
    },
    /// It reads as zeros, and its space is given back.
    PunchHole,
    /// It reads as zeros, and the file is extended over it unless `keep_size`.
    ZeroRange {
        /// The size stays.
        keep_size: bool,
    },
}
