//! The keyring as a whole: how often it asks the KMS, how long keys live, and that a lock leaves none.

use std::sync::Arc;
use std::time::Duration;

use super::source::Source;
use super::{KeyError, Keyring, ReusePolicy, Settings};
use crate::crypto::Key;
use crate::format::{DataKeyId, NodeId, VolumeId, WrappedKey};
use crate::kms::clock::FakeClock;
use crate::kms::scripted::{MASTER_KEY, ScriptedKms};
use crate::kms::{EncryptionContext, Kms, Remedy};
use crate::sys::memory::{Place, SLOT};

const VOLUME: VolumeId = VolumeId([1; 16]);
const TTL: Duration = Duration::from_secs(100);

struct Scene {
    kms: Arc<ScriptedKms>,
    clock: Arc<FakeClock>,
    ring: Keyring,
}

fn settings() -> Settings {
    Settings {
        ttl: TTL,
        pool: 0,
        ..Settings::default()
    }
}

fn scene(settings: Settings) -> Scene {
    let (kms, clock) = (Arc::new(ScriptedKms::new()), FakeClock::new());
    let volume_key = kms
        .generate_data_key(MASTER_KEY, &EncryptionContext::volume_key(VOLUME))
        .unwrap();
    let allowed = &settings.also_allowed;
    let source = Source::new(kms.clone(), VOLUME, MASTER_KEY.to_owned(), allowed, clock.clone());
    let ring = Keyring::with_source(Arc::new(source), &volume_key.key, volume_key.wrapped, settings);
    Scene { kms, clock, ring }
}

impl Scene {
    /// A stored data key that the keyring does not know.
    fn stored(&self) -> (DataKeyId, WrappedKey, Key) {
        let id = DataKeyId::random();
        let made = self
            .kms
            .generate_data_key(MASTER_KEY, &EncryptionContext::data_key(VOLUME, id))
            .unwrap();
        (id, made.wrapped, made.key)
    }

    /// The calls since the scene was set: generated without the volume key, decrypted.
    fn calls(&self) -> (u64, u64) {
        (self.kms.generated() - 1, self.kms.decrypted())
    }
}

fn node(n: u8) -> NodeId {
    NodeId([n; 16])
}

fn places(ring: &Keyring) -> Vec<Place> {
    let volume = ring.with_volume(|keys| [&keys.names, &keys.headers, &keys.values, &keys.descriptor].map(Key::place));
    volume.unwrap().into()
}

fn content(slot: &super::FileKeySlot) -> [u8; SLOT] {
    slot.with(|keys| *keys.content.expose()).unwrap()
}

#[test]
fn file_keys_are_those_of_the_data_key() {
    let scene = scene(settings());
    let (id, wrapped, key) = scene.stored();
    let slot = scene.ring.file_keys(node(1), id, &wrapped).unwrap();
    assert_eq!(
        content(&slot),
        *crate::crypto::file_keys(&key, VOLUME, node(1)).content.expose()
    );
    let other = scene.ring.file_keys(node(2), id, &wrapped).unwrap();
    assert_ne!(content(&slot), content(&other));
    assert_eq!(scene.calls(), (1, 1));
}

#[test]
fn new_file_can_be_opened_again_without_the_kms() {
    let scene = scene(settings());
    let fresh = scene.ring.fresh(node(1), None).unwrap();
    let keys = content(&fresh.keys);
    let (id, wrapped) = (fresh.id, fresh.wrapped.clone());
    drop(fresh);
    let slot = scene.ring.file_keys(node(1), id, &wrapped).unwrap();
    assert_eq!((content(&slot), scene.calls()), (keys, (1, 0)));
    scene.clock.advance(TTL);
    drop(slot);
    let slot = scene.ring.file_keys(node(1), id, &wrapped).unwrap();
    assert_eq!((content(&slot), scene.calls()), (keys, (1, 1)));
}

#[test]
fn handles_share_a_slot_and_need_no_kms() {
    let scene = scene(settings());
    let (id, wrapped, _) = scene.stored();
    let first = scene.ring.file_keys(node(1), id, &wrapped).unwrap();
    let second = scene.ring.file_keys(node(1), id, &wrapped).unwrap();
    assert!(Arc::ptr_eq(&first, &second));
    scene.kms.fail(Some("Rejected.Disabled"));
    scene.clock.advance(TTL * 10);
    scene.ring.sweep();
    assert!(first.with(|_| ()).is_ok());
    assert_eq!(scene.calls(), (1, 1));
}

