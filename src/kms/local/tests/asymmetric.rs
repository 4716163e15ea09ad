//! RSA and EC keys: against the openssl program in both directions, known vectors, and what they may not do.

use sha2::{Digest, Sha256};

use super::scene::{Scene, code, context, openssl};
use crate::kms::SignAlgorithm::{self, EcdsaSha256, RsaPkcs1Sha256, RsaPssSha256};
use crate::kms::local::EncryptAlgorithm::{self, OaepSha1, OaepSha256};
use crate::kms::local::LocalStore;
use crate::kms::local::asymmetric::PrivateKey;
use crate::kms::{EncryptionContext, KeySpec, KeyUsage, Kms, KmsAdmin, KmsDirect, KmsSigner, NewKey};

const TEXT: &[u8] = b"total_amount=0.01&body=test";

fn digest() -> [u8; 32] {
    Sha256::digest(TEXT).into()
}

fn create(store: &LocalStore, spec: KeySpec, usage: Option<KeyUsage>) -> (String, String) {
    let new = NewKey {
        spec,
        usage,
        ..NewKey::default()
    };
    let key = store.create_key(&new).unwrap().id;
    let version = store.list_versions(&key).unwrap()[0].id.clone();
    (key, version)
}

fn pss(algorithm: SignAlgorithm) -> &'static str {
    match algorithm {
        RsaPssSha256 => "-sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:32 ",
        _ => "",
    }
}

#[test]
fn signatures_and_public_keys_are_what_openssl_takes() {
    let scene = Scene::new();
    let dir = scene.dir.path();
    std::fs::write(dir.join("text"), TEXT).unwrap();
    for (spec, algorithms) in [
        (KeySpec::Rsa2048, &[RsaPkcs1Sha256, RsaPssSha256][..]),
        (KeySpec::Rsa3072, &[RsaPkcs1Sha256, RsaPssSha256]),
        (KeySpec::EcP256, &[EcdsaSha256]),
        (KeySpec::EcP256K, &[EcdsaSha256]),
    ] {
        let (key, version) = create(&scene.store, spec, None);
        let public = scene.store.public_key(&key, &version).unwrap().data;
        assert!(public.starts_with("-----BEGIN PUBLIC KEY-----\n") && public.ends_with("-----END PUBLIC KEY-----\n"));
        assert!(public.lines().all(|line| line.len() <= 64));
        std::fs::write(dir.join("public"), public).unwrap();
        for algorithm in algorithms {
            let signed = scene.store.sign(&key, &version, *algorithm, &digest()).unwrap();
            assert_eq!((&signed.key, &signed.version), (&key, &version));
            std::fs::write(dir.join("signature"), &signed.data).unwrap();
            let options = pss(*algorithm);
            let check = |file| {
                openssl(
                    dir,
                    &format!("dgst -sha256 -verify public {options}-signature signature {file}"),
                )
            };
            assert!(check("text"), "{spec} {algorithm:?}");
            assert!(!check("public"), "{spec} {algorithm:?}");
        }
    }
}

#[test]
fn signatures_of_openssl_verify() {
    let scene = Scene::new();
    let dir = scene.dir.path();
    std::fs::write(dir.join("text"), TEXT).unwrap();
    for (spec, make, algorithms) in [
        (
            KeySpec::Rsa2048,
            "RSA -pkeyopt rsa_keygen_bits:2048",
            &[RsaPkcs1Sha256, RsaPssSha256][..],
        ),
        (KeySpec::EcP256, "EC -pkeyopt ec_paramgen_curve:P-256", &[EcdsaSha256]),
        (
            KeySpec::EcP256K,
            "EC -pkeyopt ec_paramgen_curve:secp256k1",
            &[EcdsaSha256],
        ),
    ] {
        assert!(openssl(
            dir,
            &format!("genpkey -algorithm {make} -outform DER -out private")
        ));
        assert!(openssl(
            dir,
            "pkcs8 -topk8 -nocrypt -inform DER -in private -outform DER -out pkcs8"
        ));
        let key = PrivateKey::from_pkcs8(spec, &std::fs::read(dir.join("pkcs8")).unwrap()).unwrap();
        assert!(openssl(dir, "pkey -inform DER -in private -pubout -out public"));
        assert_eq!(
            key.public_pem().unwrap(),
            std::fs::read_to_string(dir.join("public")).unwrap()
        );
        // Several times: every second one of secp256k1 has the greater s.
        for algorithm in algorithms.iter().cycle().take(8) {
            let options = pss(*algorithm);
            let command = format!("dgst -sha256 -sign private -keyform DER {options}-out signature text");
            assert!(openssl(dir, &command));
            let mut signature = std::fs::read(dir.join("signature")).unwrap();
            assert!(
                key.verify(*algorithm, &digest(), &signature).unwrap(),
                "{spec} {algorithm:?}"
            );
            assert!(!key.verify(*algorithm, &[7; 32], &signature).unwrap());
            *signature.last_mut().unwrap() ^= 1;
            assert!(!key.verify(*algorithm, &digest(), &signature).unwrap());
        }
    }
}

