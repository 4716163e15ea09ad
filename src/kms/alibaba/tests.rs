//! The client against a small server that speaks as the KMS does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use data_encoding::BASE64;

use super::client::Environment;
use super::credentials::World;
use super::server::{Reply, SECRET, Seen, Server};
use super::*;
use crate::format::WrappedKey;
use crate::kms::{
    EncryptionContext, KeyState, Kms, KmsAdmin, KmsDirect, KmsSigner, NewKey, Remedy, SignAlgorithm, SystemClock,
};

pub(super) const KEY_ID: &str = "1234abcd-12ab-34cd-56ef-1234567890ab";
/// 32 bytes, as the API writes them.
pub(super) const KEY_TEXT: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// Settings that lead to `endpoint` and lose no time.
pub(super) fn settings(endpoint: &str) -> Settings {
    Settings {
        region: None,
        endpoint: Some(endpoint.to_owned()),
        network: Network::Public,
        ca_file: None,
        signature: Signature::V3,
        rate: 0,
        connect_timeout: Duration::from_secs(2),
        answer_timeout: Duration::from_millis(500),
        deadline: Duration::from_secs(5),
    }
}

/// An environment that holds an access key, and nothing else.
pub(super) fn environment() -> Environment {
    Arc::new(|name: &str| match name {
        "ALIBABA_CLOUD_ACCESS_KEY_ID" => Some("testid".into()),
        "ALIBABA_CLOUD_ACCESS_KEY_SECRET" => Some(SECRET.into()),
        _ => None,
    })
}

pub(super) fn client(server: &Server) -> AlibabaKms {
    client_with(settings(&server.url()))
}

pub(super) fn client_with(settings: Settings) -> AlibabaKms {
    let world = World::new(environment(), Arc::new(SystemClock));
    AlibabaKms::with_world(settings, world).unwrap()
}

pub(super) fn context() -> EncryptionContext {
    EncryptionContext::from_iter([("kmsfs:volume".to_owned(), "a b*~阿".to_owned())])
}

pub(super) fn wrapped() -> WrappedKey {
    WrappedKey {
        master_key: KEY_ID.to_owned(),
        blob: vec![7; 108],
    }
}

