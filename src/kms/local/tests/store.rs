//! Symmetric keys, their states and names, and the store's file.

use std::path::Path;

use proptest::prelude::*;

use super::scene::{DAY, Scene, code, context, rewrite};
use crate::crypto::SecretBytes;
use crate::format::{VolumeId, WrappedKey};
use crate::kms::local::{LocalStore, Root, document, files};
use crate::kms::{EncryptionContext, KeyState, Kms, KmsAdmin, NewKey, Remedy};

#[test]
fn data_key_comes_back_after_reopening() {
    let scene = Scene::new();
    let made = scene.store.generate_data_key(&scene.key, &context()).unwrap();
    assert_eq!(made.wrapped.master_key, scene.key);
    assert_eq!(made.wrapped.blob.len(), 108);
    let again = scene.open().unwrap().decrypt(&made.wrapped, &context()).unwrap();
    assert_eq!(again.expose(), made.key.expose());
}

#[test]
fn file_holds_no_key_and_is_private() {
    use std::os::unix::fs::MetadataExt;
    let scene = Scene::new();
    for name in ["store", "store.root", "store.lock"] {
        let mode = std::fs::metadata(scene.dir.path().join(name)).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let store = std::fs::read_to_string(scene.path()).unwrap();
    let root = std::fs::read_to_string(scene.dir.path().join("store.root")).unwrap();
    assert!(!store.contains(root.lines().nth(2).unwrap()));
}

#[test]
fn wrapped_key_of_other_context_key_or_store_is_refused() {
    let (scene, other) = (Scene::new(), Scene::new());
    let wrapped = scene.wrap();
    let volume = EncryptionContext::volume_key(VolumeId([1; 16]));
    let error = scene.store.decrypt(&wrapped, &volume).unwrap_err();
    assert_eq!((error.code(), error.remedy()), ("InvalidParameter", Remedy::Rejected));
    assert_eq!(code(other.store.decrypt(&wrapped, &context())), "Forbidden.KeyNotFound");
    assert_eq!(
        code(other.store.decrypt_blob(&wrapped.blob, &context())),
        "Forbidden.KeyNotFound"
    );
    let second = scene.store.create_key(&NewKey::default()).unwrap().id;
    let renamed = WrappedKey {
        master_key: second,
        ..wrapped
    };
    assert_eq!(code(scene.store.decrypt(&renamed, &context())), "InvalidParameter");
}

#[test]
fn cut_or_changed_wrapped_key_is_rejected_never_gone() {
    let scene = Scene::new();
    let wrapped = scene.wrap();
    for at in 0..wrapped.blob.len() {
        let mut cut = wrapped.clone();
        cut.blob.truncate(at);
        let mut changed = wrapped.clone();
        changed.blob[at] ^= 1;
        for bad in [cut, changed] {
            let error = scene.store.decrypt(&bad, &context()).unwrap_err();
            assert_eq!(error.remedy(), Remedy::Rejected, "byte {at}: {error}");
        }
    }
}

#[test]
fn direct_text_and_back() {
    let scene = Scene::new();
    let none = EncryptionContext::none();
    let sealed = scene.store.encrypt(&scene.key, &none, b"-----BEGIN").unwrap();
    let plain = scene.store.decrypt_blob(&sealed.data, &none).unwrap();
    assert_eq!(
        (plain.data.as_slice(), plain.key),
        (&b"-----BEGIN"[..], scene.key.clone())
    );
    assert_eq!(plain.version, sealed.version);
}

#[test]
fn old_versions_unwrap_after_rotation() {
    let scene = Scene::new();
    let before = scene.wrap();
    let version = scene.store.rotate(&scene.key).unwrap();
    let after = scene.wrap();
    assert!(after.blob.starts_with(version.as_bytes()));
    assert!(!before.blob.starts_with(version.as_bytes()));
    let store = scene.open().unwrap();
    assert!(store.decrypt(&before, &context()).is_ok());
    assert!(store.decrypt(&after, &context()).is_ok());
    let versions = store.list_versions(&scene.key).unwrap();
    assert_eq!((versions.len(), &versions[0].id), (2, &version));
    assert_eq!(store.describe_key(&scene.key).unwrap().primary_version, Some(version));
}

#[test]
fn disabled_key_denies_until_enabled() {
    let scene = Scene::new();
    let wrapped = scene.wrap();
    scene.store.disable(&scene.key).unwrap();
    scene.store.disable(&scene.key).unwrap();
    let error = scene.store.decrypt(&wrapped, &context()).unwrap_err();
    assert_eq!((error.code(), error.remedy()), ("Rejected.Disabled", Remedy::Denied));
    assert_eq!(
        code(scene.store.generate_data_key(&scene.key, &context())),
        "Rejected.Disabled"
    );
    assert_eq!(code(scene.store.rotate(&scene.key)), "Rejected.Disabled");
    assert_eq!(scene.state(), KeyState::Disabled);
    scene.store.enable(&scene.key).unwrap();
    assert!(scene.store.decrypt(&wrapped, &context()).is_ok());
}

#[test]
fn planned_deletion_denies_and_is_cancelled() {
    let scene = Scene::new();
    let wrapped = scene.wrap();
    for days in [0, 6, 367] {
        assert_eq!(
            code(scene.store.schedule_deletion(&scene.key, days)),
            "InvalidParameter"
        );
    }
    scene.store.schedule_deletion(&scene.key, 7).unwrap();
    assert_eq!(
        code(scene.store.decrypt(&wrapped, &context())),
        "Rejected.PendingDeletion"
    );
    assert_eq!(code(scene.store.enable(&scene.key)), "Rejected.StateModifiedFailed");
    let metadata = scene.store.describe_key(&scene.key).unwrap();
    assert_eq!(metadata.delete_date, Some(metadata.created + 7 * 86_400));
    scene.clock.advance(6 * DAY);
    scene.store.cancel_deletion(&scene.key).unwrap();
    scene.clock.advance(6 * DAY);
    assert_eq!(scene.state(), KeyState::Enabled);
    assert!(scene.store.decrypt(&wrapped, &context()).is_ok());
}

#[test]
fn deleted_key_is_gone_with_its_aliases_for_good() {
    let scene = Scene::new();
    let wrapped = scene.wrap();
    scene.store.create_alias("alias/a", &scene.key).unwrap();
    scene.store.schedule_deletion(&scene.key, 7).unwrap();
    scene.clock.advance(7 * DAY);
    let error = scene.store.decrypt(&wrapped, &context()).unwrap_err();
    assert_eq!((error.code(), error.remedy()), ("Forbidden.KeyNotFound", Remedy::Gone));
    assert_eq!(code(scene.store.cancel_deletion(&scene.key)), "Forbidden.KeyNotFound");
    assert!(scene.store.list_keys().unwrap().is_empty());
    assert!(scene.store.list_aliases().unwrap().is_empty());
    let material = |store: &Path| std::fs::read_to_string(store).unwrap().contains(&scene.key);
    assert!(material(&scene.path()));
    scene.store.create_key(&NewKey::default()).unwrap();
    assert!(!material(&scene.path()));
    assert_eq!(code(scene.store.describe_key("alias/a")), "Forbidden.AliasNotFound");
}

#[test]
fn aliases_name_one_key_and_can_move() {
    let scene = Scene::new();
    let second = scene.store.create_key(&NewKey::default()).unwrap().id;
    let store = &scene.store;
    assert_eq!(
        code(store.describe_key("alias/Apollo/WorkKey")),
        "Forbidden.AliasNotFound"
    );
    store.create_alias("alias/Apollo/WorkKey", &scene.key).unwrap();
    assert_eq!(
        code(store.create_alias("alias/Apollo/WorkKey", &second)),
        "AliasAlreadyExists"
    );
    assert_eq!(store.describe_key("alias/Apollo/WorkKey").unwrap().id, scene.key);
    let made = store.generate_data_key("alias/Apollo/WorkKey", &context()).unwrap();
    assert_eq!(made.wrapped.master_key, scene.key);
    store.update_alias("alias/Apollo/WorkKey", &second).unwrap();
    assert_eq!(store.describe_key("alias/Apollo/WorkKey").unwrap().id, second);
    assert!(store.decrypt(&made.wrapped, &context()).is_ok());
    assert_eq!(store.list_aliases().unwrap().len(), 1);
    store.delete_alias("alias/Apollo/WorkKey").unwrap();
    assert_eq!(
        code(store.delete_alias("alias/Apollo/WorkKey")),
        "Forbidden.AliasNotFound"
    );
    assert_eq!(
        code(store.update_alias("alias/none", &second)),
        "Forbidden.AliasNotFound"
    );
    assert_eq!(code(store.create_alias("alias/x", "nobody")), "Forbidden.KeyNotFound");
}

#[test]
fn names_of_aliases() {
    let scene = Scene::new();
    let longest = format!("alias/{}", "a".repeat(249));
    for good in ["alias/a", "alias/A-b_c/9", &longest] {
        scene.store.create_alias(good, &scene.key).unwrap();
    }
    let too_long = format!("{longest}a");
    for bad in [
        "",
        "alias/",
        "a",
        "alias/acs",
        "alias/acs/ecs",
        "alias/ä",
        "alias/a b",
        "alias/a\n",
        &too_long,
    ] {
        assert_eq!(
            code(scene.store.create_alias(bad, &scene.key)),
            "InvalidParameter",
            "{bad}"
        );
    }
}

#[test]
fn another_instance_sees_each_change_at_once() {
    let scene = Scene::new();
    let mount = scene.open().unwrap();
    let wrapped = scene.wrap();
    for _ in 0..20 {
        assert!(mount.decrypt(&wrapped, &context()).is_ok());
        scene.store.disable(&scene.key).unwrap();
        assert_eq!(code(mount.decrypt(&wrapped, &context())), "Rejected.Disabled");
        scene.store.enable(&scene.key).unwrap();
    }
}

#[test]
fn instances_that_change_together_lose_nothing() {
    let scene = Scene::new();
    std::thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| {
                let store = scene.open().unwrap();
                (0..10).for_each(|_| drop(store.create_key(&NewKey::default()).unwrap()));
            });
        }
    });
    assert_eq!(scene.store.list_keys().unwrap().len(), 41);
}

