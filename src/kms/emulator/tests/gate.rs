//! Who is let in, and how the others are told.

use std::time::Duration;

use super::scene::Scene;
use crate::kms::emulator::Received;
use crate::kms::signature::{Headers, Rpc1};

fn code(answer: &serde_json::Value) -> &str {
    answer["Code"].as_str().unwrap_or("ok")
}

/// The older SDK compares this text with its own, and only then says that the secret is wrong.
#[test]
fn mismatch_quotes_the_string_to_sign() {
    let scene = Scene::simple();
    let mut parameters = scene.parameters("ListKeys", &[]);
    let rpc = Rpc1::new("GET", &parameters);
    parameters.set("Signature", rpc.sign("another secret"));
    let (status, answer) = scene.send("GET", &parameters.canonical(), &[("host", "h:1")], "");
    let message = format!(
        "Specified signature is not matched with our calculation. server string to sign is:{}",
        rpc.string_to_sign()
    );
    assert_eq!((status, code(&answer)), (400, "SignatureDoesNotMatch"));
    assert_eq!(answer["Message"], message);
    assert_eq!(answer["HostId"], "h:1");
}

#[test]
fn clock_may_be_off_by_a_quarter_of_an_hour() {
    for (off, good) in [(0, true), (900, true), (901, false)] {
        let scene = Scene::simple();
        let early = scene.parameters("ListKeys", &[]);
        scene.later(Duration::from_secs(off));
        let (status, answer) = scene.sign(early);
        assert_eq!(status == 200, good, "{off}: {answer}");
        if !good {
            assert_eq!(code(&answer), "InvalidTimeStamp.Expired");
        }
    }
    let scene = Scene::simple();
    for time in [
        "2026-11-24T00:00:00",
        "2026-11-24 00:00:00Z",
        "20261124T000000Z",
        "1",
        "2026-13-24T00:00:00Z",
        "",
    ] {
        let mut parameters = scene.parameters("ListKeys", &[]);
        parameters.set("Timestamp", time);
        assert_ne!(scene.sign(parameters).0, 200, "{time}");
    }
}

#[test]
fn clock_offset_is_a_fault() {
    let scene = Scene::simple();
    scene.faults(r#"{"clock_offset_seconds": -1000}"#);
    assert_eq!(scene.refused(400, "ListKeys", &[]), "InvalidTimeStamp.Expired");
    scene.faults("{}");
    scene.good("ListKeys", &[]);
}

#[test]
fn access_keys_and_tokens() {
    let scene = Scene::new("2026-11-24T00:00:00Z", "testid testsecret token\nplain testsecret\n");
    let with = |id: &str, token: Option<&str>| {
        let mut parameters = scene.parameters("ListKeys", &[]);
        parameters.set("AccessKeyId", id);
        if let Some(token) = token {
            parameters.set("SecurityToken", token);
        }
        let (status, answer) = scene.sign(parameters);
        (status, code(&answer).to_owned())
    };
    let is = |status, code: &str| (status, code.to_owned());
    assert_eq!(with("testid", Some("token")), is(200, "ok"));
    assert_eq!(with("testid", None), is(400, "MissingSecurityToken"));
    assert_eq!(with("testid", Some("other")), is(400, "InvalidSecurityToken.Malformed"));
    assert_eq!(with("plain", None), is(200, "ok"));
    assert_eq!(
        with("plain", Some("token")),
        is(400, "InvalidSecurityToken.MismatchWithAccessKey")
    );
    assert_eq!(with("nobody", None), is(404, "InvalidAccessKeyId.NotFound"));
    scene.faults(r#"{"expired": ["testid", "plain"]}"#);
    assert_eq!(with("testid", Some("token")), is(400, "InvalidSecurityToken.Expired"));
    assert_eq!(with("plain", None), is(400, "InvalidAccessKeyId.Inactive"));
}

#[test]
fn what_must_be_said() {
    let scene = Scene::simple();
    for name in [
        "AccessKeyId",
        "Action",
        "SignatureMethod",
        "SignatureVersion",
        "Timestamp",
        "Version",
    ] {
        let mut parameters = scene.parameters("ListKeys", &[]);
        parameters.remove(name);
        let (status, answer) = scene.sign(parameters);
        assert_eq!((status, code(&answer)), (400, "MissingParameter"), "{name}");
        assert!(answer["Message"].as_str().unwrap().contains(name));
    }
    let other = |name: &str, value: &str| {
        let mut parameters = scene.parameters("ListKeys", &[]);
        parameters.set(name, value);
        let (status, answer) = scene.sign(parameters);
        (status, code(&answer).to_owned())
    };
    assert_eq!(other("Version", "2016-01-21"), (400, "InvalidVersion".to_owned()));
    assert_eq!(other("Action", "listKeys"), (404, "InvalidAction.NotFound".to_owned()));
    assert_eq!(
        other("SignatureMethod", "HMAC-SHA256"),
        (400, "IncompleteSignature".to_owned())
    );
    let (status, answer) = scene.send("PUT", "Action=ListKeys", &[], "");
    assert_eq!((status, code(&answer)), (403, "UnsupportedHTTPMethod"));
}

#[test]
fn xml_when_it_is_asked_for() {
    let scene = Scene::simple();
    for (format, xml) in [("XML", true), ("xml", true), ("JSON", false), ("", false)] {
        let mut parameters = scene.parameters("ListKeys", &[("Format", format)]);
        parameters.set("Signature", Rpc1::new("GET", &parameters).sign("testsecret"));
        let received = Received::new("GET", &parameters.canonical(), Headers::default(), b"");
        let answer = scene.emulator.answer(&received);
        let expected = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><KMS><Keys><Key><KeyArn>";
        assert_eq!(answer.body.starts_with(expected), xml, "{}", answer.body);
        assert_eq!(answer.content_type.contains("xml"), xml);
    }
}
