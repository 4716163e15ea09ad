//! The reuse policy: one data key for several new files, within limits. Each file still has subkeys of its own.

use std::time::Duration;

use super::cache::Held;
use super::settings::ReusePolicy;
use crate::format::{DataKeyId, WrappedKey};

/// The data key that new files share at the moment.
#[derive(Debug)]
pub(super) struct Shared {
    policy: ReusePolicy,
    id: DataKeyId,
    wrapped: WrappedKey,
    pub held: Held,
    files: u32,
    bytes: u64,
}

impl Shared {
    /// Begins with one file.
    pub(super) fn begin(policy: ReusePolicy, id: DataKeyId, wrapped: WrappedKey, held: Held) -> Shared {
        Shared {
            policy,
            id,
            wrapped,
            held,
            files: 1,
            bytes: 0,
        }
    }

    /// The key for one file more, if a limit does not forbid that.
    pub(super) fn take(&mut self, now: Duration, ttl: Duration) -> Option<(DataKeyId, WrappedKey, Held)> {
        let within = self.files < self.policy.files && self.bytes < self.policy.bytes;
        if !within || !self.is_fresh(now, ttl) {
            return None;
        }
        self.files += 1;
        Some((self.id, self.wrapped.clone(), self.held.clone()))
    }

    /// Whether neither its own time nor that of all keys is over.
    pub(super) fn is_fresh(&self, now: Duration, ttl: Duration) -> bool {
        self.held
            .is_fresh(now, ttl.min(Duration::from_secs(self.policy.seconds)))
    }

    pub(super) fn note_written(&mut self, id: DataKeyId, bytes: u64) {
        if id == self.id {
            self.bytes = self.bytes.saturating_add(bytes);
        }
    }
}