#[test]
fn crash_before_the_rename_leaves_the_old_store() {
    let scene = Scene::new();
    let half = files::prepare(&scene.path(), b"kmsfs key store 2\n{\"store").unwrap();
    let (_, left) = half.keep().unwrap();
    assert!(left.exists());
    let store = scene.open().unwrap();
    assert_eq!(store.list_keys().unwrap(), [&*scene.key]);
    store.create_key(&NewKey::default()).unwrap();
    assert_eq!(scene.store.list_keys().unwrap().len(), 2);
}

#[test]
fn root_key_file_without_store_is_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let (path, root) = (dir.path().join("store"), Root::File(dir.path().join("root")));
    let first = LocalStore::create(&path, &root).unwrap();
    std::fs::remove_file(&path).unwrap();
    let second = LocalStore::create(&path, &root).unwrap();
    assert_eq!(first.id(), second.id());
    assert_eq!(code(LocalStore::create(&path, &root)), "KeyStore.Exists");
}

#[test]
fn every_changed_or_missing_byte_is_noticed() {
    let scene = Scene::new();
    scene.store.disable(&scene.key).unwrap();
    let good = std::fs::read(scene.path()).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        std::fs::write(scene.path(), &bad).unwrap();
        let error = scene
            .open()
            .err()
            .unwrap_or_else(|| panic!("byte {at} does not matter"));
        assert_eq!(error.remedy(), Remedy::Misconfigured, "byte {at}: {error}");
        std::fs::write(scene.path(), &good[..at]).unwrap();
        assert!(scene.open().is_err(), "cut at {at}");
    }
    std::fs::write(scene.path(), &good).unwrap();
    assert!(scene.open().is_ok());
}

