//! Material that is imported and data keys that are exported, wrapped and unwrapped by openssl.

use std::collections::BTreeMap;
use std::path::Path;

use data_encoding::BASE64;

use super::scene::{DAY, Scene, code, context, openssl};
use crate::kms::local::{LocalStore, Origin, WrapAlgorithm};
use crate::kms::{EncryptionContext, KeySpec, KeyState, Kms, KmsAdmin, KmsDirect, NewKey};

const MATERIAL: [u8; 32] = [0x5A; 32];

fn external(store: &LocalStore) -> String {
    let made = store.create_with_tags(&NewKey::default(), Origin::External, &BTreeMap::new());
    made.unwrap().id
}

fn options(algorithm: WrapAlgorithm) -> &'static str {
    match algorithm {
        WrapAlgorithm::Pkcs1 => "-pkeyopt rsa_padding_mode:pkcs1",
        WrapAlgorithm::OaepSha1 => "-pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha1",
        WrapAlgorithm::OaepSha256 => "-pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha256",
    }
}

/// Wraps `material` as the owner of a key would.
fn wrap(dir: &Path, public: &[u8], algorithm: WrapAlgorithm, material: &[u8]) -> Vec<u8> {
    std::fs::write(dir.join("wrapping.der"), public).unwrap();
    std::fs::write(dir.join("material"), material).unwrap();
    let options = options(algorithm);
    assert!(openssl(
        dir,
        &format!("pkeyutl -encrypt -pubin -keyform DER -inkey wrapping.der {options} -in material -out wrapped"),
    ));
    std::fs::read(dir.join("wrapped")).unwrap()
}

/// Imports `material` from the beginning.
fn import(scene: &Scene, key: &str, material: &[u8], expires: Option<i64>) -> String {
    let algorithm = WrapAlgorithm::OaepSha256;
    let parameters = scene.store.import_parameters(key, algorithm).unwrap();
    let wrapped = wrap(scene.dir.path(), &parameters.public_key, algorithm, material);
    code(scene.store.import_material(key, &parameters.token, &wrapped, expires))
}

#[test]
fn imported_material_is_what_encrypts() {
    let scene = Scene::new();
    for algorithm in WrapAlgorithm::ALL {
        let key = external(&scene.store);
        let state = || scene.store.describe_key(&key).unwrap().state;
        assert_eq!(state(), KeyState::PendingImport);
        assert_eq!(
            code(scene.store.generate_data_key(&key, &context())),
            "Rejected.PendingImport"
        );
        let parameters = scene.store.import_parameters(&key, algorithm).unwrap();
        let wrapped = wrap(scene.dir.path(), &parameters.public_key, algorithm, &MATERIAL);
        let token = format!("{}\n", parameters.token);
        scene.store.import_material(&key, &token, &wrapped, None).unwrap();
        assert_eq!(state(), KeyState::Enabled);
        let made = scene.store.generate_data_key(&key, &context()).unwrap();
        let material = crate::crypto::Key::from_slice(&MATERIAL).unwrap();
        let text = crate::kms::blob::unwrap(&material, &context(), &made.wrapped.blob).unwrap();
        assert_eq!(*text, *BASE64.encode(made.key.expose()).as_bytes());
        assert_eq!(algorithm.as_str().parse::<WrapAlgorithm>().unwrap(), algorithm);
    }
}

#[test]
fn removed_material_comes_back_and_no_other() {
    let scene = Scene::new();
    let key = external(&scene.store);
    assert_eq!(import(&scene, &key, &MATERIAL, None), "ok");
    let made = scene.store.generate_data_key(&key, &context()).unwrap();
    scene.store.delete_material(&key).unwrap();
    let store = scene.open().unwrap();
    assert_eq!(store.describe_key(&key).unwrap().state, KeyState::PendingImport);
    assert_eq!(code(store.decrypt(&made.wrapped, &context())), "Rejected.PendingImport");
    assert_eq!(import(&scene, &key, &[0x5B; 32], None), "InvalidKeyMaterial");
    assert_eq!(import(&scene, &key, &MATERIAL, None), "ok");
    assert!(store.decrypt(&made.wrapped, &context()).is_ok());
    assert_eq!(store.list_versions(&key).unwrap().len(), 1);
}

