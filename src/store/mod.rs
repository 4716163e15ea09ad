//! STUB of the room `store`.
#![allow(missing_docs)]
use crate::format::NodeId;
#[derive(Default)]
pub struct Store { born: parking_lot::Mutex<Vec<NodeId>> }
impl Store {
    pub fn drain_born(&self) -> Vec<NodeId> { std::mem::take(&mut *self.born.lock()) }
    pub fn note_born(&self, n: NodeId) { self.born.lock().push(n) }
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StoreError(pub std::io::Error);
impl StoreError { pub fn errno(&self) -> i32 { self.0.raw_os_error().unwrap_or(libc::EIO) } }
#[derive(Debug, Clone)]
pub struct StoredPath(pub Vec<u8>);
impl StoredPath { pub fn new(p: impl Into<Vec<u8>>) -> Self { Self(p.into()) } }
impl Store {
    pub fn renamed(&self, _n: NodeId, _p: StoredPath) {}
    pub fn unlinked(&self, _n: NodeId) {}
}
