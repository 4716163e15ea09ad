//! Signature version 1.0 of RPC requests: HMAC-SHA1 over the parameters (reference, §2.1).

use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use super::canonical::{Parameters, percent_encode};

/// A request to be signed so.
#[derive(Debug, Clone)]
pub struct Rpc1 {
    string_to_sign: String,
}

impl Rpc1 {
    /// The name of the algorithm: parameter `SignatureMethod`.
    pub const METHOD: &str = "HMAC-SHA1";
    /// Parameter `SignatureVersion`.
    pub const VERSION: &str = "1.0";

    /// A request by `method` with these parameters, of query and form body together; one named `Signature` does
    /// not count.
    #[must_use]
    pub fn new(method: &str, parameters: &Parameters) -> Rpc1 {
        let mut parameters = parameters.clone();
        parameters.remove("Signature");
        let query = percent_encode(&parameters.canonical());
        Rpc1 {
            string_to_sign: format!("{method}&%2F&{query}"),
        }
    }

    /// What is signed, which the service quotes when signatures do not match.
    #[must_use]
    pub fn string_to_sign(&self) -> &str {
        &self.string_to_sign
    }

    /// The signature, base64.
    #[must_use]
    #[allow(clippy::expect_used)] // RFC 2104: a key of any length.
    pub fn sign(&self, secret: &str) -> String {
        let key = zeroize::Zeroizing::new(format!("{secret}&"));
        let mut mac = Hmac::<Sha1>::new_from_slice(key.as_bytes()).expect("HMAC takes keys of any length");
        mac.update(self.string_to_sign.as_bytes());
        BASE64.encode(&mac.finalize().into_bytes())
    }

    /// Whether `signature` is this request's, compared in constant time.
    #[must_use]
    #[allow(clippy::expect_used)] // As above.
    pub fn verify(&self, secret: &str, signature: &str) -> bool {
        let key = zeroize::Zeroizing::new(format!("{secret}&"));
        let mut mac = Hmac::<Sha1>::new_from_slice(key.as_bytes()).expect("HMAC takes keys of any length");
        mac.update(self.string_to_sign.as_bytes());
        BASE64
            .decode(signature.as_bytes())
            .is_ok_and(|given| mac.verify_slice(&given).is_ok())
    }
}