#[test]
fn flipped_state_is_refused_by_an_open_store() {
    let scene = Scene::new();
    let wrapped = scene.wrap();
    scene.store.disable(&scene.key).unwrap();
    let text = std::fs::read_to_string(scene.path()).unwrap();
    let flipped = text.replace("\"Disabled\"", "\"Enabled\"");
    assert_ne!(text, flipped);
    rewrite(&scene.path(), flipped.as_bytes());
    assert_eq!(code(scene.store.decrypt(&wrapped, &context())), "KeyStore.Damaged");
    assert_eq!(code(scene.store.enable(&scene.key)), "KeyStore.Damaged");
    assert_eq!(code(scene.open()), "KeyStore.Damaged");
}

#[test]
fn older_or_other_store_in_its_place_is_refused_by_an_open_store() {
    let (scene, other) = (Scene::new(), Scene::new());
    let old = std::fs::read(scene.path()).unwrap();
    scene.store.disable(&scene.key).unwrap();
    assert_eq!(scene.state(), KeyState::Disabled);
    rewrite(&scene.path(), &old);
    assert_eq!(code(scene.store.describe_key(&scene.key)), "KeyStore.Replaced");
    rewrite(&scene.path(), &std::fs::read(other.path()).unwrap());
    assert_eq!(code(scene.store.describe_key(&scene.key)), "KeyStore.Replaced");
    assert_eq!(code(scene.open()), "KeyStore.WrongRoot");
    std::fs::remove_file(scene.path()).unwrap();
    assert_eq!(code(scene.store.describe_key(&scene.key)), "KeyStore.NotFound");
}

