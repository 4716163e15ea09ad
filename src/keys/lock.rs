//! Locking a keyring, which wipes every key it holds, and unlocking it, which asks the KMS for them again.

use std::any::Any;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::KeyError;
use super::cache::Held;
use super::keyring::{Dying, Inner, Keyring};
use super::slot::FileKeySlot;
use crate::crypto::{VolumeKeys, file_keys, volume_keys};
use crate::format::{DataKeyId, WrappedKey};
use crate::kms::{KmsError, Remedy};

/// How long a lock waits for uses of keys that have begun before it.
pub const LAST_USES: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_micros(200);

/// What became of the files that were open when the volume was unlocked.
#[derive(Debug, Default)]
pub struct Unlocked {
    /// Files whose keys are there again.
    pub refilled: usize,
    /// Files that stay without keys until they are opened again, and why.
    pub failed: Vec<KeyError>,
}

/// Data keys by their identities.
type Keys = HashMap<DataKeyId, Held>;

impl Keyring {
    /// Wipes every key: of open files, cache, pool and volume. Uses that have begun may end first; `true` says
    /// that all have, `false` that one still goes on after [`LAST_USES`] and its keys will be wiped at its end.
    pub fn lock(&self) -> bool {
        let inner = &*self.inner;
        let dying = inner.take_everything();
        inner.source.locked();
        let deadline = Instant::now() + LAST_USES;
        for key in &dying {
            while key.strong_count() > 0 {
                if Instant::now() >= deadline {
                    return false;
                }
                std::thread::sleep(PAUSE);
            }
        }
        true
    }

    /// Asks the KMS for the volume key again, and for those of the files that are open.
    ///
    /// # Errors
    /// [`KeyError`], and then all stays locked; `Locked` when it was locked again meanwhile.
    pub fn unlock(&self) -> Result<Unlocked, KeyError> {
        let inner = &*self.inner;
        let asked = inner.source.clock.uptime();
        let (epoch, slots) = {
            let state = inner.state.lock();
            if !state.locked {
                return Ok(Unlocked::default());
            }
            (
                state.epoch,
                state.live.values().filter_map(Weak::upgrade).collect::<Vec<_>>(),
            )
        };
        let keys = inner.fetch_volume_keys(epoch)?;
        let (held, failed) = inner.fetch_all(epoch, &slots)?;
        let refilled = inner.open_up(epoch, keys, &slots, &held)?;
        inner.contacted(asked);
        Ok(Unlocked { refilled, failed })
    }
}

impl Inner {
    /// Marks the volume as locked and takes all keys away; gives what to wait for.
    fn take_everything(&self) -> Vec<Dying> {
        let mut dying: Vec<Dying> = Vec::new();
        let mut state = self.state.lock();
        state.locked = true;
        state.epoch += 1;
        state.flights.clear();
        self.pool.pause();
        dying.append(&mut state.loose);
        dying.extend(state.shared.take().map(|shared| dismiss(shared.held.key)));
        dying.extend(state.cache.take_all().into_iter().map(dismiss));
        for slot in state.live.values().filter_map(Weak::upgrade) {
            dying.extend(slot.empty().map(dismiss));
        }
        dying.extend(self.volume_keys.write().take().map(dismiss));
        dying
    }

    fn fetch_volume_keys(&self, epoch: u64) -> Result<Arc<VolumeKeys>, KeyError> {
        let keys = Arc::new(self.ask_for_volume_keys()?);
        self.track(epoch, &keys)?;
        Ok(keys)
    }

    /// Asks the KMS for the volume key, as at mounting, and wipes it at once: whether it may still be used.
    pub(super) fn check_volume_key(&self) -> Result<(), KeyError> {
        self.ask_for_volume_keys().map(drop)
    }

    fn ask_for_volume_keys(&self) -> Result<VolumeKeys, KeyError> {
        let key = self.source.unwrap_volume_key(&self.wrapped_volume_key)?;
        let keys = volume_keys(&key, self.source.volume);
        match fingerprint(&keys) == self.fingerprint {
            true => Ok(keys),
            false => Err(KmsError::new("Kms.WrongKey", "the KMS gave another volume key than before").into()),
        }
    }

