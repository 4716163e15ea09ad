//! Data keys fetched ahead, so that creating files does not wait for the KMS. It begins small, doubles when it is
//! found empty after having served its fill, and backs off when the KMS fails; whoever finds it empty asks the KMS directly.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::KeyError;
use super::cache::is_fresh;
use super::source::{NewKey, Source};
use crate::format::ids::random_bytes;

/// How many keys are fetched ahead at first: a single new file must not cost dozens of calls.
const FIRST_TARGET: usize = 4;

#[derive(Debug, Clone, Copy)]
pub(super) struct PoolSettings {
    /// Most keys that wait.
    pub size: usize,
    /// Most threads, and so calls at a time.
    pub workers: usize,
    /// How long a waiting key may be used.
    pub ttl: Duration,
    /// The pause after a first failure; it doubles with each further one.
    pub backoff: Duration,
    /// The longest pause.
    pub backoff_max: Duration,
}

/// The pool. Dropping it stops its threads; one that waits for the KMS then wipes what it gets.
pub(super) struct Pool(Arc<Shared>);

/// A claim to one of the keys that wait: a file that was opened for writing can get its first byte although the KMS
/// has gone meanwhile. The key itself stays in the pool, where a lock wipes it.
pub struct Claim(Arc<Shared>);

struct Shared {
    source: Arc<Source>,
    settings: PoolSettings,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    ready: VecDeque<NewKey>,
    /// How many of them are claimed.
    claimed: usize,
    /// How many keys shall wait.
    target: usize,
    /// How many were asked for since the target was last set.
    takes: usize,
    /// Set at half of the target, cleared at the target.
    filling: bool,
    /// Calls under way.
    asking: usize,
    workers: usize,
    /// Failures since the last success, and when to try again.
    failures: u32,
    retry_at: Option<Instant>,
    /// Counts the locks: what was asked for before one is of no use after it.
    epoch: u64,
    paused: bool,
    stop: bool,
}

/// What a worker shall do.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Ask,
    Wait(Option<Duration>),
    Stop,
}

impl State {
    /// Keys that wait for nobody in particular.
    fn free(&self) -> usize {
        self.ready.len().saturating_sub(self.claimed)
    }

    fn next_step(&mut self, now: Instant) -> Step {
        if self.stop {
            return Step::Stop;
        }
        if self.free() + self.asking >= self.target {
            self.filling = false;
        }
        if self.paused || !self.filling {
            return Step::Wait(None);
        }
        match self.retry_at {
            Some(at) if at > now => Step::Wait(Some(at - now)),
            // After a failure one call tries the way for all.
            Some(_) if self.asking > 0 => Step::Wait(None),
            _ => Step::Ask,
        }
    }
}

impl Pool {
    pub(super) fn new(source: Arc<Source>, settings: PoolSettings) -> Pool {
        let target = FIRST_TARGET.min(settings.size);
        let state = Mutex::new(State {
            target,
            ..State::default()
        });
        Pool(Arc::new(Shared {
            source,
            settings,
            state,
            changed: Condvar::new(),
        }))
    }

    /// A key that waits, if there is one: a claimed one for a claim, else one that nobody has claimed. Lets more be
    /// fetched if they run short.
    pub(super) fn take(&self, claim: Option<Claim>) -> Option<NewKey> {
        let mut state = self.0.state.lock();
        let expired = self.0.expired(&mut state);
        let taken = match &claim {
            Some(_) => state.ready.pop_front(),
            None if state.free() > 0 => state.ready.pop_front(),
            None => None,
        };
        if claim.is_none() {
            self.note_demand(&mut state, taken.is_some());
        }
        drop(state);
        drop((expired, claim));
        taken
    }

    /// Claims a key; asks the KMS for it if none is free.
    ///
    /// # Errors
    /// The KMS's, and [`KeyError::Locked`] when the volume is locked meanwhile.
    pub(super) fn claim(&self) -> Result<Claim, KeyError> {
        let shared = &self.0;
        let mut state = shared.state.lock();
        let expired = shared.expired(&mut state);
        let found = state.free() > 0;
        state.claimed += 1;
        // From here on it is given back whatever happens.
        let claim = Claim(Arc::clone(shared));
        self.note_demand(&mut state, found);
        let epoch = state.epoch;
        drop(state);
        drop(expired);
        if !found {
            let key = shared.source.generate()?;
            let mut state = shared.state.lock();
            if state.epoch != epoch {
                drop(state);
                return Err(KeyError::Locked);
            }
            state.ready.push_back(key);
        }
        Ok(claim)
    }

    /// Counts that a key was wanted, and has more fetched when few are left.
    fn note_demand(&self, state: &mut State, found: bool) {
        let shared = &self.0;
        state.takes += 1;
        if !found && state.takes >= state.target {
            state.target = (state.target * 2).min(shared.settings.size);
            state.takes = 0;
        }
        if (state.free() + state.asking) * 2 <= state.target && !state.paused {
            state.filling = true;
            self.hire(state);
            shared.changed.notify_all();
        }
    }

