//! Data keys that may be needed again: the most recently used ones, none for longer than its time.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use lru::LruCache;

use crate::crypto::Key;
use crate::format::DataKeyId;

/// A data key, and when (by [`crate::kms::Clock::uptime`]) the KMS last gave it.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub key: Arc<Key>,
    pub contact: Duration,
}

impl Held {
    /// Whether it may still be used. Looking it up does not make it younger.
    pub(super) fn is_fresh(&self, now: Duration, ttl: Duration) -> bool {
        is_fresh(self.contact, now, ttl)
    }
}

/// Whether something got at `contact` may still be used at `now`.
pub(super) fn is_fresh(contact: Duration, now: Duration, ttl: Duration) -> bool {
    now.saturating_sub(contact) < ttl
}

/// The cache. What leaves it is wiped as soon as nobody is deriving from it any more.
#[derive(Debug)]
pub(super) struct Cache {
    keys: Option<LruCache<DataKeyId, Held>>,
    ttl: Duration,
}

impl Cache {
    pub(super) fn new(capacity: usize, ttl: Duration) -> Cache {
        Cache {
            keys: NonZeroUsize::new(capacity).map(LruCache::sparse),
            ttl,
        }
    }

    pub(super) fn get(&mut self, id: DataKeyId, now: Duration) -> Option<Held> {
        let keys = self.keys.as_mut()?;
        let held = keys.get(&id)?;
        if held.is_fresh(now, self.ttl) {
            return Some(held.clone());
        }
        keys.pop(&id);
        None
    }

    pub(super) fn insert(&mut self, id: DataKeyId, held: Held, now: Duration) {
        if let Some(keys) = &mut self.keys
            && held.is_fresh(now, self.ttl)
        {
            keys.push(id, held);
        }
    }

    /// Drops what is past its time, also when nobody asks for it.
    pub(super) fn sweep(&mut self, now: Duration) {
        let ttl = self.ttl;
        if let Some(keys) = &mut self.keys {
            keys.retain(|_, held| held.is_fresh(now, ttl));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.keys.as_ref().map_or(0, LruCache::len)
    }

    /// Empties it; gives what was in it, so that the end of its last use can be seen.
    pub(super) fn take_all(&mut self) -> Vec<Arc<Key>> {
        let Some(keys) = &mut self.keys else {
            return Vec::new();
        };
        std::iter::from_fn(|| keys.pop_lru())
            .map(|(_, held)| held.key)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::memory::{Place, SLOT};

    const TTL: Duration = Duration::from_secs(10);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn put(cache: &mut Cache, id: u8, now: Duration) -> Place {
        let key = Key::random();
        let place = key.place();
        cache.insert(
            DataKeyId([id; 16]),
            Held {
                key: Arc::new(key),
                contact: now,
            },
            now,
        );
        place
    }

    fn has(cache: &mut Cache, id: u8, now: Duration) -> bool {
        cache.get(DataKeyId([id; 16]), now).is_some()
    }

    #[test]
    fn least_recently_used_is_evicted_and_wiped() {
        let mut cache = Cache::new(2, TTL);
        put(&mut cache, 1, at(0));
        let second = put(&mut cache, 2, at(0));
        assert!(has(&mut cache, 1, at(0)));
        assert_ne!(second.peek(), [0; SLOT]);
        put(&mut cache, 3, at(0));
        assert_eq!(second.peek(), [0; SLOT]);
        assert!(has(&mut cache, 1, at(0)) && !has(&mut cache, 2, at(0)) && has(&mut cache, 3, at(0)));
    }

    #[test]
    fn time_counts_from_the_kms_not_from_the_last_use() {
        let mut cache = Cache::new(2, TTL);
        let place = put(&mut cache, 1, at(5));
        assert!(has(&mut cache, 1, at(10)));
        assert!(has(&mut cache, 1, at(14)));
        assert!(!has(&mut cache, 1, at(15)));
        assert_eq!(place.peek(), [0; SLOT]);
    }

    #[test]
    fn sweep_wipes_what_nobody_asks_for() {
        let mut cache = Cache::new(9, TTL);
        let (old, young) = (put(&mut cache, 1, at(0)), put(&mut cache, 2, at(6)));
        cache.sweep(at(12));
        assert_eq!(old.peek(), [0; SLOT]);
        assert_ne!(young.peek(), [0; SLOT]);
        assert_eq!(cache.len(), 1);
    }

    #[test]
    fn replaced_and_taken_keys_are_wiped() {
        let mut cache = Cache::new(9, TTL);
        let first = put(&mut cache, 1, at(0));
        let second = put(&mut cache, 1, at(1));
        assert_eq!(first.peek(), [0; SLOT]);
        drop(cache.take_all());
        assert_eq!(second.peek(), [0; SLOT]);
        assert_eq!(cache.len(), 0);
    }

    #[test]
    fn no_capacity_or_no_time_keeps_nothing() {
        for (capacity, ttl) in [(0, TTL), (9, Duration::ZERO)] {
            let mut cache = Cache::new(capacity, ttl);
            let place = put(&mut cache, 1, at(0));
            assert_eq!(place.peek(), [0; SLOT]);
            assert!(!has(&mut cache, 1, at(0)));
        }
    }
}
