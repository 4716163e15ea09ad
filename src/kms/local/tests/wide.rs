//! Rotation by time, tags, protection, data keys of all lengths, and the file of format 1.

use std::collections::BTreeMap;

use super::scene::{DAY, Scene, code, context, rewrite};
use crate::kms::local::{LocalStore, Root, data_key_len};
use crate::kms::{EncryptionContext, KeyState, Kms, KmsAdmin, KmsDirect, NewKey, RotationState};

const WEEK: u64 = 7 * 86_400;

fn rotating(scene: &Scene) -> String {
    let new = NewKey {
        rotation: Some(WEEK),
        ..NewKey::default()
    };
    scene.store.create_key(&new).unwrap().id
}

#[test]
fn due_rotation_takes_place_on_the_next_use_and_once() {
    let scene = Scene::new();
    let key = rotating(&scene);
    let made = scene.store.describe_key(&key).unwrap();
    assert_eq!(made.rotation.state, RotationState::Enabled);
    assert_eq!(made.rotation.interval, Some(WEEK));
    assert_eq!(made.rotation.next, Some(made.created + WEEK as i64));
    let before = scene.store.generate_data_key(&key, &context()).unwrap();
    scene.clock.advance(6 * DAY);
    assert_eq!(scene.store.list_versions(&key).unwrap().len(), 1);
    scene.clock.advance(2 * DAY);
    let after = scene.store.generate_data_key(&key, &context()).unwrap();
    let now = scene.store.describe_key(&key).unwrap();
    assert_ne!(now.primary_version, made.primary_version);
    assert!(after.wrapped.blob.starts_with(now.primary_version.unwrap().as_bytes()));
    assert_eq!(now.last_rotation, Some(made.created + 8 * 86_400));
    assert_eq!(now.rotation.next, Some(made.created + 15 * 86_400));
    assert!(scene.store.decrypt(&before.wrapped, &context()).is_ok());
    let other = scene.open().unwrap();
    assert_eq!(other.list_versions(&key).unwrap().len(), 2);
    assert_eq!(other.list_versions(&scene.key).unwrap().len(), 1);
}

#[test]
fn rotation_is_suspended_while_disabled_and_made_up_for() {
    let scene = Scene::new();
    let key = rotating(&scene);
    let state = || scene.store.describe_key(&key).unwrap().rotation.state;
    scene.store.disable(&key).unwrap();
    assert_eq!(state(), RotationState::Suspended);
    scene.clock.advance(8 * DAY);
    assert_eq!(scene.store.list_versions(&key).unwrap().len(), 1);
    scene.store.enable(&key).unwrap();
    assert_eq!(state(), RotationState::Enabled);
    assert_eq!(scene.store.list_versions(&key).unwrap().len(), 2);
    scene.store.schedule_deletion(&key, 30).unwrap();
    assert_eq!(state(), RotationState::Suspended);
    assert_eq!(code(scene.store.set_rotation(&key, None)), "Rejected.PendingDeletion");
}

#[test]
fn rotation_policy_is_set_taken_away_and_bounded() {
    let scene = Scene::new();
    for (seconds, expected) in [
        (WEEK - 1, "InvalidParameter"),
        (WEEK, "ok"),
        (730 * 86_400, "ok"),
        (730 * 86_400 + 1, "InvalidParameter"),
        (u64::MAX, "InvalidParameter"),
    ] {
        let outcome = scene.store.set_rotation(&scene.key, Some(seconds));
        assert_eq!(code(outcome), expected, "{seconds}");
    }
    scene.store.set_rotation(&scene.key, None).unwrap();
    let rotation = scene.store.describe_key(&scene.key).unwrap().rotation;
    assert_eq!(
        (rotation.state, rotation.interval, rotation.next),
        (RotationState::Disabled, None, None)
    );
    scene.clock.advance(1000 * DAY);
    assert_eq!(scene.store.list_versions(&scene.key).unwrap().len(), 1);
    let new = NewKey {
        rotation: Some(1),
        ..NewKey::default()
    };
    assert_eq!(code(scene.store.create_key(&new)), "InvalidParameter");
    assert_eq!(scene.store.list_keys().unwrap().len(), 1);
}

#[test]
fn due_rotation_does_not_take_a_deleted_key_out_of_the_file() {
    let scene = Scene::new();
    rotating(&scene);
    scene.store.schedule_deletion(&scene.key, 7).unwrap();
    scene.clock.advance(8 * DAY);
    let in_file = || std::fs::read_to_string(scene.path()).unwrap().contains(&scene.key);
    assert_eq!(scene.store.list_keys().unwrap().len(), 1);
    assert!(in_file());
    scene.store.create_key(&NewKey::default()).unwrap();
    assert!(!in_file());
}