    /// Starts the threads that fetching the target is worth, as far as they are not there.
    fn hire(&self, state: &mut State) {
        let wanted = self.0.settings.workers.min(state.target);
        while state.workers < wanted && !state.stop {
            let shared = Arc::clone(&self.0);
            let name = format!("key-pool-{}", state.workers);
            // Without a thread the pool stays small or empty, and files ask for themselves.
            let Ok(_) = std::thread::Builder::new().name(name).spawn(move || shared.work()) else {
                return;
            };
            state.workers += 1;
        }
    }

    /// Drops the keys that have waited for too long.
    pub(super) fn sweep(&self, now: Duration) {
        let mut state = self.0.state.lock();
        let expired = self.0.expired_at(&mut state, now);
        drop(state);
        drop(expired);
    }

    /// Wipes what waits, and fetches nothing until [`Pool::resume`].
    pub(super) fn pause(&self) {
        let mut state = self.0.state.lock();
        (state.paused, state.filling) = (true, false);
        state.epoch += 1;
        let keys = std::mem::take(&mut state.ready);
        drop(state);
        drop(keys);
    }

    pub(super) fn resume(&self) {
        let mut state = self.0.state.lock();
        state.paused = false;
        (state.target, state.takes) = (FIRST_TARGET.min(self.0.settings.size), 0);
        (state.failures, state.retry_at) = (0, None);
    }

    pub(super) fn len(&self) -> usize {
        self.0.state.lock().ready.len()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.stop = true;
        let keys = std::mem::take(&mut state.ready);
        drop(state);
        drop(keys);
        self.0.changed.notify_all();
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.state.lock().claimed -= 1;
    }
}

impl Shared {
    fn expired(&self, state: &mut State) -> VecDeque<NewKey> {
        self.expired_at(state, self.source.clock.uptime())
    }

    fn expired_at(&self, state: &mut State, now: Duration) -> VecDeque<NewKey> {
        let ttl = self.settings.ttl;
        let live = state.ready.iter().position(|key| is_fresh(key.contact, now, ttl));
        let live = state.ready.split_off(live.unwrap_or(state.ready.len()));
        std::mem::replace(&mut state.ready, live)
    }

    /// The life of a worker.
    fn work(&self) {
        let mut state = self.state.lock();
        loop {
            match state.next_step(Instant::now()) {
                Step::Stop => return,
                Step::Wait(None) => self.changed.wait(&mut state),
                Step::Wait(Some(time)) => {
                    self.changed.wait_for(&mut state, time);
                }
                Step::Ask => {
                    state.asking += 1;
                    let epoch = state.epoch;
                    drop(state);
                    let outcome = self.source.generate();
                    state = self.state.lock();
                    state.asking -= 1;
                    let unused = self.settle(&mut state, outcome, epoch);
                    self.changed.notify_all();
                    drop(unused);
                }
            }
        }
    }

    /// Notes the outcome of a call; gives back a key that is of no use any more.
    fn settle(&self, state: &mut State, outcome: Result<NewKey, KeyError>, epoch: u64) -> Option<NewKey> {
        match outcome {
            Ok(key) if state.epoch != epoch || state.stop => return Some(key),
            Ok(key) => {
                state.ready.push_back(key);
                (state.failures, state.retry_at) = (0, None);
            }
            Err(error) => {
                state.failures = state.failures.saturating_add(1);
                let pause = self.pause_after(state.failures);
                state.retry_at = Some(Instant::now() + pause);
                tracing::debug!(%error, ?pause, "fetching data keys ahead failed");
            }
        }
        None
    }

