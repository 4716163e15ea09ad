//! The keys of one mounted volume: those of its files as they are opened and created, and the volume's own.
//! Locked, it holds none. It knows no file and no directory.
//!
//! One guard protects what is shared; nobody holds it, or any other, while the KMS is asked.

use std::any::Any;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use super::cache::{Cache, Held, is_fresh};
use super::flight::{Flight, Pilot};
use super::pool::{Claim, Pool, PoolSettings};
use super::reuse::Shared;
use super::settings::{KeyringStatus, Settings};
use super::slot::FileKeySlot;
use super::source::{NewKey, Source};
use super::{KeyError, sweeper};
use crate::crypto::{FileKeys, Key, VolumeKeys, file_keys, volume_keys};
use crate::format::{DataKeyId, NodeId, VolumeId, WrappedKey};
use crate::kms::{Clock, Kms, SystemClock};

/// The keyring of a mounted volume. It owns threads: make it after the last fork.
pub struct Keyring {
    pub(super) inner: Arc<Inner>,
    _sweeper: sweeper::Leash,
}

pub(super) struct Inner {
    pub(super) source: Arc<Source>,
    pub(super) settings: Settings,
    pub(super) wrapped_volume_key: WrappedKey,
    /// Tells whether an unwrapped volume key is the right one; says nothing about it else.
    pub(super) fingerprint: [u8; 32],
    pub(super) pool: Pool,
    pub(super) volume_keys: RwLock<Option<Arc<VolumeKeys>>>,
    pub(super) state: Mutex<State>,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// What the guard protects.
pub(super) struct State {
    pub(super) locked: bool,
    /// Counts the locks. What was begun in one epoch is not finished in another.
    pub(super) epoch: u64,
    /// When a check of the volume key was begun that the KMS granted.
    pub(super) contact: Duration,
    pub(super) cache: Cache,
    pub(super) live: HashMap<(NodeId, DataKeyId), Weak<FileKeySlot>>,
    pub(super) flights: HashMap<DataKeyId, Arc<Flight>>,
    pub(super) shared: Option<Shared>,
    /// Keys that somebody may be deriving from, beside those in their places: a lock waits for their end.
    pub(super) loose: Vec<Dying>,
}

/// Something that is wiped when its last use has ended.
pub(super) type Dying = Weak<dyn Any + Send + Sync>;

/// The key of a new file.
#[derive(Debug)]
pub struct FreshKey {
    /// What the file's head shall hold.
    pub id: DataKeyId,
    /// What the file's head shall hold.
    pub wrapped: WrappedKey,
    /// The file's keys.
    pub keys: Arc<FileKeySlot>,
}

/// How to get a data key that is stored.
pub(super) enum Way {
    Open(Arc<FileKeySlot>),
    Cached(Held),
    Follow(Arc<Flight>),
    Lead(Pilot),
}

impl Keyring {
    /// The keyring of `volume`, unlocked by its `volume_key`. The master key that wrapped it wraps all others.
    #[must_use]
    pub fn new(
        kms: Arc<dyn Kms>,
        volume: VolumeId,
        volume_key: Key,
        wrapped_volume_key: WrappedKey,
        settings: Settings,
    ) -> Keyring {
        let clock = Arc::new(SystemClock);
        let master_key = wrapped_volume_key.master_key.clone();
        let source = Source::new(kms, volume, master_key, &settings.also_allowed, clock);
        Keyring::with_source(Arc::new(source), &volume_key, wrapped_volume_key, settings)
    }

    pub(super) fn with_source(
        source: Arc<Source>,
        volume_key: &Key,
        wrapped_volume_key: WrappedKey,
        settings: Settings,
    ) -> Keyring {
        let keys = volume_keys(volume_key, source.volume);
        let contact = source.clock.uptime();
        let pool = PoolSettings {
            size: settings.pool,
            workers: settings.concurrency,
            ttl: settings.ttl,
            backoff: Duration::from_millis(200),
            backoff_max: Duration::from_secs(10),
        };
        let state = State {
            locked: false,
            epoch: 0,
            contact,
            cache: Cache::new(settings.capacity, settings.ttl),
            live: HashMap::new(),
            flights: HashMap::new(),
            shared: None,
            loose: Vec::new(),
        };
        let inner = Arc::new(Inner {
            pool: Pool::new(Arc::clone(&source), pool),
            source,
            settings,
            wrapped_volume_key,
            fingerprint: super::lock::fingerprint(&keys),
            volume_keys: RwLock::new(Some(Arc::new(keys))),
            state: Mutex::new(state),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        });
        let sweeper = sweeper::start(Arc::downgrade(&inner), inner.settings.ttl);
        Keyring {
            inner,
            _sweeper: sweeper,
        }
    }

    /// Makes sure that a file can begin later, also if the KMS has gone by then.
    ///
    /// # Errors
    /// [`KeyError`]: no key waits, and the KMS gives none.
    pub fn claim(&self) -> Result<Claim, KeyError> {
        self.inner.state.lock().check_unlocked()?;
        self.inner.pool.claim()
    }

