//! What one directory holds: plain name to stored name, loaded by one listing of the backing.
//!
//! A stored name cannot be computed from a plain one (it carries the node), so this index is how names are
//! found, and since one mount at a time writes to a volume it is the truth, for absent names too. It does no
//! locking and changes nothing in the backing: `fs` does both.

use std::collections::{HashMap, HashSet};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, RawDir, openat};
use rustix::io::{self, Errno};

use crate::crypto::VolumeKeys;
use crate::crypto::names::open_name;
use crate::format::NodeId;
use crate::format::stored_name::{LONG_PREFIX, NameFlags, RESERVED_PREFIX, RawName, SIDE_SUFFIX, Sealed, side_file};
use crate::sys::stat::{Kind, stat};

use super::label::{Label, Line};

/// Most bytes of a side file: the longest label, and room for a tag.
const SIDE_MAX: usize = 512;
/// Bytes fetched from the backing's directory at a time.
const LISTING_BUFFER: usize = 64 * 1024;

/// One name of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name in the backing.
    pub stored: Box<str>,
    /// The node it names.
    pub node: NodeId,
    /// What the name says of the node.
    pub flags: NameFlags,
    /// Whom this one replaces under its name; it stays with the name.
    pub replaces: Option<Line>,
    /// What the backing says it is.
    pub kind: Kind,
    /// Inode number in the backing.
    pub inode: u64,
}

impl Entry {
    /// Whom an entry replaces that takes the place of this one as `plain`.
    #[must_use]
    pub fn next(&self, plain: &[u8]) -> Line {
        self.label(plain).next(self.node)
    }

    /// What is sealed in this entry's name, given that it is called `plain`.
    #[must_use]
    pub fn label(&self, plain: &[u8]) -> Label {
        Label {
            plain: plain.into(),
            replaces: self.replaces,
        }
    }
}

/// What the index knows of a name.
#[derive(Debug, PartialEq, Eq)]
pub enum Lookup<'a> {
    /// It is there.
    Found(&'a Entry),
    /// There is no such name.
    Absent,
    /// The backing holds it twice: somebody put a second one there, and nobody can say which is right.
    Refused,
}

/// What a listing found that is not part of the volume, for the log.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Strays {
    /// Entries that are no stored names, or whose seal does not open here.
    pub foreign: usize,
    /// Plain names that are there more than once.
    pub duplicates: usize,
}

/// Why a directory could not be listed.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The backing's directory cannot be read.
    #[error("cannot list the backing directory: {0}")]
    Listing(#[from] io::Errno),
}

/// The names of one directory.
#[derive(Debug, Default)]
pub struct Index {
    entries: HashMap<Box<[u8]>, Entry>,
    refused: HashSet<Box<[u8]>>,
    leftovers: Vec<Box<str>>,
    strays: Strays,
}

impl Index {
    /// Lists `directory`, whose node is `parent`, and opens every name.
    ///
    /// # Errors
    /// When the backing cannot be read. A name that does not open is a stray, not an error.
    pub fn load(keys: &VolumeKeys, directory: BorrowedFd<'_>, parent: NodeId) -> Result<Self, IndexError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        // Its own descriptor, because the position of a listing belongs to the descriptor.
        let own = openat(directory, ".", flags, Mode::empty())?;
        let listed = list(&own)?;
        let mut index = Self::default();
        let mut named: HashMap<Box<[u8]>, Vec<Entry>> = HashMap::with_capacity(listed.len());
        // One that bears the name of a listed entry is no leftover, also if that entry does not open here: it may be at
        // home in another directory, and would be nobody's without it when it comes back.
        let mut sides: HashSet<&str> = listed.iter().filter_map(|item| side_of(&item.name)).collect();
        for item in &listed {
            sides.remove(&*item.name);
            if side_of(&item.name).is_some() {
                continue;
            }
            match open(keys, directory, parent, item)? {
                Opened::Ours(plain, entry) => named.entry(plain).or_default().push(entry),
                Opened::Own => {}
                Opened::Stray => index.strays.foreign += 1,
            }
        }
        for (plain, entries) in named {
            index.settle(plain, entries);
        }
        index.leftovers.extend(sides.iter().map(|long| side_file(long).into()));
        Ok(index)
    }

    /// Takes in what the listing has under one plain name: usually one entry; more after a crash, or when
    /// somebody put one there.
    fn settle(&mut self, plain: Box<[u8]>, entries: Vec<Entry>) {
        let lines: Vec<Line> = entries.iter().filter_map(|entry| entry.replaces).collect();
        let (gone, mut left): (Vec<_>, Vec<_>) = entries.into_iter().partition(|entry| {
            let label = entry.label(&plain);
            lines.iter().any(|line| label.is_before(entry.node, *line))
        });
        for entry in gone {
            if entry.stored.starts_with(LONG_PREFIX) {
                self.leftovers.push(side_file(&entry.stored).into());
            }
            self.leftovers.push(entry.stored);
        }
        match (left.pop(), left.is_empty()) {
            (Some(entry), true) => {
                self.entries.insert(plain, entry);
            }
            _ => {
                self.strays.duplicates += 1;
                self.refused.insert(plain);
            }
        }
    }