#[test]
fn rotation_that_cannot_be_written_does_not_stop_wrapping() {
    let scene = Scene::new();
    let key = rotating(&scene);
    scene.clock.advance(8 * DAY);
    // A directory in the place of the lock file: no change of the store can be made.
    let lock = scene.dir.path().join("store.lock");
    std::fs::remove_file(&lock).unwrap();
    std::fs::create_dir(&lock).unwrap();
    let made = scene.store.generate_data_key(&key, &context()).unwrap();
    assert!(scene.store.decrypt(&made.wrapped, &context()).is_ok());
    assert_eq!(scene.store.list_versions(&key).unwrap().len(), 1);
    std::fs::remove_dir(&lock).unwrap();
    assert_eq!(scene.store.list_versions(&key).unwrap().len(), 1);
    scene.clock.advance(DAY);
    assert_eq!(scene.store.list_versions(&key).unwrap().len(), 2);
}

#[test]
fn instances_that_use_a_due_key_together_rotate_it_once() {
    let scene = Scene::new();
    let key = rotating(&scene);
    let stores: Vec<LocalStore> = (0..4).map(|_| scene.open().unwrap()).collect();
    scene.clock.advance(8 * DAY);
    std::thread::scope(|threads| {
        for store in &stores {
            for _ in 0..4 {
                threads.spawn(|| store.generate_data_key(&key, &context()).unwrap());
            }
        }
    });
    assert_eq!(scene.store.list_versions(&key).unwrap().len(), 2);
}

#[test]
fn versions_are_found_by_id() {
    let scene = Scene::new();
    let second = scene.store.rotate(&scene.key).unwrap();
    let versions = scene.store.list_versions(&scene.key).unwrap();
    for version in &versions {
        assert_eq!(&scene.store.describe_version(&scene.key, &version.id).unwrap(), version);
    }
    assert_eq!(versions[0].id, second);
    for wrong in ["", "nothing", &*scene.key] {
        assert_eq!(
            code(scene.store.describe_version(&scene.key, wrong)),
            "Forbidden.KeyVersionNotFound"
        );
    }
}

