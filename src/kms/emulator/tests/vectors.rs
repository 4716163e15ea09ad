//! The requests of the reference, §2: its signed vectors are let in as they stand, and nothing that differs from them.

use super::scene::Scene;
use crate::kms::emulator::Received;
use crate::kms::emulator::claim::{Claim, Proof};
use crate::kms::signature::{Acs3, Headers, Request, Rpc1, body_hash};

const TIME: &str = "2020-11-12T08:00:00Z";
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

const V1: &str = "Version=2016-01-20&Action=Encrypt&Format=JSON&RegionId=cn-hangzhou&KeyId=alias%2FApollo%2FWorkKey&Plaintext=SGVsbG8gd29ybGQ%3D&EncryptionContext=%7B%22Purpose%22%3A%22test%20~%2A%2B%22%2C%22app%22%3A%22%E9%98%BF%E6%B3%A2%E7%BD%97%22%7D&Timestamp=2020-11-12T08%3A00%3A00Z&SignatureMethod=HMAC-SHA1&SignatureType=&SignatureVersion=1.0&SignatureNonce=a3c1f0e29b7d4c5e8f60718293a4b5c6&AccessKeyId=testid";
const V3: &str = "EncryptionContext=%7B%22Purpose%22%3A%22test+~%2A%2B%22%2C%22app%22%3A%22%E9%98%BF%E6%B3%A2%E7%BD%97%22%7D&KeyId=alias%2FApollo%2FWorkKey&Plaintext=SGVsbG8gd29ybGQ%3D";

type Header<'a> = (&'a str, &'a str);

/// The headers of vector A, with `Authorization` over them and `more`.
fn v3_headers(algorithm: &str, credential: &str, more: &[(&str, &str)], signature: &str) -> Vec<(String, String)> {
    let minimum = [
        ("host", "kms.cn-hangzhou.aliyuncs.com"),
        ("x-acs-action", "Encrypt"),
        ("x-acs-content-sha256", EMPTY),
        ("x-acs-date", TIME),
        ("x-acs-signature-nonce", "a3c1f0e29b7d4c5e8f60718293a4b5c6"),
        ("x-acs-version", "2016-01-20"),
    ];
    let all = minimum.into_iter().chain(more.iter().copied());
    let mut headers: Vec<(String, String)> = all.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    headers.sort();
    let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
    let signed = names.join(";");
    let authorization = format!("{algorithm} Credential={credential},SignedHeaders={signed},Signature={signature}");
    headers.push(("authorization".to_owned(), authorization));
    headers
}

fn send(scene: &Scene, method: &str, query: &str, headers: &[(String, String)]) -> (u16, String) {
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (&**name, &**value)).collect();
    let (status, answer) = scene.send(method, query, &headers, "");
    (status, answer["Code"].as_str().unwrap_or_default().to_owned())
}

fn ok() -> (u16, String) {
    (200, String::new())
}

fn no(code: &str) -> (u16, String) {
    (400, code.to_owned())
}

#[test]
fn v1_by_query_and_by_form() {
    let query = format!("{V1}&Signature=pjcIoNqedGczW%2FbKneHijbkJmzk%3D");
    let scene = Scene::new(TIME, "testid testsecret\n");
    assert_eq!(send(&scene, "POST", &query, &[]), ok());
    assert_eq!(send(&scene, "POST", &query, &[]), no("SignatureNonceUsed"));

    let form = [("content-type", "application/x-www-form-urlencoded; charset=utf-8")];
    let scene = Scene::new(TIME, "testid testsecret\n");
    assert_eq!(scene.send("POST", "", &form, &query).0, 200);
    let scene = Scene::new(TIME, "testid testsecret\n");
    let (head, tail) = query.split_at(query.find("&KeyId").unwrap());
    assert_eq!(scene.send("POST", head, &[], &tail[1..]).0, 200);
}

#[test]
fn v1_with_a_token() {
    let scene = Scene::new(TIME, "testid testsecret CAIStest+token/==\n");
    let query = format!("{V1}&SecurityToken=CAIStest%2Btoken%2F%3D%3D&Signature=V%2BIXizE3DVjBWJg673NTIfe%2FNbI%3D");
    assert_eq!(send(&scene, "POST", &query, &[]), ok());
}