#[test]
fn bad_files_are_named_for_what_they_are() {
    use std::os::unix::fs::PermissionsExt;
    let scene = Scene::new();
    let mode = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(&scene.path(), 0o640);
    let error = scene.open().err().unwrap();
    assert_eq!(error.code(), "KeyStore.Permissions");
    assert!(error.to_string().contains(&*scene.path().to_string_lossy()), "{error}");
    mode(&scene.path(), 0o600);
    let root = scene.dir.path().join("store.root");
    mode(&root, 0o604);
    assert_eq!(code(scene.open()), "KeyStore.Permissions");
    std::fs::remove_file(&root).unwrap();
    assert_eq!(code(scene.open()), "KeyStore.RootNotFound");
    rewrite(&root, b"hello");
    assert_eq!(code(scene.open()), "KeyStore.WrongRoot");
    rewrite(&scene.path(), b"kmsfs key store 3\n");
    assert_eq!(code(scene.open()), "KeyStore.Newer");
    rewrite(&scene.path(), &vec![b'x'; (16 << 20) + 1]);
    assert_eq!(code(scene.open()), "KeyStore.Damaged");
    std::fs::remove_file(scene.path()).unwrap();
    assert_eq!(code(scene.open()), "KeyStore.NotFound");
    std::fs::create_dir(scene.path()).unwrap();
    assert_eq!(code(scene.open()), "KeyStore.Damaged");
}

#[test]
fn passphrase_opens_and_a_wrong_one_is_told_from_damage() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let phrase = |text: &str| Root::Passphrase(SecretBytes::new(text.as_bytes().to_vec()));
    let store = LocalStore::create(&path, &phrase("correct horse")).unwrap();
    let key = store.create_key(&NewKey::default()).unwrap().id;
    let made = store.generate_data_key(&key, &context()).unwrap();
    let again = LocalStore::open(&path, &phrase("correct horse")).unwrap();
    assert!(again.decrypt(&made.wrapped, &context()).is_ok());
    let error = LocalStore::open(&path, &phrase("wrong")).err().unwrap();
    assert_eq!(
        (error.code(), error.remedy()),
        ("KeyStore.WrongPassphrase", Remedy::Misconfigured)
    );
    let file = Root::File(dir.path().join("root"));
    assert_eq!(code(LocalStore::open(&path, &file)), "KeyStore.WrongPassphrase");
    let text = std::fs::read_to_string(&path).unwrap();
    for (from, to) in [
        ("\"memory_kib\":65536", "\"memory_kib\":4294967295"),
        ("\"passes\":3", "\"passes\":17"),
        ("\"lanes\":4", "\"lanes\":0"),
        ("\"salt\":\"", "\"salt\":\"00"),
    ] {
        let bent = text.replace(from, to);
        assert_ne!(bent, text);
        rewrite(&path, bent.as_bytes());
        assert_eq!(
            code(LocalStore::open(&path, &phrase("correct horse"))),
            "KeyStore.Damaged",
            "{to}"
        );
    }
}

#[test]
fn description_is_bounded() {
    let scene = Scene::new();
    let new = |len| NewKey {
        description: "ä".repeat(len),
        ..NewKey::default()
    };
    assert_eq!(code(scene.store.create_key(&new(8193))), "InvalidParameter");
    let made = scene.store.create_key(&new(8192)).unwrap();
    assert_eq!(scene.open().unwrap().describe_key(&made.id).unwrap(), made);
}

proptest! {
    #[test]
    fn random_files_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let header = document::read_header(&bytes);
        prop_assert!(header.is_err());
        let mut titled = b"kmsfs key store 2\n".to_vec();
        titled.extend(&bytes);
        prop_assert!(document::read_header(&titled).is_err());
    }
}
