//! Where data keys of one volume come from: every call to the KMS goes through here, is counted, and its answer is
//! checked. Whoever calls holds no guard.

use std::collections::HashSet;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::RwLock;

use super::KeyError;
use crate::crypto::Key;
use crate::format::wrapped::Slot;
use crate::format::{DataKeyId, VolumeId, WrappedKey};
use crate::kms::{Clock, EncryptionContext, Kms, KmsError};

const NEVER: i64 = i64::MIN;

/// A data key that no file has yet.
#[derive(Debug)]
pub(super) struct NewKey {
    pub id: DataKeyId,
    pub wrapped: WrappedKey,
    pub key: Key,
    pub contact: Duration,
}

pub(super) struct Source {
    pub volume: VolumeId,
    pub clock: Arc<dyn Clock>,
    kms: Arc<dyn Kms>,
    master_key: String,
    allowed: RwLock<HashSet<String>>,
    calls: AtomicU64,
    failures: AtomicU64,
    nanoseconds: AtomicU64,
    last_contact: AtomicI64,
    refusal: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

/// What is counted of the calls.
pub(super) struct Counters {
    pub calls: u64,
    pub failures: u64,
    /// How long all of them together took.
    pub time: Duration,
    /// When the last one succeeded, in seconds since 1970.
    pub last_contact: Option<i64>,
}

impl Source {
    pub(super) fn new(
        kms: Arc<dyn Kms>,
        volume: VolumeId,
        master_key: String,
        also_allowed: &[String],
        clock: Arc<dyn Clock>,
    ) -> Source {
        let allowed = also_allowed.iter().chain([&master_key]).cloned().collect();
        Source {
            volume,
            clock,
            kms,
            master_key,
            allowed: RwLock::new(allowed),
            calls: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            nanoseconds: AtomicU64::new(0),
            last_contact: AtomicI64::new(NEVER),
            refusal: OnceLock::new(),
        }
    }

    /// Refuses a wrapped key under a master key that is not the volume's.
    pub(super) fn check_allowed(&self, wrapped: &WrappedKey) -> Result<(), KeyError> {
        if self.allowed.read().contains(&wrapped.master_key) {
            return Ok(());
        }
        let found = wrapped.master_key.chars().take(64).collect();
        Err(KeyError::NotAllowed { found })
    }

    pub(super) fn allow(&self, master_key: String) {
        self.allowed.write().insert(master_key);
    }

    /// A new data key, with an id of its own in its context.
    pub(super) fn generate(&self) -> Result<NewKey, KeyError> {
        let id = DataKeyId::random();
        let context = EncryptionContext::data_key(self.volume, id);
        let contact = self.clock.uptime();
        let made = self.counted(|| self.kms.generate_data_key(&self.master_key, &context))?;
        self.check_allowed(&made.wrapped)?;
        if Slot::new(&made.wrapped).is_err() {
            let message = "the wrapped data key is longer than a file has room for";
            return Err(KmsError::new("Kms.WrongKey", message).at(self.kms.describe()).into());
        }
        Ok(NewKey {
            id,
            wrapped: made.wrapped,
            key: made.key,
            contact,
        })
    }

    /// The plain data key `id`, and the time that counts as its last contact: that of asking.
    pub(super) fn unwrap(&self, id: DataKeyId, wrapped: &WrappedKey) -> Result<(Key, Duration), KeyError> {
        self.check_allowed(wrapped)?;
        let contact = self.clock.uptime();
        let context = EncryptionContext::data_key(self.volume, id);
        let key = self.counted(|| self.kms.decrypt(wrapped, &context))?;
        Ok((key, contact))
    }

    /// The plain volume key.
    pub(super) fn unwrap_volume_key(&self, wrapped: &WrappedKey) -> Result<Key, KeyError> {
        self.check_allowed(wrapped)?;
        let context = EncryptionContext::volume_key(self.volume);
        self.counted(|| self.kms.decrypt_now(wrapped, &context))
    }

    /// Tells the KMS that the volume was locked.
    pub(super) fn locked(&self) {
        self.kms.volume_locked();
    }

    /// Has `refused` called whenever the KMS answers that a key may not be used.
    pub(super) fn on_refusal(&self, refused: Box<dyn Fn() + Send + Sync>) {
        // A second watcher of one keyring would be a mistake; the first one stays.
        let _ = self.refusal.set(refused);
    }

    fn counted<T>(&self, call: impl FnOnce() -> Result<T, KmsError>) -> Result<T, KeyError> {
        let begin = Instant::now();
        let outcome = call();
        let took = u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(took, Ordering::Relaxed);
        self.calls.fetch_add(1, Ordering::Relaxed);
        match &outcome {
            Ok(_) => self.last_contact.store(self.clock.unix(), Ordering::Relaxed),
            Err(error) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                if let Some(refused) = self.refusal.get().filter(|_| error.remedy().is_withdrawal()) {
                    refused();
                }
            }
        }
        Ok(outcome?)
    }

    pub(super) fn counters(&self) -> Counters {
        let last = self.last_contact.load(Ordering::Relaxed);
        Counters {
            calls: self.calls.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            time: Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed)),
            last_contact: (last != NEVER).then_some(last),
        }
    }
}
