//! Files that are authentic and yet not what kmsfs writes: refused, or a store that works, and never a panic.

use proptest::prelude::*;

use super::scene::{Scene, code, context};
use crate::kms::local::document;
use crate::kms::local::ring::Ring;
use crate::kms::local::root::RootKey;
use crate::kms::{KeySpec, KmsError, NewKey, Rotation};
use crate::kms::{Kms, KmsAdmin};

/// The lines of a store with one key of each way to be, and its root key.
fn sample() -> (Scene, String) {
    let scene = Scene::new();
    let new = NewKey {
        rotation: Some(7 * 86_400),
        ..NewKey::default()
    };
    let rotating = scene.store.create_key(&new).unwrap().id;
    scene.store.create_alias("alias/a", &rotating).unwrap();
    scene.store.set_deletion_protection(&rotating, Some("why")).unwrap();
    let new = NewKey {
        spec: KeySpec::EcP256,
        ..NewKey::default()
    };
    let ec = scene.store.create_key(&new).unwrap().id;
    scene.store.schedule_deletion(&ec, 7).unwrap();
    let tags = [("app".to_owned(), "a".to_owned())].into();
    let origin = crate::kms::local::Origin::External;
    scene.store.create_with_tags(&NewKey::default(), origin, &tags).unwrap();
    let text = std::fs::read_to_string(scene.path()).unwrap();
    (scene, text)
}

/// `text` with its third line replaced and authenticated again.
fn sign(text: &str, body: &str, root: &RootKey) -> Vec<u8> {
    let mut lines = text.lines();
    let (title, header) = (lines.next().unwrap(), lines.next().unwrap());
    let text = format!("{title}\n{header}\n{body}\n");
    let code = root.authenticate(text.as_bytes());
    format!("{text}mac {code}\n").into_bytes()
}

fn body(text: &str) -> &str {
    text.lines().nth(2).unwrap()
}

fn open(scene: &Scene, text: &str, body: &str) -> Result<Ring, KmsError> {
    document::open(&sign(text, body, &scene.store.root), &scene.store.root)
}

#[test]
fn contradictions_are_damage() {
    let (scene, text) = sample();
    let good = body(&text);
    assert!(open(&scene, &text, good).is_ok());
    for (from, to) in [
        ("\"usage\":\"SIGN/VERIFY\"", "\"usage\":\"ENCRYPT/DECRYPT\""),
        ("\"rotation\":604800", "\"rotation\":604799"),
        ("\"rotation\":604800", "\"rotation\":-1"),
        ("\"rotation\":604800", "\"rotation\":18446744073709551615"),
        ("\"state\":\"PendingImport\"", "\"state\":\"Enabled\""),
        ("\"state\":\"Enabled\"", "\"state\":\"PendingImport\""),
        ("\"state\":\"PendingDeletion\"", "\"state\":\"Enabled\""),
        ("\"origin\":\"EXTERNAL\"", "\"origin\":\"Aliyun_KMS\""),
        ("\"origin\":\"Aliyun_KMS\"", "\"origin\":\"EXTERNAL\""),
        ("\"spec\":\"EC_P256\"", "\"spec\":\"Aliyun_AES_256\""),
        ("\"spec\":\"EC_P256\"", "\"spec\":\"EC_SM2\""),
        ("\"tags\":{\"app\"", "\"tags\":{\"acs:app\""),
        ("\"import\":null", "\"import\":{\"check\":\"00\",\"expires\":null}"),
        ("\"protection\":null", "\"unknown\":null"),
        ("\"sealed\":\"", "\"sealed\":\"\",\"sealed\":\""),
    ] {
        let bent = good.replacen(from, to, 1);
        assert_ne!(bent, good, "{from}");
        assert_eq!(code(open(&scene, &text, &bent)), "KeyStore.Damaged", "{to}");
    }
}

#[test]
fn material_of_another_kind_is_damage() {
    let (scene, text) = sample();
    let bent = body(&text).replace("\"spec\":\"EC_P256\"", "\"spec\":\"EC_P256K\"");
    let ring = open(&scene, &text, &bent).unwrap();
    let key = ring.key_ids(0).into_iter().map(|id| ring.find(&id, 0).unwrap());
    let key = key.into_iter().find(|key| key.spec == KeySpec::EcP256K).unwrap();
    let der = scene
        .store
        .root
        .open_bytes(&key.id, key.versions().next().unwrap())
        .unwrap();
    let outcome = crate::kms::local::asymmetric::PrivateKey::from_pkcs8(key.spec, &der);
    assert_eq!(code(outcome), "KeyStore.Damaged");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn bent_bodies_are_refused_or_work(bends in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let (scene, text) = sample();
        let mut bytes = body(&text).as_bytes().to_vec();
        for (at, byte) in bends {
            let at = at.index(bytes.len());
            bytes[at] = byte % 95 + 32;
        }
        let bent = String::from_utf8(bytes).unwrap();
        if let Ok(mut ring) = open(&scene, &text, &bent) {
            for now in [0, 1_700_000_000, i64::MAX] {
                for id in ring.key_ids(now) {
                    let metadata = ring.find(&id, now).unwrap().metadata();
                    prop_assert_eq!(metadata.rotation == Rotation::default(), metadata.rotation.next.is_none());
                }
                let advanced = ring.advance(now, |key| scene.store.root.new_version(key, now));
                prop_assert!(advanced.is_ok() && ring.is_sound());
            }
        }
        prop_assert!(scene.store.generate_data_key(&scene.key, &context()).is_ok());
    }
}
