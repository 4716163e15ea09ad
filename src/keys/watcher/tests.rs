//! The thread with a KMS that does as it is told and a clock that stands still until it is moved.

use std::time::Instant;

use super::*;
use crate::crypto::Key;
use crate::format::{VolumeId, WrappedKey};
use crate::keys::Settings;
use crate::keys::source::Source;
use crate::kms::clock::FakeClock;
use crate::kms::scripted::{MASTER_KEY, ScriptedKms};
use crate::kms::{EncryptionContext, Kms};

const INTERVAL: Duration = Duration::from_secs(30);
const VOLUME: VolumeId = VolumeId([7; 16]);

/// Keeps the state as a mount does, and unlocks the keyring for real.
struct Door {
    keyring: Keyring,
    locked: Mutex<Option<Reason>>,
}

impl Warden for Door {
    fn locked(&self) -> Option<Reason> {
        self.locked.lock().clone()
    }
    fn lock(&self, reason: Reason) {
        self.keyring.lock();
        *self.locked.lock() = Some(reason);
    }
    fn unlock(&self) {
        if self.keyring.unlock().is_ok() {
            *self.locked.lock() = None;
        }
    }
}

struct Scene {
    kms: Arc<ScriptedKms>,
    clock: Arc<FakeClock>,
    door: Arc<Door>,
    watcher: Watcher,
}

impl Scene {
    fn new(grace: Duration) -> Scene {
        let (kms, clock) = (Arc::new(ScriptedKms::new()), FakeClock::new());
        let made = kms.generate_data_key(MASTER_KEY, &EncryptionContext::volume_key(VOLUME));
        let made = made.unwrap();
        let (key, wrapped): (Key, WrappedKey) = (made.key, made.wrapped);
        let source = Source::new(kms.clone(), VOLUME, MASTER_KEY.to_owned(), &[], clock.clone());
        let keyring = Keyring::with_source(Arc::new(source), &key, wrapped, Settings::default());
        let settings = WatchSettings {
            interval: INTERVAL,
            grace: Some(grace),
        };
        let door = Arc::new(Door {
            keyring,
            locked: Mutex::default(),
        });
        let watcher = Watcher::start(&door.keyring, settings, door.clone()).unwrap();
        Scene {
            kms,
            clock,
            door,
            watcher,
        }
    }

    /// Time passes, and the thread notices.
    fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
        self.watcher.look(None);
    }

    fn eventually(&self, what: &str, holds: impl Fn(&Scene) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !holds(self) {
            assert!(
                Instant::now() < deadline,
                "never: {what}; it is {:?}",
                self.door.locked()
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn await_dark(&self) -> Reason {
        self.eventually("dark", |scene| scene.door.locked().is_some());
        assert!(self.door.keyring.status().locked);
        self.door.locked().unwrap()
    }

    fn await_bright(&self) {
        self.eventually("bright", |scene| scene.door.locked().is_none());
    }

    fn await_checks(&self, checks: u64) {
        self.eventually("asked", |scene| scene.kms.decrypted() >= checks);
    }
}

#[test]
fn a_withdrawn_key_locks_with_the_next_check_and_a_granted_one_unlocks() {
    let scene = Scene::new(Duration::from_secs(3600));
    scene.kms.fail(Some("Rejected.Disabled"));
    assert_eq!(scene.kms.decrypted(), 0);
    scene.pass(30);
    assert!(scene.await_dark().to_string().contains("Rejected.Disabled"));
    scene.kms.fail(None);
    scene.pass(30);
    scene.await_bright();
    assert!(!scene.door.keyring.status().locked);
}

#[test]
fn silence_locks_when_the_grace_is_over_and_contact_unlocks() {
    let scene = Scene::new(Duration::from_secs(100));
    scene.kms.fail(Some("ServiceUnavailableTemporary"));
    for checks in 1..=3 {
        scene.pass(30);
        scene.await_checks(checks);
        assert_eq!(scene.door.locked(), None);
    }
    scene.pass(10);
    assert!(matches!(scene.await_dark(), Reason::Silence(time, _) if time.as_secs() == 100));
    scene.kms.fail(None);
    scene.pass(20);
    scene.await_bright();
}

#[test]
fn a_kms_that_hangs_holds_no_later_check_up() {
    let scene = Scene::new(Duration::from_secs(3600));
    scene.kms.close_gate();
    scene.pass(30);
    scene.kms.await_waiting(1);
    scene.pass(5);
    scene.eventually("noticed", |scene| {
        scene
            .watcher
            .status()
            .trouble
            .is_some_and(|why| why.contains("no answer"))
    });
    scene.pass(25);
    scene.kms.await_waiting(2);
    scene.kms.fail(Some("Rejected.Disabled"));
    scene.kms.open_gate();
    scene.await_dark();
}

#[test]
fn sleeping_through_the_grace_locks_before_anything_is_asked() {
    let scene = Scene::new(Duration::from_secs(100));
    scene.kms.close_gate();
    scene.pass(24 * 3600);
    assert!(matches!(scene.await_dark(), Reason::Silence(..)));
    scene.kms.open_gate();
    scene.await_bright();
}

#[test]
fn a_time_of_day_that_jumps_locks_nothing_and_keeps_nothing_bright() {
    let scene = Scene::new(Duration::from_secs(100));
    let day = 24 * 3600;
    scene.clock.jump(day);
    scene.pass(30);
    scene.await_checks(1);
    assert_eq!(scene.door.locked(), None, "a day forward counts as silence");
    scene.kms.fail(Some("ServiceUnavailableTemporary"));
    scene.clock.jump(-2 * day);
    for checks in 2..=4 {
        scene.pass(30);
        scene.await_checks(checks);
    }
    scene.pass(10);
    assert!(matches!(scene.await_dark(), Reason::Silence(time, _) if time.as_secs() == 100));
}

#[test]
fn a_refusal_that_somebody_else_meets_brings_the_check_forward() {
    let scene = Scene::new(Duration::from_secs(3600));
    scene.pass(2);
    scene.kms.fail(Some("Rejected.Disabled"));
    let node = crate::format::NodeId([1; 16]);
    assert!(scene.door.keyring.fresh(node, None).is_err());
    scene.await_dark();
}

#[test]
fn a_lock_by_command_stays_and_nobody_is_asked_meanwhile() {
    let scene = Scene::new(Duration::from_secs(3600));
    scene.door.lock(Reason::Command);
    scene.pass(3600);
    scene.pass(3600);
    assert_eq!(scene.door.locked(), Some(Reason::Command));
    assert_eq!(scene.kms.decrypted(), 0);
}

#[test]
fn a_flapping_kms_locks_and_unlocks_as_often_as_it_flaps() {
    let scene = Scene::new(Duration::from_secs(3600));
    for _ in 0..5 {
        scene.kms.fail(Some("Forbidden.NoPermission"));
        scene.pass(30);
        scene.await_dark();
        scene.kms.fail(None);
        scene.pass(30);
        scene.await_bright();
    }
}

#[test]
fn dropping_it_ends_the_thread_although_the_kms_hangs() {
    let scene = Scene::new(Duration::from_secs(3600));
    scene.kms.close_gate();
    scene.pass(30);
    scene.kms.await_waiting(1);
    let kms = scene.kms.clone();
    drop(scene);
    kms.open_gate();
}