/// Captured from the older SDK, whose context is the caller's text, blanks and all. Its key is not here, so the
/// KMS says that; a signature that did not match would have been noticed before.
#[test]
fn v1_as_captured() {
    let query = "KeyId=alias%2Fsdk-check%2Fa74ebe48a372&Plaintext=aGVsbG8ga21z&EncryptionContext=%7B%22Purpose%22%3A%20%22test%20~%2A%2B%22%2C%20%22app%22%3A%20%22%E9%98%BF%E6%B3%A2%E7%BD%97%22%7D&Version=2016-01-20&Action=Encrypt&Format=JSON&RegionId=cn-hangzhou&Timestamp=2026-11-23T14%3A31%3A24Z&SignatureMethod=HMAC-SHA1&SignatureType=&SignatureVersion=1.0&SignatureNonce=1ecce0929746693d4faed1d96779c853&AccessKeyId=testid&Signature=AUNajEm59ZQm%2FKrpQ7J1dZL7kZA%3D";
    let scene = Scene::new("2026-11-23T14:31:24Z", "testid testsecret\n");
    let headers = [
        ("host", "127.0.0.1:18971"),
        ("x-acs-action", "Encrypt"),
        ("x-acs-version", "2016-01-20"),
    ];
    let (status, answer) = scene.send("POST", query, &headers, "");
    assert_eq!(
        (status, &*answer["Code"].to_string()),
        (404, "\"Forbidden.AliasNotFound\"")
    );
}

/// From the KMS documentation: GET, no nonce.
#[test]
fn v1_of_the_documentation() {
    let query = "Action=CreateKey&SignatureVersion=1.0&Format=json&Version=2016-01-20&AccessKeyId=testid&SignatureMethod=HMAC-SHA1&Timestamp=2016-03-28T03%3A13%3A08Z";
    let scene = Scene::new("2016-03-28T03:13:08Z", "testid testsecret\n");
    let get = format!("{query}&Signature=41wk2SSX1GJh7fwnc5eqOfiJPFg%3D");
    assert_eq!(send(&scene, "GET", &get, &[]), ok());
    assert_eq!(send(&scene, "GET", &get, &[]), no("SignatureNonceUsed"));
    assert_eq!(send(&scene, "POST", &get, &[]), no("SignatureDoesNotMatch"));
    let post = format!("{query}&Signature=Fi0klWyYLE4Wy22gxatiAP51JFE%3D");
    assert_eq!(send(&scene, "POST", &post, &[]), ok());
}

