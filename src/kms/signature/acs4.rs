//! Signature version 4, ACS4-HMAC-SHA256: as version 3, with a key derived for a day, a region and a product
//! (reference, §2.3). The current SDK makes it by option; the client does not.

use data_encoding::HEXLOWER;
use hmac::Mac;
use zeroize::Zeroizing;

use super::acs3::hmac;
use super::canonical::Request;

/// What a derived key is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scope<'a> {
    /// The day, `yyyymmdd`.
    pub date: &'a str,
    /// The region, `cn-hangzhou`.
    pub region: &'a str,
    /// The product, `Kms`.
    pub product: &'a str,
}

/// A request to be signed so.
#[derive(Debug, Clone)]
pub struct Acs4 {
    string_to_sign: String,
}

impl Acs4 {
    /// The name of the algorithm.
    pub const ALGORITHM: &str = "ACS4-HMAC-SHA256";
    /// The last word of a credential's scope.
    pub const TERMINATOR: &str = "aliyun_v4_request";

    /// A request of which a client signed the headers `names`, in order.
    #[must_use]
    pub fn over(request: Request<'_>, names: &[&str]) -> Acs4 {
        Acs4 {
            string_to_sign: request.string_to_sign(Acs4::ALGORITHM, names),
        }
    }

    /// What is signed.
    #[must_use]
    pub fn string_to_sign(&self) -> &str {
        &self.string_to_sign
    }

    /// Whether `signature` is this request's, compared in constant time.
    #[must_use]
    pub fn verify(&self, secret: &str, scope: Scope<'_>, signature: &str) -> bool {
        let mac = hmac(&*derive(secret, scope), self.string_to_sign.as_bytes());
        HEXLOWER
            .decode(signature.as_bytes())
            .is_ok_and(|given| mac.verify_slice(&given).is_ok())
    }
}

/// The key of a scope: four HMACs, one over the other.
pub(super) fn derive(secret: &str, scope: Scope<'_>) -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    let first = Zeroizing::new(format!("aliyun_v4{secret}"));
    *key = hmac(first.as_bytes(), scope.date.as_bytes())
        .finalize()
        .into_bytes()
        .into();
    for message in [scope.region, scope.product, Acs4::TERMINATOR] {
        *key = hmac(&*key, message.as_bytes()).finalize().into_bytes().into();
    }
    key
}