    /// The key of the new file `node`: the one claimed for it, or fetched ahead, or shared by the reuse policy, or
    /// asked for now.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn fresh(&self, node: NodeId, claim: Option<Claim>) -> Result<FreshKey, KeyError> {
        let inner = &*self.inner;
        let now = inner.source.clock.uptime();
        let (epoch, shared) = {
            let mut state = inner.state.lock();
            state.check_unlocked()?;
            (state.epoch, state.share(&inner.settings, now))
        };
        if let Some((id, wrapped, held)) = shared {
            let keys = inner.adopt(epoch, node, id, &wrapped, &held)?;
            return Ok(FreshKey { id, wrapped, keys });
        }
        let NewKey {
            id,
            wrapped,
            key,
            contact,
        } = match inner.pool.take(claim) {
            Some(key) => key,
            None => inner.source.generate()?,
        };
        let held = inner.keep(epoch, id, key, contact)?;
        if let Some(policy) = inner.settings.reuse {
            let mut state = inner.state.lock();
            if state.epoch == epoch && !state.locked {
                let shared = Shared::begin(policy, id, wrapped.clone(), held.clone());
                let replaced = state.shared.replace(shared);
                drop(state);
                drop(replaced);
            }
        }
        let keys = inner.adopt(epoch, node, id, &wrapped, &held)?;
        Ok(FreshKey { id, wrapped, keys })
    }

    /// The keys of the file `node`, whose head names the data key `id` and holds it as `wrapped`. However many
    /// ask at the same time, the KMS is asked once.
    ///
    /// # Errors
    /// [`KeyError`]; `NotAllowed` without asking when another volume's master key is named.
    pub fn file_keys(&self, node: NodeId, id: DataKeyId, wrapped: &WrappedKey) -> Result<Arc<FileKeySlot>, KeyError> {
        let inner = &*self.inner;
        inner.source.check_allowed(wrapped)?;
        let (epoch, way) = inner.way(node, id)?;
        let hit = matches!(way, Way::Open(_) | Way::Cached(_));
        let counter = if hit { &inner.hits } else { &inner.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        let held = match way {
            Way::Open(slot) => return Ok(slot),
            Way::Cached(held) => held,
            Way::Follow(flight) => flight.wait()?,
            Way::Lead(pilot) => inner.lead(epoch, id, wrapped, &pilot)?,
        };
        inner.adopt(epoch, node, id, wrapped, &held)
    }

    /// How often the KMS had to be asked for the keys of a file.
    #[must_use]
    pub fn misses(&self) -> u64 {
        self.inner.misses.load(Ordering::Relaxed)
    }

    /// Uses the volume's own keys. No guard is held meanwhile.
    ///
    /// # Errors
    /// [`KeyError::Locked`].
    pub fn with_volume<R>(&self, use_keys: impl FnOnce(&VolumeKeys) -> R) -> Result<R, KeyError> {
        let keys = self.inner.volume_keys.read().clone().ok_or(KeyError::Locked)?;
        Ok(use_keys(&keys))
    }

    /// Counts bytes written under a data key, for the reuse policy. Costs nothing without one.
    pub fn note_written(&self, id: DataKeyId, bytes: u64) {
        if self.inner.settings.reuse.is_some() {
            let mut state = self.inner.state.lock();
            if let Some(shared) = &mut state.shared {
                shared.note_written(id, bytes);
            }
        }
    }

    /// The clock of the keyring's times.
    #[must_use]
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.inner.source.clock)
    }

    /// From now on also accepts keys that `master_key` wraps, as during a rotation.
    pub fn allow(&self, master_key: String) {
        self.inner.source.allow(master_key);
    }

    /// The volume.
    #[must_use]
    pub fn volume(&self) -> VolumeId {
        self.inner.source.volume
    }

    /// Drops what is past its time; the keyring's own thread does so regularly.
    pub fn sweep(&self) {
        self.inner.sweep();
    }

    /// What there is to tell.
    #[must_use]
    pub fn status(&self) -> KeyringStatus {
        let inner = &*self.inner;
        let source = inner.source.counters();
        let pool = inner.pool.len();
        let state = inner.state.lock();
        KeyringStatus {
            locked: state.locked,
            cached: state.cache.len(),
            open_files: state.live.values().filter(|slot| slot.strong_count() > 0).count(),
            hits: inner.hits.load(Ordering::Relaxed),
            misses: inner.misses.load(Ordering::Relaxed),
            kms_calls: source.calls,
            kms_failures: source.failures,
            kms_time: source.time,
            last_contact: source.last_contact,
            pool,
            memory_locked: crate::sys::memory::locked(),
        }
    }
}

impl State {
    fn check_unlocked(&self) -> Result<(), KeyError> {
        if self.locked { Err(KeyError::Locked) } else { Ok(()) }
    }