#[test]
fn one_decrypt_for_many_openers() {
    let scene = scene(Settings {
        capacity: 0,
        ..settings()
    });
    let (id, wrapped, _) = scene.stored();
    scene.kms.close_gate();
    std::thread::scope(|threads| {
        let open = |n| {
            let (ring, wrapped) = (&scene.ring, &wrapped);
            move || ring.file_keys(node(n), id, wrapped).map(|slot| content(&slot))
        };
        let openers: Vec<_> = (0..16).map(|n| threads.spawn(open(n % 2))).collect();
        scene.kms.await_waiting(1);
        while scene.ring.status().misses < 16 {
            std::thread::yield_now();
        }
        scene.kms.open_gate();
        let keys: Vec<_> = openers
            .into_iter()
            .map(|opener| opener.join().unwrap().unwrap())
            .collect();
        assert!(keys.iter().step_by(2).all(|key| *key == keys[0]));
        assert!(keys.iter().skip(1).step_by(2).all(|key| *key == keys[1]));
    });
    assert_eq!(scene.calls(), (1, 1));
}

#[test]
fn openers_share_a_failure_and_the_next_one_asks_again() {
    let scene = scene(settings());
    let (id, wrapped, _) = scene.stored();
    scene.kms.fail(Some("Kms.Timeout"));
    scene.kms.close_gate();
    std::thread::scope(|threads| {
        let openers: Vec<_> = (0..8)
            .map(|_| threads.spawn(|| scene.ring.file_keys(node(1), id, &wrapped)))
            .collect();
        while scene.ring.status().misses < 8 {
            std::thread::yield_now();
        }
        scene.kms.open_gate();
        for opener in openers {
            let error = opener.join().unwrap().unwrap_err();
            assert!(matches!(error, KeyError::Kms(error) if error.remedy() == Remedy::Unreachable));
        }
    });
    assert_eq!(scene.calls(), (1, 1));
    scene.kms.fail(None);
    assert!(scene.ring.file_keys(node(1), id, &wrapped).is_ok());
    assert_eq!(scene.ring.status().kms_failures, 1);
}

#[test]
fn different_files_wait_for_the_kms_side_by_side() {
    let scene = scene(settings());
    let stored: Vec<_> = (0..8).map(|_| scene.stored()).collect();
    scene.kms.close_gate();
    std::thread::scope(|threads| {
        for (n, (id, wrapped, _)) in stored.iter().enumerate() {
            let ring = &scene.ring;
            threads.spawn(move || ring.file_keys(node(n as u8), *id, wrapped).unwrap());
        }
        scene.kms.await_waiting(8);
        assert!(scene.ring.with_volume(|_| ()).is_ok());
        assert_eq!(scene.ring.status().misses, 8);
        scene.kms.open_gate();
    });
}

#[test]
fn opening_after_the_time_asks_the_kms_even_if_the_file_is_open() {
    let scene = scene(settings());
    let (id, wrapped, _) = scene.stored();
    let held = scene.ring.file_keys(node(1), id, &wrapped).unwrap();
    scene.clock.advance(TTL / 2);
    assert!(scene.ring.file_keys(node(1), id, &wrapped).is_ok());
    scene.clock.advance(TTL / 2);
    scene.kms.fail(Some("Rejected.Disabled"));
    let error = scene.ring.file_keys(node(1), id, &wrapped).unwrap_err();
    assert_eq!(error.errno(), rustix::io::Errno::KEYREVOKED);
    assert!(held.with(|_| ()).is_ok());
    scene.kms.fail(None);
    let again = scene.ring.file_keys(node(1), id, &wrapped).unwrap();
    assert!(Arc::ptr_eq(&held, &again));
    scene.clock.advance(TTL / 2);
    let calls = scene.calls();
    assert!(scene.ring.file_keys(node(1), id, &wrapped).is_ok());
    assert_eq!(scene.calls(), calls);
}

