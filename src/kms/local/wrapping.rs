//! Keys that travel under an RSA key of 2048 bits: material that is imported, data keys that are exported
//! (reference, §1.6 and §1.7). Pure.

use std::str::FromStr;

use rsa::pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey};
use rsa::traits::PublicKeyParts;
use sha1::Sha1;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::kms::KmsError;

const BITS: usize = 2048;

/// How a key is encrypted for the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WrapAlgorithm {
    /// RSAES-PKCS1-v1_5 (RFC 8017, section 7.2).
    Pkcs1,
    /// RSAES-OAEP with SHA-1 (RFC 8017, section 7.1).
    OaepSha1,
    /// RSAES-OAEP with SHA-256.
    OaepSha256,
}

impl WrapAlgorithm {
    /// All of them.
    pub const ALL: [WrapAlgorithm; 3] = [WrapAlgorithm::Pkcs1, WrapAlgorithm::OaepSha1, WrapAlgorithm::OaepSha256];

    /// Alibaba's name of it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            WrapAlgorithm::Pkcs1 => "RSAES_PKCS1_V1_5",
            WrapAlgorithm::OaepSha1 => "RSAES_OAEP_SHA_1",
            WrapAlgorithm::OaepSha256 => "RSAES_OAEP_SHA_256",
        }
    }
}

impl FromStr for WrapAlgorithm {
    type Err = KmsError;

    fn from_str(text: &str) -> Result<WrapAlgorithm, KmsError> {
        let found = WrapAlgorithm::ALL.into_iter().find(|known| known.as_str() == text);
        found.ok_or_else(|| {
            let all = WrapAlgorithm::ALL.map(WrapAlgorithm::as_str).join(", ");
            invalid(format!("{text:?} is no algorithm to wrap with; {all} are"))
        })
    }
}

/// Encrypts `secret` for the owner of the public key `spki` (SubjectPublicKeyInfo as DER).
///
/// # Errors
/// `InvalidParameter` for what is no RSA key of 2048 bits, and for a secret that is too long for it.
pub(super) fn wrap(spki: &[u8], algorithm: WrapAlgorithm, secret: &[u8]) -> Result<Vec<u8>, KmsError> {
    let key = rsa::PublicKey::from_public_key_der(spki)
        .ok()
        .filter(|key| key.size() * 8 == BITS)
        .ok_or_else(|| invalid("the public key is not an RSA key of 2048 bits in DER"))?;
    let wrapped = match algorithm {
        WrapAlgorithm::Pkcs1 => key.pkcs1v15_encrypt(secret),
        WrapAlgorithm::OaepSha1 => key.oaep_encrypt::<Sha1>(secret),
        WrapAlgorithm::OaepSha256 => key.oaep_encrypt::<Sha256>(secret),
    };
    wrapped.map_err(|_| invalid(format!("{} bytes are too many for this public key", secret.len())))
}

/// A key pair that serves for one import: the private half as PKCS#8, the public one as SubjectPublicKeyInfo, in DER.
pub(super) fn generate() -> Result<(Zeroizing<Vec<u8>>, Vec<u8>), KmsError> {
    let fault = |error: String| KmsError::new("InternalFailure", error);
    let key = rsa::PrivateKey::new(&mut getrandom::SysRng, BITS).map_err(|error| fault(error.to_string()))?;
    let private = key.to_pkcs8_der().map_err(|error| fault(error.to_string()))?;
    let public = key.as_public_key().to_public_key_der();
    let public = public.map_err(|error| fault(error.to_string()))?;
    Ok((private.to_bytes(), public.into_vec()))
}

/// What was encrypted for the private half `pkcs8`; none if it was something else. With
/// [`WrapAlgorithm::Pkcs1`] a damaged text gives random bytes, so that nobody learns from the answer.
pub(super) fn unwrap(pkcs8: &[u8], algorithm: WrapAlgorithm, wrapped: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let key = rsa::PrivateKey::from_pkcs8_der(pkcs8).ok()?;
    let secret = match algorithm {
        WrapAlgorithm::Pkcs1 => key.pkcs1v15_decrypt(wrapped),
        WrapAlgorithm::OaepSha1 => key.oaep_decrypt::<Sha1>(wrapped),
        WrapAlgorithm::OaepSha256 => key.oaep_decrypt::<Sha256>(wrapped),
    };
    secret.ok().map(Zeroizing::new)
}

fn invalid(message: impl Into<String>) -> KmsError {
    KmsError::new("InvalidParameter", message)
}
