//! The vectors of the reference, §2, computed there with the official SDKs.

use data_encoding::HEXLOWER;

use super::acs4::derive;
use super::*;

const CONTEXT: &str = r#"{"Purpose":"test ~*+","app":"阿波罗"}"#;
const NONCE: &str = "a3c1f0e29b7d4c5e8f60718293a4b5c6";

fn v1_parameters() -> Parameters {
    Parameters::from_iter([
        ("AccessKeyId", "testid"),
        ("Action", "Encrypt"),
        ("EncryptionContext", CONTEXT),
        ("Format", "JSON"),
        ("KeyId", "alias/Apollo/WorkKey"),
        ("Plaintext", "SGVsbG8gd29ybGQ="),
        ("RegionId", "cn-hangzhou"),
        ("SignatureMethod", "HMAC-SHA1"),
        ("SignatureNonce", NONCE),
        ("SignatureType", ""),
        ("SignatureVersion", "1.0"),
        ("Timestamp", "2020-11-12T08:00:00Z"),
        ("Version", "2016-01-20"),
    ])
}

#[test]
fn v1_of_the_older_sdk() {
    let mut parameters = v1_parameters();
    let request = Rpc1::new("POST", &parameters);
    let expected = "POST&%2F&AccessKeyId%3Dtestid%26Action%3DEncrypt%26EncryptionContext%3D%257B%2522Purpose%2522%253A%2522test%2520~%252A%252B%2522%252C%2522app%2522%253A%2522%25E9%2598%25BF%25E6%25B3%25A2%25E7%25BD%2597%2522%257D%26Format%3DJSON%26KeyId%3Dalias%252FApollo%252FWorkKey%26Plaintext%3DSGVsbG8gd29ybGQ%253D%26RegionId%3Dcn-hangzhou%26SignatureMethod%3DHMAC-SHA1%26SignatureNonce%3Da3c1f0e29b7d4c5e8f60718293a4b5c6%26SignatureType%3D%26SignatureVersion%3D1.0%26Timestamp%3D2020-11-12T08%253A00%253A00Z%26Version%3D2016-01-20";
    assert_eq!(request.string_to_sign(), expected);
    assert_eq!(request.sign("testsecret"), "pjcIoNqedGczW/bKneHijbkJmzk=");
    assert!(request.verify("testsecret", "pjcIoNqedGczW/bKneHijbkJmzk="));
    assert!(!request.verify("testsecret", "qjcIoNqedGczW/bKneHijbkJmzk="));
    assert!(!request.verify("testsecret", "not base64"));

    parameters.set("SecurityToken", "CAIStest+token/==");
    parameters.set("Signature", "does not count");
    assert_eq!(
        Rpc1::new("POST", &parameters).sign("testsecret"),
        "V+IXizE3DVjBWJg673NTIfe/NbI="
    );
}

#[test]
fn v1_of_the_documentation() {
    let parameters = Parameters::from_iter([
        ("AccessKeyId", "testid"),
        ("Action", "CreateKey"),
        ("Format", "json"),
        ("SignatureMethod", "HMAC-SHA1"),
        ("SignatureVersion", "1.0"),
        ("Timestamp", "2016-03-28T03:13:08Z"),
        ("Version", "2016-01-20"),
    ]);
    assert_eq!(
        Rpc1::new("GET", &parameters).sign("testsecret"),
        "41wk2SSX1GJh7fwnc5eqOfiJPFg="
    );
    assert_eq!(
        Rpc1::new("POST", &parameters).sign("testsecret"),
        "Fi0klWyYLE4Wy22gxatiAP51JFE="
    );
}

fn v3_query() -> Parameters {
    Parameters::from_iter([
        ("KeyId", "alias/Apollo/WorkKey"),
        ("Plaintext", "SGVsbG8gd29ybGQ="),
        ("EncryptionContext", CONTEXT),
    ])
}

fn v3_headers(more: &[(&str, &str)]) -> Headers {
    let empty = body_hash(b"");
    let minimum = [
        ("Host", "kms.cn-hangzhou.aliyuncs.com"),
        ("x-acs-action", "Encrypt"),
        ("x-acs-content-sha256", &empty),
        ("x-acs-date", "2020-11-12T08:00:00Z"),
        ("x-acs-signature-nonce", NONCE),
        ("x-acs-version", "2016-01-20"),
    ];
    minimum.into_iter().chain(more.iter().copied()).collect()
}

const SDK: [(&str, &str); 3] = [
    ("accept", "application/json"),
    ("user-agent", "example-client/1.0"),
    ("x-acs-credentials-provider", "static_ak"),
];

/// Hash of the canonical request and signature, over all headers.
fn v3(headers: &Headers) -> (String, String) {
    let hash = body_hash(b"");
    let request = Request {
        method: "POST",
        query: &v3_query(),
        headers,
        body_hash: &hash,
    };
    let names: Vec<&str> = headers.names().collect();
    let signed = Acs3::over(request, &names);
    let (_, canonical) = signed.string_to_sign().split_once('\n').unwrap();
    (canonical.to_owned(), signed.sign("testsecret"))
}