#[test]
fn rsa_encryption_both_ways_with_openssl() {
    let scene = Scene::new();
    let dir = scene.dir.path();
    let (key, version) = create(&scene.store, KeySpec::Rsa2048, Some(KeyUsage::Encrypt));
    std::fs::write(dir.join("public"), scene.store.public_key(&key, &version).unwrap().data).unwrap();
    for (algorithm, hash, longest) in [(OaepSha256, "sha256", 190), (OaepSha1, "sha1", 214)] {
        assert_eq!(algorithm.as_str().parse::<EncryptAlgorithm>().unwrap(), algorithm);
        let plain = vec![0xA5; longest];
        std::fs::write(dir.join("plain"), &plain).unwrap();
        let options = format!("-pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:{hash} -pkeyopt rsa_mgf1_md:{hash}");
        assert!(openssl(
            dir,
            &format!("pkeyutl -encrypt -pubin -inkey public {options} -in plain -out sealed")
        ));
        let mut sealed = std::fs::read(dir.join("sealed")).unwrap();
        let decrypt = |sealed: &[u8]| scene.store.asymmetric_decrypt(&key, &version, algorithm, sealed);
        assert_eq!(*decrypt(&sealed).unwrap().data, plain);
        sealed[100] ^= 1;
        assert_eq!(code(decrypt(&sealed)), "InvalidParameter");
        assert_eq!(code(decrypt(&sealed[1..])), "InvalidParameter");
        assert_eq!(code(decrypt(&[])), "InvalidParameter");
        let own = scene
            .store
            .asymmetric_encrypt(&key, &version, algorithm, &plain)
            .unwrap();
        assert_eq!((own.data.len(), &own.version), (256, &version));
        assert_eq!(*decrypt(&own.data).unwrap().data, plain);
        let over = vec![1; longest + 1];
        assert_eq!(
            code(scene.store.asymmetric_encrypt(&key, &version, algorithm, &over)),
            "InvalidParameter"
        );
    }
}

/// RFC 6979, A.2.5: curve P-256, SHA-256, message "sample".
#[test]
fn deterministic_ecdsa_of_rfc_6979() {
    let hex = |text: &str| data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_bytes()).unwrap();
    let scalar = hex("C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721");
    let key = PrivateKey::P256(p256::ecdsa::SigningKey::from_slice(&scalar).unwrap());
    let signature = key.sign(EcdsaSha256, &Sha256::digest(b"sample").into()).unwrap();
    let r = hex("EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716");
    let s = hex("F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8");
    let der = [&[0x30, 0x46, 0x02, 0x21, 0x00], &r[..], &[0x02, 0x21, 0x00], &s].concat();
    assert_eq!(signature, der);
}

#[test]
fn default_usage_and_uses_that_a_kind_cannot_have() {
    let scene = Scene::new();
    for (spec, default, other) in [
        (KeySpec::Aes256, KeyUsage::Encrypt, Some(KeyUsage::Sign)),
        (KeySpec::EcP256, KeyUsage::Sign, Some(KeyUsage::Encrypt)),
        (KeySpec::EcP256K, KeyUsage::Sign, Some(KeyUsage::Encrypt)),
        (KeySpec::Rsa2048, KeyUsage::Sign, None),
    ] {
        let (key, version) = create(&scene.store, spec, None);
        let metadata = scene.store.describe_key(&key).unwrap();
        assert_eq!((&*metadata.usage, &*metadata.spec), (default.as_str(), spec.as_str()));
        let symmetric = spec == KeySpec::Aes256;
        assert_eq!(metadata.primary_version, symmetric.then_some(version));
        assert_eq!(metadata.last_rotation, Some(metadata.created));
        let new = |usage, rotation| NewKey {
            spec,
            usage,
            rotation,
            ..NewKey::default()
        };
        if let Some(other) = other {
            assert_eq!(
                code(scene.store.create_key(&new(Some(other), None))),
                "UnsupportedOperation"
            );
        }
        if !symmetric {
            for interval in [Some(7 * 86_400), None] {
                let outcome = scene.store.set_rotation(&key, interval);
                assert_eq!(code(outcome), "Rejected.UnsupportedOperation");
            }
        }
    }
}