    /// Has the next lock wait for the end of `key`; refused if that lock has been.
    fn track<T: Any + Send + Sync>(&self, epoch: u64, key: &Arc<T>) -> Result<(), KeyError> {
        let mut state = self.state.lock();
        if state.epoch != epoch {
            return Err(KeyError::Locked);
        }
        state.track(key);
        Ok(())
    }

    fn fetch(&self, epoch: u64, id: DataKeyId, wrapped: &WrappedKey) -> Result<Held, KeyError> {
        let (key, contact) = self.source.unwrap(id, wrapped)?;
        let key = Arc::new(key);
        self.track(epoch, &key)?;
        Ok(Held { key, contact })
    }

    /// Asks for the data keys of `slots`, some at a time. What concerns one file only is noted; anything else
    /// ends it.
    fn fetch_all(&self, epoch: u64, slots: &[Arc<FileKeySlot>]) -> Result<(Keys, Vec<KeyError>), KeyError> {
        let wanted: HashMap<DataKeyId, &WrappedKey> = slots.iter().map(|s| (s.id, &s.wrapped)).collect();
        let wanted: Vec<_> = wanted.into_iter().collect();
        let next = AtomicUsize::new(0);
        let got = Mutex::new(Ok((Keys::new(), Vec::new())));
        let work = || {
            while let Some((id, wrapped)) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
                let outcome = self.fetch(epoch, *id, wrapped);
                let mut got = got.lock();
                match (&mut *got, outcome) {
                    (Err(_), _) => return,
                    (Ok((keys, _)), Ok(held)) => drop(keys.insert(*id, held)),
                    (Ok((_, failed)), Err(error)) if self.concerns_one(&error, wrapped) => failed.push(error),
                    (_, Err(error)) => {
                        *got = Err(error);
                        return;
                    }
                }
            }
        };
        std::thread::scope(|threads| {
            for _ in 1..self.settings.concurrency.min(wanted.len()) {
                // Without a further thread, those that there are do the work.
                let _ = std::thread::Builder::new().spawn_scoped(threads, work);
            }
            work();
        });
        got.into_inner()
    }

    /// Whether a failure is the fault of one file, so that the others can be unlocked.
    fn concerns_one(&self, error: &KeyError, wrapped: &WrappedKey) -> bool {
        match error {
            KeyError::Locked => false,
            KeyError::NotAllowed { .. } => true,
            KeyError::Kms(error) => match error.remedy() {
                Remedy::Rejected | Remedy::Gone => true,
                Remedy::Denied => wrapped.master_key != self.wrapped_volume_key.master_key,
                Remedy::Throttled | Remedy::Unreachable | Remedy::Misconfigured => false,
            },
        }
    }

    /// Puts the keys in their places, all at once, unless the volume was locked again.
    fn open_up(
        &self,
        epoch: u64,
        keys: Arc<VolumeKeys>,
        slots: &[Arc<FileKeySlot>],
        held: &Keys,
    ) -> Result<usize, KeyError> {
        let now = self.source.clock.uptime();
        let volume = self.source.volume;
        let derived = |slot: &Arc<FileKeySlot>| {
            let held = held.get(&slot.id)?;
            Some((
                Arc::clone(slot),
                Arc::new(file_keys(&held.key, volume, slot.node)),
                held.contact,
            ))
        };
        let filled: Vec<_> = slots.iter().filter_map(derived).collect();
        let count = filled.len();
        let mut state = self.state.lock();
        if state.epoch != epoch {
            return Err(KeyError::Locked);
        }
        if !state.locked {
            return Ok(0);
        }
        state.locked = false;
        for (slot, keys, contact) in filled {
            slot.fill(keys, contact);
        }
        for (id, held) in held {
            state.cache.insert(*id, held.clone(), now);
        }
        *self.volume_keys.write() = Some(keys);
        self.pool.resume();
        Ok(count)
    }
}

/// A digest of keys that were themselves derived one way: it can be kept while the volume is locked.
pub(super) fn fingerprint(keys: &VolumeKeys) -> [u8; 32] {
    let hash = Sha256::new().chain_update(b"kmsfs volume key fingerprint");
    hash.chain_update(keys.descriptor.expose()).finalize().into()
}

fn dismiss<T: Any + Send + Sync>(key: Arc<T>) -> Dying {
    let weak: Weak<T> = Arc::downgrade(&key);
    weak
}