#[test]
fn material_past_its_time_is_not_used_even_when_nothing_can_be_written() {
    let scene = Scene::new();
    let key = external(&scene.store);
    let now = scene.store.describe_key(&key).unwrap().created;
    assert_eq!(import(&scene, &key, &MATERIAL, Some(now)), "InvalidParameter");
    assert_eq!(import(&scene, &key, &MATERIAL, Some(now + 86_400)), "ok");
    let facts = scene.store.key_facts(&key).unwrap();
    assert_eq!(
        (facts.origin, facts.material_expires),
        (Origin::External, Some(now + 86_400))
    );
    let made = scene.store.generate_data_key(&key, &context()).unwrap();
    let lock = scene.dir.path().join("store.lock");
    std::fs::remove_file(&lock).unwrap();
    std::fs::create_dir(&lock).unwrap();
    scene.clock.advance(DAY);
    assert_eq!(
        code(scene.store.decrypt(&made.wrapped, &context())),
        "Rejected.PendingImport"
    );
    assert_eq!(scene.store.describe_key(&key).unwrap().state, KeyState::PendingImport);
    std::fs::remove_dir(&lock).unwrap();
    assert_eq!(
        code(scene.open().unwrap().decrypt(&made.wrapped, &context())),
        "Rejected.PendingImport"
    );
    assert!(
        !std::fs::read_to_string(scene.path())
            .unwrap()
            .contains(&(now + 86_400).to_string())
    );
    assert_eq!(import(&scene, &key, &MATERIAL, None), "ok");
    assert!(scene.store.decrypt(&made.wrapped, &context()).is_ok());
}

#[test]
fn token_is_of_one_key_one_public_key_and_one_day() {
    let scene = Scene::new();
    let (first, second) = (external(&scene.store), external(&scene.store));
    let algorithm = WrapAlgorithm::OaepSha256;
    let parameters = scene.store.import_parameters(&first, algorithm).unwrap();
    let wrapped = wrap(scene.dir.path(), &parameters.public_key, algorithm, &MATERIAL);
    let give = |key: &str, token: &str, wrapped: &[u8]| code(scene.store.import_material(key, token, wrapped, None));
    assert_eq!(give(&second, &parameters.token, &wrapped), "InvalidImportToken");
    let other = scene.store.import_parameters(&first, algorithm).unwrap();
    assert_eq!(give(&first, &other.token, &wrapped), "InvalidKeyMaterial");
    let plain = String::from_utf8(BASE64.decode(parameters.token.as_bytes()).unwrap()).unwrap();
    let later = plain.replacen(&parameters.expires.to_string(), "9999999999", 1);
    for bad in ["", "a", "YQ==", &*BASE64.encode(later.as_bytes()), &plain] {
        assert_eq!(give(&first, bad, &wrapped), "InvalidImportToken", "{bad}");
    }
    for bad in [&b""[..], b"short", &[0xFF; 256], &[0; 256]] {
        assert_eq!(give(&first, &parameters.token, bad), "InvalidKeyMaterial");
    }
    for len in [16, 31, 33] {
        assert_eq!(
            import(&scene, &first, &MATERIAL.repeat(2)[..len], None),
            "InvalidKeyMaterial"
        );
    }
    scene.clock.advance(DAY);
    assert_eq!(give(&first, &parameters.token, &wrapped), "ExpiredImportToken");
}

