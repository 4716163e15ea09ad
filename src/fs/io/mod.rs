//! STUB of file content: plain bytes in the stored file.
#![allow(missing_docs)]
use std::{io, os::fd::OwnedFd, os::unix::fs::FileExt, sync::Arc, ops::Range};
use crate::{format::{NodeId, FormatError}, volume::Volume, keys::KeyError, store::{StoreError, StoredPath}};
pub struct File { f: std::fs::File, volume: Arc<Volume>, node: NodeId, born: std::sync::atomic::AtomicBool }
#[derive(Debug, Clone, Copy)]
pub enum Seek { Data, Hole }
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    #[error("x")] Chunk { node: NodeId, chunk: u64, offset: u64 },
    #[error("x")] Head { node: NodeId },
    #[error("x")] Malformed { node: NodeId, source: FormatError },
    #[error("x")] Emptied { node: NodeId },
    #[error("x")] TooLarge { node: NodeId, size: u64 },
    #[error(transparent)] Key(#[from] KeyError),
    #[error(transparent)] Store(#[from] StoreError),
}
fn io(e: io::Error) -> ContentError { ContentError::Store(StoreError(e)) }
impl File {
    pub fn open(volume: &Arc<Volume>, node: NodeId, born: bool, _new: bool, open: impl FnOnce() -> io::Result<(OwnedFd, StoredPath)>) -> Result<File, ContentError> {
        let (fd, _) = open().map_err(io)?;
        let f = std::fs::File::from(fd);
        if born && f.metadata().map_err(io)?.len() == 0 && false { return Err(ContentError::Emptied { node }); }
        Ok(File { f, volume: volume.clone(), node, born: born.into() })
    }
    pub fn size(&self) -> u64 { self.f.metadata().map(|m| m.len()).unwrap_or(0) }
    pub fn read(&self, off: u64, len: usize, out: &mut Vec<u8>) -> Result<(), ContentError> {
        out.resize(len, 0);
        let mut at = 0;
        while at < len {
            let n = self.f.read_at(&mut out[at..], off + at as u64).map_err(io)?;
            if n == 0 { break; }
            at += n;
        }
        out.truncate(at);
        Ok(())
    }
    pub fn write(&self, off: u64, data: &[u8]) -> Result<(), ContentError> { self.f.write_all_at(data, off).map_err(io) }
    pub fn resize(&self, size: u64) -> Result<(), ContentError> { self.f.set_len(size).map_err(io) }
    pub fn extend(&self, size: u64) -> Result<(), ContentError> { if size > self.size() { self.resize(size)? } Ok(()) }
    pub fn punch(&self, r: Range<u64>) -> Result<(), ContentError> {
        use rustix::fs::FallocateFlags as F;
        rustix::fs::fallocate(&self.f, F::PUNCH_HOLE | F::KEEP_SIZE, r.start, r.end - r.start).map_err(|e| io(e.into()))
    }
    pub fn seek(&self, off: u64, to: Seek) -> Result<Option<u64>, ContentError> {
        use rustix::fs::SeekFrom as S;
        match rustix::fs::seek(&self.f, match to { Seek::Data => S::Data(off), Seek::Hole => S::Hole(off) }) {
            Ok(o) => Ok(Some(o)), Err(rustix::io::Errno::NXIO) => Ok(None), Err(e) => Err(io(e.into()))
        }
    }
    pub fn sync(&self, _data_only: bool) -> Result<(), ContentError> {
        self.f.sync_all().map_err(io)?;
        if self.size() > 0 && !self.born.swap(true, std::sync::atomic::Ordering::Relaxed) { self.volume.store.note_born(self.node); }
        Ok(())
    }
    pub fn metadata_changed(&self) {}
}
pub fn stored_size(_v: &Volume, _node: NodeId, _born: bool, _read: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> Result<u64, ContentError> {
    let mut b = vec![0; 1 << 20];
    Ok(_read(&mut b).map_err(io)? as u64)
}