#[test]
fn foreign_master_key_is_refused_without_a_call() {
    let scene = scene(settings());
    let (id, mut wrapped, _) = scene.stored();
    wrapped.master_key = "another".to_owned();
    let error = scene.ring.file_keys(node(1), id, &wrapped).unwrap_err();
    assert!(
        matches!(&error, KeyError::NotAllowed { found } if found == "another"),
        "{error}"
    );
    assert_eq!(scene.calls(), (1, 0));
    scene.ring.allow("another".to_owned());
    assert!(scene.ring.file_keys(node(1), id, &wrapped).is_ok());
}

#[test]
fn swapped_wrapped_keys_do_not_open() {
    let scene = scene(settings());
    let ((one, _, _), (_, wrapped, _)) = (scene.stored(), scene.stored());
    let error = scene.ring.file_keys(node(1), one, &wrapped).unwrap_err();
    assert!(matches!(error, KeyError::Kms(error) if error.remedy() == Remedy::Rejected));
}

#[test]
fn lock_wipes_everything_and_unlock_brings_open_files_back() {
    let scene = scene(Settings {
        pool: 8,
        reuse: None,
        ..settings()
    });
    let (id, wrapped, _) = scene.stored();
    let open = scene.ring.file_keys(node(1), id, &wrapped).unwrap();
    let fresh = scene.ring.fresh(node(2), None).unwrap();
    let before = (content(&open), content(&fresh.keys));
    while scene.ring.status().pool == 0 {
        std::thread::yield_now();
    }
    let mut places = places(&scene.ring);
    for slot in [&open, &fresh.keys] {
        places.extend(slot.with(|keys| [keys.content.place(), keys.header.place()]).unwrap());
    }
    assert!(places.iter().all(|place| place.peek() != [0; SLOT]));
    assert!(scene.ring.lock());
    assert!(places.iter().all(|place| place.peek() == [0; SLOT]));
    let status = scene.ring.status();
    assert_eq!(
        (status.locked, status.cached, status.pool, status.open_files),
        (true, 0, 0, 2)
    );

    let calls = scene.calls().1;
    assert!(matches!(open.with(|_| ()), Err(KeyError::Locked)));
    assert!(matches!(scene.ring.with_volume(|_| ()), Err(KeyError::Locked)));
    assert!(matches!(scene.ring.fresh(node(3), None), Err(KeyError::Locked)));
    assert!(matches!(
        scene.ring.file_keys(node(1), id, &wrapped),
        Err(KeyError::Locked)
    ));
    assert!(scene.ring.lock());
    assert_eq!(scene.calls().1, calls);

    let unlocked = scene.ring.unlock().unwrap();
    assert_eq!((unlocked.refilled, unlocked.failed.len()), (2, 0));
    assert_eq!((content(&open), content(&fresh.keys)), before);
    assert!(scene.ring.with_volume(|_| ()).is_ok());
    assert!(scene.ring.fresh(node(4), None).is_ok());
    assert_eq!(scene.ring.unlock().unwrap().refilled, 0);
}

#[test]
fn unlock_is_refused_while_the_key_is_withdrawn_or_the_kms_away() {
    let scene = scene(settings());
    let open = scene.ring.fresh(node(1), None).unwrap().keys;
    scene.ring.lock();
    for code in ["Rejected.Disabled", "Kms.Timeout", "Forbidden.KeyNotFound"] {
        scene.kms.fail(Some(code));
        let error = scene.ring.unlock().unwrap_err();
        assert!(matches!(error, KeyError::Kms(error) if error.code() == code));
        assert!(scene.ring.status().locked && open.with(|_| ()).is_err());
    }
    scene.kms.fail(None);
    assert_eq!(scene.ring.unlock().unwrap().refilled, 1);
}

#[test]
fn lock_during_an_open_wins() {
    let scene = scene(settings());
    let (id, wrapped, _) = scene.stored();
    scene.kms.close_gate();
    std::thread::scope(|threads| {
        let opener = threads.spawn(|| scene.ring.file_keys(node(1), id, &wrapped));
        scene.kms.await_waiting(1);
        assert!(scene.ring.lock());
        scene.kms.open_gate();
        assert!(matches!(opener.join().unwrap(), Err(KeyError::Locked)));
    });
    let status = scene.ring.status();
    assert_eq!((status.cached, status.open_files), (0, 0));
}