    /// What `plain` is.
    #[must_use]
    pub fn get(&self, plain: &[u8]) -> Lookup<'_> {
        match self.entries.get(plain) {
            Some(entry) => Lookup::Found(entry),
            None if self.refused.contains(plain) => Lookup::Refused,
            None => Lookup::Absent,
        }
    }

    /// Puts `entry` under `plain`, in the place of what was there.
    pub fn insert(&mut self, plain: &[u8], entry: Entry) {
        self.entries.insert(plain.into(), entry);
    }

    /// Takes `plain` out.
    pub fn remove(&mut self, plain: &[u8]) -> Option<Entry> {
        self.entries.remove(plain)
    }

    /// Number of names.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no name; the backing may hold strays all the same.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.refused.is_empty()
    }

    /// The names in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Entry)> {
        self.entries.iter().map(|(plain, entry)| (&**plain, entry))
    }

    /// What a crash left behind: entries of the backing that mean nothing any more and may be removed once what
    /// has taken their place is durable.
    pub fn take_leftovers(&mut self) -> Vec<Box<str>> {
        std::mem::take(&mut self.leftovers)
    }

    /// What the listing found that is not part of the volume.
    #[must_use]
    pub fn strays(&self) -> Strays {
        self.strays
    }
}

/// One entry of the backing's listing.
struct Listed {
    name: String,
    kind: Option<Kind>,
    inode: u64,
}

/// Everything in the directory but `.` and `..`; a name that is not text is listed as one that cannot be ours.
fn list(directory: &OwnedFd) -> io::Result<Vec<Listed>> {
    let mut buffer = vec![MaybeUninit::uninit(); LISTING_BUFFER];
    let mut entries = RawDir::new(directory, &mut buffer);
    let mut listed = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        listed.push(Listed {
            name: String::from_utf8_lossy(name).into_owned(),
            kind: Kind::of(entry.file_type()),
            inode: entry.ino(),
        });
    }
    Ok(listed)
}

/// The long stored name whose side file `name` is.
fn side_of(name: &str) -> Option<&str> {
    name.strip_suffix(SIDE_SUFFIX)
        .filter(|long| long.starts_with(LONG_PREFIX))
}

enum Opened {
    Ours(Box<[u8]>, Entry),
    /// A file of kmsfs itself: the descriptor, the journal.
    Own,
    Stray,
}

fn open(keys: &VolumeKeys, directory: BorrowedFd<'_>, parent: NodeId, item: &Listed) -> io::Result<Opened> {
    let Some(raw) = RawName::parse(item.name.as_bytes()) else {
        let own = item.name.starts_with(RESERVED_PREFIX);
        return Ok(if own { Opened::Own } else { Opened::Stray });
    };
    let Some(label) = open_label(keys, directory, parent, &raw, &item.name)? else {
        return Ok(Opened::Stray);
    };
    let Some(kind) = kind_of(directory, item)? else {
        return Ok(Opened::Stray);
    };
    let entry = Entry {
        stored: item.name.as_str().into(),
        node: raw.node,
        flags: raw.flags,
        replaces: label.replaces,
        kind,
        inode: item.inode,
    };
    Ok(Opened::Ours(label.plain, entry))
}

/// What is sealed in the name `stored` of `directory`, whose node is `parent`; `None` if it does not open there.
///
/// # Errors
/// When the side file of a long name cannot be read.
pub fn label_of(
    keys: &VolumeKeys,
    directory: BorrowedFd<'_>,
    parent: NodeId,
    stored: &str,
) -> io::Result<Option<Label>> {
    match RawName::parse(stored.as_bytes()) {
        Some(raw) => open_label(keys, directory, parent, &raw, stored),
        None => Ok(None),
    }
}

fn open_label(
    keys: &VolumeKeys,
    directory: BorrowedFd<'_>,
    parent: NodeId,
    raw: &RawName,
    stored: &str,
) -> io::Result<Option<Label>> {
    let side = match raw.sealed {
        Sealed::Short(_) => None,
        Sealed::Long(_) => read_side(directory, stored)?,
    };
    let plain = open_name(keys, parent, raw, side.as_deref());
    Ok(plain.ok().and_then(|plain| Label::parse(&plain)))
}

/// The kind from the listing, or asked for where the backing's listing has none.
fn kind_of(directory: BorrowedFd<'_>, item: &Listed) -> io::Result<Option<Kind>> {
    if item.kind.is_some() {
        return Ok(item.kind);
    }
    match stat(directory, &item.name) {
        Ok(stat) => Ok(Some(stat.kind)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The sealed bytes of a long name; `None` when there is no such file of a plausible size.
fn read_side(directory: BorrowedFd<'_>, stored: &str) -> io::Result<Option<Vec<u8>>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match openat(directory, side_file(stored), flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = vec![0; SIDE_MAX];
    let mut read = 0;
    while let Some(rest) = bytes.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match io::retry_on_intr(|| io::read(&file, &mut *rest)) {
            Ok(0) => break,
            Ok(count) => read += count,
            Err(Errno::ISDIR | Errno::AGAIN) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(read);
    Ok((read < SIDE_MAX).then_some(bytes))
}
