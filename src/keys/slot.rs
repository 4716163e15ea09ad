//! The keys of one open file, which the file's handles share: there for reads and writes without the KMS, until
//! the volume is locked.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;

use super::KeyError;
use crate::crypto::FileKeys;
use crate::format::{DataKeyId, NodeId, WrappedKey};

/// The keys of one open file. Handles keep it for as long as they are open.
#[derive(Debug)]
pub struct FileKeySlot {
    pub(super) node: NodeId,
    pub(super) id: DataKeyId,
    pub(super) wrapped: WrappedKey,
    content: RwLock<Content>,
}

#[derive(Debug)]
struct Content {
    keys: Option<Arc<FileKeys>>,
    contact: Duration,
}

impl FileKeySlot {
    pub(super) fn new(
        node: NodeId,
        id: DataKeyId,
        wrapped: WrappedKey,
        keys: Arc<FileKeys>,
        contact: Duration,
    ) -> FileKeySlot {
        let content = RwLock::new(Content {
            keys: Some(keys),
            contact,
        });
        FileKeySlot {
            node,
            id,
            wrapped,
            content,
        }
    }

    /// The data key's identity.
    #[must_use]
    pub fn data_key_id(&self) -> DataKeyId {
        self.id
    }

    /// Uses the keys. No guard is held meanwhile, so uses may nest and take long; but a lock of the volume waits
    /// (for a while) until `use_keys` returns.
    ///
    /// # Errors
    /// [`KeyError::Locked`].
    pub fn with<R>(&self, use_keys: impl FnOnce(&FileKeys) -> R) -> Result<R, KeyError> {
        let keys = self.content.read().keys.clone().ok_or(KeyError::Locked)?;
        Ok(use_keys(&keys))
    }

    /// When the KMS last gave the keys; `None` when they were wiped.
    pub(super) fn contact(&self) -> Option<Duration> {
        let content = self.content.read();
        content.keys.as_ref().map(|_| content.contact)
    }

    /// Puts the keys in, or only notes the later contact when they are there.
    pub(super) fn fill(&self, keys: Arc<FileKeys>, contact: Duration) {
        let mut content = self.content.write();
        content.keys.get_or_insert(keys);
        content.contact = content.contact.max(contact);
    }

    /// Takes the keys away; they are wiped when their last use ends.
    pub(super) fn empty(&self) -> Option<Arc<FileKeys>> {
        self.content.write().keys.take()
    }
}