#[test]
fn open_after_unlock_does_not_wait_for_a_call_from_before_the_lock() {
    let scene = scene(settings());
    let (id, wrapped, _) = scene.stored();
    scene.kms.close_gate();
    std::thread::scope(|threads| {
        let early = threads.spawn(|| scene.ring.file_keys(node(1), id, &wrapped));
        scene.kms.await_waiting(1);
        scene.ring.lock();
        let unlock = threads.spawn(|| scene.ring.unlock());
        scene.kms.await_waiting(2);
        scene.kms.open_gate();
        assert!(unlock.join().unwrap().is_ok());
        assert!(scene.ring.file_keys(node(1), id, &wrapped).is_ok());
        assert!(matches!(early.join().unwrap(), Err(KeyError::Locked)));
    });
}

#[test]
fn lock_during_unlock_wins() {
    let scene = scene(settings());
    let open = scene.ring.fresh(node(1), None).unwrap().keys;
    scene.ring.lock();
    scene.kms.close_gate();
    std::thread::scope(|threads| {
        let unlock = threads.spawn(|| scene.ring.unlock());
        scene.kms.await_waiting(1);
        assert!(scene.ring.lock());
        scene.kms.open_gate();
        assert!(matches!(unlock.join().unwrap(), Err(KeyError::Locked)));
    });
    assert!(scene.ring.status().locked && open.with(|_| ()).is_err());
}

#[test]
fn lock_waits_for_uses_that_have_begun() {
    let scene = scene(settings());
    let slot = scene.ring.fresh(node(1), None).unwrap().keys;
    let place = slot.with(|keys| keys.content.place()).unwrap();
    let (begun, go_on) = (std::sync::Barrier::new(2), Duration::from_millis(50));
    std::thread::scope(|threads| {
        threads.spawn(|| {
            let used = slot.with(|keys| {
                begun.wait();
                std::thread::sleep(go_on);
                *keys.content.expose() != [0; SLOT]
            });
            assert!(used.unwrap());
        });
        begun.wait();
        assert!(scene.ring.lock());
        assert_eq!(place.peek(), [0; SLOT]);
    });
}

#[test]
fn one_bad_file_does_not_keep_the_volume_locked() {
    let scene = scene(settings());
    let (id, wrapped, _) = scene.stored();
    scene.ring.allow("gone".to_owned());
    let good = scene.ring.file_keys(node(1), id, &wrapped).unwrap();
    // A file whose key only the cache knew: its wrapped form opens no more.
    let stale = WrappedKey {
        master_key: "gone".to_owned(),
        blob: b"damaged".to_vec(),
    };
    let bad = scene.ring.file_keys(node(2), id, &stale).unwrap();
    let other = scene.stored();
    let third = scene.ring.file_keys(node(3), other.0, &other.1).unwrap();
    scene.ring.lock();
    let unlocked = scene.ring.unlock().unwrap();
    assert_eq!(unlocked.refilled + 2 * unlocked.failed.len(), 3);
    assert!(third.with(|_| ()).is_ok());
    assert_eq!(good.with(|_| ()).is_ok(), bad.with(|_| ()).is_ok());
    // A later open with a good head brings it back.
    assert!(scene.ring.file_keys(node(1), id, &wrapped).is_ok());
    assert!(good.with(|_| ()).is_ok());
}

#[test]
fn another_volume_key_than_before_is_refused() {
    let (kms, clock) = (Arc::new(ScriptedKms::new()), FakeClock::new());
    let made = kms
        .generate_data_key(MASTER_KEY, &EncryptionContext::volume_key(VOLUME))
        .unwrap();
    let source = Source::new(kms, VOLUME, MASTER_KEY.to_owned(), &[], clock);
    let ring = Keyring::with_source(Arc::new(source), &Key::random(), made.wrapped, settings());
    ring.lock();
    let error = ring.unlock().unwrap_err();
    assert!(matches!(error, KeyError::Kms(error) if error.code() == "Kms.WrongKey"));
}

#[test]
fn closed_files_and_old_keys_are_swept() {
    let scene = scene(settings());
    let fresh = scene.ring.fresh(node(1), None).unwrap();
    let place = fresh.keys.with(|keys| keys.content.place()).unwrap();
    assert_eq!(scene.ring.status().open_files, 1);
    drop(fresh);
    assert_eq!(place.peek(), [0; SLOT]);
    let status = scene.ring.status();
    assert_eq!((status.open_files, status.cached), (0, 1));
    scene.clock.advance(TTL);
    scene.ring.sweep();
    assert_eq!(scene.ring.status().cached, 0);
}