    /// Half of an exponentially growing pause for certain, half of it by chance.
    fn pause_after(&self, failures: u32) -> Duration {
        let doubled = 1u32.checked_shl(failures.saturating_sub(1).min(31)).unwrap_or(u32::MAX);
        let longest = self
            .settings
            .backoff
            .saturating_mul(doubled)
            .min(self.settings.backoff_max);
        let chance = f64::from(u32::from_le_bytes(random_bytes())) / f64::from(u32::MAX);
        longest.mul_f64(0.5 + chance / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::VolumeId;
    use crate::kms::clock::FakeClock;
    use crate::kms::scripted::{MASTER_KEY, ScriptedKms};
    use crate::sys::memory::SLOT;

    struct Scene {
        kms: Arc<ScriptedKms>,
        clock: Arc<FakeClock>,
        pool: Pool,
    }

    fn scene(size: usize) -> Scene {
        let (kms, clock) = (Arc::new(ScriptedKms::new()), FakeClock::new());
        let source = Source::new(
            kms.clone(),
            VolumeId([1; 16]),
            MASTER_KEY.to_owned(),
            &[],
            clock.clone(),
        );
        let settings = PoolSettings {
            size,
            workers: 4,
            ttl: Duration::from_secs(100),
            backoff: Duration::from_millis(2),
            backoff_max: Duration::from_millis(8),
        };
        Scene {
            kms,
            clock,
            pool: Pool::new(Arc::new(source), settings),
        }
    }

    fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
        for _ in 0..5000 {
            if holds() {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("not in five seconds: {what}");
    }

    #[test]
    fn asks_for_nothing_before_the_first_file() {
        let scene = scene(64);
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(scene.kms.generated(), 0);
    }

    #[test]
    fn grows_with_need_up_to_its_size() {
        let scene = scene(32);
        assert!(scene.pool.take(None).is_none());
        eventually("first keys", || scene.pool.len() == FIRST_TARGET);
        scene.kms.close_gate();
        for _ in 0..100 {
            drop(scene.pool.take(None));
        }
        scene.kms.open_gate();
        eventually("full", || scene.pool.len() == 32);
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(scene.pool.len(), 32);
    }

    #[test]
    fn no_size_means_no_pool() {
        let scene = scene(0);
        assert!(scene.pool.take(None).is_none());
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(scene.kms.generated(), 0);
    }

    #[test]
    fn failing_kms_is_asked_seldom_and_recovery_is_noticed() {
        let scene = scene(8);
        scene.kms.fail(Some("Rejected.Throttling"));
        assert!(scene.pool.take(None).is_none());
        eventually("some tries", || scene.kms.generated() >= 5);
        let calls = scene.kms.generated();
        std::thread::sleep(Duration::from_millis(80));
        // At least 4 ms between two tries, by one worker, after up to four first ones.
        assert!(scene.kms.generated() - calls <= 21, "{}", scene.kms.generated() - calls);
        assert!(scene.pool.take(None).is_none());
        scene.kms.fail(None);
        eventually("full", || scene.pool.len() == FIRST_TARGET);
    }

    #[test]
    fn pause_wipes_and_discards_what_comes_late() {
        let scene = scene(8);
        scene.pool.take(None);
        eventually("full", || scene.pool.len() == FIRST_TARGET);
        let place = scene.pool.0.state.lock().ready[3].key.place();
        scene.kms.close_gate();
        (0..2).for_each(|_| drop(scene.pool.take(None)));
        scene.kms.await_waiting(2);
        scene.pool.pause();
        assert_eq!(place.peek(), [0; SLOT]);
        scene.kms.open_gate();
        eventually("calls ended", || scene.pool.0.state.lock().asking == 0);
        assert_eq!(scene.pool.len(), 0);
        assert!(scene.pool.take(None).is_none());
        let calls = scene.kms.generated();
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(scene.kms.generated(), calls);
        scene.pool.resume();
        assert!(scene.pool.take(None).is_none());
        eventually("keys again", || scene.pool.len() > 0);
    }

    #[test]
    fn old_keys_are_not_used() {
        let scene = scene(8);
        scene.pool.take(None);
        eventually("full", || scene.pool.len() == FIRST_TARGET);
        let place = scene.pool.0.state.lock().ready[0].key.place();
        scene.clock.advance(Duration::from_secs(99));
        assert!(scene.pool.take(None).is_some());
        scene.clock.advance(Duration::from_secs(1));
        scene.pool.sweep(crate::kms::Clock::uptime(&*scene.clock));
        assert_eq!((scene.pool.len(), place.peek()), (0, [0; SLOT]));
    }

    #[test]
    fn dropping_it_stops_the_threads_and_wipes() {
        let scene = scene(8);
        scene.pool.take(None);
        eventually("full", || scene.pool.len() == FIRST_TARGET);
        let place = scene.pool.0.state.lock().ready[0].key.place();
        let shared = Arc::downgrade(&scene.pool.0);
        drop(scene.pool);
        assert_eq!(place.peek(), [0; SLOT]);
        eventually("threads ended", || shared.strong_count() == 0);
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        let scene = scene(1);
        for (failures, longest) in [(1, 2), (2, 4), (3, 8), (4, 8), (u32::MAX, 8)] {
            let pause = scene.pool.0.pause_after(failures);
            let longest = Duration::from_millis(longest);
            assert!(pause >= longest / 2 && pause <= longest, "{failures}: {pause:?}");
        }
    }

    #[test]
    fn a_claimed_key_is_there_when_the_kms_has_gone() {
        let scene = scene(0);
        let claim = scene.pool.claim().unwrap();
        scene.kms.fail(Some("Kms.Unreachable"));
        assert!(scene.pool.claim().is_err());
        // Others do not get it.
        assert!(scene.pool.take(None).is_none());
        assert!(scene.pool.take(Some(claim)).is_some());
        assert_eq!(scene.pool.len(), 0);
    }

    #[test]
    fn a_claim_given_up_leaves_its_key_for_the_next() {
        let scene = scene(0);
        drop(scene.pool.claim().unwrap());
        scene.kms.fail(Some("Kms.Unreachable"));
        let again = scene.pool.claim().unwrap();
        drop(again);
        assert!(scene.pool.take(None).is_some());
    }

    #[test]
    fn a_lock_wipes_claimed_keys_too() {
        let scene = scene(0);
        let claim = scene.pool.claim().unwrap();
        let place = scene.pool.0.state.lock().ready[0].key.place();
        scene.pool.pause();
        assert_eq!(place.peek(), [0; SLOT]);
        assert!(scene.pool.take(Some(claim)).is_none());
        assert_eq!(scene.pool.0.state.lock().claimed, 0);
    }
}
