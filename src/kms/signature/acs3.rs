//! Signature version 3, ACS3-HMAC-SHA256, in the header `Authorization` (reference, §2.2).

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::canonical::Request;

/// HMAC-SHA-256 of `message`.
#[allow(clippy::expect_used)] // RFC 2104: a key of any length.
pub(super) fn hmac(key: &[u8], message: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(message);
    mac
}

/// Whether a header may be left out of a signature: host, content-type and all `x-acs-…` may not.
pub(super) fn must_be_signed(name: &str) -> bool {
    name == "host" || name == "content-type" || name.starts_with("x-acs-")
}

/// A request to be signed so.
#[derive(Debug, Clone)]
pub struct Acs3 {
    signed: String,
    string_to_sign: String,
}

impl Acs3 {
    /// The name of the algorithm.
    pub const ALGORITHM: &str = "ACS3-HMAC-SHA256";

    /// Signs what has to be signed: host, content-type and every `x-acs-…`.
    #[must_use]
    pub fn new(request: Request<'_>) -> Acs3 {
        let names: Vec<&str> = request.headers.names().filter(|name| must_be_signed(name)).collect();
        Acs3::over(request, &names)
    }

    /// A request of which a client signed the headers `names`, in order.
    #[must_use]
    pub fn over(request: Request<'_>, names: &[&str]) -> Acs3 {
        Acs3 {
            signed: names.join(";"),
            string_to_sign: request.string_to_sign(Acs3::ALGORITHM, names),
        }
    }

    /// What is signed, which the service quotes when signatures do not match.
    #[must_use]
    pub fn string_to_sign(&self) -> &str {
        &self.string_to_sign
    }

    /// The signature, lower-case hexadecimal.
    #[must_use]
    pub fn sign(&self, secret: &str) -> String {
        HEXLOWER.encode(
            &hmac(secret.as_bytes(), self.string_to_sign.as_bytes())
                .finalize()
                .into_bytes(),
        )
    }

    /// Whether `signature` is this request's, compared in constant time.
    #[must_use]
    pub fn verify(&self, secret: &str, signature: &str) -> bool {
        let mac = hmac(secret.as_bytes(), self.string_to_sign.as_bytes());
        HEXLOWER
            .decode(signature.as_bytes())
            .is_ok_and(|given| mac.verify_slice(&given).is_ok())
    }

    /// The value of `Authorization`.
    #[must_use]
    pub fn authorization(&self, access_key: &str, secret: &str) -> String {
        let (signed, signature) = (&self.signed, self.sign(secret));
        format!(
            "{} Credential={access_key},SignedHeaders={signed},Signature={signature}",
            Acs3::ALGORITHM
        )
    }
}