fn tags(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

#[test]
fn tags_are_added_replaced_and_taken_away() {
    let scene = Scene::new();
    let (store, key) = (&scene.store, &*scene.key);
    store.tag(key, &tags(&[("app", "a"), ("env", "test")])).unwrap();
    store.tag(key, &tags(&[("app", "b"), ("empty", "")])).unwrap();
    let expected = tags(&[("app", "b"), ("empty", ""), ("env", "test")]);
    assert_eq!(scene.open().unwrap().key_facts(key).unwrap().tags, expected);
    store.untag(key, &["env".to_owned(), "nothing".to_owned()]).unwrap();
    assert_eq!(store.key_facts(key).unwrap().tags.len(), 2);
    let long = "ä".repeat(129);
    for (name, value) in [("", "v"), ("aliyun1", ""), ("acs:ecs", ""), (&*long, ""), ("k", &*long)] {
        assert_eq!(
            code(store.tag(key, &tags(&[(name, value)]))),
            "InvalidParameter",
            "{name}"
        );
    }
    let many: BTreeMap<_, _> = (0..18).map(|i| (format!("k{i}"), "ä".repeat(128))).collect();
    store.tag(key, &many).unwrap();
    assert_eq!(
        code(store.tag(key, &tags(&[("one", "more")]))),
        "Rejected.LimitExceeded"
    );
    assert_eq!(store.key_facts(key).unwrap().tags.len(), 20);
    store.schedule_deletion(key, 7).unwrap();
    assert_eq!(code(store.tag(key, &tags(&[("app", "c")]))), "Rejected.PendingDeletion");
    assert_eq!(code(store.untag(key, &["app".to_owned()])), "Rejected.PendingDeletion");
}

#[test]
fn description_changes_but_not_while_deletion_is_pending() {
    let scene = Scene::new();
    scene.store.set_description(&scene.key, "阿波罗").unwrap();
    assert_eq!(scene.store.describe_key(&scene.key).unwrap().description, "阿波罗");
    let long = "ä".repeat(8193);
    assert_eq!(code(scene.store.set_description(&scene.key, &long)), "InvalidParameter");
    scene.store.schedule_deletion(&scene.key, 7).unwrap();
    assert_eq!(
        code(scene.store.set_description(&scene.key, "")),
        "Rejected.PendingDeletion"
    );
}

#[test]
fn protected_key_cannot_be_planned_for_deletion() {
    let scene = Scene::new();
    let (store, key) = (&scene.store, &*scene.key);
    store
        .set_deletion_protection(key, Some("the payroll is under it"))
        .unwrap();
    let facts = scene.open().unwrap().key_facts(key).unwrap();
    assert_eq!(facts.protection.as_deref(), Some("the payroll is under it"));
    assert_eq!(code(store.schedule_deletion(key, 7)), "Rejected.StateModifiedFailed");
    assert_eq!(scene.state(), KeyState::Enabled);
    store.set_deletion_protection(key, None).unwrap();
    store.schedule_deletion(key, 7).unwrap();
    assert_eq!(
        code(store.set_deletion_protection(key, Some(""))),
        "Rejected.PendingDeletion"
    );
}

#[test]
fn aliases_of_one_key() {
    let scene = Scene::new();
    let other = scene.store.create_key(&NewKey::default()).unwrap().id;
    scene.store.create_alias("alias/b", &scene.key).unwrap();
    scene.store.create_alias("alias/a", &scene.key).unwrap();
    scene.store.create_alias("alias/c", &other).unwrap();
    let names: Vec<String> = scene
        .store
        .list_aliases_of(&scene.key)
        .unwrap()
        .into_iter()
        .map(|a| a.name)
        .collect();
    assert_eq!(names, ["alias/a", "alias/b"]);
    assert_eq!(code(scene.store.list_aliases_of("nobody")), "Forbidden.KeyNotFound");
}

#[test]
fn data_keys_of_all_lengths() {
    let scene = Scene::new();
    let none = EncryptionContext::none();
    for (spec, bytes, expected) in [
        (None, None, Some(32)),
        (Some("AES_256"), None, Some(32)),
        (Some("AES_128"), None, Some(16)),
        (Some("AES_128"), Some(64), Some(64)),
        (Some("AES_64"), Some(1), Some(1)),
        (None, Some(1024), Some(1024)),
        (None, Some(1025), None),
        (None, Some(0), None),
        (Some("aes_256"), None, None),
    ] {
        let len = data_key_len(spec, bytes);
        assert_eq!(len.as_ref().ok().copied(), expected, "{spec:?} {bytes:?}");
        let Ok(len) = len else { continue };
        let made = scene.store.generate_text(&scene.key, &none, len).unwrap();
        assert_eq!(data_encoding::BASE64.decode(made.plain.as_bytes()).unwrap().len(), len);
        assert_eq!(
            scene.store.decrypt_text(&made.wrapped.data, &none).unwrap().data,
            made.plain
        );
    }
    assert_eq!(
        code(scene.store.generate_text(&scene.key, &none, 1025)),
        "InvalidParameter"
    );
}

/// A store as kmsfs 0.1 wrote it before it had other kinds of keys, with its root key.
#[test]
fn file_of_format_1_is_read_and_becomes_format_2() {
    let dir = tempfile::tempdir().unwrap();
    let (path, root) = (dir.path().join("store"), dir.path().join("store.root"));
    rewrite(&path, include_bytes!("samples/store-1"));
    rewrite(&root, include_bytes!("samples/store-1.root"));
    let clock = crate::kms::clock::FakeClock::new();
    let open = || LocalStore::open_with(&path, &Root::File(root.clone()), clock.clone()).unwrap();
    let store = open();
    let keys = store.list_keys().unwrap();
    let states: Vec<KeyState> = keys.iter().map(|key| store.describe_key(key).unwrap().state).collect();
    assert_eq!(
        states,
        [KeyState::Enabled, KeyState::Disabled, KeyState::PendingDeletion]
    );
    let key = store.describe_key("alias/Apollo/WorkKey").unwrap();
    assert_eq!(
        (&*key.usage, &*key.description, key.rotation.state),
        ("ENCRYPT/DECRYPT", "of version 1", RotationState::Disabled)
    );
    let made = store.generate_data_key(&key.id, &context()).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), include_bytes!("samples/store-1"));
    let third = store.rotate(&key.id).unwrap();
    assert!(std::fs::read(&path).unwrap().starts_with(b"kmsfs key store 2\n"));
    let again = open();
    assert!(again.decrypt(&made.wrapped, &context()).is_ok());
    assert_eq!(again.describe_key(&key.id).unwrap().primary_version, Some(third));
    let ring = again.ring().unwrap();
    for id in &keys {
        let key = ring.find(id, 0).unwrap();
        assert!(key.versions().all(|version| again.root.open(id, version).is_ok()));
    }
}
