//! The client against servers that fail, lie, or never end: always a clear error with the request's id if there was
//! one, never a hang beyond the deadline, never a key in a message.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::server::{Reply, SECRET, Server};
use super::tests::{KEY_ID, KEY_TEXT, client, client_with, context, kms, refusal, settings, wrapped};
use super::*;
use crate::kms::{Kms, KmsAdmin, KmsDirect, KmsError, KmsSigner, NewKey, Remedy, SignAlgorithm};

/// What a call to a server that always replies so fails with, and how often it was asked.
fn failure(reply: Reply) -> (KmsError, usize) {
    let server = Server::start(move |_| reply.clone());
    let start = Instant::now();
    let settings = Settings {
        deadline: Duration::from_secs(2),
        ..settings(&server.url())
    };
    let error = client_with(settings).decrypt(&wrapped(), &context()).unwrap_err();
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "{error} after {:?}",
        start.elapsed()
    );
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains(KEY_TEXT) && !shown.contains(SECRET), "{shown}");
    assert!(!error.help().is_empty());
    (error, server.seen().len())
}

fn code(reply: Reply) -> String {
    failure(reply).0.code().to_owned()
}

fn ok(body: &str) -> Reply {
    Reply::Json(200, body.to_owned())
}

fn raw(head: &str, body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 {head}\r\n\r\n").as_bytes(), body].concat()
}

#[test]
fn answers_that_are_none() {
    for body in [
        "",
        "<html>",
        "null",
        "[]",
        "7",
        "{}",
        "{\"KeyId\":7}",
        "{\"KeyId\":\"k\",\"Plaintext\":[\"AAEC\"]}",
    ] {
        assert_eq!(code(ok(body)), "Kms.BadAnswer", "{body}");
    }
    assert_eq!(code(Reply::Raw(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec())), "Kms.Unreachable");
    assert_eq!(
        code(Reply::Raw(raw("200 OK\r\nContent-Length: 3", &[0xFF, 0xFE, 0]))),
        "Kms.BadAnswer"
    );
}

#[test]
fn compressed_without_being_asked() {
    let gzip = [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 3, 0x4B];
    let head = format!("200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}", gzip.len());
    assert_eq!(code(Reply::Raw(raw(&head, &gzip))), "Kms.BadAnswer");
}

#[test]
fn answers_without_end() {
    assert_eq!(
        code(Reply::Raw(raw("200 OK\r\nContent-Length: 99999999999", b"{"))),
        "Kms.BadAnswer"
    );
    assert_eq!(
        code(Reply::Raw(raw("200 OK", &vec![b' '; 300 * 1024]))),
        "Kms.BadAnswer"
    );
    let slowly = |head: &str| Reply::Drip(raw(head, b"{"), b' ', Duration::from_millis(20));
    assert_eq!(code(slowly("200 OK\r\nContent-Length: 100000")), "Kms.Timeout");
    assert_eq!(
        code(Reply::Drip(
            b"HTTP/1.1 200 OK\r\nX: ".to_vec(),
            b'x',
            Duration::from_millis(20)
        )),
        "Kms.Timeout"
    );
    assert_eq!(code(Reply::Silence), "Kms.Timeout");
}

#[test]
fn answers_that_are_cut_off() {
    let (error, asked) = failure(Reply::Raw(raw(
        "200 OK\r\nx-acs-request-id: r-cut\r\nContent-Length: 100",
        b"{\"KeyId\":",
    )));
    assert_eq!((error.code(), error.request_id()), ("Kms.Unreachable", Some("r-cut")));
    assert!(asked > 1, "it may have been an accident");
    assert_eq!(code(Reply::Raw(b"HTTP/1.1 200".to_vec())), "Kms.Unreachable");
    assert_eq!(code(Reply::Raw(Vec::new())), "Kms.Unreachable");
}

#[test]
fn redirects_are_not_followed() {
    let elsewhere = Server::start(kms);
    for status in [301, 302, 307, 308] {
        let (error, asked) = failure(Reply::With(status, "Location", elsewhere.url(), String::new()));
        assert_eq!((error.code(), asked), ("Kms.BadAnswer", 1));
        assert_eq!(error.remedy(), Remedy::Unreachable);
    }
    assert!(elsewhere.seen().is_empty());
}

#[test]
fn failures_of_the_server_end_with_the_tries() {
    let (error, asked) = failure(refusal(500, "InternalFailure"));
    assert_eq!((error.code(), error.request_id()), ("InternalFailure", Some("r-no")));
    assert!((2..=6).contains(&asked), "{asked}");
    let (error, asked) = failure(refusal(429, "Rejected.Throttling"));
    assert_eq!(error.remedy(), Remedy::Throttled);
    assert!((2..=6).contains(&asked), "{asked}");
}

#[test]
fn a_pause_beyond_the_deadline_is_not_waited_for() {
    let reply = Reply::With(
        429,
        "Retry-After",
        "3600".into(),
        r#"{"Code":"Rejected.Throttling","RequestId":"r"}"#.into(),
    );
    let (error, asked) = failure(reply);
    assert_eq!(
        (error.code(), error.request_id(), asked),
        ("Rejected.Throttling", Some("r"), 1)
    );
}

