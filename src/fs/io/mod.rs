//! STUB of file content: plain bytes in the stored file.
#![allow(missing_docs)]
use std::{io, os::fd::OwnedFd, os::unix::fs::FileExt, sync::Arc, path::PathBuf};
use crate::{format::NodeId, volume::Volume, fs::error::FsError};
pub type StoredPath = PathBuf;
pub struct File { f: std::fs::File, volume: Arc<Volume>, node: NodeId, born: std::sync::atomic::AtomicBool }
#[derive(Debug, Clone, Copy)]
pub enum AllocateMode { Reserve { keep_size: bool }, PunchHole, ZeroRange { keep_size: bool } }
#[derive(Debug, Clone, Copy)]
pub enum Seek { Data, Hole }
impl File {
    pub fn open(volume: &Arc<Volume>, node: NodeId, born: bool, open: impl FnOnce() -> io::Result<(OwnedFd, StoredPath)>, _new: bool) -> Result<Arc<File>, FsError> {
        let (fd, _) = open()?;
        let f = std::fs::File::from(fd);
        if born && f.metadata()?.len() == 0 && false { return Err(FsError::damaged("emptied")); }
        Ok(Arc::new(File { f, volume: volume.clone(), node, born: born.into() }))
    }
    pub fn size(&self) -> u64 { self.f.metadata().map(|m| m.len()).unwrap_or(0) }
    pub fn read(&self, off: u64, len: usize, out: &mut Vec<u8>) -> Result<(), FsError> {
        out.resize(len, 0);
        let mut at = 0;
        while at < len {
            let n = self.f.read_at(&mut out[at..], off + at as u64)?;
            if n == 0 { break; }
            at += n;
        }
        out.truncate(at);
        Ok(())
    }
    pub fn write(&self, off: u64, data: &[u8]) -> Result<(), FsError> { Ok(self.f.write_all_at(data, off)?) }
    pub fn resize(&self, size: u64) -> Result<(), FsError> { Ok(self.f.set_len(size)?) }
    pub fn allocate(&self, mode: AllocateMode, off: u64, len: u64) -> Result<(), FsError> {
        use rustix::fs::FallocateFlags as F;
        let f = match mode {
            AllocateMode::Reserve { keep_size: true } => F::KEEP_SIZE,
            AllocateMode::Reserve { keep_size: false } => F::empty(),
            AllocateMode::PunchHole => F::PUNCH_HOLE | F::KEEP_SIZE,
            AllocateMode::ZeroRange { keep_size: true } => F::ZERO_RANGE | F::KEEP_SIZE,
            AllocateMode::ZeroRange { keep_size: false } => F::ZERO_RANGE,
        };
        Ok(rustix::fs::fallocate(&self.f, f, off, len)?)
    }
    pub fn seek(&self, off: u64, to: Seek) -> Result<u64, FsError> {
        use rustix::fs::SeekFrom as S;
        Ok(rustix::fs::seek(&self.f, match to { Seek::Data => S::Data(off), Seek::Hole => S::Hole(off) })?)
    }
    pub fn sync(&self, _data_only: bool) -> Result<(), FsError> {
        self.f.sync_all()?;
        if self.size() > 0 && !self.born.swap(true, std::sync::atomic::Ordering::Relaxed) { self.volume.store.note_born(self.node); }
        Ok(())
    }
    pub fn metadata_changed(&self) {}
}
pub fn stored_size(_v: &Volume, _node: NodeId, _born: bool, open: impl FnOnce() -> io::Result<OwnedFd>) -> Result<u64, FsError> {
    Ok(std::fs::File::from(open()?).metadata()?.len())
}
