//! What two directories must have in common after each call.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// Times before this were set by a call and not by the clock, so they are the same on both sides. In seconds.
const CLOCK: i64 = 1_000_000_000;

/// A node as programs see it.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    mode: u32,
    owner: (u32, u32),
    links: u64,
    size: u64,
    special: u64,
    modified: Option<(i64, i64)>,
    /// The first name, in order, of the same node.
    same_as: Vec<u8>,
    target: Option<Vec<u8>>,
    content: Option<Vec<u8>>,
    attributes: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// Everything below `root`, by path; with content and attributes when `whole`.
pub fn tree(root: &Path, whole: bool) -> BTreeMap<Vec<u8>, Node> {
    let mut nodes = BTreeMap::new();
    let mut below = vec![Vec::new()];
    while let Some(at) = below.pop() {
        let path = root.join(std::ffi::OsStr::from_bytes(&at));
        let node = node(&path, whole);
        if node.mode & libc::S_IFMT == libc::S_IFDIR {
            for entry in fs::read_dir(&path).unwrap() {
                let name = entry.unwrap().file_name().into_vec();
                below.push(if at.is_empty() {
                    name
                } else {
                    [&at[..], b"/", &name].concat()
                });
            }
        }
        nodes.insert(at, node);
    }
    same_nodes(root, &mut nodes);
    nodes
}

fn same_nodes(root: &Path, nodes: &mut BTreeMap<Vec<u8>, Node>) {
    let mut first = HashMap::new();
    for (at, node) in nodes {
        let number = fs::symlink_metadata(root.join(std::ffi::OsStr::from_bytes(at)))
            .unwrap()
            .ino();
        node.same_as = first.entry(number).or_insert_with(|| at.clone()).clone();
    }
}

fn node(path: &Path, whole: bool) -> Node {
    let stat = fs::symlink_metadata(path).unwrap();
    let kind = stat.file_type();
    let device = kind.is_char_device() || kind.is_block_device();
    // A whiteout is made elsewhere and moved, so it inherits neither group nor ACL of its directory.
    let whiteout = kind.is_char_device() && stat.rdev() == 0;
    Node {
        mode: stat.mode(),
        owner: (stat.uid(), if whiteout { 0 } else { stat.gid() }),
        links: stat.nlink(),
        size: if kind.is_dir() { 0 } else { stat.size() },
        special: if device { stat.rdev() } else { 0 },
        modified: (stat.mtime() < CLOCK).then(|| (stat.mtime(), stat.mtime_nsec())),
        same_as: Vec::new(),
        target: kind
            .is_symlink()
            .then(|| fs::read_link(path).unwrap().into_os_string().into_vec()),
        content: (whole && kind.is_file()).then(|| fs::read(path).unwrap()),
        attributes: if whole && !whiteout {
            attributes(path)
        } else {
            BTreeMap::new()
        },
    }
}

fn attributes(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0; 4096];
    let len = rustix::fs::llistxattr(path, &mut names[..]).unwrap();
    names.truncate(len);
    let value = |name: &[u8]| {
        let mut value = vec![0; 4096];
        let len = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
        value.truncate(len);
        (name.to_vec(), value)
    };
    names
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(value)
        .collect()
}
