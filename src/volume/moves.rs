//! Finishing renames that belong together and that a crash has cut short (`fs::together` begins them).

use std::collections::HashMap;
use std::ffi::CString;
use std::io::Read;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, StatVfsMountFlags, fstatvfs, openat};
use rustix::io::{self, Errno};

use super::VolumeError;
use crate::format::NodeId;
use crate::format::moves::{FILE_NAME, LEN_MAX, Move, parse};
use crate::format::stored_name::RawName;
use crate::sys::entries;
use crate::sys::open::DIRECTORY;

/// Does what stands in `kmsfs.moves` of `root`, whose directory is the node `root_node`, and removes it. Interrupted, it
/// is done again. A directory that is not found is passed over: what was to come to it is where it was.
///
/// # Errors
/// [`VolumeError::Io`]: the backing fails, or is read-only and something would have to be done.
pub fn finish(root: &OwnedFd, root_node: NodeId) -> Result<(), VolumeError> {
    let Some(bytes) = read(root).map_err(VolumeError::io("reading kmsfs.moves"))? else {
        return Ok(());
    };
    let failed = || VolumeError::io("finishing the renames in kmsfs.moves");
    if fstatvfs(root).is_ok_and(|stat| stat.f_flag.contains(StatVfsMountFlags::RDONLY)) {
        return Err(failed()(Errno::ROFS));
    }
    // What is not whole was not durable, so nothing of it has begun.
    let moves = parse(&bytes).unwrap_or_default();
    finish_moves(root, root_node, &moves).map_err(failed())?;
    entries::unlink(root, FILE_NAME, AtFlags::empty()).map_err(failed())?;
    entries::sync(root).map_err(failed())?;
    tracing::info!(renames = moves.len(), "finished what a crash had cut short");
    Ok(())
}

fn read(root: &OwnedFd) -> io::Result<Option<Vec<u8>>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match openat(root, FILE_NAME, flags, Mode::empty()) {
        Ok(file) => std::fs::File::from(file),
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    let read = file.take(LEN_MAX as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    Ok(Some(bytes))
}

fn finish_moves(root: &OwnedFd, root_node: NodeId, moves: &[Move]) -> io::Result<()> {
    let wanted: Vec<NodeId> = moves.iter().flat_map(|step| [step.from, step.to]).collect();
    let directories = find(root, root_node, &wanted)?;
    for step in moves {
        let (Some(from), Some(to)) = (directories.get(&step.from), directories.get(&step.to)) else {
            tracing::warn!(from = %step.from, to = %step.to, "a directory of an unfinished rename is not there");
            continue;
        };
        match entries::rename(from, &step.old, to, &step.new) {
            // It was done before the crash.
            Err(Errno::NOENT) => {}
            other => other?,
        }
    }
    directories.values().try_for_each(entries::sync)
}

/// The directories of the tree that are one of `wanted`. Those that are still to be looked into are kept as paths: there may
/// be more of them than a process may have open.
fn find(root: &OwnedFd, root_node: NodeId, wanted: &[NodeId]) -> io::Result<HashMap<NodeId, OwnedFd>> {
    let mut found = HashMap::new();
    let mut unseen: Vec<(NodeId, Vec<CString>)> = vec![(root_node, Vec::new())];
    while let Some((node, path)) = unseen.pop() {
        if wanted.iter().all(|node| found.contains_key(node)) {
            break;
        }
        let Some(directory) = open(root, &path)? else {
            continue;
        };
        for item in Dir::read_from(&directory)? {
            let item = item?;
            if let Some(raw) = RawName::parse(item.file_name().to_bytes())
                && matches!(item.file_type(), FileType::Directory | FileType::Unknown)
            {
                let below = path.iter().cloned().chain([item.file_name().to_owned()]);
                unseen.push((raw.node, below.collect()));
            }
        }
        if wanted.contains(&node) {
            found.insert(node, directory);
        }
    }
    Ok(found)
}

/// The directory at `path` below `root`; `None` when there is none.
fn open(root: &OwnedFd, path: &[CString]) -> io::Result<Option<OwnedFd>> {
    let mut directory = openat(root, ".", DIRECTORY, Mode::empty())?;
    for name in path {
        match openat(&directory, name, DIRECTORY, Mode::empty()) {
            Ok(below) => directory = below,
            Err(Errno::NOTDIR | Errno::LOOP | Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(Some(directory))
}