#[test]
fn wrong_action_algorithm_version_or_state_has_its_code() {
    let scene = Scene::new();
    let store = &scene.store;
    let sign = |key: &str, version: &str, algorithm| code(store.sign(key, version, algorithm, &digest()));
    let (ec, ec_version) = create(store, KeySpec::EcP256, None);
    let (rsa, rsa_version) = create(store, KeySpec::Rsa2048, Some(KeyUsage::Encrypt));
    let aes_version = store.list_versions(&scene.key).unwrap()[0].id.clone();
    assert_eq!(sign(&ec, &ec_version, EcdsaSha256), "ok");
    assert_eq!(sign(&ec, &ec_version, RsaPssSha256), "InvalidParameter");
    assert_eq!(sign(&ec, &rsa_version, EcdsaSha256), "Forbidden.KeyVersionNotFound");
    assert_eq!(sign(&rsa, &rsa_version, RsaPkcs1Sha256), "UnsupportedOperation");
    assert_eq!(sign(&scene.key, &aes_version, EcdsaSha256), "UnsupportedOperation");
    assert_eq!(code(store.public_key(&scene.key, &aes_version)), "UnsupportedOperation");
    assert_eq!(code(store.public_key(&rsa, &rsa_version)), "ok");
    let encrypt = |key: &str, version: &str| code(store.asymmetric_encrypt(key, version, OaepSha256, b"a"));
    assert_eq!(encrypt(&ec, &ec_version), "UnsupportedOperation");
    assert_eq!(encrypt(&scene.key, &aes_version), "UnsupportedOperation");
    let none = EncryptionContext::none();
    for key in [&ec, &rsa] {
        assert_eq!(code(store.encrypt_text(key, &none, "a")), "UnsupportedOperation");
        assert_eq!(code(store.generate_data_key(key, &context())), "UnsupportedOperation");
    }
    let mut foreign = scene.wrap();
    foreign.blob[..36].copy_from_slice(rsa_version.as_bytes());
    assert_eq!(code(store.decrypt_blob(&foreign.blob, &none)), "UnsupportedOperation");
    for bad in [&b""[..], b"0", &[0x30, 0x06, 0x02, 0x01, 0x00, 0x02, 0x01, 0x00]] {
        let outcome = store.verify(&ec, &ec_version, EcdsaSha256, &digest(), bad);
        assert_eq!(code(outcome), "InvalidParameter", "{bad:?}");
    }
    store.disable(&ec).unwrap();
    assert_eq!(sign(&ec, &ec_version, EcdsaSha256), "Rejected.Disabled");
    assert_eq!(code(store.public_key(&ec, &ec_version)), "Rejected.Disabled");
    assert_eq!(code(store.rotate(&ec)), "Rejected.Disabled");
    store.schedule_deletion(&ec, 7).unwrap();
    assert_eq!(sign(&ec, &ec_version, EcdsaSha256), "Rejected.PendingDeletion");
}

#[test]
fn further_version_stands_beside_the_first() {
    let scene = Scene::new();
    let (key, first) = create(&scene.store, KeySpec::EcP256, None);
    let signed = scene.store.sign(&key, &first, EcdsaSha256, &digest()).unwrap().data;
    let second = scene.store.rotate(&key).unwrap();
    let store = scene.open().unwrap();
    assert_eq!(store.describe_key(&key).unwrap().primary_version, None);
    let verify = |version: &str| {
        store
            .verify(&key, version, EcdsaSha256, &digest(), &signed)
            .unwrap()
            .data
    };
    assert_eq!((verify(&first), verify(&second)), (true, false));
}

#[test]
fn signature_of_rsa_must_be_as_long_as_the_key() {
    let scene = Scene::new();
    let (key, version) = create(&scene.store, KeySpec::Rsa2048, None);
    let verify = |algorithm, signature: &[u8]| scene.store.verify(&key, &version, algorithm, &digest(), signature);
    for algorithm in [RsaPkcs1Sha256, RsaPssSha256] {
        assert_eq!(algorithm.as_str().parse::<SignAlgorithm>().unwrap(), algorithm);
        for len in [0, 255, 257] {
            assert_eq!(code(verify(algorithm, &vec![1; len])), "InvalidParameter");
        }
        assert!(!verify(algorithm, &[0xFF; 256]).unwrap().data);
        assert!(!verify(algorithm, &[0; 256]).unwrap().data);
        let signed = scene.store.sign(&key, &version, algorithm, &digest()).unwrap().data;
        assert!(verify(algorithm, &signed).unwrap().data);
    }
    assert_eq!(code(verify(EcdsaSha256, &[1; 256])), "InvalidParameter");
}

#[test]
fn private_keys_are_not_in_the_file() {
    let scene = Scene::new();
    let (key, version) = create(&scene.store, KeySpec::EcP256, None);
    let ring = scene.store.ring().unwrap();
    let master = ring.find(&key, 0).unwrap();
    let pkcs8 = scene
        .store
        .root
        .open_bytes(&key, master.version(&version).unwrap())
        .unwrap();
    let file = std::fs::read(scene.path()).unwrap();
    let text = data_encoding::BASE64.encode(&pkcs8);
    assert!(
        !file
            .windows(40)
            .any(|window| text.as_bytes().windows(40).any(|part| part == window))
    );
}