    pub(super) fn check_epoch(&self, epoch: u64) -> Result<(), KeyError> {
        if self.locked || self.epoch != epoch {
            Err(KeyError::Locked)
        } else {
            Ok(())
        }
    }

    /// Remembers a key that is in use outside its place.
    pub(super) fn track<T: Any + Send + Sync>(&mut self, key: &Arc<T>) {
        let weak: Weak<T> = Arc::downgrade(key);
        // Only when it would grow: to look through all of them for each file costs more than the file.
        if self.loose.len() >= 64 && self.loose.len() == self.loose.capacity() {
            self.loose.retain(|key| key.strong_count() > 0);
        }
        self.loose.push(weak);
    }

    fn share(&mut self, settings: &Settings, now: Duration) -> Option<(DataKeyId, WrappedKey, Held)> {
        self.shared.as_mut()?.take(now, settings.ttl)
    }
}

impl Inner {
    /// Decides how to get a data key, and takes the lead if nobody has it.
    pub(super) fn way(&self, node: NodeId, id: DataKeyId) -> Result<(u64, Way), KeyError> {
        let now = self.source.clock.uptime();
        let mut state = self.state.lock();
        state.check_unlocked()?;
        let open = state.live.get(&(node, id)).and_then(Weak::upgrade);
        // What is open anyway counts as given whenever the KMS gives the volume key: one master key wraps both.
        let fresh = |slot: &Arc<FileKeySlot>| {
            slot.contact()
                .is_some_and(|contact| is_fresh(contact.max(state.contact), now, self.settings.ttl))
        };
        let way = if let Some(slot) = open.filter(fresh) {
            Way::Open(slot)
        } else if let Some(held) = state.cache.get(id, now) {
            Way::Cached(held)
        } else if let Some(flight) = state.flights.get(&id) {
            Way::Follow(Arc::clone(flight))
        } else {
            let flight = Arc::<Flight>::default();
            state.flights.insert(id, Arc::clone(&flight));
            Way::Lead(Pilot(flight))
        };
        Ok((state.epoch, way))
    }

    /// Asks the KMS for itself and all who follow.
    pub(super) fn lead(
        &self,
        epoch: u64,
        id: DataKeyId,
        wrapped: &WrappedKey,
        pilot: &Pilot,
    ) -> Result<Held, KeyError> {
        let _landing = Landing { inner: self, id, pilot };
        let unwrapped = self.source.unwrap(id, wrapped);
        let outcome = unwrapped.and_then(|(key, contact)| self.keep(epoch, id, key, contact));
        pilot.land(outcome.clone());
        outcome
    }

    /// Puts a data key from the KMS into the cache, unless the volume was locked since it was asked for.
    fn keep(&self, epoch: u64, id: DataKeyId, key: Key, contact: Duration) -> Result<Held, KeyError> {
        let held = Held {
            key: Arc::new(key),
            contact,
        };
        let now = self.source.clock.uptime();
        let mut state = self.state.lock();
        state.check_epoch(epoch)?;
        state.track(&held.key);
        state.cache.insert(id, held.clone(), now);
        Ok(held)
    }

    /// Derives a file's keys and puts them into the slot that its handles share.
    fn adopt(
        &self,
        epoch: u64,
        node: NodeId,
        id: DataKeyId,
        wrapped: &WrappedKey,
        held: &Held,
    ) -> Result<Arc<FileKeySlot>, KeyError> {
        let keys: Arc<FileKeys> = Arc::new(file_keys(&held.key, self.source.volume, node));
        let mut state = self.state.lock();
        state.check_epoch(epoch)?;
        if let Some(slot) = state.live.get(&(node, id)).and_then(Weak::upgrade) {
            slot.fill(keys, held.contact);
            return Ok(slot);
        }
        let slot = Arc::new(FileKeySlot::new(node, id, wrapped.clone(), keys, held.contact));
        state.live.insert((node, id), Arc::downgrade(&slot));
        Ok(slot)
    }

    /// Notes that the KMS, asked at `asked`, has given the volume key.
    pub(super) fn contacted(&self, asked: Duration) {
        let mut state = self.state.lock();
        state.contact = state.contact.max(asked);
    }

    pub(super) fn sweep(&self) {
        let now = self.source.clock.uptime();
        self.pool.sweep(now);
        let mut state = self.state.lock();
        state.cache.sweep(now);
        state.live.retain(|_, slot| slot.strong_count() > 0);
        state.loose.retain(|key| key.strong_count() > 0);
        if state
            .shared
            .as_ref()
            .is_some_and(|shared| !shared.is_fresh(now, self.settings.ttl))
        {
            state.shared = None;
        }
    }
}

/// Takes a flight off the list when it has ended, however it ended.
struct Landing<'a> {
    inner: &'a Inner,
    id: DataKeyId,
    pilot: &'a Pilot,
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        let mut state = self.inner.state.lock();
        if state
            .flights
            .get(&self.id)
            .is_some_and(|flight| Arc::ptr_eq(flight, &self.pilot.0))
        {
            state.flights.remove(&self.id);
        }
    }
}