#[test]
fn external_keys_and_others_do_not_mix() {
    let scene = Scene::new();
    let store = &scene.store;
    let key = external(store);
    let week = Some(7 * 86_400);
    assert_eq!(
        code(store.import_parameters(&scene.key, WrapAlgorithm::Pkcs1)),
        "Unsupported.Origin"
    );
    assert_eq!(
        code(store.import_material(&scene.key, "", b"", None)),
        "Unsupported.Origin"
    );
    assert_eq!(code(store.delete_material(&scene.key)), "Unsupported.Origin");
    assert_eq!(code(store.enable(&key)), "Rejected.StateModifiedFailed");
    assert_eq!(code(store.rotate(&key)), "Rejected.PendingImport");
    assert_eq!(import(&scene, &key, &MATERIAL, None), "ok");
    assert_eq!(code(store.rotate(&key)), "Rejected.UnsupportedOperation");
    assert_eq!(code(store.set_rotation(&key, week)), "Rejected.UnsupportedOperation");
    store.disable(&key).unwrap();
    assert_eq!(import(&scene, &key, &MATERIAL, None), "ok");
    assert_eq!(store.describe_key(&key).unwrap().state, KeyState::Disabled);
    store.schedule_deletion(&key, 7).unwrap();
    assert_eq!(import(&scene, &key, &MATERIAL, None), "Rejected.StateModifiedFailed");
    store.delete_material(&key).unwrap();
    assert_eq!(store.describe_key(&key).unwrap().state, KeyState::PendingDeletion);
    store.cancel_deletion(&key).unwrap();
    assert_eq!(store.describe_key(&key).unwrap().state, KeyState::PendingImport);
    let create = |new: &NewKey| code(store.create_with_tags(new, Origin::External, &BTreeMap::new()));
    let rsa = NewKey {
        spec: KeySpec::Rsa2048,
        ..NewKey::default()
    };
    let rotating = NewKey {
        rotation: week,
        ..NewKey::default()
    };
    assert_eq!(create(&rsa), "UnsupportedOperation");
    assert_eq!(create(&rotating), "Rejected.UnsupportedOperation");
}

#[test]
fn key_is_made_with_its_tags_or_not_at_all() {
    let scene = Scene::new();
    let tags = |name: &str| BTreeMap::from([(name.to_owned(), "v".to_owned())]);
    let create = |name| {
        scene
            .store
            .create_with_tags(&NewKey::default(), Origin::Kms, &tags(name))
    };
    let key = create("app").unwrap().id;
    assert_eq!(scene.store.key_facts(&key).unwrap().tags, tags("app"));
    assert_eq!(code(create("acs:app")), "InvalidParameter");
    assert_eq!(scene.store.list_keys().unwrap().len(), 2);
}

#[test]
fn exported_data_key_opens_with_openssl() {
    let scene = Scene::new();
    let (dir, none) = (scene.dir.path(), EncryptionContext::none());
    let spki = |bits: u32| {
        assert!(openssl(
            dir,
            &format!("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:{bits} -out own")
        ));
        assert!(openssl(dir, "pkey -in own -pubout -outform DER -out own.der"));
        std::fs::read(dir.join("own.der")).unwrap()
    };
    let long = spki(3072);
    let public = spki(2048);
    for algorithm in WrapAlgorithm::ALL {
        let export = |len, spki: &[u8]| scene.store.generate_and_export(&scene.key, &none, len, spki, algorithm);
        let (blob, exported) = export(64, &public).unwrap();
        let plain = scene.store.decrypt_text(&blob.data, &none).unwrap().data;
        let again = scene
            .store
            .export_data_key(&blob.data, &none, &public, algorithm)
            .unwrap();
        for exported in [exported, again.data] {
            std::fs::write(dir.join("exported"), exported).unwrap();
            let options = options(algorithm);
            assert!(openssl(
                dir,
                &format!("pkeyutl -decrypt -inkey own {options} -in exported -out opened")
            ));
            assert_eq!(BASE64.encode(&std::fs::read(dir.join("opened")).unwrap()), *plain);
        }
        assert_eq!(code(export(1024, &public)), "InvalidParameter");
        for bad in [&b""[..], b"no key", &long] {
            assert_eq!(code(export(32, bad)), "InvalidParameter");
        }
        let text = scene.store.encrypt_text(&scene.key, &none, "not base64!").unwrap();
        let outcome = scene.store.export_data_key(&text.data, &none, &public, algorithm);
        assert_eq!(code(outcome), "InvalidParameter");
    }
}
