//! A request as it goes out: parameters, time, nonce and credentials signed together. Pure, but for the HTTP library's
//! type of a request.

use data_encoding::HEXLOWER;
use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};
use reqwest::{Method, Request, Url};

use super::credentials::Credential;
use super::endpoint::Endpoint;
use super::settings::Signature;
use crate::kms::KmsError;
use crate::kms::signature::{self, Acs3, Headers, Parameters, Rpc1, body_hash};

/// The version of the API.
pub const VERSION: &str = "2016-01-20";

/// What differs with each try.
#[derive(Debug, Clone)]
pub struct Stamp {
    /// `yyyy-MM-ddTHH:mm:ssZ`
    pub time: String,
    /// Never used again.
    pub nonce: String,
}

impl Stamp {
    /// For a try at `unix` seconds since 1970.
    pub fn new(unix: i64) -> Stamp {
        let nonce: [u8; 16] = crate::format::ids::random_bytes();
        Stamp {
            time: crate::kms::api::time_text(unix),
            nonce: HEXLOWER.encode(&nonce),
        }
    }
}

/// Signs `action` with `parameters`, ready to be sent.
///
/// # Errors
/// `Kms.NoCredentials`: the credentials hold characters that no header can.
pub fn request(
    endpoint: &Endpoint,
    signature: Signature,
    (action, parameters): (&'static str, &Parameters),
    credential: &Credential,
    stamp: &Stamp,
) -> Result<Request, KmsError> {
    match signature {
        Signature::V3 => version_3(endpoint, action, parameters, credential, stamp),
        Signature::V1 => Ok(version_1(endpoint, action, parameters, credential, stamp)),
    }
}

fn version_3(
    endpoint: &Endpoint,
    action: &'static str,
    parameters: &Parameters,
    credential: &Credential,
    stamp: &Stamp,
) -> Result<Request, KmsError> {
    let hash = body_hash(b"");
    let mut headers = Headers::from_iter([
        ("host", endpoint.host.as_str()),
        ("accept", "application/json"),
        ("x-acs-action", action),
        ("x-acs-version", VERSION),
        ("x-acs-date", &stamp.time),
        ("x-acs-signature-nonce", &stamp.nonce),
        ("x-acs-content-sha256", &hash),
    ]);
    if let Some(token) = &credential.token {
        headers.add("x-acs-accesskey-id", &credential.id);
        headers.add("x-acs-security-token", token);
    }
    let signed = Acs3::new(signature::Request {
        method: "POST",
        query: parameters,
        headers: &headers,
        body_hash: &hash,
    });
    let mut request = post(endpoint, parameters);
    let mut set = |name: &str, value: &str, secret: bool| {
        let wrong = || {
            KmsError::new(
                "Kms.NoCredentials",
                "the access key or token holds characters that it cannot",
            )
        };
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
        let mut value = HeaderValue::from_str(value).map_err(|_| wrong())?;
        value.set_sensitive(secret);
        request.headers_mut().insert(name, value);
        Ok(())
    };
    for (name, value) in headers.iter() {
        set(name, value, name == "x-acs-security-token")?;
    }
    set(
        AUTHORIZATION.as_str(),
        &signed.authorization(&credential.id, &credential.secret),
        true,
    )?;
    Ok(request)
}

fn version_1(
    endpoint: &Endpoint,
    action: &'static str,
    parameters: &Parameters,
    credential: &Credential,
    stamp: &Stamp,
) -> Request {
    let mut all = parameters.clone();
    all.set("Action", action);
    all.set("Version", VERSION);
    sign_rpc(&mut all, credential, stamp);
    let mut request = post(endpoint, &all);
    request
        .headers_mut()
        .insert("accept", HeaderValue::from_static("application/json"));
    request
}

/// Adds what every request with a signature of version 1 carries (reference, §1.2), and the signature.
pub fn sign_rpc(parameters: &mut Parameters, credential: &Credential, stamp: &Stamp) {
    parameters.set("Format", "JSON");
    parameters.set("AccessKeyId", credential.id.as_str());
    parameters.set("SignatureMethod", Rpc1::METHOD);
    parameters.set("SignatureVersion", Rpc1::VERSION);
    parameters.set("SignatureNonce", stamp.nonce.as_str());
    parameters.set("Timestamp", stamp.time.as_str());
    if let Some(token) = &credential.token {
        parameters.set("SecurityToken", token.as_str());
    }
    let signature = Rpc1::new("POST", parameters).sign(&credential.secret);
    parameters.set("Signature", signature);
}

/// A request without a body; parameters go into the query, as the API declares them.
fn post(endpoint: &Endpoint, parameters: &Parameters) -> Request {
    let mut url: Url = endpoint.url.clone();
    url.set_query(Some(&parameters.canonical()));
    Request::new(Method::POST, url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(signature: Signature, token: Option<&str>) -> Request {
        let endpoint = Endpoint::parse("kms.cn-hangzhou.aliyuncs.com").unwrap();
        let parameters = Parameters::from_iter([
            ("KeyId", "alias/Apollo/WorkKey"),
            ("Plaintext", "SGVsbG8gd29ybGQ="),
            ("EncryptionContext", r#"{"Purpose":"test ~*+","app":"阿波罗"}"#),
        ]);
        let credential = Credential::new("testid", "testsecret", token);
        let stamp = Stamp {
            time: "2020-11-12T08:00:00Z".into(),
            nonce: "a3c1f0e29b7d4c5e8f60718293a4b5c6".into(),
        };
        request(&endpoint, signature, ("Encrypt", &parameters), &credential, &stamp).unwrap()
    }

    #[test]
    fn version_3_is_the_vector_of_the_reference() {
        let request = built(Signature::V3, None);
        let authorization = request.headers()[AUTHORIZATION].to_str().unwrap();
        // Vector A, §2.2.
        assert_eq!(
            authorization,
            "ACS3-HMAC-SHA256 Credential=testid,SignedHeaders=host;x-acs-action;x-acs-content-sha256;x-acs-date;x-acs-signature-nonce;x-acs-version,Signature=fb891044e33b68d982f6fc5183812c347eae0b3ce5bfa802d8b6048d9920b5f6"
        );
        // The URL library must leave what was signed as it is.
        assert_eq!(
            request.url().query(),
            Some(
                "EncryptionContext=%7B%22Purpose%22%3A%22test%20~%2A%2B%22%2C%22app%22%3A%22%E9%98%BF%E6%B3%A2%E7%BD%97%22%7D&KeyId=alias%2FApollo%2FWorkKey&Plaintext=SGVsbG8gd29ybGQ%3D"
            )
        );
        assert!(request.headers()[AUTHORIZATION].is_sensitive());
    }

    #[test]
    fn a_token_travels_signed_and_hidden() {
        let request = built(Signature::V3, Some("CAIStest+token/=="));
        assert_eq!(request.headers()["x-acs-accesskey-id"], "testid");
        assert!(request.headers()["x-acs-security-token"].is_sensitive());
        let authorization = request.headers()[AUTHORIZATION].to_str().unwrap();
        assert!(authorization.contains("x-acs-accesskey-id;"), "{authorization}");
        assert!(authorization.contains("x-acs-security-token;"), "{authorization}");
    }

    #[test]
    fn version_1_carries_everything_in_the_query() {
        let request = built(Signature::V1, Some("CAIStest+token/=="));
        let query = request.url().query().unwrap();
        let mut parameters: Parameters = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let signature = parameters.remove("Signature").unwrap();
        assert!(Rpc1::new("POST", &parameters).verify("testsecret", &signature));
        for name in [
            "Action",
            "Version",
            "Format",
            "AccessKeyId",
            "SignatureNonce",
            "Timestamp",
            "SecurityToken",
        ] {
            assert!(parameters.get(name).is_some(), "{name}");
        }
        assert!(!request.headers().contains_key(AUTHORIZATION));
    }

    #[test]
    fn credentials_that_no_header_can_hold_are_refused() {
        let endpoint = Endpoint::parse("a.example").unwrap();
        let credential = Credential::new("id\n", "s", None);
        let outcome = request(
            &endpoint,
            Signature::V3,
            ("X", &Parameters::default()),
            &credential,
            &Stamp::new(0),
        );
        assert_eq!(outcome.unwrap_err().code(), "Kms.NoCredentials");
    }
}