/// What the KMS answers to the actions of a mount.
pub(super) fn kms(seen: &Seen) -> Reply {
    if !seen.is_signed() {
        return refusal(400, "SignatureDoesNotMatch");
    }
    let blob = BASE64.encode(&[7; 108]);
    let about = format!(r#""KeyId":"{KEY_ID}","KeyVersionId":"v1","RequestId":"r-ok""#);
    Reply::Json(
        200,
        match seen.action() {
            "GenerateDataKey" => format!(r#"{{{about},"Plaintext":"{KEY_TEXT}","CiphertextBlob":"{blob}"}}"#),
            "Decrypt" => format!(r#"{{{about},"Plaintext":"{KEY_TEXT}"}}"#),
            "Encrypt" | "GenerateDataKeyWithoutPlaintext" | "ReEncrypt" => {
                format!(r#"{{{about},"CiphertextBlob":"{blob}"}}"#)
            }
            "DescribeKey" | "CreateKey" => format!(
                r#"{{"KeyMetadata":{{"KeyId":"{KEY_ID}","KeyState":"Enabled","KeySpec":"Aliyun_AES_256","CreationDate":"2021-04-12T06:00:54Z"}},"RequestId":"r-ok"}}"#
            ),
            "AsymmetricSign" => format!(r#"{{{about},"Value":"AQID"}}"#),
            "AsymmetricVerify" => format!(r#"{{{about},"Value":true}}"#),
            "GetPublicKey" => format!(r#"{{{about},"PublicKey":"-----BEGIN PUBLIC KEY-----\n"}}"#),
            "CreateKeyVersion" => r#"{"KeyVersion":{"KeyId":"k","KeyVersionId":"v2","CreationDate":""}}"#.to_owned(),
            _ => r#"{"RequestId":"r-ok"}"#.to_owned(),
        },
    )
}

pub(super) fn refusal(status: u16, code: &str) -> Reply {
    let text = format!(r#"{{"HttpStatus":{status},"Code":"{code}","Message":"as the test says","RequestId":"r-no"}}"#);
    Reply::Json(status, text)
}

#[test]
fn data_keys_come_and_go_in_both_signatures() {
    for signature in [Signature::V3, Signature::V1] {
        let server = Server::start(kms);
        let client = client_with(Settings {
            signature,
            ..settings(&server.url())
        });
        let made = client.generate_data_key("alias/a", &context()).unwrap();
        assert_eq!(
            (made.wrapped.master_key.as_str(), made.wrapped.blob.len()),
            (KEY_ID, 108)
        );
        assert_eq!(made.key.expose()[31], 31);
        assert_eq!(
            client.decrypt(&made.wrapped, &context()).unwrap().expose(),
            made.key.expose()
        );
        client.decrypt_now(&made.wrapped, &context()).unwrap();
        let seen = server.seen();
        assert_eq!(seen[0].parameter("KeyId"), "alias/a");
        assert_eq!(seen[0].parameter("NumberOfBytes"), "32");
        assert_eq!(seen[1].parameter("EncryptionContext"), r#"{"kmsfs:volume":"a b*~阿"}"#);
        assert_eq!(seen[1].parameter("CiphertextBlob"), BASE64.encode(&[7; 108]));
        assert_eq!(seen[2].action(), "Decrypt");
    }
}

#[test]
fn every_call_of_the_traits_is_an_action() {
    let server = Server::start(kms);
    let client = client(&server);
    let none = EncryptionContext::none();
    let digest = [1; 32];
    assert_eq!(client.describe_key(KEY_ID).unwrap().state, KeyState::Enabled);
    client.encrypt_text(KEY_ID, &none, "text").unwrap();
    assert_eq!(&**client.decrypt_text(" QU\nFB ", &none).unwrap().data, KEY_TEXT);
    client.generate_wrapped(KEY_ID, &none).unwrap();
    client.re_encrypt("QUFB", &context(), KEY_ID, &none).unwrap();
    assert_eq!(
        client
            .sign(KEY_ID, "v1", SignAlgorithm::EcdsaSha256, &digest)
            .unwrap()
            .data,
        [1, 2, 3]
    );
    assert!(
        client
            .verify(KEY_ID, "v1", SignAlgorithm::RsaPssSha256, &digest, &[1])
            .unwrap()
            .data
    );
    client.public_key(KEY_ID, "v1").unwrap();
    let new = NewKey {
        description: "d".into(),
        rotation: Some(604_800),
        ..NewKey::default()
    };
    client.create_key(&new).unwrap();
    client.create_alias("alias/a", KEY_ID).unwrap();
    client.update_alias("alias/a", KEY_ID).unwrap();
    client.delete_alias("alias/a").unwrap();
    client.enable(KEY_ID).unwrap();
    client.disable(KEY_ID).unwrap();
    client.schedule_deletion(KEY_ID, 7).unwrap();
    client.cancel_deletion(KEY_ID).unwrap();
    assert_eq!(client.rotate(KEY_ID).unwrap(), "v2");
    client.set_rotation(KEY_ID, None).unwrap();
    client.set_rotation(KEY_ID, Some(604_800)).unwrap();
    let actions: Vec<String> = server.seen().iter().map(|seen| seen.action().to_owned()).collect();
    let expected = "DescribeKey Encrypt Decrypt GenerateDataKeyWithoutPlaintext ReEncrypt AsymmetricSign AsymmetricVerify \
        GetPublicKey CreateKey CreateAlias UpdateAlias DeleteAlias EnableKey DisableKey ScheduleKeyDeletion \
        CancelKeyDeletion CreateKeyVersion UpdateRotationPolicy UpdateRotationPolicy";
    assert_eq!(actions.join(" "), expected);
    let seen = server.seen();
    assert_eq!(seen[2].parameter("CiphertextBlob"), "QUFB");
    assert_eq!(seen[8].parameter("RotationInterval"), "604800s");
    assert_eq!(seen[14].parameter("PendingWindowInDays"), "7");
}

#[test]
fn lists_are_read_to_their_end() {
    let server = Server::start(|seen| {
        let page: usize = seen.parameter("PageNumber").parse().unwrap();
        let ids: Vec<String> = (0..100)
            .map(|i| format!(r#"{{"KeyId":"k{}"}}"#, (page - 1) * 100 + i))
            .collect();
        let ids = &ids[..if page == 3 { 50 } else { 100 }];
        Reply::Json(
            200,
            format!(r#"{{"Keys":{{"Key":[{}]}},"TotalCount":250}}"#, ids.join(",")),
        )
    });
    let keys = client(&server).list_keys().unwrap();
    assert_eq!((keys.len(), keys[249].as_str(), server.seen().len()), (250, "k249", 3));
}

#[test]
fn each_try_is_signed_anew() {
    let count = AtomicUsize::new(0);
    let server = Server::start(move |seen| match count.fetch_add(1, Ordering::SeqCst) {
        0 => refusal(503, "ServiceUnavailableTemporary"),
        1 => Reply::With(
            429,
            "x-acs-retry-after",
            "300".into(),
            r#"{"Code":"Rejected.Throttling"}"#.into(),
        ),
        2 => Reply::Json(500, "<html>".into()),
        _ => kms(seen),
    });
    client(&server).decrypt(&wrapped(), &context()).unwrap();
    let seen = server.seen();
    let nonces: std::collections::HashSet<_> = seen
        .iter()
        .map(|seen| seen.headers.get("x-acs-signature-nonce"))
        .collect();
    assert_eq!((seen.len(), nonces.len()), (4, 4));
}

#[test]
fn refusals_come_at_once_with_everything_that_was_said() {
    let server = Server::start(|_| refusal(409, "Rejected.Disabled"));
    let error = client(&server).decrypt(&wrapped(), &context()).unwrap_err();
    assert_eq!(
        (error.remedy(), error.request_id(), error.key()),
        (Remedy::Denied, Some("r-no"), Some(KEY_ID))
    );
    assert!(error.to_string().contains("Alibaba Cloud KMS at 127.0.0.1"), "{error}");
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn calls_may_come_from_many_threads_and_from_within_a_runtime() {
    let server = Server::start(kms);
    let client = client(&server);
    std::thread::scope(|threads| {
        for _ in 0..32 {
            threads.spawn(|| client.decrypt(&wrapped(), &context()).unwrap());
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async { client.decrypt(&wrapped(), &context()).unwrap() });
    runtime.block_on(async move { drop(client) });
    assert_eq!(server.seen().len(), 33);
}

#[test]
fn the_rate_holds_for_all_calls_together() {
    let server = Server::start(kms);
    let client = client_with(Settings {
        rate: 50,
        ..settings(&server.url())
    });
    let start = std::time::Instant::now();
    std::thread::scope(|threads| {
        for _ in 0..8 {
            threads.spawn(|| (0..5).for_each(|_| drop(client.decrypt(&wrapped(), &context()).unwrap())));
        }
    });
    // A lower bound, which no slow machine breaks: 40 requests, of which a tenth of a second's worth goes at once.
    assert!(start.elapsed() >= Duration::from_millis(600), "{:?}", start.elapsed());
}