#[test]
fn each_file_has_its_own_data_key_by_default() {
    let scene = scene(Settings { pool: 16, ..settings() });
    let ids: std::collections::HashSet<_> = (0..100).map(|n| scene.ring.fresh(node(n), None).unwrap().id).collect();
    assert_eq!(ids.len(), 100);
}

#[test]
fn reuse_ends_at_each_limit() {
    let policy = ReusePolicy {
        files: 3,
        seconds: 10,
        bytes: 1000,
    };
    let scene = scene(Settings {
        reuse: Some(policy),
        ..settings()
    });
    let next = |n| scene.ring.fresh(node(n), None).unwrap();
    let (a, b, c, d) = (next(1), next(2), next(3), next(4));
    assert_eq!((a.id, a.id), (b.id, c.id));
    assert_ne!(a.id, d.id);
    assert_ne!(content(&a.keys), content(&b.keys));
    scene.clock.advance(Duration::from_secs(10));
    let e = next(5);
    assert_ne!(d.id, e.id);
    scene.ring.note_written(d.id, 5000);
    scene.ring.note_written(e.id, 999);
    assert_eq!(next(6).id, e.id);
    scene.ring.note_written(e.id, 1);
    let f = next(7);
    assert_ne!(e.id, f.id);
    scene.ring.lock();
    scene.ring.unlock().unwrap();
    assert_ne!(next(8).id, f.id);
}

#[test]
fn many_threads_come_to_terms() {
    let scene = scene(Settings {
        pool: 8,
        capacity: 4,
        ..settings()
    });
    let stored: Vec<_> = (0..8).map(|_| scene.stored()).collect();
    std::thread::scope(|threads| {
        for t in 0..8u8 {
            let (scene, stored) = (&scene, &stored);
            threads.spawn(move || {
                for n in 0..200u8 {
                    let (id, wrapped, _) = &stored[usize::from(n.wrapping_mul(7) ^ t) % 8];
                    match scene.ring.file_keys(node(n), *id, wrapped) {
                        Ok(slot) => drop(slot.with(|_| ())),
                        Err(error) => assert!(matches!(error, KeyError::Locked), "{error}"),
                    }
                    let _ = scene.ring.fresh(node(n), None);
                    if n % 50 == t {
                        assert!(scene.ring.lock());
                        let _ = scene.ring.unlock();
                    }
                }
            });
        }
    });
    scene.ring.lock();
    scene.ring.unlock().unwrap();
    assert!(scene.ring.fresh(node(1), None).is_ok());
}

#[test]
fn status_tells_no_secret_and_is_json() {
    let scene = scene(settings());
    assert_eq!(scene.ring.status().last_contact, None);
    scene.ring.fresh(node(1), None).unwrap();
    let text = serde_json::to_string(&scene.ring.status()).unwrap();
    assert!(
        text.contains("\"locked\":false") && text.contains("\"kms_calls\":1"),
        "{text}"
    );
}

#[test]
fn works_with_the_embedded_key_store() {
    use crate::kms::local::{LocalStore, Root};
    use crate::kms::{KmsAdmin, NewKey};
    let dir = tempfile::tempdir().unwrap();
    let root = Root::File(dir.path().join("root"));
    let store = Arc::new(LocalStore::create(&dir.path().join("store"), &root).unwrap());
    let master = store.create_key(&NewKey::default()).unwrap().id;
    store.create_alias("alias/work", &master).unwrap();
    let made = store
        .generate_data_key("alias/work", &EncryptionContext::volume_key(VOLUME))
        .unwrap();
    assert_eq!(made.wrapped.master_key, master);
    let ring = Keyring::new(store.clone(), VOLUME, made.key, made.wrapped, settings());
    let fresh = ring.fresh(node(1), None).unwrap();
    ring.lock();
    store.disable(&master).unwrap();
    let error = ring.unlock().unwrap_err();
    assert_eq!(error.errno(), rustix::io::Errno::KEYREVOKED);
    store.enable(&master).unwrap();
    store.rotate(&master).unwrap();
    assert_eq!(ring.unlock().unwrap().refilled, 1);
    assert!(fresh.keys.with(|_| ()).is_ok());
}
