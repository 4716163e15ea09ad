//! Data keys unwrapped before somebody opens their files.

use super::KeyError;
use super::keyring::{Keyring, Way};
use crate::format::{DataKeyId, NodeId, WrappedKey};

impl Keyring {
    /// Most keys that may usefully be fetched ahead at a time: what is not opened soon must not drive others out of the
    /// cache. 0 when it is not worth it.
    #[must_use]
    pub fn ahead(&self) -> usize {
        let settings = &self.inner.settings;
        match settings.ttl.is_zero() {
            true => 0,
            false => settings.ahead.min(settings.capacity / 4),
        }
    }

    /// Most calls to the KMS at a time that are made ahead of need.
    #[must_use]
    pub fn concurrency(&self) -> usize {
        self.inner.settings.concurrency
    }

    /// Has the data key `id` of the file `node` in the cache, by asking the KMS if it is not there yet and nobody is
    /// asking. Whoever opens the file meanwhile waits for this answer. Counts as no look-up.
    ///
    /// # Errors
    /// As [`Keyring::file_keys`].
    pub fn fetch_ahead(&self, node: NodeId, id: DataKeyId, wrapped: &WrappedKey) -> Result<(), KeyError> {
        let inner = &*self.inner;
        inner.source.check_allowed(wrapped)?;
        match inner.way(node, id)? {
            (epoch, Way::Lead(pilot)) => inner.lead(epoch, id, wrapped, &pilot).map(drop),
            _ => Ok(()),
        }
    }
}