fn pair(hash: &str, signature: &str) -> (String, String) {
    (hash.to_owned(), signature.to_owned())
}

#[test]
fn v3_of_the_current_sdk() {
    let a = v3(&v3_headers(&[]));
    let expected = pair(
        "784f6dbd20d69c10d19010c3cd20826efac79dea06ce9d720cb81f77f42af425",
        "fb891044e33b68d982f6fc5183812c347eae0b3ce5bfa802d8b6048d9920b5f6",
    );
    assert_eq!(a, expected);

    let b = v3(&v3_headers(&SDK));
    let expected = pair(
        "cc31b873995635a275890789481da8362961fb2b4af37fb959937d686bff1978",
        "23768cb402df1e839cbd4a63230418bae9a147c59125645a151dbcce1e2cffba",
    );
    assert_eq!(b, expected);

    let token = [
        ("x-acs-accesskey-id", "STS.testid"),
        ("x-acs-security-token", "CAIStest+token/=="),
    ];
    let c = v3(&v3_headers(&[&SDK[..], &token].concat()));
    let expected = pair(
        "32bfe0ac22cbf0dab4442539c3e99ad1ca01034941eeafedefd1a79c45f3b915",
        "1abc8b877dc7cebc45bd3b0d64c6a3b3c5393215b09816fc3ec522b63546732a",
    );
    assert_eq!(c, expected);
}

#[test]
fn v3_of_the_documentation() {
    let query = Parameters::from_iter([
        ("ImageId", "win2019_1809_x64_dtc_zh-cn_40G_alibase_20230811.vhd"),
        ("RegionId", "cn-shanghai"),
    ]);
    let hash = body_hash(b"");
    let headers = Headers::from_iter([
        ("host", "ecs.cn-shanghai.aliyuncs.com"),
        ("x-acs-action", "RunInstances"),
        ("x-acs-version", "2014-05-26"),
        ("x-acs-date", "2023-10-26T10:22:32Z"),
        ("x-acs-signature-nonce", "3156853299f313e23d1673dc12e1703d"),
        ("x-acs-content-sha256", &hash),
        ("accept", "is not signed"),
    ]);
    let request = Request {
        method: "POST",
        query: &query,
        headers: &headers,
        body_hash: &hash,
    };
    let expected = "ACS3-HMAC-SHA256 Credential=YourAccessKeyId,SignedHeaders=host;x-acs-action;x-acs-content-sha256;x-acs-date;x-acs-signature-nonce;x-acs-version,Signature=06563a9e1b43f5dfe96b81484da74bceab24a1d853912eee15083a6f0f3283c0";
    let signed = Acs3::new(request);
    assert_eq!(signed.authorization("YourAccessKeyId", "YourAccessKeySecret"), expected);
    assert!(signed.verify("YourAccessKeySecret", expected.rsplit('=').next().unwrap()));
    assert!(!signed.verify("another", expected.rsplit('=').next().unwrap()));
}

#[test]
fn v4_of_the_current_sdk() {
    let scope = Scope {
        date: "20201112",
        region: "cn-hangzhou",
        product: "Kms",
    };
    let key = HEXLOWER.encode(&*derive("testsecret", scope));
    assert_eq!(key, "ba5105834b1f973d621bf0b299052eb2769e61e5cb7ea96c61efc3c4f7c1d821");

    let headers = v3_headers(&SDK[2..]);
    let hash = body_hash(b"");
    let request = Request {
        method: "POST",
        query: &v3_query(),
        headers: &headers,
        body_hash: &hash,
    };
    let names: Vec<&str> = headers.names().collect();
    let signed = Acs4::over(request, &names);
    let canonical = "0a0cb3612a4e8257f0c269813e59a3f736c694da675012e7853647146708dee8";
    assert_eq!(signed.string_to_sign(), format!("ACS4-HMAC-SHA256\n{canonical}"));
    let signature = "0695a98f75fe18fcdf85ad49c3d0b22c2bbf33865cda1c1bd313d4d8b47f02b1";
    assert!(signed.verify("testsecret", scope, signature));
    assert!(!signed.verify(
        "testsecret",
        Scope {
            region: "cn-beijing",
            ..scope
        },
        signature
    ));
}

#[test]
fn a_header_that_occurs_twice_has_its_values_sorted() {
    let headers = Headers::from_iter([("X-Acs-B", " 2 "), ("x-acs-b", "1")]);
    let query = Parameters::default();
    let request = Request {
        method: "GET",
        query: &query,
        headers: &headers,
        body_hash: "hash",
    };
    assert_eq!(
        request.canonical(&["x-acs-b"]),
        "GET\n/\n\nx-acs-b:1,2\n\nx-acs-b\nhash"
    );
}
