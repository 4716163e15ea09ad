//! STUB of the room `store`.
#![allow(missing_docs)]
use crate::format::NodeId;
#[derive(Default)]
pub struct Store { born: parking_lot::Mutex<Vec<NodeId>> }
impl Store {
    pub fn drain_born(&self) -> Vec<NodeId> { std::mem::take(&mut *self.born.lock()) }
    pub fn note_born(&self, n: NodeId) { self.born.lock().push(n) }
}