#[test]
fn v3_and_v4() {
    let sdk = [
        ("accept", "application/json"),
        ("user-agent", "example-client/1.0"),
        ("x-acs-credentials-provider", "static_ak"),
    ];
    let token = [
        ("x-acs-accesskey-id", "STS.testid"),
        ("x-acs-security-token", "CAIStest+token/=="),
    ];
    let with_token = [&sdk[..], &token].concat();
    let v4 = "testid/20201112/cn-hangzhou/Kms/aliyun_v4_request";
    #[rustfmt::skip]
    let vectors: [(&str, &str, &[Header<'_>], &str); 4] = [
        ("ACS3", "testid", &[], "fb891044e33b68d982f6fc5183812c347eae0b3ce5bfa802d8b6048d9920b5f6"),
        ("ACS3", "testid", &sdk, "23768cb402df1e839cbd4a63230418bae9a147c59125645a151dbcce1e2cffba"),
        ("ACS3", "STS.testid", &with_token, "1abc8b877dc7cebc45bd3b0d64c6a3b3c5393215b09816fc3ec522b63546732a"),
        ("ACS4", v4, &sdk[2..], "0695a98f75fe18fcdf85ad49c3d0b22c2bbf33865cda1c1bd313d4d8b47f02b1"),
    ];
    for (version, credential, more, signature) in vectors {
        let algorithm = format!("{version}-HMAC-SHA256");
        let scene = || Scene::new(TIME, "testid testsecret\nSTS.testid testsecret CAIStest+token/==\n");
        let headers = v3_headers(&algorithm, credential, more, signature);
        let one = scene();
        assert_eq!(send(&one, "POST", V3, &headers), ok(), "{credential}");
        assert_eq!(send(&one, "POST", V3, &headers), no("SignatureNonceUsed"));
        assert_eq!(send(&scene(), "GET", V3, &headers), no("SignatureDoesNotMatch"));
        assert_eq!(
            send(&scene(), "POST", &V3.replace("SGV", "SGW"), &headers),
            no("SignatureDoesNotMatch")
        );
        // Each signed header counts, and none may be left out.
        for at in 0..headers.len() - 1 {
            let mut other = headers.clone();
            other[at].1.push('x');
            assert_ne!(send(&scene(), "POST", V3, &other).0, 200, "{}", other[at].0);
            let name = other.remove(at).0;
            assert_ne!(send(&scene(), "POST", V3, &other).0, 200, "{name}");
        }
    }
}

/// The scope of V4 is this region, this product and the day of the request.
#[test]
fn v4_of_another_scope() {
    let more = [("x-acs-credentials-provider", "static_ak")];
    let signature = "0695a98f75fe18fcdf85ad49c3d0b22c2bbf33865cda1c1bd313d4d8b47f02b1";
    for scope in [
        "20201112/cn-beijing/Kms/aliyun_v4_request",
        "20201113/cn-hangzhou/Kms/aliyun_v4_request",
        "20201112/cn-hangzhou/Ecs/aliyun_v4_request",
        "20201112/cn-hangzhou/Kms",
        "",
    ] {
        let scene = Scene::new(TIME, "testid testsecret\n");
        let headers = v3_headers("ACS4-HMAC-SHA256", &format!("testid/{scope}"), &more, signature);
        assert_eq!(
            send(&scene, "POST", V3, &headers),
            no("SignatureDoesNotMatch"),
            "{scope}"
        );
    }
}

#[test]
fn headers_that_must_be_signed() {
    let hash = body_hash(b"");
    let all = v3_headers(Acs3::ALGORITHM, "testid", &[("x-acs-extra", "1")], "");
    for unsigned in ["host", "x-acs-date", "x-acs-extra"] {
        let mut headers: Headers = all.iter().map(|(name, value)| (&**name, &**value)).collect();
        let names: Vec<&str> = all.iter().map(|(name, _)| &**name).collect();
        let names: Vec<&str> = names
            .into_iter()
            .filter(|name| ![unsigned, "authorization"].contains(name))
            .collect();
        let query = form_urlencoded::parse(V3.as_bytes()).collect();
        let request = Request {
            method: "POST",
            query: &query,
            headers: &headers,
            body_hash: &hash,
        };
        let authorization = Acs3::over(request, &names).authorization("testid", "testsecret");
        headers = all
            .iter()
            .filter(|(name, _)| name != "authorization")
            .map(|(name, value)| (&**name, &**value))
            .chain([("authorization", &*authorization)])
            .collect();
        let scene = Scene::new(TIME, "testid testsecret\n");
        let answer = scene.emulator.answer(&Received::new("POST", V3, headers, b""));
        assert!(
            answer.body.contains("IncompleteSignature"),
            "{unsigned}: {}",
            answer.body
        );
    }
}

#[test]
fn styles_are_told_apart() {
    let claim = |query: &str, headers: &[(String, String)]| {
        let headers = headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        let received = Received::new("POST", query, headers, b"");
        let claim = Claim::of(&received).unwrap();
        let style = match claim.proof {
            Proof::Rpc1 { .. } => 1,
            Proof::Acs3 { .. } => 3,
            Proof::Acs4 { .. } => 4,
        };
        (style, claim.action.to_owned(), claim.access_key.to_owned())
    };
    let v1 = format!("{V1}&Signature=x");
    let is = |style| (style, "Encrypt".to_owned(), "testid".to_owned());
    // The older SDK sends the header too.
    let named = [("x-acs-action".to_owned(), "Decrypt".to_owned())];
    assert_eq!(claim(&v1, &named), is(1));
    assert_eq!(claim(V3, &v3_headers("ACS3-HMAC-SHA256", "testid", &[], "x")), is(3));
    assert_eq!(
        claim(V3, &v3_headers("ACS4-HMAC-SHA256", "testid/a/b", &[], "x")),
        is(4)
    );
    // An Authorization that is none of ours does not hide parameters.
    assert_eq!(claim(&v1, &[("authorization".to_owned(), "Basic x".to_owned())]), is(1));
}

/// The current SDK with the V1 option writes a blank as `+` and signs `%20`.
#[test]
fn v1_with_plus_for_a_blank() {
    let scene = Scene::simple();
    let context = r#"{"Purpose":"test ~*+"}"#;
    let mut parameters = scene.parameters(
        "Encrypt",
        &[
            ("KeyId", super::scene::ALIAS),
            ("Plaintext", "a b"),
            ("EncryptionContext", context),
        ],
    );
    let signature = Rpc1::new("POST", &parameters).sign("testsecret");
    parameters.set("Signature", signature);
    let query = parameters.canonical().replace("%20", "+");
    assert_eq!(send(&scene, "POST", &query, &[]), ok());
}
