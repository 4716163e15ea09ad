//! STUB of the room `volume`.
#![allow(missing_docs)]
use std::{os::fd::OwnedFd, sync::Arc};
use crate::{format::NodeId, keys::Keyring, store::Store};
pub struct Volume { pub root: OwnedFd, pub root_node: NodeId, pub keyring: Keyring, pub store: Arc<Store>, pub read_only: bool }
impl Volume {
    pub fn stub(root: OwnedFd, root_node: NodeId) -> Self {
        Self { root, root_node, keyring: Keyring::stub(), store: Arc::default(), read_only: false }
    }
}