#[test]
fn another_key_than_was_asked_for() {
    let other = format!(r#"{{"KeyId":"another","Plaintext":"{KEY_TEXT}","RequestId":"r-lie"}}"#);
    let (error, asked) = failure(ok(&other));
    assert_eq!(
        (error.code(), error.request_id(), asked),
        ("Kms.WrongKey", Some("r-lie"), 1)
    );
    for plaintext in [
        "",
        "AAEC",
        "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gIQ==",
        "not base64 at all",
    ] {
        let body = format!(r#"{{"KeyId":"{KEY_ID}","Plaintext":"{plaintext}","RequestId":"r-lie"}}"#);
        let (error, _) = failure(ok(&body));
        assert_eq!(
            (error.code(), error.request_id()),
            ("Kms.WrongKey", Some("r-lie")),
            "{plaintext}"
        );
    }
}

#[test]
fn a_new_key_that_no_file_has_room_for() {
    let made = |id: &str, blob: &str| {
        let body = format!(r#"{{"KeyId":"{id}","Plaintext":"{KEY_TEXT}","CiphertextBlob":"{blob}"}}"#);
        let server = Server::start(move |_| ok(&body));
        client(&server)
            .generate_data_key("alias/a", &context())
            .unwrap_err()
            .code()
            .to_owned()
    };
    assert_eq!(made(KEY_ID, &"A".repeat(400)), "Kms.WrongKey");
    assert_eq!(made(KEY_ID, ""), "Kms.WrongKey");
    assert_eq!(made(KEY_ID, "%%"), "Kms.WrongKey");
    assert_eq!(made(&"k".repeat(65), "QUFB"), "Kms.WrongKey");
    assert_eq!(made("alias/a", "QUFB"), "Kms.WrongKey");
    assert_eq!(made("", "QUFB"), "Kms.WrongKey");
}

#[test]
fn signatures_of_another_version() {
    let server = Server::start(kms);
    let client = client(&server);
    let signed = client.sign(KEY_ID, "v9", SignAlgorithm::EcdsaSha256, &[0; 32]);
    assert_eq!(signed.unwrap_err().code(), "Kms.WrongKey");
}

#[test]
fn lists_that_never_end() {
    let item = r#"{"Keys":{"Key":[{"KeyId":"k"}]},"TotalCount":18446744073709551615}"#;
    let server = Server::start(move |_| ok(item));
    assert_eq!(client(&server).list_keys().unwrap_err().code(), "Kms.BadAnswer");
}

#[test]
fn a_key_is_not_made_twice() {
    let server = Server::start(|_| Reply::Silence);
    let error = client(&server).create_key(&NewKey::default()).unwrap_err();
    assert_eq!((error.code(), server.seen().len()), ("Kms.Timeout", 1));
    let count = AtomicUsize::new(0);
    let server = Server::start(move |seen| match count.fetch_add(1, Ordering::SeqCst) {
        0 => refusal(429, "Rejected.Throttling"),
        _ => kms(seen),
    });
    client(&server).create_key(&NewKey::default()).unwrap();
}

#[test]
fn too_much_to_encrypt_is_not_even_sent() {
    let server = Server::start(kms);
    let client = client(&server);
    for text in [String::new(), "x".repeat(6145)] {
        let error = client.encrypt_text(KEY_ID, &context(), &text).unwrap_err();
        assert_eq!(error.code(), "InvalidParameter");
    }
    assert!(server.seen().is_empty());
    client.encrypt_text(KEY_ID, &context(), &"x".repeat(6144)).unwrap();
}

#[test]
fn what_was_to_be_encrypted_is_not_in_the_error() {
    let server = Server::start(|_| Reply::Raw(Vec::new()));
    let error = client(&server)
        .encrypt_text(KEY_ID, &context(), "SECRETTEXT")
        .unwrap_err();
    assert!(!format!("{error} {error:?}").contains("SECRETTEXT"), "{error}");
}

#[test]
fn a_kms_that_is_down_fails_fast_and_is_found_again() {
    let server = Server::start(kms);
    let client = Arc::new(client(&server));
    client.decrypt(&wrapped(), &context()).unwrap();
    let port = server.port;
    drop(server);
    let error = client.decrypt(&wrapped(), &context()).unwrap_err();
    assert_eq!((error.code(), error.remedy()), ("Kms.Unreachable", Remedy::Unreachable));
    let spared = client.decrypt(&wrapped(), &context()).unwrap_err();
    assert_eq!((spared.code(), spared.remedy()), ("Kms.Spared", Remedy::Unreachable));
    let server = Server::start_at(port, kms);
    // Who watches asks all the same, and what it finds counts for all.
    client.decrypt_now(&wrapped(), &context()).unwrap();
    client.decrypt(&wrapped(), &context()).unwrap();
    drop(server);
}

#[test]
fn nobody_there_and_nowhere() {
    let mut unset = settings("");
    unset.endpoint = None;
    let error = AlibabaKms::new(unset, super::tests::environment()).err().unwrap();
    assert_eq!(error.code(), "Kms.Endpoint");
    let settings = Settings {
        ca_file: Some("/nonexistent/ca.pem".into()),
        ..settings("kms.example")
    };
    let error = AlibabaKms::new(settings, super::tests::environment()).err().unwrap();
    assert!(error.to_string().contains("/nonexistent/ca.pem"), "{error}");
}

#[test]
fn no_credentials() {
    let server = Server::start(kms);
    let mut world = super::credentials::World::new(Arc::new(|_: &str| None), Arc::new(crate::kms::SystemClock));
    world.metadata = None;
    let client = AlibabaKms::with_world(settings(&server.url()), world).unwrap();
    let error = client.decrypt(&wrapped(), &context()).unwrap_err();
    assert_eq!(error.code(), "Kms.NoCredentials");
    assert!(server.seen().is_empty());
}
